import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { address } from '../model/address.ts';
import { FlowChange, SharedFlowState } from '../model/flow-batch.ts';
import { FlowBatchBuilder } from './batch.ts';
import { DIGEST_BUCKETS } from './flow-table.ts';
import type { Message } from './message.ts';
import { pack, unpack, type Plain } from './wire-msgpack.ts';
import { decodeMessage, encodeMessage } from './wire.ts';

const MAX = Number.MAX_SAFE_INTEGER;

function flows(): Message {
  const builder = new FlowBatchBuilder('ipv4', 1);
  builder.add({
    destination: { vip: address('192.0.2.1'), protocol: 'udp', port: 53 },
    backend: address('2001:db8::7'),
    clientAddress: Uint8Array.of(198, 51, 100, 9),
    clientPort: 54_321,
    change: FlowChange.refresh,
    state: SharedFlowState.udp,
    guess: true,
    openedAgoMs: 123_456,
    seenAgoMs: 700,
  });
  return { kind: 'flows', batch: builder.take() };
}

const MESSAGES: readonly Message[] = [
  flows(),
  {
    kind: 'hello',
    version: 1,
    softwareVersion: '0.1.0',
    configDigest: 'f'.repeat(64),
    snapshotEndpoint: '[2001:db8::1]:7947',
    synced: true,
    uptimeMs: 86_400_000,
    heard: [
      ['lb2', 1_700_000_000_000, 4_000_000_000],
      ['lb3', MAX, 0],
    ],
  },
  {
    kind: 'nack',
    node: 'lb2',
    incarnation: 1_700_000_000_000,
    ranges: [
      [1, 1],
      [5, MAX],
    ],
  },
  {
    kind: 'resend',
    datagrams: [Uint8Array.of(1, 2, 3), new Uint8Array(1_300).fill(7)],
    sentAgoMs: [0, 5_000_000_000],
    empty: [[4, 9]],
  },
  { kind: 'gone', firstKept: 5_000_000_000 },
  {
    kind: 'digest',
    flows: 1_000_000,
    firstBucket: DIGEST_BUCKETS - 3,
    buckets: BigUint64Array.of(0n, 1n, 2n ** 64n - 1n),
  },
  { kind: 'bucket_request', node: 'lb3', buckets: [0, 511, DIGEST_BUCKETS - 1] },
  { kind: 'icmp', packet: Uint8Array.from({ length: 576 }, (_, index) => index) },
  { kind: 'goodbye' },
];

/** Buffers are compared by their bytes, as any other Uint8Array. */
function plain(value: unknown): unknown {
  if (Buffer.isBuffer(value)) return Uint8Array.from(value);
  if (Array.isArray(value)) return value.map(plain);
  if (value === null || typeof value !== 'object' || ArrayBuffer.isView(value)) return value;
  return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, plain(each)]));
}

function fieldsOf(message: Message): Plain[] {
  return [...(unpack(encodeMessage(message)) as Plain[])];
}

describe.each(MESSAGES.map((message) => [message.kind, message] as const))('%s', (_, message) => {
  test('comes out as it went in', () => {
    const decoded = decodeMessage(encodeMessage(message));
    expect(plain(decoded)).toEqual({ ok: true, message: plain(message), skippedRows: 0 });
  });

  test('may have had something appended by a later version', () => {
    const payload = pack([...fieldsOf(message), 'news', [1, [2]], new Uint8Array(9)]);
    expect(plain(decodeMessage(payload))).toMatchObject({ ok: true, message: plain(message) });
  });

  test('is malformed without its last field', () => {
    const fields = fieldsOf(message).slice(0, -1);
    expect(decodeMessage(pack(fields))).toEqual({ ok: false, reason: 'malformed' });
  });

  test('is malformed when it is cut anywhere', () => {
    const payload = encodeMessage(message);
    for (let length = 0; length < payload.length; length += 1) {
      const decoded = decodeMessage(payload.subarray(0, length));
      expect(decoded).toEqual({ ok: false, reason: 'malformed' });
    }
  });

  test('is malformed with a field of another type', () => {
    for (const field of fieldsOf(message).keys()) {
      const fields = fieldsOf(message);
      fields[field] = 1.5;
      expect(decodeMessage(pack(fields)), `field ${field}`).toEqual({
        ok: false,
        reason: 'malformed',
      });
    }
  });
});

test('a kind that only a later version has is told apart from garbage', () => {
  expect(decodeMessage(pack([10, 'news']))).toEqual({ ok: false, reason: 'unknown_kind' });
  expect(decodeMessage(pack([]))).toEqual({ ok: false, reason: 'malformed' });
  expect(decodeMessage(pack(['flows']))).toEqual({ ok: false, reason: 'malformed' });
});

function manyTimes(times: number, value: Plain): Plain {
  return Array.from({ length: times }, () => value);
}

const HELLO: readonly Plain[] = [2, 1, '0.1.0', 'digest', '', true, 0, []];

