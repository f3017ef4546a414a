/**
 * Flows that were closed a moment ago, by the hash of their key: news of them that comes late (a
 * datagram sent again, a snapshot, an answer) must not bring them back. A few places for each hash,
 * so an old entry can be overwritten: then a closed flow lives on until it is idle. Must never refuse
 * what a peer has without a close that makes that peer remove it, else the two never agree.
 */
import { FlowChange, type FlowBatch } from '../model/flow-batch.ts';
import { FlowHasher, type Hash64 } from '../model/flow-hash.ts';
import { CLOSE_SEEN_SLACK_MS, closeApplies, type FlowAges } from '../model/merge.ts';
import { TOMBSTONE_MS, TOMBSTONES_MAX } from './limits.ts';
import { filterRows } from './rows.ts';

const PLACES_AT_FIRST = 1_024;
/** An entry may be in any of so many places: with a quarter of all taken, next to none is overwritten. */
const WAYS = 8;
/**
 * A flow that was seen longer than this after its close is not refused. Shorter than what the merge
 * rule allows, as the wire rounds when a flow was last seen down by up to 100 ms, once in what is
 * refused and once in the close that is said again, and ages by some more.
 */
const REFUSED_SEEN_SLACK_MS = CLOSE_SEEN_SLACK_MS - 250;
/** Half of them taken, one entry in two hundred would be overwritten while it counts. */
const PLACES_PER_CLOSE = 4;

/** Columns of one length, a power of two. Times are of this node's clock. */
interface Places {
  readonly high: Uint32Array;
  readonly low: Uint32Array;
  readonly openedAtMs: Float64Array;
  /** When the flow was last seen, which is the time of its close. */
  readonly seenAtMs: Float64Array;
  /** When this node heard of it; -Infinity: the place is free. */
  readonly heardAtMs: Float64Array;
}

const COLUMNS = ['high', 'low', 'openedAtMs', 'seenAtMs', 'heardAtMs'] as const;

export interface Screened {
  readonly alive: FlowBatch;
  /** Refreshes that were refused, as closes: who still says so has missed the close. */
  readonly closed: FlowBatch | undefined;
}

export class Tombstones {
  readonly #placesMax: number;
  #places = newPlaces(PLACES_AT_FIRST);
  /** Closes since then: how many there are of late decides how much room they need. */
  #counted = 0;
  #countedSinceMs = -Infinity;

  /** `placesMax` is a power of two. */
  constructor(placesMax = TOMBSTONES_MAX) {
    this.#placesMax = placesMax;
  }

  get places(): number {
    return this.#places.high.length;
  }

  /** Remembers the closes among these rows. */
  bury(batch: FlowBatch, nowMs: number): void {
    const hasher = new FlowHasher(batch);
    for (let row = 0; row < batch.count; row += 1) {
      if (batch.change[row] !== FlowChange.close) continue;
      const openedAtMs = nowMs - (batch.openedAgoMs[row] ?? 0);
      this.#put(hasher.key(row), openedAtMs, nowMs - (batch.seenAgoMs[row] ?? 0), nowMs);
    }
  }

  /** Which of these flows are not known to be closed. */
  screen(batch: FlowBatch, nowMs: number): Screened {
    const hasher = new FlowHasher(batch);
    const found = new Map<number, number>();
    for (let row = 0; row < batch.count; row += 1) {
      if (batch.change[row] === FlowChange.close) continue;
      const place = this.#find(hasher.key(row), nowMs);
      if (place !== undefined && this.#isClosed(batch, row, place, nowMs)) found.set(row, place);
    }
    if (found.size === 0) return { alive: batch, closed: undefined };
    return {
      alive: filterRows(batch, (row) => !found.has(row)),
      closed: this.#closes(batch, found, nowMs),
    };
  }

  #isClosed(batch: FlowBatch, row: number, place: number, nowMs: number): boolean {
    const flow = {
      guess: batch.guess[row] === 1,
      openedAgoMs: batch.openedAgoMs[row] ?? 0,
      seenAgoMs: batch.seenAgoMs[row] ?? 0,
    };
    return closeApplies(flow, this.#ages(place, nowMs), REFUSED_SEEN_SLACK_MS);
  }

  #ages(place: number, nowMs: number): FlowAges {
    const { openedAtMs, seenAtMs } = this.#places;
    return {
      openedAgoMs: nowMs - (openedAtMs[place] ?? nowMs),
      seenAgoMs: nowMs - (seenAtMs[place] ?? nowMs),
    };
  }

