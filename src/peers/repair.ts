/**
 * Digest rounds: when to take a digest of the own table, whether to say it, which buckets differ
 * from which peer, and which to ask for. Pure. One node begins a round, those that hear it take
 * theirs at the same time, and a digest that somebody else has just said is not said again: a
 * cluster in agreement costs one digest a round, however many nodes it has.
 */
import {
  DIGEST_INTERVAL_BUSY_MS,
  DIGEST_INTERVAL_MIN_MS,
  DIGEST_INTERVAL_MS,
  DIGEST_ROUNDS_DIFFERING,
  DIGEST_SAME_TIME_MS,
  DIGEST_SAY_SPREAD_MS,
  DIGEST_SPREAD_MS,
  REQUEST_BUCKETS_MAX,
  REQUEST_BUCKETS_MIN,
  REQUEST_REST_ROUNDS_MAX,
  REQUEST_SPREAD_MS,
  RESYNC_BUCKETS,
} from './limits.ts';
import { DIGEST_BUCKETS, type TableDigest } from './flow-table.ts';
import type { Comparisons } from './known-at.ts';
import type { Digest } from './message.ts';

export interface BucketsWanted {
  readonly node: string;
  readonly buckets: readonly number[];
}

export interface RepairCounters {
  rounds: number;
  /** Buckets found to differ, once for each round and peer. */
  differing: number;
  /** Buckets asked for. */
  requested: number;
  /** Rounds whose requests brought news, and whose did not. */
  productive: number;
  unproductive: number;
}

/** What is known of one peer's digests. */
interface Compared {
  readonly buckets: BigUint64Array;
  /** By bucket, when it was heard; -Infinity: never, or it has been compared. */
  readonly heardMs: Float64Array;
  /** By bucket, how many rounds in a row it has differed. */
  readonly differing: Uint8Array;
  /** By bucket, how the last comparison ended. */
  readonly last: { readonly atMs: Float64Array; readonly isEqual: Uint8Array };
  /** In this round. */
  equal: number;
  compared: number;
}

export class Repair {
  readonly counters: RepairCounters = {
    rounds: 0,
    differing: 0,
    requested: 0,
    productive: 0,
    unproductive: 0,
  };
  readonly #random: () => number;
  readonly #peers = new Map<string, Compared>();
  #own: TableDigest | undefined;
  #ownAtMs = -Infinity;
  #nextMs: number;
  #isTaking = false;
  /** When the walk for the own digest began. */
  #takingSinceMs = 0;
  /** When the own digest is to be said if nobody says the same; Infinity: not, or it has been. */
  #sayAtMs = Infinity;
  #hasSaid = false;
  /** When the requests of this round go out; Infinity: they have. */
  #requestAtMs = Infinity;
  #budget = REQUEST_BUCKETS_MIN;
  #restRounds = 0;
  #restNext = 0;
  #isWaitingForNews = false;
  #news = 0;

  constructor(nowMs: number, random: () => number) {
    this.#random = random;
    this.#nextMs = nowMs + DIGEST_INTERVAL_MS + random() * DIGEST_SPREAD_MS;
  }

  /** Flows of the last digest; undefined before the first. */
  get flows(): number | undefined {
    return this.#own?.flows;
  }

  /** Answers to requests of this node are on their way. */
  get isWaitingForNews(): boolean {
    return this.#isWaitingForNews;
  }

