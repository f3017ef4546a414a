/**
 * Messages to payloads and back: positional msgpack arrays, the kind first. PROTOCOL.md has them
 * field by field. Decoding must never throw, whatever the bytes are.
 */
import type { FlowBatch } from '../model/flow-batch.ts';
import { DIGEST_BUCKETS } from './flow-table.ts';
import type {
  BucketRequest,
  Digest,
  Gone,
  Hello,
  IcmpRelay,
  Message,
  Nack,
  RejectReason,
  Resend,
} from './message.ts';
import {
  HEARD_MAX,
  ICMP_PACKET_BYTES_MAX,
  RANGES_MAX,
  RESEND_DATAGRAMS_MAX,
  hasFields,
  isBytes,
  isCount,
  isList,
  isListOf,
  isNodeName,
  isText,
  type Fields,
} from './wire-fields.ts';
import { flowsFields, readFlows, wholeSelection, type Selection } from './wire-flows.ts';
import { integer, pack, unpack, type Plain } from './wire-msgpack.ts';

/** First element of every payload. A code is never given a second meaning. */
const KIND_CODES = {
  flows: 1,
  hello: 2,
  nack: 3,
  resend: 4,
  gone: 5,
  digest: 6,
  bucket_request: 7,
  icmp: 8,
  goodbye: 9,
} as const satisfies Readonly<Record<Message['kind'], number>>;

const BUCKET_BYTES = 8;

/** First and last, both inclusive. */
type Range = readonly [first: number, last: number];

export type Decoded =
  | {
      readonly ok: true;
      readonly message: Message;
      /** Rows of a flows message that only a later version understands, and that were left out. */
      readonly skippedRows: number;
    }
  | { readonly ok: false; readonly reason: RejectReason };

/**
 * A message as a payload, of whatever length: splitFlows, splitDigest and splitHello make several
 * that fit. Throws a RangeError when the flows name more than 256 destinations or backends.
 */
export function encodeMessage(message: Message): Uint8Array {
  return pack([KIND_CODES[message.kind], ...fieldsOf(message)]);
}

/** Some rows of a batch as the payload of a flows message. */
export function encodeFlows(batch: FlowBatch, selection: Selection): Uint8Array {
  return pack([KIND_CODES.flows, ...flowsFields(batch, selection)]);
}

function fieldsOf(message: Message): readonly Plain[] {
  switch (message.kind) {
    case 'flows':
      return flowsFields(message.batch, wholeSelection(message.batch));
    case 'hello':
      return helloFields(message);
    case 'nack':
      return [message.node, integer(message.incarnation), rangeFields(message.ranges)];
    case 'resend':
      return [message.datagrams, message.sentAgoMs.map(integer), rangeFields(message.empty)];
    case 'gone':
      return [integer(message.firstKept)];
    case 'digest':
      return [integer(message.flows), message.firstBucket, bucketBytes(message.buckets)];
    case 'bucket_request':
      return [message.node, message.buckets];
    case 'icmp':
      return [message.packet];
    case 'goodbye':
      return [];
  }
}

function rangeFields(ranges: readonly Range[]): readonly Plain[] {
  return ranges.map((range) => range.map(integer));
}

function helloFields(hello: Hello): readonly Plain[] {
  return [
    hello.version,
    hello.softwareVersion,
    hello.configDigest,
    hello.snapshotEndpoint,
    hello.synced,
    integer(hello.uptimeMs),
    hello.heard.map(([node, incarnation, sequence]) => [
      node,
      integer(incarnation),
      integer(sequence),
    ]),
  ];
}

function bucketBytes(buckets: BigUint64Array): Uint8Array {
  const bytes = new Uint8Array(buckets.length * BUCKET_BYTES);
  const view = new DataView(bytes.buffer);
  for (const [index, bucket] of buckets.entries()) view.setBigUint64(index * BUCKET_BYTES, bucket);
  return bytes;
}

/** The inverse of `encodeMessage`, of bytes that need not come from it. Binary is views of them. */
export function decodeMessage(payload: Uint8Array): Decoded {
  const fields = unpack(payload);
  const code = fields?.[0];
  if (fields === undefined || !isCount(code)) return MALFORMED;
  const rest = fields.slice(1);
  switch (code) {
    case KIND_CODES.flows: {
      const flows = readFlows(rest);
      if (flows === undefined) return MALFORMED;
      const { batch, skippedRows } = flows;
      return { ok: true, message: { kind: 'flows', batch }, skippedRows };
    }
    case KIND_CODES.hello:
      return decoded(readHello(rest));
    case KIND_CODES.nack:
      return decoded(readNack(rest));
    case KIND_CODES.resend:
      return decoded(readResend(rest));
    case KIND_CODES.gone:
      return decoded(readGone(rest));
    case KIND_CODES.digest:
      return decoded(readDigest(rest));
    case KIND_CODES.bucket_request:
      return decoded(readBucketRequest(rest));
    case KIND_CODES.icmp:
      return decoded(readIcmp(rest));
    case KIND_CODES.goodbye:
      return decoded({ kind: 'goodbye' });
    default:
      return { ok: false, reason: 'unknown_kind' };
  }
}

