/**
 * Reports signed and opened: HMAC-SHA-256 (RFC 2104), under a key of each reporter that says nothing
 * of any other's: nodes derive it from the cluster's key and from the addresses that a report is about.
 * Must believe nothing of a datagram before its tag has verified; new and old is board.ts's business.
 */
import { createHmac, timingSafeEqual } from 'node:crypto';
import type { Address } from '../model/address.ts';
import { readCount, writeCount } from '../peers/seal-aead.ts';
import {
  CLUSTER_ID_BYTES,
  clusterId,
  deriveSecret,
  masterKeys,
  type MasterKey,
} from '../peers/seal-keys.ts';
import { asBuffer } from '../peers/seal-names.ts';
import { REPORTER_NAME, type Envelope, type Refusal } from './report.ts';
import { addressField, addressFieldOf, PAYLOAD_BYTES_MAX } from './wire.ts';

/** `SR`, where flow sync has `SK`. */
const MAGIC = [0x53, 0x52] as const;
const VERSION = 2;
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

const LABEL = Buffer.from('skein report v2');
/** Derived keys that are kept, each of a reporter that has proved to have it. */
const DERIVED_MAX = 16_384;

/** What one reporter signs with. */
export interface ReporterKey {
  /** Of the cluster's key that it comes from. */
  readonly id: number;
  /** KEY_BYTES. */
  readonly secret: Uint8Array;
}

/**
 * For reports about exactly these addresses, in any order. Throws a RangeError for a `key` that no
 * key file holds, and for addresses that no report has.
 */
export function reporterKey(
  key: Uint8Array,
  cluster: string,
  addresses: readonly Address[],
): ReporterKey {
  const [master] = masterKeys([key]);
  return { id: master.id, secret: derive(master, clusterId(cluster), addressField(addresses)) };
}

export interface SignerOptions {
  readonly cluster: string;
  /** See REPORTER_NAME. */
  readonly reporter: string;
  /** See Envelope. */
  readonly incarnation: number;
  readonly key: ReporterKey;
}

/** Makes the datagrams of one life of a reporter. */
export class ReportSigner {
  readonly #cluster: Buffer;
  readonly #reporter: string;
  readonly #incarnation: number;
  #key: ReporterKey;
  #sequence = 0;

  /** Throws a RangeError for a name that no datagram could have. */
  constructor({ cluster, reporter, incarnation, key }: SignerOptions) {
    if (!REPORTER_NAME.test(reporter)) throw new RangeError(`not a reporter's name: ${reporter}`);
    this.#cluster = clusterId(cluster);
    this.#reporter = reporter;
    this.#incarnation = incarnation;
    this.#key = key;
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
    return Buffer.concat([signed, tagOf(this.#key.secret, signed)]);
  }

  setKey(key: ReporterKey): void {
    this.#key = key;
  }
}

export type OpenedReport =
  | { readonly kind: 'opened'; readonly envelope: Envelope; readonly payload: Uint8Array }
  | { readonly kind: 'refused'; readonly reason: Refusal };

/** A key of the cluster, and those of its reporters that were derived so far, by their addresses. */
interface ReportKey {
  readonly master: MasterKey;
  readonly derived: Map<string, Uint8Array>;
}

/** Tells whether a datagram was made by somebody who has the key for the addresses that it is about. */
export class ReportOpener {
  readonly #cluster: Buffer;
  readonly #keys: readonly ReportKey[];

  /** One or two keys, which both open. */
  constructor(cluster: string, keys: readonly Uint8Array[]) {
    this.#cluster = clusterId(cluster);
    this.#keys = masterKeys(keys).map((master) => ({ master, derived: new Map() }));
  }

  /** Never throws. */
  open(datagram: Uint8Array): OpenedReport {
    const bytes = asBuffer(datagram);
    const header = readHeader(bytes, this.#cluster);
    if (typeof header === 'string') return refused(header);
    const keys = this.#keys.filter(({ master }) => master.id === header.keyId);
    if (keys.length === 0) return refused('other_key');
    if (bytes.length === header.signedBytes) return refused('unsigned');
    if (bytes.length !== header.signedBytes + TAG_BYTES) return refused('malformed');
    const signed = bytes.subarray(0, header.signedBytes);
    const tag = bytes.subarray(header.signedBytes);
    const { reporter, incarnation, sequence, sentAtMs, payloadAt } = header;
    const payload = signed.subarray(payloadAt);
    const addresses = addressFieldOf(payload);
    if (addresses === undefined) return refused('malformed');
    if (!keys.some((key) => this.#verifies(key, addresses, signed, tag))) return refused('forged');
    return { kind: 'opened', envelope: { reporter, incarnation, sequence, sentAtMs }, payload };
  }

  /** Keeps the key only of who has it: whoever makes addresses up must not fill the memory. */
  #verifies(
    { master, derived }: ReportKey,
    addresses: Uint8Array,
    signed: Buffer,
    tag: Buffer,
  ): boolean {
    const name = asBuffer(addresses).toString('latin1');
    const known = derived.get(name);
    const key = known ?? derive(master, this.#cluster, addresses);
    if (!timingSafeEqual(tagOf(key, signed), tag)) return false;
    if (known === undefined && derived.size >= DERIVED_MAX) derived.clear();
    if (known === undefined) derived.set(name, key);
    return true;
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

function derive(master: MasterKey, cluster: Uint8Array, addresses: Uint8Array): Uint8Array {
  return deriveSecret(master, cluster, Buffer.concat([LABEL, addresses]));
}

function tagOf(key: Uint8Array, signed: Uint8Array): Buffer {
  return createHmac('sha256', key).update(signed).digest();
}

function refused(reason: Refusal): OpenedReport {
  return { kind: 'refused', reason };
}
