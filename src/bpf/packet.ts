/**
 * Frames for the tests: builders and a decoder of Ethernet, IPv4, IPv6, TCP, UDP, ICMP and ICMPv6.
 * Written from the RFCs and never from the C code, since it is what that code is judged by.
 */

/** What every builder takes; the family follows from the addresses, which are plain text. */
export interface IpFields {
  readonly source: string;
  readonly destination: string;
  readonly dmac?: string;
  readonly smac?: string;
  /** Hop limit in IPv6. Default 64. */
  readonly ttl?: number;
  /** IPv4 only. */
  readonly dontFragment?: boolean;
  /** IPv4 options, a multiple of four bytes (RFC 791, section 3.1). */
  readonly options?: Uint8Array;
  /** Offset in units of 8 bytes. In IPv6 it makes a fragment header (RFC 8200, section 4.5). */
  readonly fragment?: { readonly offset: number; readonly more: boolean };
  /** IPv6 extension headers by protocol number, in order, or as bytes: see `extensions`. */
  readonly extensions?: readonly (number | Extension)[];
}

/** An IPv6 extension header; its first byte, the protocol of what comes next, is filled in. */
export interface Extension {
  readonly protocol: number;
  readonly bytes: Uint8Array;
}

interface Ports extends IpFields {
  readonly sport: number;
  readonly dport: number;
  readonly payload?: Uint8Array;
}

export interface TcpFields extends Ports {
  /** Letters of FIN, SYN, RST, PSH and ACK, such as `SA`. */
  readonly flags: string;
  readonly sequence?: number;
  /** A multiple of four bytes, up to 40. */
  readonly tcpOptions?: Uint8Array;
}

export interface UdpFields extends Ports {
  /** False: sent without one, as IPv4 allows (RFC 768). */
  readonly checksum?: boolean;
}

export interface IcmpFields extends IpFields {
  readonly type: number;
  readonly code?: number;
  /** The second word of the header: identifier and sequence number of an echo. */
  readonly rest?: number;
  readonly payload?: Uint8Array;
}

/** A frame taken apart. `wrongChecksums` names each checksum that does not hold. */
export interface Packet {
  readonly dmac: string;
  readonly smac: string;
  readonly source: string;
  readonly destination: string;
  readonly ttl: number;
  readonly protocol: number;
  /** 0 where the protocol has no ports. */
  readonly sport: number;
  readonly dport: number;
  readonly wrongChecksums: readonly string[];
}

export const PROTOCOL = { icmp: 1, tcp: 6, udp: 17, fragment: 44, gre: 47, icmp6: 58, sctp: 132 };
export const ECHO = {
  ipv4: { protocol: PROTOCOL.icmp, request: 8, reply: 0 },
  ipv6: { protocol: PROTOCOL.icmp6, request: 128, reply: 129 },
};

export const CLIENT_MAC = '02:00:00:00:00:c1';
export const NODE_MAC = '02:00:00:00:00:01';

const ETHER_TYPE = { ipv4: 0x0800, ipv6: 0x86dd, vlan: 0x8100 };
export const ETHERNET_BYTES = 14;
const IPV4_BYTES = 20;
const IPV6_BYTES = 40;
const ROUTING = 43;
/** Hop-by-hop options, routing header, destination options. */
const EXTENSIONS = [0, ROUTING, 60];
const TCP_FLAGS = 'FSRPA';

export function isIpv6(address: string): boolean {
  return address.includes(':');
}

export function tcp(fields: TcpFields): Uint8Array {
  const { sport, dport, flags, sequence = 1000, payload = new Uint8Array(0) } = fields;
  const { tcpOptions = new Uint8Array(0) } = fields;
  const headerBytes = 20 + tcpOptions.length;
  const segment = new Uint8Array(headerBytes + payload.length);
  const view = new DataView(segment.buffer);
  view.setUint16(0, sport);
  view.setUint16(2, dport);
  view.setUint32(4, sequence);
  view.setUint32(8, flags.includes('A') ? 7000 : 0);
  view.setUint8(12, (headerBytes / 4) << 4);
  view.setUint8(13, flagBits(flags));
  view.setUint16(14, 0xfaf0);
  segment.set(tcpOptions, 20);
  segment.set(payload, headerBytes);
  view.setUint16(16, transportChecksum(fields, PROTOCOL.tcp, segment));
  return ip(fields, PROTOCOL.tcp, segment);
}

