import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { address, type Address, type Family } from '../model/address.ts';
import { FlowChange, SharedFlowState, type FlowBatch } from '../model/flow-batch.ts';
import { addressLength, FlowBatchBuilder, type FlowRow } from './batch.ts';
import { strideOf } from './wire-flows.ts';
import { pack, unpack, type Plain } from './wire-msgpack.ts';
import { decodeMessage, encodeMessage } from './wire.ts';

const VIPS = { ipv4: address('192.0.2.1'), ipv6: address('2001:db8::1') };

function row(family: Family, change: Partial<FlowRow> = {}): FlowRow {
  return {
    destination: { vip: VIPS[family], protocol: 'tcp', port: 443 },
    backend: address('10.0.0.1'),
    clientAddress: Uint8Array.from({ length: addressLength(family) }, (_, index) => index + 1),
    clientPort: 54_321,
    change: FlowChange.open,
    state: SharedFlowState.tcpEstablished,
    guess: false,
    openedAgoMs: 60_000,
    seenAgoMs: 0,
    ...change,
  };
}

function batchOf(family: Family, ...rows: readonly FlowRow[]): FlowBatch {
  const builder = new FlowBatchBuilder(family, rows.length);
  for (const each of rows) builder.add(each);
  return builder.take();
}

function decodedFlows(payload: Uint8Array): { batch: FlowBatch; skippedRows: number } {
  const decoded = decodeMessage(payload);
  if (!decoded.ok || decoded.message.kind !== 'flows') throw new Error('not flows');
  return { batch: decoded.message.batch, skippedRows: decoded.skippedRows };
}

function passed(batch: FlowBatch): FlowBatch {
  return decodedFlows(encodeMessage({ kind: 'flows', batch })).batch;
}

/** Kind, family, destinations, backends, stride, rows. */
function fieldsOf(batch: FlowBatch): Plain[] {
  return [...(unpack(encodeMessage({ kind: 'flows', batch })) as Plain[])];
}

/** The fields after some were replaced. */
function changed(batch: FlowBatch, fields: Readonly<Record<number, Plain>>): Uint8Array {
  return pack(Object.assign(fieldsOf(batch), fields));
}

const MALFORMED = { ok: false, reason: 'malformed' };

test('a row of IPv4 has 15 bytes, one of IPv6 has 27', () => {
  expect(strideOf('ipv4')).toBe(15);
  expect(strideOf('ipv6')).toBe(27);
});

test('a flow is these bytes, whoever reads them', () => {
  const batch = batchOf(
    'ipv4',
    row('ipv4', {
      clientAddress: Uint8Array.of(198, 51, 100, 9),
      change: FlowChange.close,
      state: SharedFlowState.udp,
      guess: true,
      openedAgoMs: 0x0102_0304,
      seenAgoMs: 25_800,
    }),
  );
  expect(Buffer.from(encodeMessage({ kind: 'flows', batch })).toString('hex')).toBe(
    [
      '96', // six fields
      '01', // flows
      '04', // IPv4
      'c408' + '00c0000201' + '06' + '01bb', // 192.0.2.1, TCP, 443
      'c405' + '000a000001', // 10.0.0.1
      '0f', // stride
      'c40f', // as many bytes of rows
      'c6336409' + 'd431' + '00' + '00', // client, port, destination, backend
      '32', // close, UDP, a guess
      '01020304' + '0102', // opened, idle
    ].join(''),
  );
});

