/** What a decoded field may be: checks over unknown values, and the limits of the protocol. */
import { NODE_NAME_BYTES_MAX } from './message.ts';

/** Texts in a hello: versions, digests, endpoints; printable ASCII. */
export const TEXT_BYTES_MAX = 128;
/** Entries of `Hello.heard`: a cluster has at most 64 nodes. */
export const HEARD_MAX = 64;
/** Ranges of sequences in a nack or a resend. */
export const RANGES_MAX = 256;
export const RESEND_DATAGRAMS_MAX = 64;
/** An ICMPv6 error is as long as fits 1,280 bytes (RFC 4443, section 2.4). */
export const ICMP_PACKET_BYTES_MAX = 1_280;

export type Fields = readonly unknown[];

/** An array with at least `length` elements: a later version may have appended some. */
export function hasFields(value: unknown, length: number): value is Fields {
  return Array.isArray(value) && value.length >= length;
}

export function isList(value: unknown, lengthMax: number): value is Fields {
  return Array.isArray(value) && value.length <= lengthMax;
}

export function isListOf<Item>(
  value: unknown,
  lengthMax: number,
  isItem: (item: unknown) => item is Item,
): value is readonly Item[] {
  return isList(value, lengthMax) && value.every(isItem);
}

/** A whole number from 0, or from `least`, that JavaScript holds exactly. */
export function isCount(value: unknown, least = 0): value is number {
  return Number.isSafeInteger(value) && (value as number) >= least;
}

const PRINTABLE_ASCII = /^[ -~]*$/;

/** What is shown to people, so it has nothing in it that a terminal would obey. */
export function isText(value: unknown): value is string {
  return typeof value === 'string' && value.length <= TEXT_BYTES_MAX && PRINTABLE_ASCII.test(value);
}

/** The library makes something of bytes that are no UTF-8; that is no name. */
export function isNodeName(value: unknown): value is string {
  if (typeof value !== 'string' || value === '' || !value.isWellFormed()) return false;
  return Buffer.byteLength(value) <= NODE_NAME_BYTES_MAX;
}

export function isBytes(value: unknown, lengthMax: number): value is Uint8Array {
  return value instanceof Uint8Array && value.length <= lengthMax;
}
