import type { FlowBatch } from '../model/flow-batch.ts';

/** What a merge came to. The sum of all is the number of rows. */
export interface MergeTally {
  /** New here. */
  readonly added: number;
  /** Known, and replaced: a guess by a record, or an older record by a newer one. */
  readonly replaced: number;
  /** Known with the same backend: ages were brought up to date. */
  readonly refreshed: number;
  /** What is known here is newer or better. */
  readonly ignored: number;
  /** Removed by a `close`. */
  readonly removed: number;
  /** The destination or the backend is not configured here. */
  readonly unknown: number;
  /** The flow table is full. */
  readonly full: number;
}

/** Buckets of the digest: the high bits of a hash of the flow's key, equal on every node. */
export const DIGEST_BUCKETS = 1024;

/**
 * One digest over all established, settled flows of this node; equal tables give equal digests. A
 * flow is settled three seconds after its opening, and is no longer once it is closing.
 */
export interface TableDigest {
  /** By bucket: the sum, modulo 2^64, of the `term` of each flow (model/flow-hash.ts). */
  readonly buckets: BigUint64Array;
  readonly flows: number;
}

/**
 * Port: the flow table as the peers' protocol sees it; the data plane implements it.
 *
 * The merge rule, row by row, is that of model/merge.ts: a close removes a flow that was neither opened nor
 * seen after it. A guess yields to a record that is none, and never replaces one. Between two records with
 * different backends the one that was opened later wins; opened within 100 ms of each other, the lower
 * backend address wins, so that every node decides alike. With the same backend the later `seen` is kept.
 * Every implementation passes table-contract.ts.
 */
export interface FlowTable {
  /** What happened since the last call, at most `limit` rows. What is lost for want of room is counted. */
  drainChanges(limit: number): { batches: readonly FlowBatch[]; lost: number };
  merge(batch: FlowBatch): MergeTally;
  /**
   * Walks the whole table, or the flows of these buckets only; a few thousand rows a batch, each a
   * `refresh`.
   */
  read(buckets?: ReadonlySet<number>): AsyncIterable<FlowBatch>;
  digest(): Promise<TableDigest>;
}