export function udp(fields: UdpFields): Uint8Array {
  const { sport, dport, checksum: wanted = true, payload = new Uint8Array(0) } = fields;
  const datagram = new Uint8Array(8 + payload.length);
  const view = new DataView(datagram.buffer);
  view.setUint16(0, sport);
  view.setUint16(2, dport);
  view.setUint16(4, datagram.length);
  datagram.set(payload, 8);
  // A checksum that comes out as 0 is sent as all ones, since 0 says that there is none.
  const sum = transportChecksum(fields, PROTOCOL.udp, datagram) || 0xffff;
  view.setUint16(6, wanted ? sum : 0);
  return ip(fields, PROTOCOL.udp, datagram);
}

/** ICMP between IPv4 addresses, ICMPv6 between IPv6 ones. */
export function icmp(fields: IcmpFields): Uint8Array {
  const { type, code = 0, rest = 0x12340001, payload = new Uint8Array(0) } = fields;
  const message = new Uint8Array(8 + payload.length);
  const view = new DataView(message.buffer);
  view.setUint8(0, type);
  view.setUint8(1, code);
  view.setUint32(4, rest);
  message.set(payload, 8);
  if (isIpv6(fields.source)) {
    view.setUint16(2, transportChecksum(fields, PROTOCOL.icmp6, message));
    return ip(fields, PROTOCOL.icmp6, message);
  }
  view.setUint16(2, checksum(message));
  return ip(fields, PROTOCOL.icmp, message);
}

/** Any payload in an IP packet in an Ethernet frame. */
export function ip(fields: IpFields, protocol: number, payload: Uint8Array): Uint8Array {
  return isIpv6(fields.source) ? ipv6(fields, protocol, payload) : ipv4(fields, protocol, payload);
}

function ipv4(fields: IpFields, protocol: number, payload: Uint8Array): Uint8Array {
  const { options = new Uint8Array(0), fragment = { offset: 0, more: false } } = fields;
  const { dontFragment = false } = fields;
  const header = new Uint8Array(IPV4_BYTES + options.length);
  const view = new DataView(header.buffer);
  view.setUint8(0, (4 << 4) | (header.length / 4));
  view.setUint16(2, header.length + payload.length);
  view.setUint16(4, 0xbeef);
  view.setUint16(6, (dontFragment ? 0x4000 : 0) | (fragment.more ? 0x2000 : 0) | fragment.offset);
  view.setUint8(8, fields.ttl ?? 64);
  view.setUint8(9, protocol);
  header.set(addressBytes(fields.source), 12);
  header.set(addressBytes(fields.destination), 16);
  header.set(options, IPV4_BYTES);
  view.setUint16(10, checksum(header));
  return ethernet(fields, ETHER_TYPE.ipv4, header, payload);
}

function ipv6(fields: IpFields, protocol: number, payload: Uint8Array): Uint8Array {
  const between = extensionHeaders(fields, protocol);
  const header = new Uint8Array(IPV6_BYTES);
  const view = new DataView(header.buffer);
  view.setUint32(0, 0x60012345);
  view.setUint16(4, between.bytes.length + payload.length);
  view.setUint8(6, between.protocol);
  view.setUint8(7, fields.ttl ?? 64);
  header.set(addressBytes(fields.source), 8);
  header.set(addressBytes(fields.destination), 24);
  return ethernet(fields, ETHER_TYPE.ipv6, header, between.bytes, payload);
}

