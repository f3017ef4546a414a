/**
 * The cleartext header of a datagram. It is believed only once the tag over it has verified; until
 * then it says which key to try. Layout and what each field prevents: PROTOCOL.md.
 */
import { NODE_NAME_BYTES_MAX, type RejectReason } from './message.ts';
import { readCount, TAG_BYTES, writeCount } from './seal-aead.ts';
import { CLUSTER_ID_BYTES } from './seal-keys.ts';

/** `SK` */
export const MAGIC = [0x53, 0x4b] as const;
/** Of the header and the seal; what is inside may grow without it. */
export const PROTOCOL_VERSION = 1;

/** What a sender may make a datagram, unless its network takes longer ones. */
export const DATAGRAM_BYTES_MAX = 1_400;
/** What a receiver looks at: a jumbo frame. */
export const DATAGRAM_BYTES_ACCEPTED = 9_000;

const VERSION_AT = 2;
const KEY_ID_AT = 3;
const CLUSTER_AT = 4;
const INCARNATION_AT = CLUSTER_AT + CLUSTER_ID_BYTES;
const SEQUENCE_AT = INCARNATION_AT + 8;
const NAME_LENGTH_AT = SEQUENCE_AT + 8;
const NAME_AT = NAME_LENGTH_AT + 1;

export interface Header {
  readonly keyId: number;
  readonly incarnation: number;
  readonly sequence: number;
  /** The name's bytes as latin1: a key for maps, whatever the bytes are. */
  readonly name: string;
  /** Where the ciphertext begins. */
  readonly length: number;
}

export function isMagic(bytes: Uint8Array): boolean {
  return bytes[0] === MAGIC[0] && bytes[1] === MAGIC[1];
}

export function headerLength(nameBytes: number): number {
  return NAME_AT + nameBytes;
}

/** A header whose sequence is still to be written. */
export function newHeader(cluster: Uint8Array, name: Uint8Array, incarnation: number): Buffer {
  const header = Buffer.alloc(headerLength(name.length));
  header.set(MAGIC);
  header[VERSION_AT] = PROTOCOL_VERSION;
  header.set(cluster, CLUSTER_AT);
  writeCount(header, INCARNATION_AT, incarnation);
  header[NAME_LENGTH_AT] = name.length;
  header.set(name, NAME_AT);
  return header;
}

export function stampHeader(header: Buffer, keyId: number, sequence: number): void {
  header[KEY_ID_AT] = keyId;
  writeCount(header, SEQUENCE_AT, sequence);
}

/** The header, or the first thing about it that is wrong. */
export function readHeader(datagram: Buffer, cluster: Buffer): Header | RejectReason {
  if (datagram.length < NAME_AT + 1 + TAG_BYTES) return 'too_short';
  if (datagram.length > DATAGRAM_BYTES_ACCEPTED) return 'too_long';
  if (!isMagic(datagram)) return 'not_skein';
  if (datagram[VERSION_AT] !== PROTOCOL_VERSION) return 'version';
  if (cluster.compare(datagram, CLUSTER_AT, INCARNATION_AT) !== 0) return 'other_cluster';
  const nameBytes = datagram[NAME_LENGTH_AT] ?? 0;
  const length = headerLength(nameBytes);
  const incarnation = readCount(datagram, INCARNATION_AT);
  const sequence = readCount(datagram, SEQUENCE_AT);
  if (nameBytes === 0 || nameBytes > NODE_NAME_BYTES_MAX) return 'malformed';
  if (incarnation === undefined || sequence === undefined || sequence === 0) return 'malformed';
  if (datagram.length < length + TAG_BYTES) return 'too_short';
  const name = datagram.toString('latin1', NAME_AT, length);
  return { keyId: datagram[KEY_ID_AT] ?? 0, incarnation, sequence, name, length };
}
