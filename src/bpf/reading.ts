/**
 * Reads a frame and says what of it is right: lengths, checksums, what is behind tags and extension
 * headers. Written from the RFCs and for millions of frames: it makes no garbage, and knows nothing of the
 * program that it is to judge.
 */

const ETHERNET_BYTES = 14;
const TAG_BYTES = 4;
const TAGS_MAX = 2;
const EXTENSIONS_MAX = 16;
const ETHER_TYPE = { ipv4: 0x0800, ipv6: 0x86dd, vlan: 0x8100, serviceVlan: 0x88a8 };
const HOP_BY_HOP = 0;
const ROUTING = 43;
const FRAGMENT = 44;
const DESTINATION_OPTIONS = 60;
export const TCP = 6;
export const UDP = 17;
const ICMP = 1;
const ICMP6 = 58;

/** `unknown`: not there, not whole, of a protocol without one, or not to be told from one fragment. */
export type Sum = 'right' | 'wrong' | 'none' | 'unknown';

/** What a frame is. One object is read into again and again; fields after `isIp` mean nothing without it. */
export class Reading {
  tagBytes = 0;
  /** An IP header of either family is there as a whole, of the version that the Ethertype says. */
  isIp = false;
  isIpv6 = false;
  l3 = 0;
  /** Where the packet ends by its own header; beyond `bytes` if it is cut short. */
  end = 0;
  /** The IP header contradicts neither itself nor the length of the frame. */
  lengthsAgree = false;
  headerSum: Sum = 'unknown';
  isFragment = false;
  /** Of what is behind all headers that were understood. */
  protocol = 0;
  l4 = 0;
  l4Sum: Sum = 'unknown';
  /** A datagram whose length is that of what carries it, or no datagram. */
  l4LengthAgrees = false;
  /** The transport's header, and a datagram by its own length, end no later than the packet. */
  l4IsWhole = false;
  bytes = 0;
  #frame: Uint8Array = new Uint8Array(0);

  read(frame: Uint8Array, bytes: number, at = -1): void {
    this.#frame = frame;
    this.bytes = bytes;
    this.isIp = false;
    this.lengthsAgree = false;
    this.headerSum = 'unknown';
    this.l4Sum = 'unknown';
    this.l4LengthAgrees = false;
    this.l4IsWhole = false;
    this.isFragment = false;
    if (at < 0) this.#readEthernet();
    else this.#readPacket(at);
  }

  /** Bytes behind the packet: padding. */
  get padding(): number {
    return this.bytes - this.end;
  }

  get source(): number {
    return this.l3 + (this.isIpv6 ? 8 : 12);
  }

  get destination(): number {
    return this.l3 + (this.isIpv6 ? 24 : 16);
  }

  #readEthernet(): void {
    if (this.bytes < ETHERNET_BYTES) return;
    let type = this.#word(12);
    this.tagBytes = 0;
    while (
      (type === ETHER_TYPE.vlan || type === ETHER_TYPE.serviceVlan) &&
      this.tagBytes < TAGS_MAX * TAG_BYTES
    ) {
      this.tagBytes += TAG_BYTES;
      if (this.bytes < ETHERNET_BYTES + this.tagBytes) return;
      type = this.#word(12 + this.tagBytes);
    }
    const l3 = ETHERNET_BYTES + this.tagBytes;
    const version = (this.#frame[l3] ?? 0) >> 4;
    if (type === ETHER_TYPE.ipv4 && version === 4) this.#readIpv4(l3);
    if (type === ETHER_TYPE.ipv6 && version === 6) this.#readIpv6(l3);
  }

  #readPacket(l3: number): void {
    const version = (this.#frame[l3] ?? 0) >> 4;
    if (version === 4) this.#readIpv4(l3);
    if (version === 6) this.#readIpv6(l3);
  }

