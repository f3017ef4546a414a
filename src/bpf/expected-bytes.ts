/**
 * Sums and fields for what is expected of frames. Written from the RFCs and never from the C code, since it is
 * what that code is judged by.
 */
import { Reading } from './reading.ts';

export const TCP = 6;
export const UDP = 17;
export const ICMP = 1;
export const ICMP6 = 58;

export function read(frame: Uint8Array): Reading {
  const reading = new Reading();
  reading.read(frame, frame.length);
  return reading;
}

export function sumIpv4(frame: Uint8Array, { l3, isIpv6: isSix }: Reading): void {
  if (isSix) return;
  const end = l3 + ((frame[l3] ?? 0) & 0xf) * 4;
  put(frame, l3 + 10, 0);
  put(frame, l3 + 10, sum(frame.subarray(l3, end)));
}

/** Of a whole segment. */
export function sumTcp(frame: Uint8Array): void {
  const packet = read(frame);
  sumIpv4(frame, packet);
  const { l4, end, source } = packet;
  put(frame, l4 + 16, 0);
  const segment = frame.subarray(l4, end);
  const addresses = frame.subarray(source, source + (packet.isIpv6 ? 32 : 8));
  put(frame, l4 + 16, sum(addresses, be16(TCP), be16(segment.length), segment));
}

export function sumIcmp(frame: Uint8Array, packet: Reading): void {
  const { l4, end, source } = packet;
  put(frame, l4 + 2, 0);
  const message = frame.subarray(l4, end);
  const pseudo = packet.isIpv6
    ? [frame.subarray(source, source + 32), be16(message.length), be16(ICMP6)]
    : [];
  put(frame, l4 + 2, sum(...pseudo, message));
}

export type Change = readonly [from: Uint8Array, to: Uint8Array];

/** HC' = ~(~HC + ~m + m') for every word that changed (RFC 1624, section 3). */
export function adjust(bytes: Uint8Array, at: number, changes: readonly Change[]): void {
  let total = 0xffff - word(bytes, at);
  for (const [from, to] of changes) {
    for (let i = 0; i < from.length; i += 2) total += 0xffff - word(from, i) + word(to, i);
  }
  put(bytes, at, 0xffff - fold(total));
}

/** Of parts of even length but for the last (RFC 1071), as it is written into a header. */
export function sum(...parts: readonly Uint8Array[]): number {
  let total = 0;
  for (const part of parts) for (let i = 0; i < part.length; i += 2) total += word(part, i);
  return 0xffff - fold(total);
}

export function fold(total: number): number {
  let folded = total;
  while (folded > 0xffff) folded = (folded % 0x10000) + Math.floor(folded / 0x10000);
  return folded;
}

export function word(bytes: Uint8Array, at: number): number {
  return ((bytes[at] ?? 0) << 8) | (bytes[at + 1] ?? 0);
}

export function put(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value >> 8;
  bytes[at + 1] = value & 0xff;
}

export function be16(value: number): Uint8Array {
  return Uint8Array.of(value >> 8, value & 0xff);
}

export function concat(...parts: readonly Uint8Array[]): Uint8Array {
  return Uint8Array.from(parts.flatMap((part) => [...part]));
}