/** What stands between the IPv6 header and its payload; `protocol` is that of its start. */
function extensionHeaders({ fragment, extensions = [] }: IpFields, next: number): Extension {
  const chain = extensions.map((each) => (typeof each === 'number' ? padded(each) : each));
  if (fragment !== undefined) {
    const offset = (fragment.offset << 3) | (fragment.more ? 1 : 0);
    const bytes = Uint8Array.of(0, 0, offset >> 8, offset & 0xff, 0, 0, 0xbe, 0xef);
    chain.push({ protocol: PROTOCOL.fragment, bytes });
  }
  return chain.reduceRight<Extension>(
    (after, { protocol, bytes }) => {
      return { protocol, bytes: concat(patched(bytes, 0, after.protocol), after.bytes) };
    },
    { protocol: next, bytes: new Uint8Array(0) },
  );
}

/** 8 bytes whose rest is one PadN option (RFC 8200, section 4.2); as a route, one at its end. */
function padded(protocol: number): Extension {
  return { protocol, bytes: Uint8Array.of(0, 0, 1, protocol === ROUTING ? 0 : 4, 0, 0, 0, 0) };
}

export function ethernet(
  { dmac = NODE_MAC, smac = CLIENT_MAC }: { readonly dmac?: string; readonly smac?: string },
  etherType: number,
  ...parts: readonly Uint8Array[]
): Uint8Array {
  const type = Uint8Array.of(etherType >> 8, etherType & 0xff);
  return concat(macBytes(dmac), macBytes(smac), type, ...parts);
}

/** A copy for another receiver and from another sender, the rest as it was. */
export function readdressed(
  frame: Uint8Array,
  { dmac, smac }: { readonly dmac: string; readonly smac: string },
): Uint8Array {
  return concat(macBytes(dmac), macBytes(smac), frame.subarray(12));
}

/** A copy with VLAN tags, outermost first: the whole TCI, or with the Ethertype before it. */
export function tagged(frame: Uint8Array, ...tags: readonly number[]): Uint8Array {
  const bytes = tags.flatMap((tag) => {
    const [type, tci] = tag > 0xffff ? [tag >>> 16, tag & 0xffff] : [ETHER_TYPE.vlan, tag];
    return [type >> 8, type & 0xff, tci >> 8, tci & 0xff];
  });
  return concat(frame.subarray(0, 12), Uint8Array.from(bytes), frame.subarray(12));
}

/** A copy with `bytes` written at `offset`; no checksum is made anew. */
export function patched(frame: Uint8Array, offset: number, ...bytes: number[]): Uint8Array {
  const copy = frame.slice();
  copy.set(bytes, offset);
  return copy;
}

/** Takes a frame of TCP, UDP or an ICMP apart; a fragment's header ends the walk. */
export function decode(frame: Uint8Array): Packet {
  const view = new DataView(frame.buffer, frame.byteOffset, frame.length);
  const etherType = view.getUint16(12);
  if (etherType !== ETHER_TYPE.ipv4 && etherType !== ETHER_TYPE.ipv6) {
    throw new TypeError(`not an IP frame: Ethertype 0x${etherType.toString(16)}`);
  }
  const v6 = etherType === ETHER_TYPE.ipv6;
  const headerBytes = v6 ? IPV6_BYTES : (view.getUint8(ETHERNET_BYTES) & 0xf) * 4;
  const header = frame.subarray(ETHERNET_BYTES, ETHERNET_BYTES + headerBytes);
  const length = v6 ? view.getUint16(18) : view.getUint16(16) - headerBytes;
  const end = ETHERNET_BYTES + headerBytes + length;
  let start = ETHERNET_BYTES + headerBytes;
  let protocol = view.getUint8(ETHERNET_BYTES + (v6 ? 6 : 9));
  while (v6 && EXTENSIONS.includes(protocol)) {
    protocol = view.getUint8(start);
    start += 8 + view.getUint8(start + 1) * 8;
  }
  const payload = frame.subarray(start, end);
  const addresses = {
    source: addressText(v6 ? header.subarray(8, 24) : header.subarray(12, 16)),
    destination: addressText(v6 ? header.subarray(24, 40) : header.subarray(16, 20)),
  };
  const hasPorts = protocol === PROTOCOL.tcp || protocol === PROTOCOL.udp;
  const headerWrong = !v6 && checksum(header) !== 0;
  return {
    dmac: macText(frame.subarray(0, 6)),
    smac: macText(frame.subarray(6, 12)),
    ...addresses,
    ttl: view.getUint8(ETHERNET_BYTES + (v6 ? 7 : 8)),
    protocol,
    sport: hasPorts ? view.getUint16(start) : 0,
    dport: hasPorts ? view.getUint16(start + 2) : 0,
    wrongChecksums: [
      ...(headerWrong ? ['ipv4'] : []),
      ...wrongTransport(addresses, protocol, payload),
    ],
  };
}