test.each<[string, readonly Plain[]]>([
  ['a hello of version 0', HELLO.with(1, 0)],
  ['a hello with a text that is too long', HELLO.with(2, 'x'.repeat(129))],
  ['a hello with a text that a terminal obeys', HELLO.with(3, '\u001b[2J')],
  ['a hello that heard a node without a name', HELLO.with(7, [['', 1, 1]])],
  ['a hello that heard a name that is too long', HELLO.with(7, [['x'.repeat(64), 1, 1]])],
  ['a hello that heard a negative sequence', HELLO.with(7, [['lb2', 1, -1]])],
  ['a hello that heard more than a cluster', HELLO.with(7, manyTimes(65, ['lb2', 1, 1]))],
  ['a hello whose uptime is no number we hold exactly', HELLO.with(6, 2n ** 60n)],
  ['a nack of sequence 0', [3, 'lb2', 1, [[0, 4]]]],
  ['a nack that ends before it begins', [3, 'lb2', 1, [[5, 4]]]],
  ['a nack of more ranges than there may be', [3, 'lb2', 1, manyTimes(257, [1, 1])]],
  ['a resend with fewer ages than datagrams', [4, [new Uint8Array(1)], [], []]],
  ['a resend with more ages than datagrams', [4, [], [1], []]],
  ['a resend of text', [4, ['datagram'], [1], []]],
  ['a gone that keeps sequence 0', [5, 0]],
  ['a digest with half a bucket', [6, 0, 0, new Uint8Array(12)]],
  ['a digest beyond the last bucket', [6, 0, DIGEST_BUCKETS - 1, new Uint8Array(16)]],
  ['a digest from beyond the last bucket', [6, 0, DIGEST_BUCKETS + 1, new Uint8Array(0)]],
  ['a request for a bucket that is not there', [7, 'lb2', [DIGEST_BUCKETS]]],
  ['a request to a node without a name', [7, '', [1]]],
  ['an ICMP error longer than there can be', [8, new Uint8Array(1_281)]],
])('%s is malformed', (_, fields) => {
  expect(decodeMessage(pack(fields))).toEqual({ ok: false, reason: 'malformed' });
});

const count = fc.nat(MAX);
const name = fc
  .string({ unit: 'binary', minLength: 1, maxLength: 15 })
  .filter((text) => text.isWellFormed());
const text = fc.string({ unit: 'grapheme-ascii', maxLength: 128 });
const range = fc
  .tuple(fc.integer({ min: 1, max: MAX }), count)
  .map(([first, length]): [number, number] => [first, Math.min(MAX, first + length)]);
const anyMessage: fc.Arbitrary<Message> = fc.oneof(
  fc.record({
    kind: fc.constant('hello' as const),
    version: fc.integer({ min: 1, max: 255 }),
    softwareVersion: text,
    configDigest: text,
    snapshotEndpoint: text,
    synced: fc.boolean(),
    uptimeMs: count,
    heard: fc.array(fc.tuple(name, count, count), { maxLength: 64 }),
  }),
  fc.record({
    kind: fc.constant('nack' as const),
    node: name,
    incarnation: count,
    ranges: fc.array(range, { maxLength: 256 }),
  }),
  fc.array(fc.tuple(fc.uint8Array({ maxLength: 1_500 }), count), { maxLength: 8 }).chain((resent) =>
    fc.record({
      kind: fc.constant('resend' as const),
      datagrams: fc.constant(resent.map(([datagram]) => datagram)),
      sentAgoMs: fc.constant(resent.map(([, ago]) => ago)),
      empty: fc.array(range, { maxLength: 256 }),
    }),
  ),
  fc.record({
    kind: fc.constant('digest' as const),
    flows: count,
    firstBucket: fc.nat(DIGEST_BUCKETS - 50),
    buckets: fc.bigUint64Array({ maxLength: 50 }),
  }),
  fc.record({
    kind: fc.constant('bucket_request' as const),
    node: name,
    buckets: fc.array(fc.nat(DIGEST_BUCKETS - 1), { maxLength: DIGEST_BUCKETS }),
  }),
);

test('whatever is said comes out as it went in', () => {
  fc.assert(
    fc.property(anyMessage, (message) => {
      const decoded = decodeMessage(encodeMessage(message));
      expect(plain(decoded)).toEqual({ ok: true, message: plain(message), skippedRows: 0 });
    }),
    { numRuns: 300 },
  );
});

/** Bytes that are nearly a message, so that all checks are met. */
const nearlyMessage = fc
  .tuple(
    fc.constantFrom(...MESSAGES.map(encodeMessage)),
    fc.array(fc.tuple(fc.nat(), fc.nat(255)), { minLength: 1, maxLength: 4 }),
  )
  .map(([payload, edits]) => {
    const bytes = Uint8Array.from(payload);
    for (const [place, value] of edits) bytes[place % bytes.length] = value;
    return bytes;
  });
const nearlyFields = fc.letrec<{ value: Plain }>((tie) => ({
  value: fc.oneof(
    { maxDepth: 3 },
    fc.nat(20),
    fc.integer(),
    fc.double(),
    fc.string({ maxLength: 5 }),
    fc.boolean(),
    fc.constant(null),
    fc.uint8Array({ maxLength: 20 }),
    fc.array(tie('value'), { maxLength: 6 }),
  ),
})).value;

test('whatever the bytes are, decoding gives an answer and leaves them alone', () => {
  const input = fc.oneof(
    fc.uint8Array({ maxLength: 300 }),
    nearlyMessage,
    fc.tuple(fc.nat(10), fc.array(nearlyFields, { maxLength: 8 })).map((all) => pack(all.flat())),
  );
  fc.assert(
    fc.property(input, (bytes) => {
      const before = Uint8Array.from(bytes);
      const decoded = decodeMessage(bytes);
      if (!decoded.ok) expect(['malformed', 'unknown_kind']).toContain(decoded.reason);
      expect(Uint8Array.from(bytes)).toEqual(before);
    }),
    { numRuns: 3_000 },
  );
});

test('decoding a message again and again leaves the same message', () => {
  fc.assert(
    fc.property(nearlyMessage, (bytes) => {
      const decoded = decodeMessage(bytes);
      fc.pre(decoded.ok && decoded.skippedRows === 0);
      const again = decodeMessage(encodeMessage(decoded.message));
      expect(plain(again)).toEqual(plain(decoded));
    }),
    { numRuns: 1_000 },
  );
});
