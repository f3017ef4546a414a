/**
 * The node that gives snapshots in `bench:sync`: a process of its own, as nodes are. It does what its
 * parent says, and ends with it.
 */
import { FlowChange, type FlowBatch } from '../src/model/flow-batch.ts';
import type { FlowTable, MergeTally, TableDigest } from '../src/peers/flow-table.ts';
import type { FlowSync } from '../src/peers/sync.ts';
import type { Answer, Order } from './sync-orders.ts';
import { openTable, ROWS_PER_BATCH, syncOf, syntheticFlows } from './sync-scene.ts';

/** Long open, so that each is in a digest and a close of now ends it. */
const AGED_MS = 60_000;

/**
 * A table of `flows` old flows. While it churns, a new flow takes the place of an old one so many
 * times a second: as the data plane would have it, the change is in the table before it is told.
 */
class ChurningTable implements FlowTable {
  readonly #table: FlowTable;
  readonly #flows: number;
  readonly #filledAtMs = performance.now();
  #ratePerS = 0;
  #startMs = 0;
  /** Flows replaced so far, and when this churn began. */
  #replaced = 0;
  #replacedBefore = 0;

  constructor(table: FlowTable, flows: number) {
    this.#table = table;
    this.#flows = flows;
    for (let from = 0; from < flows; from += ROWS_PER_BATCH) {
      const batch = syntheticFlows('ipv4', from, Math.min(ROWS_PER_BATCH, flows - from));
      batch.openedAgoMs.fill(AGED_MS);
      table.merge(batch);
    }
  }

  get replaced(): number {
    return this.#replaced;
  }

  /** 0 ends it. */
  churn(ratePerS: number): void {
    this.#ratePerS = ratePerS;
    this.#startMs = performance.now();
    this.#replacedBefore = this.#replaced;
  }

  drainChanges(limit: number): { batches: readonly FlowBatch[]; lost: number } {
    const nowMs = performance.now();
    const from = this.#replaced;
    const due = Math.floor(((nowMs - this.#startMs) * this.#ratePerS) / 1000);
    const to = Math.min(this.#replacedBefore + due, from + Math.floor(limit / 2), this.#flows);
    if (to <= from) return { batches: [], lost: 0 };
    this.#replaced = to;
    const opened = syntheticFlows('ipv4', this.#flows + from, to - from);
    for (let row = 0; row < opened.count; row += 1) {
      const sinceStartMs = ((from + row - this.#replacedBefore) * 1000) / this.#ratePerS;
      opened.openedAgoMs[row] = opened.seenAgoMs[row] = nowMs - this.#startMs - sinceStartMs;
    }
    const closed = syntheticFlows('ipv4', from, to - from);
    closed.change.fill(FlowChange.close);
    closed.openedAgoMs.fill(AGED_MS + nowMs - this.#filledAtMs);
    const batches = [opened, closed];
    for (const batch of batches) this.#table.merge(batch);
    return { batches, lost: 0 };
  }

  merge(batch: FlowBatch): MergeTally {
    return this.#table.merge(batch);
  }

  read(buckets?: ReadonlySet<number>): AsyncIterable<FlowBatch> {
    return this.#table.read(buckets);
  }

  digest(): Promise<TableDigest> {
    return this.#table.digest();
  }
}

let giver: { readonly table: ChurningTable; readonly sync: FlowSync } | undefined;

async function obey(order: Order): Promise<Answer> {
  if (order.kind === 'fill') {
    const table = new ChurningTable(openTable(order.flows).table, order.flows);
    giver = { table, sync: syncOf(0, table) };
    await giver.sync.start();
    return { kind: 'done' };
  }
  if (giver === undefined) throw new Error(`no table, and yet ${order.kind}`);
  switch (order.kind) {
    case 'gate':
      return { kind: 'gate', open: giver.sync.gate().open };
    case 'churn': {
      giver.table.churn(order.ratePerS);
      const startWallMs = performance.timeOrigin + performance.now();
      return { kind: 'churn', startWallMs, replaced: giver.table.replaced };
    }
    case 'digest': {
      const { buckets, flows } = await giver.table.digest();
      return { kind: 'digest', buckets: [...buckets].map(String), flows };
    }
  }
}

process.on('message', (order: Order) => {
  obey(order).then(
    (answer) => process.send?.(answer),
    (error: unknown) => {
      console.error(error);
      process.exit(1);
    },
  );
});
process.on('disconnect', () => process.exit());
