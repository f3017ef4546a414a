import fc from 'fast-check';
import { expect, test } from 'vitest';
import {
  FLOW_RECORD_AT,
  FLOW_RECORD_BYTES,
  FlowChange as RecordChange,
  FlowFlag,
  FlowState,
  readFlowRecord,
  writeFlowRecord,
  type FlowRecord,
} from '../abi/abi.generated.ts';
import { address, addressBytes, type Address, type Family } from '../model/address.ts';
import { FlowChange, SharedFlowState, type Destination } from '../model/flow-batch.ts';
import { ADMIT_ALL } from '../model/admission.ts';
import { serviceId, type ServiceId } from '../model/service.ts';
import { FlowBatchBuilder, type FlowRow } from '../peers/batch.ts';
import { RecordBatches, writeRecords } from './flow-records.ts';
import type { ProgrammedService } from './plan.ts';
import { SlotNames } from './slot-names.ts';

const NOW_MS = 5_000_000;
const SEED = 20_260_720;
const [ONE, TWO] = [address('10.0.0.1'), address('2001:db8::2')];
const VIPS: Readonly<Record<Family, Address>> = {
  ipv4: address('192.0.2.1'),
  ipv6: address('2001:db8:f::1'),
};
const WIDTH = { ipv4: 4, ipv6: 16 } as const;

/** One service of every port for both VIPs and protocols: slot 3 is ONE, slot 9 is TWO. */
const names = new SlotNames(
  new Map(
    Object.values(VIPS).flatMap((vip) =>
      (['tcp', 'udp'] as const).map((protocol): [ServiceId, ProgrammedService] => {
        const key = { vip, protocol, port: 0 };
        const id = serviceId(key);
        const rest = {
          index: 0,
          affinity: 'flow',
          admission: ADMIT_ALL,
          admissionCertain: true,
          quic: undefined,
          ringSlots: 1,
          ringSource: undefined,
        } as const;
        const common = { generation: 2, weight: 1, mode: 'l2dsr', state: 'up' } as const;
        const backends = new Map([
          [ONE, { ...common, slot: 3, address: ONE }],
          [TWO, { ...common, slot: 9, address: TWO }],
        ]);
        return [id, { ...key, id, ...rest, backends }];
      }),
    ),
  ),
);

function record(change: Partial<FlowRecord> = {}): FlowRecord {
  return {
    keySaddr: addressBytes(address('198.51.100.7')),
    keyDaddr: addressBytes(VIPS.ipv4),
    keySport: 40_000,
    keyDport: 80,
    keyL4Proto: 6,
    flowBackend: 3,
    flowSeenMs: NOW_MS - 20,
    flowOpenedMs: NOW_MS - 3_000,
    flowGeneration: 2,
    flowState: FlowState.FLOW_TCP_ESTABLISHED,
    flowFlags: 0,
    isIpv6: 0,
    change: RecordChange.FLOW_OPENED,
    ...change,
  };
}

/** Records one after the other, as the kernel leaves them in a ring buffer. */
function collect(records: readonly FlowRecord[], nowMs = NOW_MS): RecordBatches {
  const view = new DataView(new ArrayBuffer(records.length * FLOW_RECORD_BYTES));
  const batches = new RecordBatches(names, records.length, nowMs);
  records.forEach((each, i) => {
    writeFlowRecord(view, i * FLOW_RECORD_BYTES, each);
    batches.add(view, i * FLOW_RECORD_BYTES);
  });
  return batches;
}

test('the numbers of changes and states are the same on both sides', () => {
  expect(FlowChange).toEqual({
    open: RecordChange.FLOW_OPENED,
    refresh: RecordChange.FLOW_REFRESHED,
    close: RecordChange.FLOW_CLOSED,
  });
  expect(SharedFlowState).toEqual({
    tcpFin: FlowState.FLOW_TCP_FIN,
    tcpEstablished: FlowState.FLOW_TCP_ESTABLISHED,
    udp: FlowState.FLOW_UDP,
  });
});

test('a record becomes a row', () => {
  const [batch, ...others] = collect([record()]).take();
  expect(others).toEqual([]);
  expect(batch).toEqual({
    family: 'ipv4',
    count: 1,
    destinations: [{ vip: VIPS.ipv4, protocol: 'tcp', port: 80 }],
    backends: [ONE],
    clientAddress: Uint8Array.of(198, 51, 100, 7),
    clientPort: Uint16Array.of(40_000),
    destination: Uint16Array.of(0),
    backend: Uint16Array.of(0),
    change: Uint8Array.of(FlowChange.open),
    state: Uint8Array.of(SharedFlowState.tcpEstablished),
    guess: Uint8Array.of(0),
    openedAgoMs: Uint32Array.of(3_000),
    seenAgoMs: Uint32Array.of(20),
  });
});

