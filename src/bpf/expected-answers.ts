/** What a node itself says to clients, and what it makes of their SYNs, byte for byte: see expected.ts. */
import {
  be16,
  concat,
  ICMP,
  ICMP6,
  put,
  read,
  sumIcmp,
  sumIpv4,
  sumTcp,
  word,
} from './expected-bytes.ts';
import { addressBytes } from './packet.ts';

/** The answer to an echo request: RFC 792, RFC 4443 section 4.2. */
export function echoed(frame: Uint8Array): Uint8Array {
  const answer = frame.slice();
  answer.set(frame.subarray(6, 12), 0);
  answer.set(frame.subarray(0, 6), 6);
  const packet = read(answer);
  const width = packet.isIpv6 ? 16 : 4;
  const [from, to] = [packet.source, packet.destination];
  answer.set(frame.subarray(from, from + width), to);
  answer.set(frame.subarray(to, to + width), from);
  answer[packet.l3 + (packet.isIpv6 ? 7 : 8)] = 64;
  answer[packet.l4] = packet.isIpv6 ? 129 : 0;
  sumIpv4(answer, packet);
  sumIcmp(answer, packet);
  return answer;
}

/**
 * What the sender of a packet that does not fit is told: RFC 792 and RFC 1191, RFC 4443 section 3.2. It
 * comes from where the packet went, the VIP, unless `from` says otherwise, and quotes no more than a router does (RFC 1812, section 4.3.2.3; RFC 4443, 2.4 (c)).
 */
export function tooBigAnswer(frame: Uint8Array, mtu: number, from?: string): Uint8Array {
  const { l3, end, isIpv6: isSix } = read(frame);
  const room = isSix ? 1280 - 48 : 576 - 28;
  // Whole words of 32 bits.
  const quote = frame.subarray(l3, l3 + (Math.min(end - l3, room) & ~3));
  const type = isSix ? Uint8Array.of(2, 0, 0, 0) : Uint8Array.of(3, 4, 0, 0);
  const message = concat(type, be16(0), be16(mtu), quote);
  const width = isSix ? 16 : 4;
  const source = l3 + (isSix ? 8 : 12);
  const ends = [
    from === undefined ? frame.subarray(source + width, source + 2 * width) : addressBytes(from),
    frame.subarray(source, source + width),
  ];
  const header = isSix
    ? concat(Uint8Array.of(0x60, 0, 0, 0), be16(message.length), Uint8Array.of(ICMP6, 64), ...ends)
    : concat(
        Uint8Array.of(0x45, 0xc0),
        be16(20 + message.length),
        Uint8Array.of(0, 0, 0x40, 0, 64, ICMP, 0, 0),
        ...ends,
      );
  const macs = [frame.subarray(6, 12), frame.subarray(0, 6), frame.subarray(12, l3)];
  const answer = concat(...macs, header, message);
  const packet = read(answer);
  sumIpv4(answer, packet);
  sumIcmp(answer, packet);
  return answer;
}

/** What a host is taken for that names none: RFC 9293, section 3.7.1. */
const MSS_DEFAULT = { ipv4: 536, ipv6: 1220 };
const MSS_OPTION = 2;
const MSS_OPTION_BYTES = 4;

/** A SYN that names no larger segment than `mss`; the option is put first where there is none. */
export function clamped(frame: Uint8Array, mss: number): Uint8Array {
  const { l4, isIpv6: isSix, l3 } = read(frame);
  const options = frame.subarray(l4 + 20, l4 + ((frame[l4 + 12] ?? 0) >> 4) * 4);
  const at = mssAt(options);
  if (at !== undefined) {
    const copy = frame.slice();
    put(copy, l4 + 20 + at, Math.min(mss, word(copy, l4 + 20 + at)));
    sumTcp(copy);
    return copy;
  }
  if (options.length + MSS_OPTION_BYTES > 40) return frame;
  const value = Math.min(mss, isSix ? MSS_DEFAULT.ipv6 : MSS_DEFAULT.ipv4);
  const option = concat(Uint8Array.of(MSS_OPTION, MSS_OPTION_BYTES), be16(value));
  const copy = concat(frame.subarray(0, l4 + 20), option, frame.subarray(l4 + 20));
  copy[l4 + 12] = (copy[l4 + 12] ?? 0) + 0x10;
  const length = l3 + (isSix ? 4 : 2);
  put(copy, length, word(copy, length) + MSS_OPTION_BYTES);
  sumTcp(copy);
  return copy;
}

/** Where the value of the option is. */
function mssAt(options: Uint8Array): number | undefined {
  for (let at = 0; at < options.length && options[at] !== 0;) {
    if (options[at] === MSS_OPTION) return at + 2;
    at += options[at] === 1 ? 1 : (options[at + 1] ?? 0);
  }
  return undefined;
}
