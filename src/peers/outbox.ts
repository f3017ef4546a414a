/**
 * Rows that wait to be sent, in the order in which they came. Pure. Must never hold more rows than
 * it may: then refreshes go first, the oldest before the others, then closes, and a new open last.
 */
import { FlowChange, type FlowBatch } from '../model/flow-batch.ts';
import { sliceBatch } from './batch.ts';
import { Fifo } from './fifo.ts';
import { countRows, filterRows, olderBy } from './rows.ts';

interface Waiting {
  batch: FlowBatch;
  readonly sinceMs: number;
}

export interface OutboxDrops {
  refresh: number;
  close: number;
  open: number;
}

/** When there is no room, as much more than needed is freed: else each batch would free a little. */
const ROOM_SHARE = 1 / 16;

export class Outbox {
  readonly drops: OutboxDrops = { refresh: 0, close: 0, open: 0 };
  readonly #rowsMax: number;
  readonly #waiting = new Fifo<Waiting>();
  #rows = 0;

  constructor(rowsMax: number) {
    this.#rowsMax = rowsMax;
  }

  get rows(): number {
    return this.#rows;
  }

  get room(): number {
    return this.#rowsMax - this.#rows;
  }

  add(batch: FlowBatch, nowMs: number): void {
    let accepted = batch;
    for (const kind of ['refresh', 'close'] as const) {
      if (accepted.count > this.room) this.#makeRoom(accepted.count, kind);
      if (accepted.count > this.room) accepted = this.#without(accepted, kind);
    }
    if (accepted.count > this.room) {
      this.drops.open += accepted.count - this.room;
      accepted = sliceBatch(accepted, 0, this.room);
    }
    if (accepted.count === 0) return;
    this.#waiting.push({ batch: accepted, sinceMs: nowMs });
    this.#rows += accepted.count;
  }

  /** The batch that is to be sent first, with its ages as of now. */
  head(nowMs: number): FlowBatch | undefined {
    const { first } = this.#waiting;
    return first && olderBy(first.batch, nowMs - first.sinceMs);
  }

  /** Takes so many rows off the head: they are on their way. */
  sent(rows: number): void {
    const { first } = this.#waiting;
    if (first === undefined) return;
    this.#rows -= Math.min(rows, first.batch.count);
    if (rows < first.batch.count) {
      first.batch = sliceBatch(first.batch, rows, first.batch.count);
      return;
    }
    this.#waiting.shift();
  }

  #makeRoom(rows: number, kind: 'refresh' | 'close'): void {
    const wanted = rows + Math.floor(this.#rowsMax * ROOM_SHARE);
    for (const waiting of this.#waiting) {
      if (this.room >= wanted) break;
      const before = waiting.batch.count;
      waiting.batch = this.#without(waiting.batch, kind);
      this.#rows -= before - waiting.batch.count;
    }
    this.#waiting.retain(({ batch }) => batch.count > 0);
  }

  #without(batch: FlowBatch, kind: 'refresh' | 'close'): FlowBatch {
    const change = FlowChange[kind];
    const dropped = countRows(batch, change);
    if (dropped === 0) return batch;
    this.drops[kind] += dropped;
    return filterRows(batch, (row) => batch.change[row] !== change);
  }
}
