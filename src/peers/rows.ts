/** Small operations on the rows of a flow batch that the engine needs. Pure; columns are shared. */
import type { FlowBatch } from '../model/flow-batch.ts';
import { FlowBatchBuilder } from './batch.ts';

const AGE_MS_MAX = 0xffffffff;

/** The batch as it is `byMs` later: every age is greater by that. */
export function olderBy(batch: FlowBatch, byMs: number): FlowBatch {
  const ms = Math.round(byMs);
  if (ms <= 0) return batch;
  return {
    ...batch,
    openedAgoMs: batch.openedAgoMs.map((age) => Math.min(AGE_MS_MAX, age + ms)),
    seenAgoMs: batch.seenAgoMs.map((age) => Math.min(AGE_MS_MAX, age + ms)),
  };
}

/** The rows for which `keep` is true; the batch itself when that is all of them. */
export function filterRows(batch: FlowBatch, keep: (row: number) => boolean): FlowBatch {
  let kept = 0;
  for (let row = 0; row < batch.count; row += 1) if (keep(row)) kept += 1;
  if (kept === batch.count) return batch;
  const builder = new FlowBatchBuilder(batch.family, kept);
  for (let row = 0; row < batch.count; row += 1) if (keep(row)) builder.appendRow(batch, row);
  return builder.take();
}

export function countRows(batch: FlowBatch, change: number): number {
  let count = 0;
  for (const each of batch.change) if (each === change) count += 1;
  return count;
}
