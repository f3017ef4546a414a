/**
 * Which datagrams of one peer, of one of its lives, are missing; when to ask for them, and when to
 * give up. Pure. Must never hold more than GAP_RANGES_MAX ranges.
 */
import {
  GAP_RANGES_MAX,
  HISTORY_SEQUENCES_MAX,
  NACK_RETRY_MS,
  NACK_TRIES_MAX,
  REORDER_MS,
} from './limits.ts';

export type Range = readonly [first: number, last: number];

export interface GapCounters {
  /** Asked for at least once. */
  lost: number;
  /** Of these, those that came in the end, or had carried nothing. */
  repaired: number;
  /** Came out of order, before they were asked for. */
  reordered: number;
  /** Left to the digest. */
  abandoned: number;
}

interface Gap {
  first: number;
  last: number;
  tries: number;
  dueMs: number;
}

export class Gaps {
  readonly counters: GapCounters = { lost: 0, repaired: 0, reordered: 0, abandoned: 0 };
  #gaps: Gap[] = [];
  #highest: number;

  /** What comes up to and including `floor` is not missed. */
  constructor(floor: number) {
    this.#highest = floor;
  }

  get highest(): number {
    return this.#highest;
  }

  /** The highest sequence below which nothing is missing any more. */
  get contiguous(): number {
    const first = this.#gaps[0];
    return first === undefined ? this.#highest : first.first - 1;
  }

  get missing(): number {
    return this.#gaps.reduce((sum, { first, last }) => sum + last - first + 1, 0);
  }

  get ranges(): number {
    return this.#gaps.length;
  }

  /** One has come. `spreadMs`: by how much, at random, the first nack is later than needed. */
  note(sequence: number, nowMs: number, spreadMs: number): void {
    const expected = this.#highest + 1;
    if (sequence < expected) {
      this.#remove(sequence, sequence);
      return;
    }
    this.#highest = sequence;
    if (sequence === expected) return;
    this.#gaps.push({
      first: expected,
      last: sequence - 1,
      tries: 0,
      dueMs: nowMs + REORDER_MS + spreadMs,
    });
    this.#abandonBelow(sequence - HISTORY_SEQUENCES_MAX);
    while (this.#gaps.length > GAP_RANGES_MAX) this.#abandonBelow((this.#gaps[0]?.last ?? 0) + 1);
  }

  /** These carried nothing that lasts. */
  empty(first: number, last: number): void {
    this.#remove(first, last);
  }

  /** The peer has nothing before this one any more. Returns whether something was missing there. */
  gone(firstKept: number): boolean {
    const { abandoned } = this.counters;
    this.#abandonBelow(firstKept);
    return this.counters.abandoned > abandoned;
  }

  /** Another node has just asked for these: its answer is ours. */
  askedByOther(ranges: readonly Range[], nowMs: number): void {
    for (const gap of this.#gaps) {
      const asked = ranges.some(([first, last]) => first <= gap.first && gap.last <= last);
      if (asked) gap.dueMs = Math.max(gap.dueMs, nowMs + NACK_RETRY_MS);
    }
  }

  /** Ranges to ask for now, at most `limit`. Each call counts as having asked. */
  due(nowMs: number, spreadMs: number, limit: number): Range[] {
    const asked: Range[] = [];
    for (const gap of [...this.#gaps]) {
      if (asked.length >= limit) break;
      if (gap.dueMs > nowMs) continue;
      if (gap.tries >= NACK_TRIES_MAX) {
        this.counters.abandoned += gap.last - gap.first + 1;
        this.#gaps.splice(this.#gaps.indexOf(gap), 1);
        continue;
      }
      if (gap.tries === 0) this.counters.lost += gap.last - gap.first + 1;
      gap.dueMs = nowMs + NACK_RETRY_MS * 2 ** gap.tries + spreadMs;
      gap.tries += 1;
      asked.push([gap.first, gap.last]);
    }
    return asked;
  }

  /** Nobody is left who could send them. */
  abandonAll(): void {
    this.#abandonBelow(this.#highest + 1);
  }

  /** Takes a range out of the gaps. */
  #remove(first: number, last: number): void {
    const kept: Gap[] = [];
    for (const gap of this.#gaps) {
      const from = Math.max(first, gap.first);
      const to = Math.min(last, gap.last);
      if (from > to) {
        kept.push(gap);
        continue;
      }
      this.counters[gap.tries > 0 ? 'repaired' : 'reordered'] += to - from + 1;
      if (gap.first < from) kept.push({ ...gap, last: from - 1 });
      if (gap.last > to) kept.push({ ...gap, first: to + 1 });
    }
    this.#gaps = kept;
  }

  #abandonBelow(end: number): void {
    const kept: Gap[] = [];
    for (const gap of this.#gaps) {
      if (gap.first >= end) {
        kept.push(gap);
        continue;
      }
      this.counters.abandoned += Math.min(gap.last + 1, end) - gap.first;
      if (gap.last >= end) kept.push({ ...gap, first: end });
    }
    this.#gaps = kept;
  }
}
