/**
 * Datagrams of our own that carried flows, for those who missed one: what is kept, what is asked
 * for, and what is sent again when. Pure. Bounded by bytes and by how far back a receiver takes it.
 */
import { Fifo } from './fifo.ts';
import type { Range } from './gaps.ts';
import {
  HISTORY_BYTES_MAX,
  HISTORY_SEQUENCES_MAX,
  RESEND_QUIET_MS,
  RESENDS_PENDING_MAX,
} from './limits.ts';
import { RANGES_MAX } from './wire-fields.ts';

interface Kept {
  readonly sequence: number;
  readonly datagram: Uint8Array;
  readonly sentAtMs: number;
  resentAtMs: number;
}

export interface Resends {
  readonly datagrams: readonly Uint8Array[];
  readonly sentAgoMs: readonly number[];
  readonly empty: readonly Range[];
}

export interface HistoryBounds {
  readonly bytesMax: number;
  readonly sequencesMax: number;
}

const BOUNDS: HistoryBounds = {
  bytesMax: HISTORY_BYTES_MAX,
  sequencesMax: HISTORY_SEQUENCES_MAX,
};

export class History {
  readonly #bounds: HistoryBounds;
  /** Ascending by sequence. */
  readonly #kept = new Fifo<Kept>();
  #bytes = 0;
  /** Everything from here on is either kept or carried no flows. */
  #firstKept = 1;
  readonly #pending = new Set<Kept>();
  #empty: Range[] = [];
  /** Ranges that were told to be empty a moment ago. */
  #told: { readonly range: Range; readonly atMs: number }[] = [];
  #gone = false;

  constructor(bounds: HistoryBounds = BOUNDS) {
    this.#bounds = bounds;
  }

  get bytes(): number {
    return this.#bytes;
  }

  get firstKept(): number {
    return this.#firstKept;
  }

  get pending(): number {
    return this.#pending.size;
  }

  /** Sequences must ascend. */
  add(sequence: number, datagram: Uint8Array, nowMs: number): void {
    this.#kept.push({ sequence, datagram, sentAtMs: nowMs, resentAtMs: -Infinity });
    this.#bytes += datagram.length;
    for (;;) {
      const oldest = this.#kept.first;
      if (oldest === undefined) break;
      const tooOld = oldest.sequence <= sequence - this.#bounds.sequencesMax;
      if (!tooOld && this.#bytes <= this.#bounds.bytesMax) break;
      this.#kept.shift();
      this.#bytes -= oldest.datagram.length;
      this.#firstKept = oldest.sequence + 1;
      this.#pending.delete(oldest);
    }
  }

  /** A nack. `highest` is the last sequence that was sent: later ones are nobody's to ask for. */
  ask(ranges: readonly Range[], highest: number, nowMs: number): void {
    this.#told = this.#told.filter(({ atMs }) => nowMs - atMs < RESEND_QUIET_MS);
    for (const [asked, end] of ranges) {
      const last = Math.min(end, highest);
      const first = Math.max(asked, this.#firstKept);
      if (asked < this.#firstKept) this.#gone = true;
      this.#askRange(first, last, nowMs);
    }
  }

  /** What is to be sent again now, at most `limit` datagrams; undefined: nothing. */
  take(nowMs: number, limit: number): Resends | undefined {
    if (this.#pending.size === 0 && this.#empty.length === 0) return undefined;
    const datagrams: Uint8Array[] = [];
    const sentAgoMs: number[] = [];
    for (const kept of this.#pending) {
      if (datagrams.length >= limit) break;
      this.#pending.delete(kept);
      kept.resentAtMs = nowMs;
      datagrams.push(kept.datagram);
      sentAgoMs.push(Math.round(nowMs - kept.sentAtMs));
    }
    const empty = this.#empty;
    this.#empty = [];
    return { datagrams, sentAgoMs, empty };
  }

  /** True once after somebody has asked for what is no longer kept. */
  takeGone(): boolean {
    const gone = this.#gone;
    this.#gone = false;
    return gone;
  }

  #askRange(first: number, last: number, nowMs: number): void {
    let next = first;
    for (let i = this.#indexOf(first); i < this.#kept.length && next <= last; i += 1) {
      const kept = this.#kept.at(i);
      if (kept === undefined || kept.sequence > last) break;
      if (kept.sequence > next) this.#tellEmpty(next, kept.sequence - 1, nowMs);
      next = kept.sequence + 1;
      const quiet = nowMs - kept.resentAtMs < RESEND_QUIET_MS;
      if (!quiet && this.#pending.size < RESENDS_PENDING_MAX) this.#pending.add(kept);
    }
    if (next <= last) this.#tellEmpty(next, last, nowMs);
  }

  #tellEmpty(first: number, last: number, nowMs: number): void {
    const known = this.#told.some(({ range }) => range[0] <= first && last <= range[1]);
    if (known || this.#told.length >= RANGES_MAX) return;
    this.#told.push({ range: [first, last], atMs: nowMs });
    this.#empty.push([first, last]);
  }

  /** Index of the first that is kept with this sequence or a later one. */
  #indexOf(sequence: number): number {
    let low = 0;
    let high = this.#kept.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#kept.at(middle)?.sequence ?? Infinity) < sequence) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}
