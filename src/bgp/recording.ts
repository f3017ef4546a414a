import { isDeepStrictEqual } from 'node:util';
import { formatPrefix } from '../model/address.ts';
import type { BgpStatus, DesiredBgp } from '../model/bgp.ts';
import type { RouteAnnouncer } from './announcer.ts';

/** The oldest are forgotten. */
const HISTORY_MAX = 1_000;

/** Takes everything down and says nothing to anybody: for `--dry-run`, simulations and tests. */
export class RecordingAnnouncer implements RouteAnnouncer {
  readonly #history: DesiredBgp[] = [];

  /** Every value of `set` that differed from the one before, the newest last. */
  get history(): readonly DesiredBgp[] {
    return this.#history;
  }

  start(): void {
    // Nothing to connect to.
  }

  set(desired: DesiredBgp): void {
    if (isDeepStrictEqual(desired, this.#history.at(-1))) return;
    this.#history.push(desired);
    if (this.#history.length > HISTORY_MAX) this.#history.shift();
  }

  status(): BgpStatus {
    const desired = this.#history.at(-1);
    return {
      daemon: 'connected',
      detail: 'dry run: nothing leaves this node',
      version: undefined,
      peers: (desired?.speaker.peers ?? []).map((peer) => ({
        address: peer.address,
        as: peer.as,
        session: 'unknown',
        bfd: peer.bfd === undefined ? 'off' : 'down',
        uptimeS: undefined,
        advertised: 0,
      })),
      announced: (desired?.routes ?? []).map((route) => formatPrefix(route.prefix)).sort(),
      resyncs: 0,
    };
  }

  settled(): Promise<void> {
    return Promise.resolve();
  }

  stop(): Promise<void> {
    return Promise.resolve();
  }
}