test('of the flags a row tells the guess only', () => {
  const flags = [0xfe, 0xfe | FlowFlag.FLOW_GUESS];
  const [batch] = collect(flags.map((flowFlags) => record({ flowFlags }))).take();
  expect(batch?.guess).toEqual(Uint8Array.of(0, 1));
});

test.each([
  { name: 'the present', nowMs: 1_000, thenMs: 1_000, ago: 0 },
  { name: 'a little ahead', nowMs: 1_000, thenMs: 1_005, ago: 0 },
  { name: 'before the clock wrapped', nowMs: 1_000, thenMs: 2 ** 32 - 500, ago: 1_500 },
  { name: 'ahead of a clock that is about to wrap', nowMs: 2 ** 32 - 2, thenMs: 3, ago: 0 },
  { name: 'a month ago', nowMs: 2_700_000_000, thenMs: 8_000, ago: 2_699_992_000 },
])('a time: $name', ({ nowMs, thenMs, ago }) => {
  const [batch] = collect([record({ flowSeenMs: thenMs, flowOpenedMs: thenMs })], nowMs).take();
  expect([batch?.seenAgoMs[0], batch?.openedAgoMs[0]]).toEqual([ago, ago]);
});

test('each destination and each backend has one entry, however rows alternate', () => {
  const kinds: readonly Partial<FlowRecord>[] = [
    {},
    { keyDport: 81 },
    { keyL4Proto: 17 },
    { flowBackend: 9 },
    {},
    { keyDport: 81, flowBackend: 9 },
  ];
  const [batch] = collect(kinds.map(record)).take();
  expect(batch?.destinations).toEqual([
    { vip: VIPS.ipv4, protocol: 'tcp', port: 80 },
    { vip: VIPS.ipv4, protocol: 'tcp', port: 81 },
    { vip: VIPS.ipv4, protocol: 'udp', port: 80 },
  ]);
  expect([...(batch?.destination ?? [])]).toEqual([0, 1, 2, 0, 0, 1]);
  expect(batch?.backends).toEqual([ONE, TWO]);
  expect([...(batch?.backend ?? [])]).toEqual([0, 0, 0, 1, 0, 1]);
});

test('IPv6 destinations that differ in one word are told apart', () => {
  const vips = ['2001:db8:f::1', '2001:db8:f::2', '2001:db8:e::1', '2001:db8:f:1::1', '::1'];
  const [batch] = collect(
    vips.map((vip) => record({ isIpv6: 1, keyDaddr: addressBytes(address(vip)) })),
  ).take();
  expect(batch?.destinations.map(({ vip }) => vip)).toEqual(vips);
});

test('families are collected apart', () => {
  const ipv6 = record({ isIpv6: 1, keyDaddr: addressBytes(VIPS.ipv6) });
  const batches = collect([ipv6, record(), ipv6]).take();
  expect(batches.map(({ family, count }) => [family, count])).toEqual([
    ['ipv4', 1],
    ['ipv6', 2],
  ]);
  expect(collect([]).take()).toEqual([]);
});

test('records of backends that are gone leave no row', () => {
  const gone = [record({ flowGeneration: 1 }), record({ flowBackend: 4 })];
  const batches = collect([...gone, record({ keySport: 5 })]);
  expect(batches.take()).toMatchObject([{ count: 1, clientPort: Uint16Array.of(5) }]);
  expect(collect(gone).take()).toEqual([]);
});

test('new memory is read anew, where something else lay before', () => {
  const batches = new RecordBatches(names, 2, NOW_MS);
  const view = new DataView(new ArrayBuffer(FLOW_RECORD_BYTES));
  for (const keyDport of [80, 81]) {
    writeFlowRecord(view, 0, record({ keyDport }));
    batches.forgetMemory();
    batches.add(view, 0);
  }
  const [batch] = batches.take();
  expect(batch?.destinations.map(({ port }) => port)).toEqual([80, 81]);
  expect(batch?.destination).toEqual(Uint16Array.of(0, 1));
});

const anyRow = (family: Family): fc.Arbitrary<FlowRow> =>
  fc.record({
    destination: fc.record({
      vip: fc.constant(VIPS[family]),
      protocol: fc.constantFrom<Destination['protocol'][]>('tcp', 'udp'),
      port: fc.integer({ min: 1, max: 65_535 }),
    }),
    backend: fc.constantFrom(ONE, TWO),
    clientAddress: fc.uint8Array({ minLength: WIDTH[family], maxLength: WIDTH[family] }),
    clientPort: fc.nat(65_535),
    change: fc.constantFrom(...Object.values(FlowChange)),
    state: fc.constantFrom(...Object.values(SharedFlowState)),
    guess: fc.boolean(),
    openedAgoMs: fc.nat(3_000_000_000),
    seenAgoMs: fc.nat(3_000_000_000),
  });

