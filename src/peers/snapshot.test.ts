/** A large table from one engine to another: in bounded memory, and beside live news. */
import { setImmediate } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { silentLogger } from '../lib/logger.ts';
import type { FlowBatch } from '../model/flow-batch.ts';
import { batchOf } from './fixture.ts';
import { DIGEST_BUCKETS, type FlowTable, type MergeTally } from './flow-table.ts';
import {
  MERGE_ROWS_PER_TICK_MAX,
  SNAPSHOT_IDLE_MS,
  SNAPSHOT_PAYLOAD_BYTES_MAX,
  SNAPSHOT_ROWS_PER_TICK_MIN,
  TICK_MS,
} from './limits.ts';
import { NO_FAULTS, SimulatedNetwork } from './simulated.ts';
import { FlowSync } from './sync.ts';
import { seededRandom, SimulatedClock, VirtualTime } from './virtual-time.ts';
import { strideOf } from './wire-flows.ts';

const BATCH_ROWS = 4_000;
const NOTHING: MergeTally = {
  added: 0,
  replaced: 0,
  refreshed: 0,
  ignored: 0,
  removed: 0,
  unknown: 0,
  full: 0,
};

/** A table that only counts: a million flows need no memory here, so what grows is the engine's. */
class CountingTable implements FlowTable {
  rowsRead = 0;
  rowsMerged = 0;
  mergedAtOnce = 0;
  readonly openedAgoMs: number[] = [];
  changes: FlowBatch[] = [];
  readonly #flows: number;

  constructor(flows: number) {
    this.#flows = flows;
  }

  drainChanges() {
    const batches = this.changes;
    this.changes = [];
    return { batches, lost: 0 };
  }

  merge({ count, openedAgoMs }: FlowBatch): MergeTally {
    this.rowsMerged += count;
    this.mergedAtOnce = Math.max(this.mergedAtOnce, count);
    this.openedAgoMs.push(openedAgoMs[0] ?? 0);
    return { ...NOTHING, added: count };
  }

  async *read(): AsyncGenerator<FlowBatch> {
    const rows = Array.from({ length: BATCH_ROWS }, (_, row) => ({
      port: row,
      change: 'refresh' as const,
      openedAgoMs: 100_000,
    }));
    const batch = batchOf(...rows);
    while (this.rowsRead < this.#flows) {
      this.rowsRead += BATCH_ROWS;
      yield batch;
      await Promise.resolve();
    }
  }

