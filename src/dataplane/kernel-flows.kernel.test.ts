/** The kernel's flow tables read out and summed up, while they change and while others read. */
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { PLANS, type Plan } from '../bpf/fixture-network.ts';
import {
  batchOf,
  flowServices,
  mergeRows,
  names,
  openSharing,
  readRows,
  row,
  rowsFrom,
  TOLERANCE_MS,
} from '../bpf/fixture-rows.ts';
import type { Fixture } from '../bpf/fixture.ts';
import { FlowChange, SharedFlowState } from '../model/flow-batch.ts';
import { bucketOf, FlowHasher } from '../model/flow-hash.ts';
import type { FlowRow } from '../peers/batch.ts';
import { DIGEST_BUCKETS, type TableDigest } from '../peers/flow-table.ts';

const { tcpFin, udp: udpState } = SharedFlowState;
/** Flows younger than this are in no digest. */
const SETTLED_MS = 3_000;

let fixture: Fixture;
const merge = (plan: Plan, ...rows: readonly FlowRow[]) => mergeRows(fixture, plan, rows);
const read = (buckets?: ReadonlySet<number>) => readRows(fixture, buckets);

/** Rows of every kind, of which some are in no digest. */
const rows = (plan: Plan): FlowRow[] => [
  ...rowsFrom(plan, 0, 3_000),
  ...rowsFrom(plan, 3_000, 500, { backend: plan.backend(2) }),
  ...rowsFrom(plan, 3_500, 500, { guess: true }),
  ...rowsFrom(plan, 4_000, 500, {
    destination: { vip: plan.vip, protocol: 'udp', port: 53 },
    backend: plan.backend(3),
    state: udpState,
  }),
  ...rowsFrom(plan, 4_500, 500, {
    destination: { vip: plan.otherVip, protocol: 'tcp', port: 8443 },
    backend: plan.backend(4),
    openedAgoMs: 3_000_000_000,
  }),
];
const expected = (): TableDigest => {
  const buckets = new BigUint64Array(DIGEST_BUCKETS);
  let flows = 0;
  for (const plan of PLANS) {
    const batch = batchOf(plan, rows(plan));
    const hasher = new FlowHasher(batch);
    for (let at = 0; at < batch.count; at += 1, flows += 1) {
      const bucket = bucketOf(hasher.key(at));
      const { high, low } = hasher.term(at);
      buckets[bucket] = buckets[bucket]! + ((BigInt(high) << 32n) | BigInt(low));
    }
  }
  return { buckets, flows };
};

beforeAll(async () => {
  fixture = await openSharing();
  await fixture.program(...PLANS.flatMap(flowServices));
});
afterAll(async () => {
  await fixture.close();
});
beforeEach(() => {
  for (const plan of PLANS) merge(plan, ...rows(plan));
});
afterEach(() => {
  fixture.forgetFlows();
});

const digest = () => fixture.dataplane.flowTable.digest();

test('the digest is that of the settled flows', async () => {
  expect(await digest()).toEqual(expected());
  for (const plan of PLANS) merge(plan, ...rowsFrom(plan, 6_000, 100, { state: tcpFin }));
  expect(await digest(), 'closing flows are left out').toEqual(expected());

  const young = { openedAgoMs: 0, seenAgoMs: 0 };
  const startMs = performance.now();
  for (const plan of PLANS) merge(plan, ...rowsFrom(plan, 6_100, 100, young));
  const withYoung = await digest();
  // On a machine that was held up they may have come of age meanwhile.
  if (performance.now() - startMs < SETTLED_MS) expect(withYoung).toEqual(expected());
  expect(await read()).toHaveLength(2 * 5_200);
});

test('the digest does not depend on the order in which flows came', async () => {
  fixture.forgetFlows();
  expect(await digest()).toEqual({ buckets: new BigUint64Array(DIGEST_BUCKETS), flows: 0 });
  for (const plan of PLANS) merge(plan, ...rows(plan).reverse());
  expect(await digest()).toEqual(expected());
});

test('another backend, and another flow, change the digest', async () => {
  const [plan] = PLANS;
  const before = await digest();
  merge(plan!, row(plan!, 0, { backend: plan!.backend(2), openedAgoMs: 30_000 }));
  const moved = await digest();
  expect(moved.flows).toBe(before.flows);
  expect(different(before, moved)).toHaveLength(1);
  merge(plan!, row(plan!, 7_000));
  const added = await digest();
  expect(added.flows).toBe(before.flows + 1);
  expect(different(moved, added)).toHaveLength(1);
});

test('all that was merged is read', async () => {
  const all = PLANS.flatMap(rows);
  const found = await read();
  expect(names(found)).toEqual(names(all));
  for (const { change, openedAgoMs, seenAgoMs } of found) {
    expect(change).toBe(FlowChange.refresh);
    expect(seenAgoMs).toBeGreaterThanOrEqual(5_000);
    expect(seenAgoMs).toBeLessThan(5_000 + 2 * TOLERANCE_MS);
    expect([55_000, 2_999_995_000]).toContain(openedAgoMs - seenAgoMs);
  }
});

test('flows of some buckets are read, and no others', async () => {
  const buckets = new Set([0, 1, 63, 64, 500, 1023]);
  const wanted = PLANS.flatMap((plan) => {
    const all = rows(plan);
    const hasher = new FlowHasher(batchOf(plan, all));
    return all.filter((_, at) => buckets.has(bucketOf(hasher.key(at))));
  });
  expect(wanted.length).toBeGreaterThan(0);
  expect(names(await read(buckets))).toEqual(names(wanted));
  expect(await read(new Set())).toEqual([]);
});

test('flows that come meanwhile hide none that was there', async () => {
  const all = names(PLANS.flatMap(rows));
  const walk = new AbortController();
  const [found, added] = await Promise.all([
    read().finally(() => {
      walk.abort();
    }),
    (async () => {
      let next = 0;
      for (; !walk.signal.aborted && next < 1_000; next += 10) {
        for (const plan of PLANS) merge(plan, ...rowsFrom(plan, 7_000 + next, 10));
        await new Promise(setImmediate);
      }
      return next;
    })(),
  ]);
  expect(added).toBeGreaterThan(0);
  const seen = new Set(names(found));
  expect(all.filter((name) => !seen.has(name))).toEqual([]);
});

test('walks that are asked for at once do not disturb each other', async () => {
  const bucket = new Set([7]);
  const [first, some, second, everything] = await Promise.all([
    digest(),
    read(bucket),
    digest(),
    read(),
  ]);
  expect(first).toEqual(expected());
  expect(second).toEqual(expected());
  expect(some.length).toBeLessThan(everything.length);
  expect(everything).toHaveLength(10_000);
});

test('a walk that is given up leaves room for the next one', async () => {
  const walk = fixture.dataplane.flowTable.read();
  expect((await walk.next()).done).toBe(false);
  await walk.return(undefined);
  expect((await digest()).flows).toBe(10_000);
});

function different(one: TableDigest, other: TableDigest): number[] {
  return [...one.buckets.keys()].filter((bucket) => one.buckets[bucket] !== other.buckets[bucket]);
}