function batchOf(family: Family, rows: readonly FlowRow[]) {
  const builder = new FlowBatchBuilder(family, rows.length);
  for (const row of rows) builder.add(row);
  return builder.take();
}

/** The slots of a batch's backends, for every destination. */
function targetsOf(backends: readonly Address[]) {
  return (_: number, backend: number) =>
    ({ [ONE]: { slot: 3, generation: 2 }, [TWO]: { slot: 9, generation: 2 } })[
      backends[backend] ?? ''
    ];
}

test.each(['ipv4', 'ipv6'] as const)('%s rows come out of their records as they were', (family) => {
  const rows = fc.array(anyRow(family), { minLength: 1, maxLength: 20 });
  fc.assert(
    fc.property(rows, fc.nat(2 ** 32 - 1), fc.nat(255), (all, nowMs, before) => {
      const batch = batchOf(family, all);
      // Memory that was used before: nothing of it may stay.
      const memory = new Uint8Array(all.length * FLOW_RECORD_BYTES).fill(before);
      const view = new DataView(memory.buffer);
      const targets = targetsOf(batch.backends);
      expect(writeRecords(batch, 0, all.length, view, targets, nowMs)).toEqual({
        records: all.length,
        unknown: 0,
      });
      const batches = new RecordBatches(names, all.length, nowMs);
      for (let i = 0; i < all.length; i += 1) batches.add(view, i * FLOW_RECORD_BYTES);
      expect(batches.take()).toEqual([batch]);
    }),
    { seed: SEED },
  );
});

test('the key of a record is as the kernel makes it, whatever the memory held', () => {
  const row: FlowRow = {
    destination: { vip: VIPS.ipv4, protocol: 'udp', port: 53 },
    backend: TWO,
    clientAddress: Uint8Array.of(198, 51, 100, 7),
    clientPort: 40_000,
    change: FlowChange.close,
    state: SharedFlowState.udp,
    guess: true,
    openedAgoMs: 2_000,
    seenAgoMs: 1_000,
  };
  const batch = batchOf('ipv4', [row]);
  const memory = new Uint8Array(FLOW_RECORD_BYTES).fill(0xff);
  const view = new DataView(memory.buffer);
  writeRecords(batch, 0, 1, view, targetsOf(batch.backends), 1_500);
  expect(readFlowRecord(view)).toEqual({
    keySaddr: addressBytes(address('198.51.100.7')),
    keyDaddr: addressBytes(VIPS.ipv4),
    keySport: 40_000,
    keyDport: 53,
    keyL4Proto: 17,
    flowBackend: 9,
    flowSeenMs: 500,
    flowOpenedMs: 2 ** 32 - 500,
    flowGeneration: 2,
    flowState: FlowState.FLOW_UDP,
    flowFlags: FlowFlag.FLOW_GUESS,
    isIpv6: 0,
    change: RecordChange.FLOW_CLOSED,
  });
  // A key is compared with its reserved bytes.
  const reserved = memory.subarray(FLOW_RECORD_AT.keyL4Proto + 1, FLOW_RECORD_AT.flowBackend);
  expect([...reserved]).toEqual([0, 0, 0]);
});

test('rows that name nothing here are counted and leave no gap', () => {
  const row = (clientPort: number, backend: Address): FlowRow => ({
    destination: { vip: VIPS.ipv4, protocol: 'tcp', port: 80 },
    backend,
    clientAddress: Uint8Array.of(198, 51, 100, 7),
    clientPort,
    change: FlowChange.open,
    state: SharedFlowState.tcpEstablished,
    guess: false,
    openedAgoMs: 0,
    seenAgoMs: 0,
  });
  const stranger = address('10.0.0.99');
  const rows = [row(1, ONE), row(2, stranger), row(3, TWO), row(4, stranger), row(5, ONE)];
  const batch = batchOf('ipv4', rows);
  const view = new DataView(new ArrayBuffer(rows.length * FLOW_RECORD_BYTES));
  const targets = targetsOf(batch.backends);
  const ports = (from: number, to: number) => {
    const { records, unknown } = writeRecords(batch, from, to, view, targets, NOW_MS);
    const written = Array.from({ length: records }, (_, i) => {
      return readFlowRecord(view, i * FLOW_RECORD_BYTES).keySport;
    });
    return { written, unknown };
  };
  expect(ports(0, 5)).toEqual({ written: [1, 3, 5], unknown: 2 });
  expect(ports(1, 3)).toEqual({ written: [3], unknown: 1 });
  expect(ports(2, 2)).toEqual({ written: [], unknown: 0 });
});
