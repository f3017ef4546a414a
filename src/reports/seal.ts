/**
 * Reports signed and opened: HMAC-SHA-256 (RFC 2104) under a key that is derived for nothing else,
 * so that no datagram of flow sync is ever taken for a report, or the other way about, even where
 * an operator uses one key for both. It remembers nothing: what is new and what is old is known to
 * board.ts.
 */
import { createHmac, timingSafeEqual, type KeyObject } from 'node:crypto';
import { readCount, writeCount } from '../peers/seal-aead.ts';
import {
  CLUSTER_ID_BYTES,
  clusterId,
  deriveKey,
  masterKeys,
  type MasterKey,
} from '../peers/seal-keys.ts';
import { asBuffer } from '../peers/seal-names.ts';
import { REPORTER_NAME, type Envelope, type Refusal } from './report.ts';
import { PAYLOAD_BYTES_MAX } from './wire.ts';

/** `SR`, where flow sync has `SK`. */
const MAGIC = [0x53, 0x52] as const;
const VERSION = 1;
const VERSION_AT = 2;
const KEY_ID_AT = 3;
const CLUSTER_AT = 4;
const INCARNATION_AT = CLUSTER_AT + CLUSTER_ID_BYTES;
const SEQUENCE_AT = INCARNATION_AT + 8;
const SENT_AT = SEQUENCE_AT + 8;
const PAYLOAD_LENGTH_AT = SENT_AT + 8;
const NAME_LENGTH_AT = PAYLOAD_LENGTH_AT + 2;
const NAME_AT = NAME_LENGTH_AT + 1;
const NAME_BYTES_MAX = 63;
const TAG_BYTES = 32;

export const DATAGRAM_BYTES_MAX = NAME_AT + NAME_BYTES_MAX + PAYLOAD_BYTES_MAX + TAG_BYTES;

const LABEL = Buffer.from('skein report v1');

interface ReportKey {
  readonly id: number;
  readonly key: KeyObject;
}

export interface SignerOptions {
  readonly cluster: string;
  /** See REPORTER_NAME. */
  readonly reporter: string;
  /** See Envelope. */
  readonly incarnation: number;
  /** One or two; the first signs. */
  readonly keys: readonly Uint8Array[];
}

/** Makes the datagrams of one life of a reporter. */
export class ReportSigner {
  readonly #cluster: Buffer;
  readonly #reporter: string;
  readonly #incarnation: number;
  #key: ReportKey;
  #sequence = 0;

  /** Throws a RangeError for a name or for keys that no datagram could have. */
  constructor({ cluster, reporter, incarnation, keys }: SignerOptions) {
    if (!REPORTER_NAME.test(reporter)) throw new RangeError(`not a reporter's name: ${reporter}`);
    this.#cluster = clusterId(cluster);
    this.#reporter = reporter;
    this.#incarnation = incarnation;
    this.#key = reportKeys(keys, this.#cluster)[0];
  }