  /** True: take a digest now, and tell `took` or `gaveUp`. */
  isDue(nowMs: number): boolean {
    if (this.#isTaking || nowMs < this.#nextMs) return false;
    this.#isTaking = true;
    this.#takingSinceMs = nowMs;
    return true;
  }

  /** Something was lost for good, or a round has begun elsewhere: do not wait for the interval. */
  hurry(nowMs: number): void {
    const soonestMs = Math.max(nowMs, this.#ownAtMs + DIGEST_INTERVAL_MIN_MS);
    this.#nextMs = Math.min(this.#nextMs, soonestMs);
  }

  /** The digest could not be taken. */
  gaveUp(nowMs: number): void {
    this.#isTaking = false;
    this.#nextMs = nowMs + DIGEST_INTERVAL_BUSY_MS;
  }

  took(digest: TableDigest, nowMs: number, isBusy: boolean): void {
    this.#closeRound();
    this.counters.rounds += 1;
    this.#isTaking = false;
    this.#own = digest;
    this.#ownAtMs = nowMs;
    this.#hasSaid = false;
    this.#sayAtMs = Infinity;
    // However long the walk took: what was heard meanwhile is what it is compared with.
    const sinceMs = this.#takingSinceMs - DIGEST_SAME_TIME_MS;
    let isFirst = true;
    for (const peer of this.#peers.values()) {
      peer.equal = 0;
      peer.compared = 0;
      for (let bucket = 0; bucket < DIGEST_BUCKETS; bucket += 1) {
        if ((peer.heardMs[bucket] ?? -Infinity) < sinceMs) continue;
        this.#compare(peer, bucket);
        isFirst = false;
      }
    }
    if (isFirst) this.#sayAtMs = nowMs;
    this.#requestAtMs =
      nowMs + DIGEST_SAY_SPREAD_MS + REQUEST_SPREAD_MS * (0.5 + this.#random() / 2);
    const intervalMs = isBusy ? DIGEST_INTERVAL_BUSY_MS : DIGEST_INTERVAL_MS;
    this.#nextMs = nowMs + intervalMs + this.#random() * DIGEST_SPREAD_MS;
  }

  heard(node: string, part: Digest, nowMs: number): void {
    const peer = this.#peers.get(node) ?? newCompared();
    this.#peers.set(node, peer);
    const isSameTime = nowMs - this.#ownAtMs <= DIGEST_SAME_TIME_MS;
    part.buckets.forEach((value, index) => {
      const bucket = part.firstBucket + index;
      peer.buckets[bucket] = value;
      peer.heardMs[bucket] = nowMs;
      if (isSameTime) this.#compare(peer, bucket);
    });
    if (!isSameTime) this.hurry(nowMs);
  }

  /** The digest, when it is to be said. */
  takeDigestToSay(nowMs: number): TableDigest | undefined {
    if (nowMs < this.#sayAtMs) return undefined;
    this.#sayAtMs = Infinity;
    this.#hasSaid = true;
    const isSaid = [...this.#peers.values()].some(({ equal }) => equal >= DIGEST_BUCKETS);
    return isSaid ? undefined : this.#own;
  }

  /** Another node has asked: the answer is for all. */
  requestedByOther(node: string, buckets: readonly number[]): void {
    const peer = this.#peers.get(node);
    if (peer !== undefined) for (const bucket of buckets) peer.differing[bucket] = 1;
  }

  /** Rows that an answer brought and that were new here. */
  learned(rows: number): void {
    if (this.#isWaitingForNews) this.#news += rows;
  }

  /** The moment of a round has come at which requests go out. */
  hasRequests(nowMs: number): boolean {
    return nowMs >= this.#requestAtMs;
  }

  /** Buckets to ask for now. Must be told who is alive: nobody else answers. */
  takeRequests(alive: ReadonlySet<string>): BucketsWanted[] {
    this.#requestAtMs = Infinity;
    if (this.#restRounds > 0) {
      this.#restRounds -= 1;
      return [];
    }
    const asked = new Set<number>();
    const wanted: BucketsWanted[] = [];
    for (const [node, peer] of this.#peers) {
      if (!alive.has(node)) continue;
      const buckets = differing(peer)
        .filter((bucket) => !asked.has(bucket))
        .slice(0, this.#budget - asked.size);
      if (buckets.length === 0) continue;
      for (const bucket of buckets) {
        asked.add(bucket);
        // If it still differs in the next round, it is asked for again.
        peer.differing[bucket] = DIGEST_ROUNDS_DIFFERING - 1;
      }
      wanted.push({ node, buckets });
    }
    this.counters.requested += asked.size;
    this.#isWaitingForNews = asked.size > 0;
    this.#news = 0;
    return wanted;
  }

  /** Peers that differ in so much that a snapshot of one costs less. */
  farApart(): string[] {
    const far = [...this.#peers].filter(([, peer]) => differing(peer).length > RESYNC_BUCKETS);
    return far.map(([node]) => node);
  }

  /** How the own digest compared with those of this peer; undefined: it has said none. */
  comparisons(node: string): Comparisons | undefined {
    return this.#peers.get(node)?.last;
  }

  forget(node: string): void {
    this.#peers.delete(node);
  }

  #compare(peer: Compared, bucket: number): void {
    peer.heardMs[bucket] = -Infinity;
    peer.compared += 1;
    const isEqual = peer.buckets[bucket] === this.#own?.buckets[bucket];
    peer.last.atMs[bucket] = this.#ownAtMs;
    peer.last.isEqual[bucket] = isEqual ? 1 : 0;
    if (isEqual) {
      peer.equal += 1;
      peer.differing[bucket] = 0;
      return;
    }
    this.counters.differing += 1;
    peer.differing[bucket] = Math.min(255, (peer.differing[bucket] ?? 0) + 1);
    if (this.#hasSaid || this.#sayAtMs < Infinity) return;
    this.#sayAtMs = this.#ownAtMs + this.#random() * DIGEST_SAY_SPREAD_MS;
  }

  /** Did the requests of the last round bring anything? */
  #closeRound(): void {
    if (!this.#isWaitingForNews) return;
    this.#isWaitingForNews = false;
    if (this.#news > 0) {
      this.counters.productive += 1;
      this.#budget = Math.min(this.#budget * 2, REQUEST_BUCKETS_MAX);
      this.#restNext = 0;
      return;
    }
    this.counters.unproductive += 1;
    this.#budget = REQUEST_BUCKETS_MIN;
    this.#restRounds = this.#restNext;
    this.#restNext = Math.min(this.#restNext * 2 + 1, REQUEST_REST_ROUNDS_MAX);
  }
}

/** Buckets that have differed often enough; only of peers that have spoken in this round. */
function differing({ differing: rounds, compared }: Compared): number[] {
  const buckets: number[] = [];
  if (compared === 0) return buckets;
  rounds.forEach((count, bucket) => {
    if (count >= DIGEST_ROUNDS_DIFFERING) buckets.push(bucket);
  });
  return buckets;
}

function newCompared(): Compared {
  return {
    buckets: new BigUint64Array(DIGEST_BUCKETS),
    heardMs: new Float64Array(DIGEST_BUCKETS).fill(-Infinity),
    differing: new Uint8Array(DIGEST_BUCKETS),
    last: {
      atMs: new Float64Array(DIGEST_BUCKETS).fill(-Infinity),
      isEqual: new Uint8Array(DIGEST_BUCKETS),
    },
    equal: 0,
    compared: 0,
  };
}