const MALFORMED: Decoded = { ok: false, reason: 'malformed' };

function decoded(message: Message | undefined): Decoded {
  return message === undefined ? MALFORMED : { ok: true, message, skippedRows: 0 };
}

function readHello(fields: Fields): Hello | undefined {
  if (!hasFields(fields, 7)) return undefined;
  const [version, softwareVersion, configDigest, snapshotEndpoint, synced, uptimeMs, list] = fields;
  if (!isCount(version, 1) || !isCount(uptimeMs) || typeof synced !== 'boolean') return undefined;
  if (!isText(softwareVersion) || !isText(configDigest) || !isText(snapshotEndpoint)) {
    return undefined;
  }
  if (!isList(list, HEARD_MAX)) return undefined;
  const heard: [string, number, number][] = [];
  for (const entry of list) {
    if (!hasFields(entry, 3)) return undefined;
    const [node, incarnation, sequence] = entry;
    if (!isNodeName(node) || !isCount(incarnation) || !isCount(sequence)) return undefined;
    heard.push([node, incarnation, sequence]);
  }
  return {
    kind: 'hello',
    version,
    softwareVersion,
    configDigest,
    snapshotEndpoint,
    synced,
    uptimeMs,
    heard,
  };
}

function readNack(fields: Fields): Nack | undefined {
  if (!hasFields(fields, 3)) return undefined;
  const [node, incarnation, list] = fields;
  const ranges = readRanges(list);
  if (!isNodeName(node) || !isCount(incarnation) || ranges === undefined) return undefined;
  return { kind: 'nack', node, incarnation, ranges };
}

function readRanges(list: unknown): Range[] | undefined {
  if (!isList(list, RANGES_MAX)) return undefined;
  const ranges: Range[] = [];
  for (const entry of list) {
    if (!hasFields(entry, 2)) return undefined;
    const [first, last] = entry;
    if (!isCount(first, 1) || !isCount(last, first)) return undefined;
    ranges.push([first, last]);
  }
  return ranges;
}

function readResend(fields: Fields): Resend | undefined {
  if (!hasFields(fields, 3)) return undefined;
  const [datagrams, sentAgoMs, list] = fields;
  const empty = readRanges(list);
  if (!isListOf(datagrams, RESEND_DATAGRAMS_MAX, isBinary) || empty === undefined) return undefined;
  if (!isListOf(sentAgoMs, datagrams.length, isAge)) return undefined;
  if (sentAgoMs.length !== datagrams.length) return undefined;
  return { kind: 'resend', datagrams, sentAgoMs, empty };
}

function isBinary(value: unknown): value is Uint8Array {
  return value instanceof Uint8Array;
}

function isAge(value: unknown): value is number {
  return isCount(value);
}

function readGone(fields: Fields): Gone | undefined {
  const [firstKept] = fields;
  return isCount(firstKept, 1) ? { kind: 'gone', firstKept } : undefined;
}

function readDigest(fields: Fields): Digest | undefined {
  if (!hasFields(fields, 3)) return undefined;
  const [flows, firstBucket, bytes] = fields;
  if (!isCount(flows) || !isCount(firstBucket) || firstBucket > DIGEST_BUCKETS) return undefined;
  if (!isBytes(bytes, (DIGEST_BUCKETS - firstBucket) * BUCKET_BYTES)) return undefined;
  if (bytes.length % BUCKET_BYTES !== 0) return undefined;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const buckets = new BigUint64Array(bytes.length / BUCKET_BYTES);
  for (const index of buckets.keys()) buckets[index] = view.getBigUint64(index * BUCKET_BYTES);
  return { kind: 'digest', flows, firstBucket, buckets };
}

function readBucketRequest(fields: Fields): BucketRequest | undefined {
  const [node, list] = fields;
  if (!isNodeName(node) || !isListOf(list, DIGEST_BUCKETS, isBucket)) return undefined;
  return { kind: 'bucket_request', node, buckets: list };
}

function isBucket(value: unknown): value is number {
  return isCount(value) && value < DIGEST_BUCKETS;
}

function readIcmp(fields: Fields): IcmpRelay | undefined {
  const [packet] = fields;
  return isBytes(packet, ICMP_PACKET_BYTES_MAX) ? { kind: 'icmp', packet } : undefined;
}
