/**
 * Rows of peers on their way into the flow table: each is held against the flows that were closed
 * of late, and everything is counted. Must never let news of a flow's life in after that of its end.
 */
import { FlowChange, type FlowBatch } from '../model/flow-batch.ts';
import type { FlowTable, MergeTally } from './flow-table.ts';
import { countRows } from './rows.ts';
import type { SyncCounters } from './status.ts';
import { Tombstones } from './tombstones.ts';

export interface MergeResult {
  /** Rows that were new here: added, or better than what was known. */
  readonly news: number;
  /** Flows that a peer still has though they are closed, as closes. */
  readonly closed: FlowBatch | undefined;
}

export class Merger {
  readonly tombstones = new Tombstones();
  readonly #table: FlowTable;
  readonly #counters: SyncCounters;
  #tally: MergeTally = {
    added: 0,
    replaced: 0,
    refreshed: 0,
    ignored: 0,
    removed: 0,
    unknown: 0,
    full: 0,
  };

  constructor(table: FlowTable, counters: SyncCounters) {
    this.#table = table;
    this.#counters = counters;
  }

  get tally(): MergeTally {
    return this.#tally;
  }

  merge(batch: FlowBatch, nowMs: number): MergeResult {
    if (countRows(batch, FlowChange.close) > 0) this.tombstones.bury(batch, nowMs);
    const { alive, closed } = this.tombstones.screen(batch, nowMs);
    this.#counters.lateRows += batch.count - alive.count;
    if (alive.count === 0) return { news: 0, closed };
    const tally = this.#table.merge(alive);
    this.#tally = sum(this.#tally, tally);
    return { news: tally.added + tally.replaced, closed };
  }
}

function sum(a: MergeTally, b: MergeTally): MergeTally {
  return {
    added: a.added + b.added,
    replaced: a.replaced + b.replaced,
    refreshed: a.refreshed + b.refreshed,
    ignored: a.ignored + b.ignored,
    removed: a.removed + b.removed,
    unknown: a.unknown + b.unknown,
    full: a.full + b.full,
  };
}
