/**
 * Drives gobgpd over its gRPC API. One loop of its own connects, makes the daemon equal to the
 * newest desired state, and watches it; `set` only leaves a note for that loop. Must never throw
 * at its callers, and never give up: every failure is seen in `status()` and tried again.
 */
import { isDeepStrictEqual } from 'node:util';
import type { Clock } from '../lib/clock.ts';
import { errorMessage, SkeinError } from '../lib/errors.ts';
import type { Logger } from '../lib/logger.ts';
import type { BgpStatus, DesiredBgp, PeerStatus } from '../model/bgp.ts';
import type { RouteAnnouncer } from './announcer.ts';
import { Bell } from './bell.ts';
import { GobgpClient } from './client.ts';
import type { PeerMessage } from './messages.ts';
import { peerAddress, peerStatus, planPeers } from './peers.ts';
import { prepare, type PreparedDaemon } from './prepare.ts';
import { reconcile } from './reconcile.ts';

/** Peers are looked at this often, and at once when an event says so: BFD sends no events. */
const LOOK_MS = 1_000;

/** How often the whole daemon is compared with what is wanted, in case somebody changed it. */
const AUDIT_MS = 5_000;

const RETRY_MIN_MS = 100;
/** A daemon that returns is to be driven again within about a second. */
const RETRY_MAX_MS = 1_000;

export interface GobgpOptions {
  /** A gRPC name, such as `127.0.0.1:50051` or `unix:/run/skein/gobgpd.sock`. */
  readonly target: string;
  readonly clock: Clock;
  readonly logger: Logger;
}

interface Waiter {
  readonly resolve: () => void;
  readonly reject: (reason: SkeinError) => void;
}

