import { describe, expect, test } from 'vitest';
import { address, type Family } from '../model/address.ts';
import { FlowChange, SharedFlowState, type FlowBatch } from '../model/flow-batch.ts';
import {
  addressLength,
  concatBatches,
  FlowBatchBuilder,
  groupByDestination,
  sliceBatch,
} from './batch.ts';
import { DIGEST_BUCKETS } from './flow-table.ts';
import type { Hello, Message, Resend } from './message.ts';
import { DATAGRAM_BYTES_MAX } from './seal-header.ts';
import { Sealer } from './seal.ts';
import { RESEND_BYTES, splitDigest, splitFlows, splitHello, splitResend } from './wire-split.ts';
import { decodeMessage, encodeMessage } from './wire.ts';

function sealer(node = 'lb1'): Sealer {
  const keys = [new Uint8Array(32).fill(1)];
  return new Sealer({ cluster: 'test', node, incarnation: 1, keys });
}

/** What is left for flows in a datagram that must also fit a resend. */
const PAYLOAD_BYTES_MAX = DATAGRAM_BYTES_MAX - 2 * sealer().overheadBytes - RESEND_BYTES;

/** `rows` flows over services with as many backends each, in no order. */
function flows(family: Family, rows: number, services: number, backends: number): FlowBatch {
  const builder = new FlowBatchBuilder(family, rows);
  const hosts = Array.from({ length: services * (1 + backends) }, (_, index) =>
    address(
      family === 'ipv4'
        ? `10.${index >>> 16}.${(index >>> 8) & 0xff}.${index & 0xff}`
        : `2001:db8::${(index + 1).toString(16)}`,
    ),
  );
  for (let number = 0; number < rows; number += 1) {
    const mixed = Math.imul(number, 0x9e37_79b1) >>> 8;
    const service = mixed % services;
    const clientAddress = new Uint8Array(addressLength(family));
    new DataView(clientAddress.buffer).setUint32(0, number);
    builder.add({
      destination: { vip: hosts[service]!, protocol: 'tcp', port: 443 },
      backend: hosts[services + service * backends + (number % backends)]!,
      clientAddress,
      clientPort: number & 0xffff,
      change: FlowChange.open,
      state: SharedFlowState.tcpEstablished,
      guess: false,
      openedAgoMs: number,
      seenAgoMs: 0,
    });
  }
  return builder.take();
}

function decoded(payload: Uint8Array): Message {
  const result = decodeMessage(payload);
  if (!result.ok) throw new Error(result.reason);
  return result.message;
}

function batchIn(payload: Uint8Array): FlowBatch {
  const message = decoded(payload);
  if (message.kind !== 'flows') throw new Error(message.kind);
  return message.batch;
}

/** What rows mean, for batches whose dictionaries are in another order. */
function meaning(batch: FlowBatch): string[] {
  return Array.from({ length: batch.count }, (_, row) => {
    const destination = batch.destinations[batch.destination[row]!]!;
    const backend = batch.backends[batch.backend[row]!]!;
    return `${batch.clientPort[row]!} ${destination.vip} ${backend} ${batch.openedAgoMs[row]!}`;
  });
}

describe.each(['ipv4', 'ipv6'] as const)('flows of %s', (family) => {
  test.each([
    ['none', 0, 1, 1],
    ['one', 1, 1, 1],
    ['many to one service', 1_000, 1, 4],
    ['many to many services', 1_000, 50, 20],
    ['each to a backend of its own', 1_000, 1, 1_000],
  ])(
    '%s: all rows in their order, each payload within its bound',
    (_, rows, services, backends) => {
      const batch = flows(family, rows, services, backends);
      const parts = [...splitFlows(batch, PAYLOAD_BYTES_MAX)];
      let sent = 0;
      for (const { rows: count, payload } of parts) {
        expect(payload.length).toBeLessThanOrEqual(PAYLOAD_BYTES_MAX);
        const rest = sliceBatch(batch, sent, sent + count);
        expect(meaning(batchIn(payload))).toEqual(meaning(rest));
        sent += count;
      }
      expect(sent).toBe(batch.count);
    },
  );

  test('a payload is as full as it can be', () => {
    const batch = flows(family, 500, 4, 4);
    const parts = [...splitFlows(batch, PAYLOAD_BYTES_MAX)];
    let start = 0;
    for (const { rows } of parts.slice(0, -1)) {
      const one = concatBatches(family, [sliceBatch(batch, start, start + rows + 1)]);
      // The splitter counts the longest headers: a few bytes more than these.
      const bytes = encodeMessage({ kind: 'flows', batch: one }).length;
      expect(bytes).toBeGreaterThan(PAYLOAD_BYTES_MAX - 32);
      start += rows;
    }
  });

  test('a large frame is split where its dictionary is full', () => {
    const batch = flows(family, 2_000, 1, 1_000);
    const parts = [...splitFlows(batch, 256 * 1024)];
    expect(parts.every(({ payload }) => batchIn(payload).backends.length <= 256)).toBe(true);
    expect(parts.map(({ rows }) => rows).reduce((sum, rows) => sum + rows)).toBe(2_000);
    expect(parts).toHaveLength(8);
  });

  test('a bound that no flow fits is a mistake of the program', () => {
    expect(() => [...splitFlows(flows(family, 1, 1, 1), 40)]).toThrow('too few for a flow');
  });
});