test('the example in PROTOCOL.md is what it says', () => {
  const page = readFileSync(new URL('PROTOCOL.md', import.meta.url), 'utf8');
  const [, example = ''] = /```\n(96 [^`]*)```/.exec(page) ?? [];
  // The words begin at column 36.
  const lines = example.split('\n').map((line) => line.slice(0, 36));
  const bytes = lines.join('').replaceAll(' ', '');
  const clientAddress = Uint8Array.of(198, 51, 100, 9);
  const batch = batchOf('ipv4', row('ipv4', { clientAddress, openedAgoMs: 50 }));
  expect(bytes).toBe(Buffer.from(encodeMessage({ kind: 'flows', batch })).toString('hex'));
});

const ages = fc.nat({ max: 0xffff_ffff });
const anyRow = (family: Family): fc.Arbitrary<FlowRow> =>
  fc.record({
    destination: fc.record({
      vip: fc.nat(3).map((last) => addressNear(VIPS[family], last)),
      protocol: fc.constantFrom('tcp', 'udp'),
      port: fc.constantFrom(0, 53, 443, 65_535),
    }),
    backend: fc.constantFrom(address('10.0.0.1'), address('10.0.0.2'), address('2001:db8::99')),
    clientAddress: fc.uint8Array({
      minLength: addressLength(family),
      maxLength: addressLength(family),
    }),
    clientPort: fc.nat(65_535),
    change: fc.constantFrom(...Object.values(FlowChange)),
    state: fc.constantFrom(...Object.values(SharedFlowState)),
    guess: fc.boolean(),
    openedAgoMs: ages,
    seenAgoMs: fc.oneof(ages, fc.nat(10_000)),
  });

function addressNear(vip: Address, by: number): Address {
  return address(vip.slice(0, -1) + String(by));
}

/** Ages of when it was last seen are rounded; all else is to come out as it went in. */
function withoutSeen(batch: FlowBatch): unknown {
  return { ...batch, clientAddress: Uint8Array.from(batch.clientAddress), seenAgoMs: undefined };
}

describe.each(['ipv4', 'ipv6'] as const)('%s', (family) => {
  test('rows come out as they went in, in their order', () => {
    fc.assert(
      fc.property(fc.array(anyRow(family), { maxLength: 40 }), (rows) => {
        const batch = batchOf(family, ...rows);
        expect(withoutSeen(passed(batch))).toEqual(withoutSeen(batch));
      }),
      { numRuns: 200 },
    );
  });

  test('a flow never looks more recently seen than it is, nor 100 ms less', () => {
    fc.assert(
      fc.property(ages, fc.nat(6_553_500), (openedAgoMs, anyAgoMs) => {
        const seenAgoMs = Math.min(openedAgoMs, anyAgoMs);
        const [seen = -1] = passed(
          batchOf(family, row(family, { openedAgoMs, seenAgoMs })),
        ).seenAgoMs;
        expect(seen).toBeGreaterThanOrEqual(seenAgoMs);
        expect(seen).toBeLessThan(seenAgoMs + 100);
      }),
    );
  });

  test('rows of a longer stride are read, and what is appended is not', () => {
    const batch = batchOf(family, row(family), row(family, { clientPort: 1, guess: true }));
    const stride = strideOf(family);
    const rows = fieldsOf(batch)[5] as Uint8Array;
    const longer = Buffer.concat([
      rows.subarray(0, stride),
      Buffer.from('and more'),
      rows.subarray(stride),
      Buffer.from('the same'),
    ]);
    const { batch: read, skippedRows } = decodedFlows(changed(batch, { 4: stride + 8, 5: longer }));
    expect(withoutSeen(read)).toEqual(withoutSeen(batch));
    expect(skippedRows).toBe(0);
  });

  test('a stride that is too short, or no multiple, is malformed', () => {
    const batch = batchOf(family, row(family), row(family));
    for (const stride of [0, 1, strideOf(family) - 1, strideOf(family) + 1, 1_025, -1]) {
      expect(decodeMessage(changed(batch, { 4: stride }))).toEqual(MALFORMED);
    }
  });

  test('no rows at all are a message', () => {
    const { batch, skippedRows } = decodedFlows(
      changed(batchOf(family, row(family)), { 5: new Uint8Array(0) }),
    );
    expect([batch.count, skippedRows]).toEqual([0, 0]);
  });
});

test.each([
  ['an idle age of more than 6,553.5 s is that', 90_000_000, 80_000_000, 6_553_500],
  ['a flow was not seen before it was opened', 150, 101, 150],
  ['a flow seen just now was seen just now', 150, 0, 0],
])('%s', (_, openedAgoMs, seenAgoMs, read) => {
  const batch = passed(batchOf('ipv4', row('ipv4', { openedAgoMs, seenAgoMs })));
  expect(batch.seenAgoMs[0]).toBe(read);
});

/** The row's flags byte and, before it, the places in the dictionaries. */
function patchedRow(at: number, value: number): Uint8Array {
  const batch = batchOf('ipv4', row('ipv4'), row('ipv4', { clientPort: 1 }));
  const rows = Uint8Array.from(fieldsOf(batch)[5] as Uint8Array);
  rows[at] = value;
  return changed(batch, { 5: rows });
}

test.each([
  ['a change', 0b0011_1000 | 3],
  ['a state', 7 << 2],
  ['the state that has no meaning', 0],
])('a row with %s that this version does not know is left out, and counted', (_, flags) => {
  const { batch, skippedRows } = decodedFlows(patchedRow(8, flags));
  expect(skippedRows).toBe(1);
  expect([...batch.clientPort]).toEqual([1]);
});

test('flag bits that this version does not know mean nothing', () => {
  const { batch, skippedRows } = decodedFlows(patchedRow(8, (3 << 2) | 0b1100_0000));
  expect([batch.count, skippedRows, batch.state[0], batch.guess[0]]).toEqual([2, 0, 3, 0]);
});

test('rows to a protocol that this version does not know are left out, and counted', () => {
  const batch = batchOf(
    'ipv4',
    row('ipv4'),
    row('ipv4', { clientPort: 1, destination: { vip: VIPS.ipv4, protocol: 'udp', port: 53 } }),
  );
  const sctp = changed(batch, { 2: hex('00c0000201' + '84' + '01bb', '04' + '11' + '0035') });
  const { batch: read, skippedRows } = decodedFlows(sctp);
  expect(skippedRows).toBe(1);
  expect([...read.clientPort]).toEqual([1]);
  expect(read.destinations).toEqual([{ vip: VIPS.ipv4, protocol: 'udp', port: 53 }]);
  expect([...read.destination]).toEqual([0]);
});

function hex(...parts: readonly string[]): Uint8Array {
  return Uint8Array.from(Buffer.from(parts.join(''), 'hex'));
}

const ONE = batchOf('ipv4', row('ipv4'));
const ONE_IPV6 = batchOf('ipv6', row('ipv6'));

test.each<[string, Uint8Array]>([
  ['a row whose destination is not there', patchedRow(6, 1)],
  ['a row whose backend is not there', patchedRow(7, 1)],
  ['a family that is none', changed(ONE, { 1: 5 })],
  [
    'a VIP of the other family',
    changed(ONE, { 2: hex('80', '20010db8'.padEnd(32, '0'), '060050') }),
  ],
  [
    'a VIP of the other family, mapped',
    changed(ONE_IPV6, { 2: hex('80', '0'.repeat(20), 'ffff', 'c0000201', '060050') }),
  ],
  ['a VIP that is cut', changed(ONE, { 2: hex('00c00002') })],
  ['a VIP that shares more than there is', changed(ONE, { 2: hex('05c0000201060050') })],
  ['a destination without a protocol', changed(ONE, { 2: hex('00c0000201') })],
  ['a destination whose port is cut', changed(ONE, { 2: hex('00c00002010600') })],
  ['a destination list as an array', changed(ONE, { 2: [hex('00c0000201060050')] })],
  ['a backend that is cut', changed(ONE, { 3: hex('000a0000') })],
  ['a backend that shares more than there is', changed(ONE, { 3: hex('91') })],
  ['a backend with a bit that has no meaning', changed(ONE, { 3: hex('400a000001') })],
  ['backends as text', changed(ONE, { 3: '10.0.0.1' })],
  ['more backends than there may be', changed(ONE, { 3: hex('000a000001', '04'.repeat(256)) })],
  [
    'more VIPs than there may be',
    changed(ONE, { 2: hex('00c0000201060050', '04060050'.repeat(256)) }),
  ],
])('%s is malformed', (_, payload) => {
  expect(decodeMessage(payload)).toEqual(MALFORMED);
});

test('an address goes without the bytes it shares with the last of its family', () => {
  const backends = ['2001:db8::1', '10.0.0.1', '2001:db8::2', '10.0.0.2', '::', '0.0.0.0'];
  const batch = batchOf('ipv4', ...backends.map((text) => row('ipv4', { backend: address(text) })));
  expect(Buffer.from(fieldsOf(batch)[3] as Uint8Array).toString('hex')).toBe(
    [
      '8020010db8000000000000000000000001',
      '000a000001',
      '8f02',
      '0302',
      '80'.padEnd(34, '0'),
      '0000000000',
    ].join(''),
  );
  expect(passed(batch).backends).toEqual(backends);
});

test('a dictionary that no datagram holds is a mistake of the program', () => {
  const rows = Array.from({ length: 257 }, (_, index) =>
    row('ipv4', { backend: address(`10.0.${index >>> 8}.${index & 0xff}`) }),
  );
  expect(() => encodeMessage({ kind: 'flows', batch: batchOf('ipv4', ...rows) })).toThrow(
    RangeError,
  );
});

test('a batch of 256 destinations and backends goes through whole', () => {
  const rows = Array.from({ length: 256 }, (_, index) =>
    row('ipv4', {
      backend: address(`10.0.0.${index}`),
      destination: { vip: VIPS.ipv4, protocol: 'tcp', port: index },
    }),
  );
  const batch = batchOf('ipv4', ...rows);
  expect(withoutSeen(passed(batch))).toEqual(withoutSeen(batch));
});
