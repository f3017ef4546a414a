/**
 * Walks over the own flow table that take time: its digest, and the flows of the buckets that peers
 * asked for. One of each at a time; what they find is picked up by the tick.
 */
import type { Clock } from '../lib/clock.ts';
import { errorMessage } from '../lib/errors.ts';
import type { Logger } from '../lib/logger.ts';
import type { FlowBatch } from '../model/flow-batch.ts';
import { groupByDestination, sliceBatch } from './batch.ts';
import { DIGEST_BUCKETS, type FlowTable, type TableDigest } from './flow-table.ts';
import { ANSWER_BUCKETS_MAX, ANSWER_QUIET_MS } from './limits.ts';
import type { Outbox } from './outbox.ts';
import type { SyncCounters } from './status.ts';

export interface WalkParts {
  readonly table: FlowTable;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly counters: SyncCounters;
  /** Where answers go; a walk waits until there is room. */
  readonly answers: Outbox;
}

/** `digest` is undefined when the table could not be walked. */
export interface DigestTaken {
  readonly digest: TableDigest | undefined;
  readonly atMs: number;
}

export class Walks {
  readonly #parts: WalkParts;
  readonly #asked = new Set<number>();
  readonly #answeredMs = new Float64Array(DIGEST_BUCKETS).fill(-Infinity);
  #taken: DigestTaken | undefined;
  #isAnswering = false;
  #isStopped = false;
  /** Lets the walk that answers go on. */
  #resume: (() => void) | undefined;

  constructor(parts: WalkParts) {
    this.#parts = parts;
  }

  /** What is under way may find that the table has gone, which is no news then. */
  stop(): void {
    this.#isStopped = true;
    this.#asked.clear();
    this.#resume?.();
  }

  /** The result comes by `takeDigest`. */
  digest(): void {
    const { table, clock, logger, counters } = this.#parts;
    table.digest().then(
      (digest) => {
        this.#taken = { digest, atMs: clock.nowMs() };
      },
      (error: unknown) => {
        if (this.#isStopped) return;
        counters.tableErrors += 1;
        logger.error({ problem: errorMessage(error) }, 'no digest of the flow table');
        this.#taken = { digest: undefined, atMs: clock.nowMs() };
      },
    );
  }

  takeDigest(): DigestTaken | undefined {
    const taken = this.#taken;
    this.#taken = undefined;
    return taken;
  }

  /** A peer asks for these. */
  ask(buckets: readonly number[], nowMs: number): void {
    for (const bucket of buckets) {
      const quiet = nowMs - (this.#answeredMs[bucket] ?? nowMs) < ANSWER_QUIET_MS;
      if (!quiet) this.#asked.add(bucket);
    }
  }

  /** Every tick: begins an answer, or goes on with one. */
  step(nowMs: number): void {
    this.#resume?.();
    if (this.#isAnswering || this.#asked.size === 0) return;
    const buckets = new Set([...this.#asked].slice(0, ANSWER_BUCKETS_MAX));
    for (const bucket of buckets) {
      this.#asked.delete(bucket);
      this.#answeredMs[bucket] = nowMs;
    }
    this.#isAnswering = true;
    this.#answer(buckets)
      .catch((error: unknown) => {
        if (this.#isStopped) return;
        this.#parts.counters.tableErrors += 1;
        const problem = errorMessage(error);
        this.#parts.logger.error({ problem }, 'could not read buckets of the flow table');
      })
      .finally(() => {
        this.#isAnswering = false;
      });
  }

  async #answer(buckets: ReadonlySet<number>): Promise<void> {
    for await (const batch of this.#parts.table.read(buckets)) {
      await this.#put(groupByDestination(batch));
      if (this.#isStopped) return;
    }
  }

  async #put(batch: FlowBatch): Promise<void> {
    const { answers, clock } = this.#parts;
    const readAtMs = clock.nowMs();
    for (let from = 0; from < batch.count && !this.#isStopped;) {
      const to = Math.min(batch.count, from + answers.room);
      // Since it was read: what waits for room grows older meanwhile.
      answers.add(sliceBatch(batch, from, to), readAtMs);
      from = to;
      if (from < batch.count) await this.#nextTick();
    }
  }

  #nextTick(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<undefined>();
    this.#resume = () => {
      this.#resume = undefined;
      resolve(undefined);
    };
    return promise;
  }
}
