/**
 * Rows of peers, merged into the kernel's tables: by the rule of merge-cases.ts, and in step with
 * what packets do to them.
 */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { PLANS, type Plan } from '../bpf/fixture-network.ts';
import {
  clientRow,
  drainRows,
  flowServices,
  mergeRows,
  names,
  NO_ROWS,
  openSharing,
  packet,
  readRows,
  row,
  rowsFrom,
  TOLERANCE_MS,
} from '../bpf/fixture-rows.ts';
import { sentTo, service, type Fixture } from '../bpf/fixture.ts';
import { address, type Address } from '../model/address.ts';
import { FlowChange, SharedFlowState, type Destination } from '../model/flow-batch.ts';
import type { FlowRow } from '../peers/batch.ts';
import { HIGH, LOW, MERGE_CASES } from '../peers/merge-cases.ts';

const { open, close } = FlowChange;
const { udp: udpState } = SharedFlowState;

let fixture: Fixture;
const merge = (plan: Plan, ...rows: readonly FlowRow[]) => mergeRows(fixture, plan, rows);
const read = () => readRows(fixture);

describe.each(PLANS)('merging, $family', (plan) => {
  /** LOW and HIGH in this family, in the same order. */
  const named = (backend: Address): Address => {
    if (plan.family === 'ipv4') return backend;
    return address(backend === LOW ? '2001:db8:1::9' : '2001:db8:1::100');
  };
  const withCases = [service({ vip: plan.vip, port: 81, backends: [LOW, HIGH].map(named) })];
  const destination: Destination = { vip: plan.vip, protocol: 'tcp', port: 81 };
  /** Flows that are counted as active, by backend. */
  const active = () => {
    const counted = fixture.dataplane.counters().backends;
    return new Map(counted.map((each) => [each.backend, each.flowsActive]));
  };

  beforeAll(async () => {
    fixture = await openSharing();
  });
  afterAll(async () => {
    await fixture.close();
  });
  beforeEach(async () => {
    await fixture.program(...flowServices(plan), ...withCases);
  });
  afterEach(() => {
    fixture.forgetFlows();
    drainRows(fixture);
  });

  test.each(MERGE_CASES)('$name', async ({ known, said, outcome, then }) => {
    const before = active();
    const as = (flow: typeof said) =>
      clientRow(plan, { ...flow, destination, backend: named(flow.backend) });
    const rows = known === undefined ? [as(said)] : [as({ ...known, change: open }), as(said)];
    const tally = merge(plan, ...rows);
    const added = known === undefined ? 0 : 1;
    expect(tally).toEqual({ ...NO_ROWS, added, [outcome]: outcome === 'added' ? added + 1 : 1 });

    const found = await read();
    expect(found).toHaveLength(then === undefined ? 0 : 1);
    for (const { openedAgoMs, seenAgoMs, ...rest } of found) {
      const { openedAgoMs: opened, seenAgoMs: seen, ...wanted } = then!;
      expect(rest).toMatchObject({ ...wanted, backend: named(wanted.backend), destination });
      expect(openedAgoMs - seenAgoMs).toBe(opened - seen);
      expect(seenAgoMs).toBeGreaterThanOrEqual(seen);
      expect(seenAgoMs).toBeLessThan(seen + TOLERANCE_MS);
    }
    for (const [backend, count] of active()) {
      const flows = found.filter((each) => each.backend === backend).length;
      expect(count - (before.get(backend) ?? 0), `active flows of ${backend}`).toBe(flows);
    }
    expect(drainRows(fixture), 'what peers said is no news for them').toEqual([]);
  });

  test('a merged flow is forwarded to its backend, whatever the hash says', () => {
    expect(merge(plan, clientRow(plan, { backend: plan.backend(2) }))).toEqual({
      ...NO_ROWS,
      added: 1,
    });
    const outcome = fixture.send(packet(plan, { flags: 'PA' }));
    expect(sentTo(outcome)).toBe(2);
    expect(outcome.counted).toEqual({});
  });

  test('a merged UDP flow is forwarded to its backend', () => {
    const dns: Destination = { vip: plan.vip, protocol: 'udp', port: 53 };
    const said = clientRow(plan, { destination: dns, backend: plan.backend(3), state: udpState });
    expect(merge(plan, said)).toEqual({ ...NO_ROWS, added: 1 });
    fixture.send(packet(plan, { protocol: 'udp', dport: 53 }));
    expect(fixture.established()).toMatchObject([{ state: 'udp', sport: 40000, dport: 53 }]);
    expect(fixture.embryonic()).toEqual([]);
  });

  test('a flow of a service of every port', async () => {
    const any: Destination = { vip: plan.otherVip, protocol: 'tcp', port: 8443 };
    const said = clientRow(plan, { destination: any, backend: plan.backend(4) });
    expect(merge(plan, said)).toEqual({ ...NO_ROWS, added: 1 });
    expect(names(await read())).toEqual(names([said]));
    const outcome = fixture.send(packet(plan, { vip: plan.otherVip, dport: 8443, flags: 'A' }));
    expect(outcome.counted).toEqual({});
    expect(sentTo(outcome)).toBe(4);
  });

  test('what this node only began to know gives way', () => {
    expect(sentTo(fixture.send(packet(plan)))).toBe(1);
    expect(merge(plan, clientRow(plan, { backend: plan.backend(2) }))).toEqual({
      ...NO_ROWS,
      added: 1,
    });
    expect(fixture.embryonic()).toEqual([]);
    expect(sentTo(fixture.send(packet(plan, { flags: 'A' })))).toBe(2);
  });

  test('a guess of this node yields to a record', () => {
    for (const flags of ['A', 'A']) expect(sentTo(fixture.send(packet(plan, { flags })))).toBe(1);
    expect(fixture.established()).toMatchObject([{ guess: true }]);
    const said = clientRow(plan, { backend: plan.backend(2) });
    expect(merge(plan, said)).toEqual({ ...NO_ROWS, replaced: 1 });
    expect(sentTo(fixture.send(packet(plan, { flags: 'A' })))).toBe(2);
    expect(fixture.established()).toMatchObject([{ guess: false }]);
  });

  test('a flow whose backend was removed here takes any other', async () => {
    merge(plan, clientRow(plan, { openedAgoMs: 1_000, seenAgoMs: 1_000 }));
    await fixture.program(
      ...flowServices(plan).slice(1),
      ...withCases,
      service({ vip: plan.vip, backends: [plan.backend(2)] }),
    );
    expect(await read(), 'a backend that is gone has no name').toEqual([]);
    const said = clientRow(plan, { backend: plan.backend(2), openedAgoMs: 500_000 });
    expect(merge(plan, said)).toEqual({ ...NO_ROWS, replaced: 1 });
    expect(names(await read())).toEqual(names([said]));
    expect(sentTo(fixture.send(packet(plan, { flags: 'A' })))).toBe(2);
  });

  test('a closed flow is forgotten, and its next packet is a guess', () => {
    merge(plan, clientRow(plan, { backend: plan.backend(2) }));
    expect(merge(plan, clientRow(plan, { change: close }))).toEqual({ ...NO_ROWS, removed: 1 });
    const outcome = fixture.send(packet(plan, { flags: 'A' }));
    expect(outcome.counted).toEqual({ flow_guessed: 1 });
    expect(sentTo(outcome)).toBe(1);
  });

  test('what is not configured here is counted, and the rest is merged', async () => {
    const nowhere: Destination = { vip: plan.vip, protocol: 'tcp', port: 82 };
    const otherProtocol: Destination = { vip: plan.vip, protocol: 'udp', port: 80 };
    const known = [row(plan, 1), row(plan, 5)];
    const tally = merge(
      plan,
      known[0]!,
      row(plan, 2, { destination: nowhere }),
      row(plan, 3, { destination: otherProtocol }),
      row(plan, 4, { backend: plan.backend(3) }),
      row(plan, 6, { destination: { ...nowhere, vip: plan.stranger } }),
      row(plan, 7, { change: close, backend: plan.backend(9) }),
      known[1]!,
    );
    expect(tally).toEqual({ ...NO_ROWS, added: 2, unknown: 5 });
    expect(names(await read())).toEqual(names(known));
  });

  test('an empty batch', () => {
    expect(merge(plan)).toEqual(NO_ROWS);
  });

  test('more rows than the inbox holds', async () => {
    const rows = rowsFrom(plan, 0, 5_000);
    // Unknown rows in between shift the others within the inbox.
    const unknown = rowsFrom(plan, 5_000, 100, { backend: plan.backend(9) });
    const mixed = [...rows.slice(0, 1_000), ...unknown, ...rows.slice(1_000)];
    expect(merge(plan, ...mixed)).toEqual({ ...NO_ROWS, added: 5_000, unknown: 100 });
    expect(names(await read())).toEqual(names(rows));
    const closed = rows.map((each) => ({ ...each, change: close, seenAgoMs: 0 }));
    expect(merge(plan, ...closed)).toEqual({ ...NO_ROWS, removed: 5_000 });
    expect(fixture.established()).toEqual([]);
  });

  test('rows of one flow take effect in their order', async () => {
    const closed = clientRow(plan, { change: close, seenAgoMs: 0 });
    const reopened = clientRow(plan, { backend: plan.backend(2), openedAgoMs: 10, seenAgoMs: 10 });
    const tally = merge(plan, clientRow(plan), closed, reopened);
    expect(tally).toEqual({ ...NO_ROWS, added: 2, removed: 1 });
    expect(names(await read())).toEqual(names([reopened]));
  });
});

describe.each(PLANS)('a full table, $family', (plan) => {
  beforeAll(async () => {
    fixture = await openSharing({ flows: 8 });
    await fixture.program(...flowServices(plan));
  });
  afterAll(async () => {
    await fixture.close();
  });

  test('newcomers are counted, and what is known is kept up to date', async () => {
    const rows = rowsFrom(plan, 0, 10);
    expect(merge(plan, ...rows)).toEqual({ ...NO_ROWS, added: 8, full: 2 });
    expect(fixture.count('flow_table_full')).toBe(2);
    expect(names(await read())).toEqual(names(rows.slice(0, 8)));

    const moved = rows.map((each) => ({ ...each, backend: plan.backend(2), openedAgoMs: 1_000 }));
    expect(merge(plan, ...moved)).toEqual({ ...NO_ROWS, replaced: 8, full: 2 });
    expect(names(await read())).toEqual(names(moved.slice(0, 8)));

    const closed = { ...moved[0]!, change: close, seenAgoMs: 0 };
    expect(merge(plan, closed, ...moved.slice(8))).toEqual({
      ...NO_ROWS,
      removed: 1,
      added: 1,
      full: 1,
    });
  });
});
