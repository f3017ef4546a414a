/** What peers are told of flows: news from packets, and from the sweep over the tables. */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { FLOW_BYTES, FlowFlag, readFlow, writeFlow } from '../abi/abi.generated.ts';
import { PLANS } from '../bpf/fixture-network.ts';
import {
  clientRow,
  destinationOf,
  drainRows,
  establish,
  FLOWS,
  flowServices,
  mergeRows,
  nameOf,
  openSharing,
  packet,
  rewrite,
  rowsFrom,
  rowsOf,
  toldFlags,
  TOLERANCE_MS,
  type PacketFields,
} from '../bpf/fixture-rows.ts';
import { kernelNowMs, service, TIMEOUTS, type Fixture } from '../bpf/fixture.ts';
import { addressBytes } from '../bpf/packet.ts';
import { FlowChange, SharedFlowState } from '../model/flow-batch.ts';
import type { FlowRow } from '../peers/batch.ts';

const { open, refresh, close } = FlowChange;
const { tcpFin, tcpEstablished, udp: udpState } = SharedFlowState;
/** So many tables full of news do not fit the ring buffer of 16 MiB. */
const ROUNDS = 30;

let fixture: Fixture;
const changes = () => drainRows(fixture);

describe.each(PLANS)('what happens to flows, $family', (plan) => {
  beforeAll(async () => {
    fixture = await openSharing();
  });
  afterAll(async () => {
    await fixture.close();
  });
  beforeEach(async () => {
    await fixture.program(...flowServices(plan));
    changes();
  });
  afterEach(() => {
    fixture.forgetFlows();
  });

  const client = { clientAddress: addressBytes(plan.client), clientPort: 40000 };
  const openings: readonly {
    name: string;
    first?: string;
    fields: PacketFields;
    told: Partial<FlowRow>;
  }[] = [
    { name: 'a TCP flow', fields: {}, told: { backend: plan.backend(1), guess: false } },
    {
      name: 'a guess',
      first: 'A',
      fields: {},
      told: { backend: plan.backend(1), guess: true },
    },
    {
      name: 'a UDP flow',
      fields: { protocol: 'udp', dport: 53 },
      told: {
        destination: { vip: plan.vip, protocol: 'udp', port: 53 },
        backend: plan.backend(3),
        state: udpState,
      },
    },
    {
      name: 'a flow of a service of every port',
      fields: { vip: plan.otherVip, dport: 8443 },
      told: {
        destination: { vip: plan.otherVip, protocol: 'tcp', port: 8443 },
        backend: plan.backend(4),
      },
    },
  ];
  test.each(openings)('$name is told of with its second packet', ({ first, fields, told }) => {
    fixture.send(packet(plan, { ...fields, flags: first ?? 'S' }));
    expect(changes(), 'anybody can send a first packet').toEqual([]);
    fixture.send(packet(plan, { ...fields, flags: 'A' }));
    const [opened, ...others] = changes();
    expect(others).toEqual([]);
    expect(opened).toMatchObject({
      destination: destinationOf(plan),
      ...client,
      change: open,
      state: tcpEstablished,
      guess: false,
      ...told,
    });
    expect(opened!.openedAgoMs).toBeLessThan(TOLERANCE_MS);
    expect(opened!.seenAgoMs).toBeLessThanOrEqual(opened!.openedAgoMs);
    fixture.send(packet(plan, { ...fields, flags: 'PA' }));
    expect(changes(), 'nothing new').toEqual([]);
  });

  test.each(['FA', 'R', 'RA'])('flags %s are told of, once', (flags) => {
    establish(fixture, plan);
    const [opened] = changes();
    for (const each of [flags, flags, 'A']) fixture.send(packet(plan, { flags: each }));
    const [closing, ...others] = changes();
    expect(others).toEqual([]);
    expect(nameOf(closing!)).toBe(nameOf({ ...opened!, state: tcpFin }));
    expect(closing!.change).toBe(refresh);
    expect(closing!.seenAgoMs).toBeLessThan(TOLERANCE_MS);
  });

  test('the packet that closes an idle flow counts as seen', () => {
    establish(fixture, plan);
    changes();
    fixture.makeIdle(fixture.established()[0]!, 300_000);
    fixture.send(packet(plan, { flags: 'FA' }));
    const [closing] = changes();
    expect(closing?.seenAgoMs).toBeLessThan(TOLERANCE_MS);
  });

  test.each([
    { protocol: 'tcp', dport: 80, timeoutS: TIMEOUTS.tcpS },
    { protocol: 'udp', dport: 53, timeoutS: TIMEOUTS.udpS },
  ] as const)('an expired $protocol flow is closed', async ({ timeoutS, ...fields }) => {
    establish(fixture, plan, fields);
    const [opened] = changes();
    const idleMs = timeoutS * 1000 + 5_000;
    const seenMs = (kernelNowMs() - idleMs) >>> 0;
    rewrite(fixture, fixture.established()[0]!, () => ({
      seenMs,
      openedMs: (seenMs - 1_000) >>> 0,
    }));
    expect(await fixture.dataplane.maintain()).toEqual({ scanned: 1, expired: 1 });
    const [closed, ...others] = changes();
    expect(others).toEqual([]);
    expect(nameOf(closed!)).toBe(nameOf(opened!));
    expect(closed!.change).toBe(close);
    const { openedAgoMs, seenAgoMs } = closed!;
    expect(openedAgoMs - seenAgoMs).toBeCloseTo(1_000, -2);
    expect(seenAgoMs).toBeGreaterThanOrEqual(idleMs);
    expect(seenAgoMs).toBeLessThan(idleMs + TOLERANCE_MS);
    expect(fixture.established()).toEqual([]);
  });

  // Due after a minute, or a third of the timeout: 20 s for UDP. Units are 8.192 s.
  test.each([
    { protocol: 'tcp', dport: 80, units: 6, idleMs: 1_000, told: 0 },
    { protocol: 'tcp', dport: 80, units: 9, idleMs: 1_000, told: 1 },
    { protocol: 'tcp', dport: 80, units: 9, idleMs: 100_000, told: 0 },
    { protocol: 'tcp', dport: 80, units: 100, idleMs: 700_000, told: 1 },
    { protocol: 'udp', dport: 53, units: 1, idleMs: 500, told: 0 },
    { protocol: 'udp', dport: 53, units: 4, idleMs: 500, told: 1 },
    { protocol: 'udp', dport: 53, units: 4, idleMs: 50_000, told: 0 },
  ] as const)(
    '$protocol told of $units units ago and idle for $idleMs ms: $told refreshes',
    async ({ units, idleMs, told, ...fields }) => {
      establish(fixture, plan, fields);
      const [opened] = changes();
      const [flow] = fixture.established();
      const seenMs = (kernelNowMs() - idleMs) >>> 0;
      rewrite(fixture, flow!, () => ({ flags: toldFlags(units), seenMs }));
      await fixture.dataplane.maintain();
      const rows = changes();
      expect(rows).toHaveLength(told);
      for (const row of rows) {
        expect(nameOf(row)).toBe(nameOf(opened!));
        expect(row.change).toBe(refresh);
        expect(Math.abs(row.seenAgoMs - idleMs)).toBeLessThan(TOLERANCE_MS);
      }
      await fixture.dataplane.maintain();
      expect(changes(), 'told of just now').toEqual([]);
    },
  );

  test('a refresh of a guess says that it is one', async () => {
    for (const flags of ['A', 'A']) fixture.send(packet(plan, { flags }));
    changes();
    rewrite(fixture, fixture.established()[0]!, () => ({
      flags: toldFlags(20) | FlowFlag.FLOW_GUESS,
    }));
    await fixture.dataplane.maintain();
    expect(changes()).toMatchObject([{ change: refresh, guess: true }]);
    expect(fixture.established()).toMatchObject([{ guess: true }]);
  });

  test('a closing flow is not refreshed', async () => {
    establish(fixture, plan);
    fixture.send(packet(plan, { flags: 'FA' }));
    changes();
    rewrite(fixture, fixture.established()[0]!, () => ({ flags: toldFlags(20) }));
    await fixture.dataplane.maintain();
    expect(changes()).toEqual([]);
  });

  test('a row that a peer said counts as told of', async () => {
    establish(fixture, plan);
    changes();
    rewrite(fixture, fixture.established()[0]!, () => ({ flags: toldFlags(20) }));
    const said = clientRow(plan, { change: refresh, openedAgoMs: 0, seenAgoMs: 0 });
    mergeRows(fixture, plan, [said]);
    await fixture.dataplane.maintain();
    expect(changes()).toEqual([]);
  });

  test('no more is taken at a time than asked for', () => {
    for (let sport = 1; sport <= 5; sport += 1) establish(fixture, plan, { sport });
    const take = (limit: number) => {
      const { batches } = fixture.dataplane.flowTable.drainChanges(limit);
      return batches.flatMap(rowsOf).map(({ clientPort }) => clientPort);
    };
    expect([take(3), take(3), take(3)]).toEqual([[1, 2, 3], [4, 5], []]);
  });

  test('a flow whose backend is gone by now is not told of', async () => {
    establish(fixture, plan);
    establish(fixture, plan, { vip: plan.otherVip });
    await fixture.program(
      ...flowServices(plan).slice(1),
      service({ vip: plan.vip, backends: [plan.backend(2)] }),
    );
    expect(changes()).toMatchObject([{ destination: { vip: plan.otherVip } }]);
  });

  test('what happens while no supervisor runs is told to the next one', async () => {
    establish(fixture, plan, { sport: 1 });
    await fixture.restart();
    expect(changes()).toMatchObject([{ clientPort: 1, change: open }]);
    await fixture.program(...flowServices(plan));
    establish(fixture, plan, { sport: 2 });
    expect(changes()).toMatchObject([{ clientPort: 2 }]);
  });
});

