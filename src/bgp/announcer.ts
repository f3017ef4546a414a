import type { BgpStatus, DesiredBgp } from '../model/bgp.ts';

/**
 * Port: whatever speaks BGP for this node. It takes the whole desired state, works out the
 * difference to what it has already said, and says it again after a lost speaker returns.
 * `set` twice with the same value does nothing. `set` never throws and never blocks: a speaker that
 * cannot be reached is retried, and seen in `status()`.
 */
export interface RouteAnnouncer {
  start(): void;
  set(desired: DesiredBgp): void;
  status(): BgpStatus;
  /** Resolves when the last `set` has been carried out, rejects when `signal` fires first. */
  settled(signal: AbortSignal): Promise<void>;
  /** Stops driving the speaker and leaves its routes as they are. Idempotent. */
  stop(): Promise<void>;
}