function wrongTransport(between: IpFields, protocol: number, payload: Uint8Array): string[] {
  switch (protocol) {
    case PROTOCOL.icmp:
      return checksum(payload) === 0 ? [] : ['icmp'];
    case PROTOCOL.icmp6:
      return transportChecksum(between, protocol, payload) === 0 ? [] : ['icmp6'];
    case PROTOCOL.tcp:
      return transportChecksum(between, protocol, payload) === 0 ? [] : ['tcp'];
    case PROTOCOL.udp: {
      const none = payload[6] === 0 && payload[7] === 0;
      return none || transportChecksum(between, protocol, payload) === 0 ? [] : ['udp'];
    }
    default:
      return [];
  }
}

/** The Internet checksum (RFC 1071); over data with its own checksum in place it is 0. */
export function checksum(bytes: Uint8Array): number {
  let sum = 0;
  for (let i = 0; i < bytes.length; i += 2) {
    sum += ((bytes[i] ?? 0) << 8) | (bytes[i + 1] ?? 0);
  }
  while (sum > 0xffff) sum = (sum & 0xffff) + Math.floor(sum / 0x10000);
  return 0xffff - sum;
}

/** With the pseudo header of RFC 9293, section 3.1, or of RFC 8200, section 8.1. */
function transportChecksum(between: IpFields, protocol: number, payload: Uint8Array): number {
  const length = Uint8Array.of(0, 0, payload.length >> 8, payload.length & 0xff);
  return checksum(
    concat(
      addressBytes(between.source),
      addressBytes(between.destination),
      length,
      Uint8Array.of(0, 0, 0, protocol),
      payload,
    ),
  );
}

function flagBits(letters: string): number {
  let bits = 0;
  for (const letter of letters) {
    const index = TCP_FLAGS.indexOf(letter);
    if (index < 0) throw new TypeError(`no TCP flag ${letter}`);
    bits |= 1 << index;
  }
  return bits;
}

/** 4 or 16 bytes. */
export function addressBytes(text: string): Uint8Array {
  if (!isIpv6(text)) return Uint8Array.from(text.split('.'), Number);
  const [head = '', tail] = text.split('::');
  const before = head === '' ? [] : head.split(':');
  const after = tail === undefined || tail === '' ? [] : tail.split(':');
  const zeroes = new Array<string>(8 - before.length - after.length).fill('0');
  const groups = [...before, ...zeroes, ...after].map((group) => Number.parseInt(group, 16));
  return Uint8Array.from(groups.flatMap((group) => [group >> 8, group & 0xff]));
}

/** The longest run of zero groups is shortened (RFC 5952, section 4.2). */
function addressText(bytes: Uint8Array): string {
  if (bytes.length === 4) return bytes.join('.');
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const groups = Array.from({ length: 8 }, (_, i) => view.getUint16(i * 2).toString(16));
  const runs = groups.join(':').match(/\b0(:0)+\b/g) ?? [];
  const longest = runs.reduce((best, run) => (run.length > best.length ? run : best), '');
  if (longest === '') return groups.join(':');
  const shortened = `:${groups.join(':')}:`.replace(`:${longest}:`, '::');
  return shortened.replace(/^:(?!:)/, '').replace(/(?<!:):$/, '');
}

export function macText(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join(':');
}

function macBytes(text: string): Uint8Array {
  return Uint8Array.from(text.split(':'), (part) => Number.parseInt(part, 16));
}

function concat(...parts: readonly Uint8Array[]): Uint8Array {
  return Uint8Array.from(parts.flatMap((part) => [...part]));
}