test('changes of both families come in batches of their own', async () => {
  fixture = await openSharing();
  try {
    await fixture.program(...PLANS.flatMap(flowServices));
    for (let sport = 1; sport <= 3; sport += 1) {
      for (const plan of PLANS) establish(fixture, plan, { sport });
    }
    const { batches } = fixture.dataplane.flowTable.drainChanges(100);
    expect(batches.map(({ family, count }) => [family, count])).toEqual([
      ['ipv4', 3],
      ['ipv6', 3],
    ]);
  } finally {
    await fixture.close();
  }
});

test('a node without peers tells nothing', async () => {
  fixture = await openSharing({ sharing: false });
  try {
    await fixture.program(...PLANS.flatMap(flowServices));
    for (const plan of PLANS) {
      establish(fixture, plan, { sport: 1 });
      establish(fixture, plan, { sport: 2 });
      fixture.send(packet(plan, { sport: 1, flags: 'FA' }));
    }
    for (const flow of fixture.established()) {
      rewrite(fixture, flow, ({ seenMs, state }) => ({
        flags: toldFlags(20),
        seenMs: (state === tcpFin ? kernelNowMs() - 100_000 : seenMs) >>> 0,
      }));
    }
    expect(await fixture.dataplane.maintain()).toEqual({ scanned: 4, expired: 2 });
    expect(fixture.dataplane.flowTable.drainChanges(100)).toEqual({ batches: [], lost: 0 });
    expect(fixture.count('change_lost')).toBe(0);
  } finally {
    await fixture.close();
  }
});