  #closes(
    batch: FlowBatch,
    found: ReadonlyMap<number, number>,
    nowMs: number,
  ): FlowBatch | undefined {
    const isStated = (row: number) => batch.change[row] === FlowChange.refresh;
    const refused = [...found].filter(([row]) => isStated(row));
    if (refused.length === 0) return undefined;
    const rows = filterRows(batch, (row) => found.has(row) && isStated(row));
    const ages = refused.map(([row, place]) => this.#closeAges(batch, row, place, nowMs));
    return {
      ...rows,
      change: new Uint8Array(rows.count).fill(FlowChange.close),
      openedAgoMs: Uint32Array.from(ages, ({ openedAgoMs }) => openedAgoMs),
      seenAgoMs: Uint32Array.from(ages, ({ seenAgoMs }) => seenAgoMs),
    };
  }

  /**
   * The close of the very life that is refused, also when that was opened after the one that is
   * known to be closed: the time of the close is rounded on the wire, so a peer could find that the
   * flow was opened after it. The opening of a guess says nothing, and is not needed.
   */
  #closeAges(batch: FlowBatch, row: number, place: number, nowMs: number): FlowAges {
    const { openedAgoMs, seenAgoMs } = this.#ages(place, nowMs);
    if (batch.guess[row] === 1) return { openedAgoMs, seenAgoMs };
    return { openedAgoMs: Math.min(openedAgoMs, batch.openedAgoMs[row] ?? 0), seenAgoMs };
  }

  #find({ high, low }: Hash64, nowMs: number): number | undefined {
    const { length } = this.#places.high;
    for (let way = 0; way < WAYS; way += 1) {
      const place = (low + way) & (length - 1);
      if (this.#places.high[place] !== high || this.#places.low[place] !== low) continue;
      // The one of an earlier life may lie before it until its place is taken.
      if (this.#isFresh(place, nowMs)) return place;
    }
    return undefined;
  }

  #put(key: Hash64, openedAtMs: number, seenAtMs: number, nowMs: number): void {
    if (nowMs - this.#countedSinceMs >= TOMBSTONE_MS) {
      this.#countedSinceMs = nowMs;
      this.#counted = 0;
    }
    this.#counted += 1;
    if (this.#counted * PLACES_PER_CLOSE > this.places && this.places < this.#placesMax) {
      this.#grow();
    }
    // Each by itself: a close that comes late, or again, must not undo what is known of a later life.
    const known = this.#find(key, nowMs);
    const knownOpenedAtMs = this.#at('openedAtMs', known);
    const knownSeenAtMs = this.#at('seenAtMs', known);
    if (openedAtMs <= knownOpenedAtMs && seenAtMs <= knownSeenAtMs) return;
    const place = known ?? this.#oldestPlace(key);
    this.#places.high[place] = key.high;
    this.#places.low[place] = key.low;
    this.#places.openedAtMs[place] = Math.max(openedAtMs, knownOpenedAtMs);
    this.#places.seenAtMs[place] = Math.max(seenAtMs, knownSeenAtMs);
    this.#places.heardAtMs[place] = nowMs;
  }

  #at(column: 'openedAtMs' | 'seenAtMs', place: number | undefined): number {
    return place === undefined ? -Infinity : (this.#places[column][place] ?? -Infinity);
  }

  #isFresh(place: number, nowMs: number): boolean {
    return nowMs - (this.#places.heardAtMs[place] ?? -Infinity) < TOMBSTONE_MS;
  }

  #oldestPlace({ low }: Hash64): number {
    const { heardAtMs } = this.#places;
    const first = low & (this.places - 1);
    let oldest = first;
    for (let way = 1; way < WAYS; way += 1) {
      const place = (first + way) & (this.places - 1);
      if ((heardAtMs[place] ?? 0) < (heardAtMs[oldest] ?? 0)) oldest = place;
    }
    return oldest;
  }

  #grow(): void {
    const old = this.#places;
    this.#places = newPlaces(this.places * 2);
    for (const [from, heardAtMs] of old.heardAtMs.entries()) {
      if (heardAtMs === -Infinity) continue;
      const to = this.#oldestPlace({ high: old.high[from] ?? 0, low: old.low[from] ?? 0 });
      for (const column of COLUMNS) this.#places[column][to] = old[column][from] ?? 0;
    }
  }
}

function newPlaces(length: number): Places {
  return {
    high: new Uint32Array(length),
    low: new Uint32Array(length),
    openedAtMs: new Float64Array(length),
    seenAtMs: new Float64Array(length),
    heardAtMs: new Float64Array(length).fill(-Infinity),
  };
}
