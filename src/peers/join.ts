/**
 * How a node that starts comes to know the cluster's flows, and when it may announce: pure, a
 * decision for each moment. The gate opens once and stays open; a snapshot that comes after the
 * deadline is taken all the same.
 */
import { LISTEN_MIN_MS, LISTEN_MS, SNAPSHOT_RETRY_MS, SNAPSHOT_RETRY_MS_MAX } from './limits.ts';

export type Gate =
  | { readonly open: true }
  | { readonly open: false; readonly reason: 'listening' }
  | { readonly open: false; readonly reason: 'snapshot'; readonly percent?: number };

/**
 * `alone`: nobody was heard. `first`: all others are joining too, and this node has the lowest name.
 * `snapshot`: a peer gave all it has. `deadline`: the wait was too long.
 */
export type SyncedBy = 'alone' | 'first' | 'snapshot' | 'deadline';

/** A peer that is alive, as its last hello has it. */
export interface Candidate {
  readonly name: string;
  /** Undefined: it has not said so, or not proven that it is live. */
  readonly synced: boolean | undefined;
  /** Empty: it gives no snapshots. */
  readonly endpoint: string;
  /** By this node's clock. */
  readonly startedAtMs: number;
}

export type JoinStep =
  | { readonly kind: 'wait' }
  | { readonly kind: 'fetch'; readonly from: Candidate }
  | { readonly kind: 'synced'; readonly by: SyncedBy };

interface Failure {
  readonly untilMs: number;
  readonly count: number;
}

const WAIT: JoinStep = { kind: 'wait' };

export class Join {
  readonly #name: string;
  readonly #startedMs: number;
  readonly #deadlineMs: number;
  readonly #failures = new Map<string, Failure>();
  #syncedBy: SyncedBy | undefined;
  #fetching = false;
  #hasSnapshot = false;
  #percent: number | undefined;

  constructor(name: string, nowMs: number, deadlineMs: number) {
    this.#name = name;
    this.#startedMs = nowMs;
    this.#deadlineMs = deadlineMs;
  }

  get syncedBy(): SyncedBy | undefined {
    return this.#syncedBy;
  }

  gate(): Gate {
    if (this.#syncedBy !== undefined) return { open: true };
    if (!this.#fetching) return { open: false, reason: 'listening' };
    const percent = this.#percent;
    return { open: false, reason: 'snapshot', ...(percent === undefined ? {} : { percent }) };
  }

  /** What to do now. `fetch` is said once, if it can be done; `fetched` or `failed` must follow. */
  step(nowMs: number, peersAlive: () => readonly Candidate[], canFetch: boolean): JoinStep {
    const waitedMs = nowMs - this.#startedMs;
    if (this.#syncedBy === undefined && waitedMs >= this.#deadlineMs) return this.#done('deadline');
    // Who is synced without a snapshot because nobody had one needs none later either.
    const needsNone = this.#syncedBy !== undefined && this.#syncedBy !== 'deadline';
    if (this.#fetching || this.#hasSnapshot || needsNone) return WAIT;

    const alive = peersAlive();
    // What a peer says before it has proven itself is not taken: a snapshot must come after that.
    const isIntroduced = alive.every(({ synced }) => synced !== undefined);
    const listenMs = isIntroduced ? LISTEN_MIN_MS : LISTEN_MS;
    const mayFetch = canFetch && waitedMs >= listenMs;
    const from = mayFetch ? this.#choose(nowMs, alive) : undefined;
    if (from !== undefined) {
      this.#fetching = true;
      this.#percent = undefined;
      return { kind: 'fetch', from };
    }
    if (this.#syncedBy !== undefined || waitedMs < LISTEN_MS) return WAIT;
    if (alive.length === 0) return this.#done('alone');
    const allJoining = alive.every(({ synced }) => synced === false);
    return allJoining && alive.every(({ name }) => this.#name < name) ? this.#done('first') : WAIT;
  }

  progress(percent: number | undefined): void {
    this.#percent = percent;
  }

  fetched(): void {
    this.#fetching = false;
    this.#hasSnapshot = true;
    this.#syncedBy ??= 'snapshot';
  }

  /** The peer is not asked again for a while. */
  failed(name: string, nowMs: number): void {
    this.#fetching = false;
    const count = (this.#failures.get(name)?.count ?? 0) + 1;
    const waitMs = Math.min(SNAPSHOT_RETRY_MS * 2 ** (count - 1), SNAPSHOT_RETRY_MS_MAX);
    this.#failures.set(name, { untilMs: nowMs + waitMs, count });
  }

  #done(by: SyncedBy): JoinStep {
    this.#syncedBy = by;
    return { kind: 'synced', by };
  }

  /** The one that is up longest among those that have failed least. */
  #choose(nowMs: number, alive: readonly Candidate[]): Candidate | undefined {
    const failures = ({ name }: Candidate) => this.#failures.get(name)?.count ?? 0;
    const [best] = alive
      .filter(({ synced, endpoint }) => synced === true && endpoint !== '')
      .filter(({ name }) => nowMs >= (this.#failures.get(name)?.untilMs ?? 0))
      .sort((a, b) => failures(a) - failures(b) || a.startedAtMs - b.startedAtMs);
    return best;
  }
}