  #readIpv4(l3: number): void {
    if (l3 + 20 > this.bytes) return;
    this.isIp = true;
    this.isIpv6 = false;
    this.l3 = l3;
    const headerBytes = ((this.#frame[l3] ?? 0) & 0xf) * 4;
    const total = this.#word(l3 + 2);
    this.end = l3 + total;
    if (headerBytes < 20 || total < headerBytes || this.end > this.bytes) return;
    this.lengthsAgree = true;
    this.headerSum = fold(sum(this.#frame, l3, l3 + headerBytes)) === 0xffff ? 'right' : 'wrong';
    this.isFragment = (this.#word(l3 + 6) & 0x3fff) !== 0;
    this.protocol = this.#frame[l3 + 9] ?? 0;
    this.l4 = l3 + headerBytes;
    if (!this.isFragment) this.#readL4(sum(this.#frame, l3 + 12, l3 + 20));
  }

  #readIpv6(l3: number): void {
    if (l3 + 40 > this.bytes) return;
    this.isIp = true;
    this.isIpv6 = true;
    this.l3 = l3;
    this.end = l3 + 40 + this.#word(l3 + 4);
    if (this.end > this.bytes) return;
    this.lengthsAgree = true;
    this.headerSum = 'right';
    this.protocol = this.#frame[l3 + 6] ?? 0;
    this.l4 = l3 + 40;
    for (let i = 0; i < EXTENSIONS_MAX && isExtension(this.protocol); i += 1) {
      if (this.l4 + 8 > this.end) return;
      const routed = this.protocol === ROUTING && (this.#frame[this.l4 + 3] ?? 0) > 0;
      const isFragment = this.protocol === FRAGMENT;
      if (isFragment && (this.#word(this.l4 + 2) & 0xfff9) !== 0) this.isFragment = true;
      const units = isFragment ? 0 : (this.#frame[this.l4 + 1] ?? 0);
      this.protocol = this.#frame[this.l4] ?? 0;
      this.l4 += 8 + units * 8;
      // The sum is over a destination that is not in the header yet, or over other fragments as well.
      if (routed || this.isFragment) return;
    }
    if (!isExtension(this.protocol)) this.#readL4(sum(this.#frame, l3 + 8, l3 + 40));
  }

  /** `addresses`: the sum of both. */
  #readL4(addresses: number): void {
    const bytes = this.end - this.l4;
    switch (this.protocol) {
      case TCP:
        this.l4LengthAgrees = true;
        this.l4IsWhole = bytes >= 20 && this.#tcpHeaderBytes() <= bytes;
        if (bytes >= 20) this.#compare(addresses + TCP + bytes, this.end);
        return;
      case UDP: {
        const length = bytes >= 8 ? this.#word(this.l4 + 4) : 0;
        this.l4LengthAgrees = length === bytes;
        if (length < 8 || length > bytes) return;
        this.l4IsWhole = true;
        if (this.#word(this.l4 + 6) === 0) this.l4Sum = 'none';
        else this.#compare(addresses + UDP + length, this.l4 + length);
        return;
      }
      case ICMP:
        this.l4LengthAgrees = true;
        this.l4IsWhole = bytes >= 8;
        if (!this.isIpv6 && bytes >= 8) this.#compare(0, this.end);
        return;
      case ICMP6:
        this.l4LengthAgrees = true;
        this.l4IsWhole = bytes >= 8;
        if (this.isIpv6 && bytes >= 8) this.#compare(addresses + ICMP6 + bytes, this.end);
        return;
      default:
        this.l4IsWhole = true;
    }
  }

  #tcpHeaderBytes(): number {
    return ((this.#frame[this.l4 + 12] ?? 0) >> 4) * 4;
  }

  #compare(pseudo: number, end: number): void {
    const right = fold(pseudo + sum(this.#frame, this.l4, end)) === 0xffff;
    this.l4Sum = right ? 'right' : 'wrong';
  }

  #word(at: number): number {
    return ((this.#frame[at] ?? 0) << 8) | (this.#frame[at + 1] ?? 0);
  }
}

function isExtension(protocol: number): boolean {
  return (
    protocol === HOP_BY_HOP ||
    protocol === ROUTING ||
    protocol === FRAGMENT ||
    protocol === DESTINATION_OPTIONS
  );
}

/** Of 16-bit words, not folded; an odd byte at the end counts as the upper half of a word. */
function sum(frame: Uint8Array, from: number, to: number): number {
  let total = 0;
  let at = from;
  for (; at + 1 < to; at += 2) total += ((frame[at] ?? 0) << 8) | (frame[at + 1] ?? 0);
  return at < to ? total + ((frame[at] ?? 0) << 8) : total;
}

function fold(total: number): number {
  let folded = total;
  while (folded > 0xffff) folded = (folded & 0xffff) + Math.floor(folded / 0x10000);
  return folded;
}

/** Writes the sums that `reading` found wrong anew, so that they are right. */
export function mend(frame: Uint8Array, reading: Reading): void {
  if (!reading.isIp || !reading.lengthsAgree) return;
  if (!reading.isIpv6 && reading.headerSum === 'wrong') {
    put(frame, reading.l3 + 10, sum(frame, reading.l3, reading.l4));
  }
  if (reading.l4Sum !== 'wrong') return;
  const at = reading.l4 + (reading.protocol === TCP ? 16 : reading.protocol === UDP ? 6 : 2);
  const pseudo = pseudoSum(frame, reading);
  const length = reading.protocol === UDP ? word(frame, reading.l4 + 4) : reading.end - reading.l4;
  put(frame, at, pseudo + sum(frame, reading.l4, reading.l4 + length));
  if (reading.protocol === UDP && word(frame, at) === 0) frame.fill(0xff, at, at + 2);
}

function pseudoSum(frame: Uint8Array, { protocol, isIpv6, source, l4, end }: Reading): number {
  if (protocol === ICMP) return 0;
  const length = protocol === UDP ? word(frame, l4 + 4) : end - l4;
  return sum(frame, source, source + (isIpv6 ? 32 : 8)) + protocol + length;
}

function word(frame: Uint8Array, at: number): number {
  return ((frame[at] ?? 0) << 8) | (frame[at + 1] ?? 0);
}

/** `total` counts what is in the field now. */
function put(frame: Uint8Array, at: number, total: number): void {
  const check = 0xffff - fold(fold(total) + (0xffff - word(frame, at)));
  frame[at] = check >> 8;
  frame[at + 1] = check & 0xff;
}