  digest() {
    return Promise.resolve({ buckets: new BigUint64Array(DIGEST_BUCKETS), flows: this.#flows });
  }
}

async function pair(flows: number) {
  const time = new VirtualTime(() => setImmediate());
  const random = seededRandom(20_260_602);
  const network = new SimulatedNetwork(time, random, NO_FAULTS);
  const newNode = (name: string, table: FlowTable) => {
    const sync = new FlowSync({
      node: name,
      incarnation: 1,
      keys: [new Uint8Array(32)],
      cluster: 'simulated',
      softwareVersion: '0.0.0',
      configDigest: () => '',
      table,
      link: network.link(name),
      snapshots: network.transport(name),
      inject: () => undefined,
      clock: new SimulatedClock(time, 0, 0),
      logger: silentLogger,
      joinDeadlineMs: 10_000,
      random,
      nonce: () => Uint8Array.from({ length: 16 }, () => random() * 256),
    });
    return { table, sync };
  };
  const [given, taken] = [new CountingTable(flows), new CountingTable(0)];
  const [giver, taker] = [newNode('a', given), newNode('b', taken)];
  await giver.sync.start();
  // Until it has taken a digest, it does not know how many flows to announce.
  await time.run(5_000);
  await taker.sync.start();
  return { time, network, given, taken, giver, taker };
}

/** Rows that may be under way: in the stream, in frames that wait to be merged, and in a batch. */
const ROWS_UNDER_WAY_MAX = 7 * (SNAPSHOT_PAYLOAD_BYTES_MAX / strideOf('ipv4')) + BATCH_ROWS;

describe('a large snapshot', () => {
  test('flows in bounded memory, a bounded piece at a time, while live news goes on', async () => {
    const { time, given, taken, giver, taker } = await pair(100_000);
    let said = 0;
    let aheadMax = 0;
    const percents: number[] = [];
    while (!taker.sync.gate().open && time.nowMs < 9_000) {
      if (taken.rowsMerged > 0) {
        given.changes.push(batchOf({ port: 7 }));
        said += 1;
      }
      await time.run(time.nowMs + 1, 1);
      aheadMax = Math.max(aheadMax, given.rowsRead - taken.rowsMerged);
      const gate = taker.sync.gate();
      if (!gate.open && gate.reason === 'snapshot') percents.push(gate.percent ?? -1);
      expect(taker.sync.status().queues.snapshotRows).toBeLessThanOrEqual(ROWS_UNDER_WAY_MAX);
    }
    await time.run(time.nowMs + 50);
    expect(giver.sync.status().counters.snapshotsGiven).toBe(1);
    expect(said).toBeGreaterThan(3);
    expect(taken.rowsMerged).toBe(100_000 + said);
    expect(taken.mergedAtOnce).toBeLessThanOrEqual(MERGE_ROWS_PER_TICK_MAX);
    expect(aheadMax).toBeLessThan(ROWS_UNDER_WAY_MAX);
    expect(percents.length).toBeGreaterThan(3);
    expect(percents).toEqual(percents.toSorted((one, other) => one - other));
  });

  test('does not wait a tick for every batch', async () => {
    const flows = 200_000;
    const { time, taken, taker } = await pair(flows);
    while (taken.rowsMerged === 0) await time.run(time.nowMs + 1, 1);
    const firstMs = time.nowMs;
    while (!taker.sync.gate().open) await time.run(time.nowMs + 1, 1);
    expect(taken.rowsMerged).toBe(flows);
    expect(time.nowMs - firstMs).toBeLessThan(((flows / BATCH_ROWS) * TICK_MS) / 2);
  });

  test('opens the gate when its last rows are in, however much else there is to merge', async () => {
    const flows = 40_000;
    const { time, given, taker } = await pair(flows);
    const news = batchOf(
      ...Array.from({ length: MERGE_ROWS_PER_TICK_MAX }, (_, port) => ({ port })),
    );
    let tookMs = 0;
    for (;;) {
      const gate = taker.sync.gate();
      if (gate.open) break;
      if (gate.reason === 'snapshot') {
        given.changes.push(news);
        tookMs += 1;
      }
      await time.run(time.nowMs + 1, 1);
    }
    expect(taker.sync.status().counters.snapshotRows).toBe(flows);
    // Live rows did fill the ticks.
    expect(tookMs).toBeGreaterThan(flows / SNAPSHOT_ROWS_PER_TICK_MIN / 2);
  });

  test('that stalls makes its flows no younger', async () => {
    const { time, network, given, taken, taker } = await pair(40_000);
    while (taken.rowsMerged < 10_000) await time.run(time.nowMs + 1, 1);
    network.partition([['a'], ['b']]);
    await time.run(time.nowMs + SNAPSHOT_IDLE_MS / 2);
    network.heal();
    await time.run(time.nowMs + 500);
    expect(taken.rowsMerged).toBe(given.rowsRead);
    expect(taker.sync.status().counters.snapshotsTaken).toBe(1);
    expect(Math.max(...taken.openedAgoMs)).toBeGreaterThanOrEqual(100_000 + SNAPSHOT_IDLE_MS / 2);
    // What did not stall is as old as it was, but for the ticks that it waited.
    expect(Math.min(...taken.openedAgoMs)).toBeLessThan(100_100);
  });

  test('that stalls for too long is given up, by both sides', async () => {
    const { time, network, taken, giver, taker } = await pair(40_000);
    while (taken.rowsMerged < 10_000) await time.run(time.nowMs + 1, 1);
    network.partition([['a'], ['b']]);
    await time.run(time.nowMs + SNAPSHOT_IDLE_MS + 500);
    expect(taker.sync.status().counters.snapshotsFailed).toBe(1);
    expect(giver.sync.status().counters).toMatchObject({ snapshotsGiven: 0, snapshotsRefused: 1 });
  });

  test('is broken off when the taker stops', async () => {
    const { time, taken, giver, taker } = await pair(100_000);
    while (taken.rowsMerged < 10_000) await time.run(time.nowMs + 1, 1);
    await taker.sync.stop();
    const rows = taken.rowsMerged;
    await time.run(time.nowMs + 500);
    expect(taken.rowsMerged).toBe(rows);
    expect(giver.sync.status().counters.snapshotsGiven).toBe(0);
  });
});