  sign(payload: Uint8Array, sentAtMs: number): Uint8Array {
    this.#sequence += 1;
    const header = Buffer.alloc(NAME_AT + this.#reporter.length);
    header.set(MAGIC);
    header[VERSION_AT] = VERSION;
    header[KEY_ID_AT] = this.#key.id;
    header.set(this.#cluster, CLUSTER_AT);
    writeCount(header, INCARNATION_AT, this.#incarnation);
    writeCount(header, SEQUENCE_AT, this.#sequence);
    writeCount(header, SENT_AT, sentAtMs);
    header.writeUInt16BE(payload.length, PAYLOAD_LENGTH_AT);
    header[NAME_LENGTH_AT] = this.#reporter.length;
    header.write(this.#reporter, NAME_AT, 'latin1');
    const signed = Buffer.concat([header, payload]);
    return Buffer.concat([signed, tagOf(this.#key, signed)]);
  }

  setKeys(keys: readonly Uint8Array[]): void {
    this.#key = reportKeys(keys, this.#cluster)[0];
  }
}

export type OpenedReport =
  | { readonly kind: 'opened'; readonly envelope: Envelope; readonly payload: Uint8Array }
  | { readonly kind: 'refused'; readonly reason: Refusal };

/** Tells whether a datagram was made by somebody who has a key of the cluster's reporters. */
export class ReportOpener {
  readonly #cluster: Buffer;
  #keys: readonly ReportKey[];

  /** One or two keys, which both open. */
  constructor(cluster: string, keys: readonly Uint8Array[]) {
    this.#cluster = clusterId(cluster);
    this.#keys = reportKeys(keys, this.#cluster);
  }

  /** Never throws. */
  open(datagram: Uint8Array): OpenedReport {
    const bytes = asBuffer(datagram);
    const header = readHeader(bytes, this.#cluster);
    if (typeof header === 'string') return refused(header);
    const keys = this.#keys.filter(({ id }) => id === header.keyId);
    if (keys.length === 0) return refused('other_key');
    if (bytes.length === header.signedBytes) return refused('unsigned');
    if (bytes.length !== header.signedBytes + TAG_BYTES) return refused('malformed');
    const signed = bytes.subarray(0, header.signedBytes);
    const tag = bytes.subarray(header.signedBytes);
    if (!keys.some((key) => timingSafeEqual(tagOf(key, signed), tag))) return refused('forged');
    const { reporter, incarnation, sequence, sentAtMs, payloadAt } = header;
    const envelope = { reporter, incarnation, sequence, sentAtMs };
    return { kind: 'opened', envelope, payload: signed.subarray(payloadAt) };
  }

  setKeys(keys: readonly Uint8Array[]): void {
    this.#keys = reportKeys(keys, this.#cluster);
  }
}

interface Header extends Envelope {
  readonly keyId: number;
  readonly payloadAt: number;
  /** Header and payload. */
  readonly signedBytes: number;
}

/** The header, not yet to be believed, or the first thing about it that is wrong. */
function readHeader(datagram: Buffer, cluster: Buffer): Header | Refusal {
  if (datagram.length < NAME_AT) return 'not_a_report';
  if (datagram[0] !== MAGIC[0] || datagram[1] !== MAGIC[1]) return 'not_a_report';
  if (datagram.length > DATAGRAM_BYTES_MAX) return 'too_long';
  if (datagram[VERSION_AT] !== VERSION) return 'version';
  if (cluster.compare(datagram, CLUSTER_AT, INCARNATION_AT) !== 0) return 'other_cluster';
  const incarnation = readCount(datagram, INCARNATION_AT);
  const sequence = readCount(datagram, SEQUENCE_AT);
  const sentAtMs = readCount(datagram, SENT_AT);
  if (incarnation === undefined || sequence === undefined || sentAtMs === undefined) {
    return 'malformed';
  }
  const payloadAt = NAME_AT + (datagram[NAME_LENGTH_AT] ?? 0);
  const signedBytes = payloadAt + datagram.readUInt16BE(PAYLOAD_LENGTH_AT);
  if (sequence === 0 || signedBytes > datagram.length) return 'malformed';
  const reporter = datagram.toString('latin1', NAME_AT, payloadAt);
  if (!REPORTER_NAME.test(reporter)) return 'malformed';
  const keyId = datagram[KEY_ID_AT] ?? 0;
  return { reporter, incarnation, sequence, sentAtMs, keyId, payloadAt, signedBytes };
}

function reportKeys(
  keys: readonly Uint8Array[],
  cluster: Uint8Array,
): readonly [ReportKey, ...ReportKey[]] {
  const derive = (master: MasterKey): ReportKey => {
    return { id: master.id, key: deriveKey(master, cluster, LABEL) };
  };
  const [first, ...others] = masterKeys(keys);
  return [derive(first), ...others.map(derive)];
}

function tagOf({ key }: ReportKey, signed: Uint8Array): Buffer {
  return createHmac('sha256', key).update(signed).digest();
}

function refused(reason: Refusal): OpenedReport {
  return { kind: 'refused', reason };
}