export class GobgpAnnouncer implements RouteAnnouncer {
  readonly #options: GobgpOptions;
  readonly #bell: Bell;
  readonly #waiters = new Set<Waiter>();
  #desired: DesiredBgp | undefined;
  /** Counts the calls of `set` that changed something; `#carriedOut` follows it. */
  #wanted = 0;
  #carriedOut = 0;
  #stopping = false;
  #loop: Promise<void> | undefined;
  /** The last reason that was logged. */
  #complaint = '';
  /** Since the last pass. */
  #failedAttempts = 0;
  /** Set by the first pass of all; a loss after that is a resync to come. */
  #driven = false;
  #resyncDue = false;
  #status: BgpStatus = {
    daemon: 'connecting',
    detail: 'not connected to gobgpd yet',
    version: undefined,
    peers: [],
    announced: [],
    resyncs: 0,
  };

  constructor(options: GobgpOptions) {
    this.#options = options;
    this.#bell = new Bell(options.clock);
  }

  start(): void {
    if (this.#stopping) return;
    this.#loop ??= this.#run();
  }

  set(desired: DesiredBgp): void {
    if (isDeepStrictEqual(desired, this.#desired)) return;
    this.#desired = desired;
    this.#wanted += 1;
    this.#bell.ring();
  }

  status(): BgpStatus {
    return this.#status;
  }

  settled(signal: AbortSignal): Promise<void> {
    if (this.#carriedOut === this.#wanted) return Promise.resolve();
    return new Promise((resolve, reject) => {
      const finish = () => {
        this.#waiters.delete(waiter);
        signal.removeEventListener('abort', abort);
      };
      const waiter: Waiter = {
        resolve: () => {
          finish();
          resolve();
        },
        reject: (reason) => {
          finish();
          reject(reason);
        },
      };
      const abort = () => {
        waiter.reject(this.#unsettled());
      };
      this.#waiters.add(waiter);
      signal.addEventListener('abort', abort);
      if (signal.aborted) abort();
    });
  }

  async stop(): Promise<void> {
    this.#stopping = true;
    this.#bell.ring();
    await this.#loop;
    for (const waiter of this.#waiters) waiter.reject(this.#unsettled());
  }

  async #run(): Promise<void> {
    while (!this.#stopping) {
      try {
        await this.#drive();
      } catch (error) {
        this.#lost(error);
      }
      await this.#sleep(retryDelayMs(this.#failedAttempts));
    }
  }

  /** Returns when told to stop; throws when the daemon is lost or cannot be driven. */
  async #drive(): Promise<void> {
    const desired = await this.#firstDesired();
    if (desired === undefined) return;
    const client = new GobgpClient(this.#options.target);
    try {
      const daemon = await prepare(client, desired.speaker, this.#options.logger);
      await this.#follow(client, daemon);
    } finally {
      client.close();
    }
  }

  async #follow(client: GobgpClient, daemon: PreparedDaemon): Promise<void> {
    const lost = new AbortController();
    const unwatch = client.watchPeers(
      () => {
        this.#bell.ring();
      },
      (reason) => {
        lost.abort(reason);
        this.#bell.ring();
      },
    );
    try {
      let auditDueMs = -Infinity;
      while (!this.#stopping) {
        lost.signal.throwIfAborted();
        const nowMs = this.#options.clock.nowMs();
        const due = this.#carriedOut !== this.#wanted || nowMs >= auditDueMs;
        if (due || (await this.#look(client))) {
          await this.#pass(client, daemon);
          auditDueMs = nowMs + AUDIT_MS;
        }
        await this.#bell.wait(LOOK_MS);
      }
    } finally {
      unwatch();
    }
  }

  /** There is nothing to say to a daemon before the first `set`. */
  async #firstDesired(): Promise<DesiredBgp | undefined> {
    while (this.#desired === undefined && !this.#stopping) await this.#bell.wait(LOOK_MS);
    return this.#stopping ? undefined : this.#desired;
  }

  /** The cheap part of a pass: what the peers are doing, and whether that calls for a whole one. */
  async #look(client: GobgpClient): Promise<boolean> {
    const peers = await client.listPeers();
    this.#publish({ peers: this.#peerStatuses(peers) });
    return this.#desired !== undefined && planPeers(peers, this.#desired.speaker).length > 0;
  }

  async #pass(client: GobgpClient, daemon: PreparedDaemon): Promise<void> {
    const { clock, logger } = this.#options;
    const wanted = this.#wanted;
    const desired = this.#desired;
    if (desired === undefined) return;
    const pass = await reconcile(client, desired, clock, logger);
    if (this.#status.daemon !== 'connected')
      logger.info({ version: daemon.version, target: this.#options.target }, 'gobgpd: connected');
    this.#driven = true;
    this.#failedAttempts = 0;
    const done = pass.failures.length === 0;
    const resynced = done && this.#resyncDue;
    if (done) {
      this.#carriedOut = wanted;
      this.#resyncDue = false;
      this.#complaint = '';
    } else {
      this.#complain(pass.failures.join('; '));
    }
    this.#publish({
      daemon: 'connected',
      detail: this.#connectedDetail(daemon, desired, pass.failures),
      version: daemon.version,
      peers: this.#peerStatuses(pass.peers),
      announced: pass.announced,
      resyncs: this.#status.resyncs + (resynced ? 1 : 0),
    });
    if (this.#carriedOut === this.#wanted) for (const waiter of this.#waiters) waiter.resolve();
  }

  #connectedDetail(
    daemon: PreparedDaemon,
    desired: DesiredBgp,
    failures: readonly string[],
  ): string {
    const parts = [`gobgpd ${daemon.version} at ${this.#options.target}`];
    if (daemon.routerId !== desired.speaker.routerId)
      parts.push(`router id ${daemon.routerId} until gobgpd is restarted`);
    const [first] = failures;
    if (first !== undefined) parts.push(`${failures.length} not done: ${first}`);
    return parts.join('; ');
  }

  #lost(error: unknown): void {
    this.#resyncDue ||= this.#driven;
    this.#failedAttempts += 1;
    const unreachable = error instanceof SkeinError && error.code === 'gobgp_unreachable';
    if (error instanceof SkeinError) this.#complain(error.message);
    else this.#options.logger.error({ err: error }, 'gobgpd: cannot be driven');
    this.#publish({
      daemon: unreachable ? 'unreachable' : 'refused',
      detail: errorMessage(error),
      version: undefined,
      peers: this.#peerStatuses([]),
      announced: [],
    });
  }

  /** Once for as long as the reason stays the same: a loop of retries is not news. */
  #complain(reason: string): void {
    if (reason !== this.#complaint) this.#options.logger.warn({ reason }, 'gobgpd: not as wanted');
    this.#complaint = reason;
  }

  #peerStatuses(held: readonly PeerMessage[]): readonly PeerStatus[] {
    const byAddress = new Map(held.map((peer) => [peerAddress(peer), peer]));
    const wallMs = this.#options.clock.wallMs();
    return (this.#desired?.speaker.peers ?? []).map((peer) =>
      peerStatus(peer, byAddress.get(peer.address), wallMs),
    );
  }

  #publish(change: Partial<BgpStatus>): void {
    this.#status = { ...this.#status, ...change };
  }

  #unsettled(): SkeinError {
    return new SkeinError('bgp_not_settled', `BGP is not as wanted yet: ${this.#status.detail}`);
  }

  async #sleep(delayMs: number): Promise<void> {
    const { clock } = this.#options;
    const endMs = clock.nowMs() + delayMs;
    while (!this.#stopping && clock.nowMs() < endMs) await this.#bell.wait(endMs - clock.nowMs());
  }
}

/** 100 ms, doubled by each failed attempt after the first, and never more than 1 s. */
export function retryDelayMs(failedAttempts: number): number {
  return Math.min(RETRY_MAX_MS, RETRY_MIN_MS * 2 ** Math.max(0, failedAttempts - 1));
}