test.each([
  ['ipv4', 24, 8, 16],
  ['ipv4', 24, 50, 100],
  ['ipv6', 36, 8, 16],
  ['ipv6', 36, 50, 100],
] as const)(
  'a flow of %s takes at most %i bytes on the wire: %i services of %i backends',
  (family, bytesMax, services, backends) => {
    const seal = sealer('balancer-01');
    const batch = groupByDestination(flows(family, 20_000, services, backends));
    let bytes = 0;
    for (const { payload } of splitFlows(batch, PAYLOAD_BYTES_MAX - 16)) {
      const { datagram } = seal.seal(payload);
      expect(datagram.length).toBeLessThanOrEqual(DATAGRAM_BYTES_MAX);
      bytes += datagram.length;
    }
    expect(bytes / batch.count).toBeLessThanOrEqual(bytesMax);
  },
);

test('a digest is sent in parts that say where they belong', () => {
  const buckets = BigUint64Array.from(
    { length: DIGEST_BUCKETS },
    (_, index) => BigInt(index) << 40n,
  );
  const merged = new BigUint64Array(DIGEST_BUCKETS);
  const payloads = [...splitDigest({ flows: 5_000_000_000, buckets }, PAYLOAD_BYTES_MAX)];
  for (const payload of payloads) {
    expect(payload.length).toBeLessThanOrEqual(PAYLOAD_BYTES_MAX);
    const part = decoded(payload);
    if (part.kind !== 'digest') throw new Error(part.kind);
    expect(part.flows).toBe(5_000_000_000);
    merged.set(part.buckets, part.firstBucket);
  }
  expect(merged).toEqual(buckets);
  expect(payloads).toHaveLength(7);
});

function hello(nodes: number, nameBytes: number): Hello {
  return {
    kind: 'hello',
    version: 1,
    softwareVersion: '0.1.0-rc.1+20250101',
    configDigest: 'f'.repeat(64),
    snapshotEndpoint: '[2001:db8:aaaa:bbbb:cccc:dddd:eeee:ffff]:65535',
    synced: true,
    uptimeMs: Number.MAX_SAFE_INTEGER,
    heard: Array.from({ length: nodes }, (_, index) => [
      String(index).padStart(nameBytes, 'n'),
      Number.MAX_SAFE_INTEGER,
      Number.MAX_SAFE_INTEGER - index,
    ]),
  };
}

test.each([
  [0, 8],
  [3, 8],
  [63, 8],
  [63, 63],
])('a hello that heard %i nodes, names of %i bytes, is sent in parts that fit', (nodes, bytes) => {
  const whole = hello(nodes, bytes);
  const parts = [...splitHello(whole, PAYLOAD_BYTES_MAX)].map((payload) => {
    expect(payload.length).toBeLessThanOrEqual(PAYLOAD_BYTES_MAX);
    return decoded(payload) as Hello;
  });
  expect(parts.flatMap(({ heard }) => heard)).toEqual(whole.heard);
  for (const part of parts) expect({ ...part, heard: whole.heard }).toEqual(whole);
  expect(parts.length).toBeGreaterThan(0);
});

test('a resend is sent in parts that fit, each datagram with its age', () => {
  const seal = sealer();
  const batch = flows('ipv4', 2_000, 1, 1);
  const datagrams = [...splitFlows(batch, PAYLOAD_BYTES_MAX)].map(
    ({ payload }) => seal.seal(payload).datagram,
  );
  const whole: Resend = {
    kind: 'resend',
    datagrams: [...datagrams, ...Array.from({ length: 200 }, () => new Uint8Array(40))],
    sentAgoMs: Array.from({ length: datagrams.length + 200 }, (_, index) => index * 1_000),
    empty: Array.from({ length: 300 }, (_, index) => [index + 1, Number.MAX_SAFE_INTEGER]),
  };
  const parts = [...splitResend(whole, DATAGRAM_BYTES_MAX - seal.overheadBytes)].map((payload) => {
    expect(seal.seal(payload).datagram.length).toBeLessThanOrEqual(DATAGRAM_BYTES_MAX);
    return decoded(payload) as Resend;
  });
  const bytes = (list: readonly Uint8Array[]) =>
    list.map((each) => Buffer.from(each).toString('hex'));
  expect(bytes(parts.flatMap((part) => part.datagrams))).toEqual(bytes(whole.datagrams));
  expect(parts.flatMap(({ sentAgoMs }) => sentAgoMs)).toEqual(whole.sentAgoMs);
  expect(parts.flatMap(({ empty }) => empty)).toEqual(whole.empty);
});

test('a resent datagram that fits nowhere is a mistake of the program', () => {
  const resend: Resend = {
    kind: 'resend',
    datagrams: [new Uint8Array(1_400)],
    sentAgoMs: [0],
    empty: [],
  };
  expect(() => [...splitResend(resend, 1_400)]).toThrow(RangeError);
});