test('changes that do not fit are counted and said to be lost', async () => {
  fixture = await openSharing();
  try {
    const [plan] = PLANS;
    await fixture.program(...flowServices(plan!));
    mergeRows(fixture, plan!, rowsFrom(plan!, 0, FLOWS));
    const flows = fixture.established();
    expect(flows).toHaveLength(FLOWS);
    const { table } = flows[0]!;
    const keys = Buffer.concat(flows.map(({ key }) => key));
    for (let round = 0; round < ROUNDS; round += 1) {
      const values = Buffer.concat(flows.map(({ value }) => value));
      const view = new DataView(values.buffer, values.byteOffset);
      // Seen just now and told of long ago, so that the sweep tells each flow again.
      const fresh = { flags: toldFlags(20), seenMs: kernelNowMs() };
      flows.forEach((_, i) => {
        const at = i * FLOW_BYTES;
        writeFlow(view, at, { ...readFlow(view, at), ...fresh });
      });
      fixture.map(table).updateBatch(keys, values, flows.length);
      await fixture.dataplane.maintain();
    }
    const total = ROUNDS * FLOWS;
    const lost = fixture.count('change_lost');
    expect(lost).toBeGreaterThan(0);
    const { flowTable } = fixture.dataplane;
    const drained = flowTable.drainChanges(total);
    expect(drained.lost).toBe(lost);
    expect(drained.batches.reduce((sum, { count }) => sum + count, 0)).toBe(total - lost);
    expect(flowTable.drainChanges(1)).toEqual({ batches: [], lost: 0 });
    fixture.forgetFlows();
    establish(fixture, plan!, { vip: plan!.otherVip });
    expect(changes(), 'there is room again').toHaveLength(1);
  } finally {
    await fixture.close();
  }
});
