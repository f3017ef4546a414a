/**
 * The only door to @msgpack/msgpack: arrays of plain values to bytes, and bytes that were looked over
 * back. That library is plain JavaScript: no native addon and no code made from data.
 */
import { decode, encode } from '@msgpack/msgpack';
import { isPlainMsgpack } from './wire-scan.ts';

/** What a payload is made of. */
export type Plain = number | bigint | string | boolean | null | Uint8Array | readonly Plain[];

export function pack(fields: readonly Plain[]): Uint8Array {
  return encode(fields, { useBigInt64: true });
}

/** A whole number beyond 32 bits in its 64-bit form. */
export function integer(value: number): number | bigint {
  return value > 0xffff_ffff ? BigInt(value) : value;
}

/** The array that the bytes are; undefined when they are anything else. Binary is views, not copies. */
export function unpack(bytes: Uint8Array): readonly unknown[] | undefined {
  if (!isPlainMsgpack(bytes)) return undefined;
  try {
    const value: unknown = decode(bytes);
    return Array.isArray(value) ? value : undefined;
  } catch {
    return undefined;
  }
}
