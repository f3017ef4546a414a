/**
 * What each way of forwarding makes of a frame, byte for byte. Written from the RFCs and the contracts in
 * README.md and never from the C code, with sums of its own, since it is what that code is judged by.
 */
import {
  adjust,
  be16,
  concat,
  ICMP,
  ICMP6,
  put,
  read,
  sum,
  sumIcmp,
  sumIpv4,
  TCP,
  UDP,
  word,
  type Change,
} from './expected-bytes.ts';
import type { Reading } from './reading.ts';
import { addressBytes, isIpv6, readdressed, tagged } from './packet.ts';

/** How packets reach a backend, and where it is on the wire. */
export interface Way {
  readonly mode: 'l2dsr' | 'ipip' | 'gre' | 'gue' | 'fou' | 'dscp' | 'nat' | 'full_nat';
  /** The backend's own address, and the node's of the same family. */
  readonly backend: string;
  readonly node: string;
  readonly dmac: string;
  readonly smac: string;
  /** Of dscp. */
  readonly dscp: number;
  /** Of nat and full_nat: the backend's own port. */
  readonly port: number;
  /** Of the frames to it; undefined: none. */
  readonly vlan?: number | undefined;
}

/** The flow that a packet belongs to, from the client's side; of an ICMP error, the one it quotes. */
export interface FlowTuple {
  readonly source: string;
  readonly destination: string;
  readonly sport: number;
  readonly dport: number;
  readonly protocol: number;
}

const ETHERNET_BYTES = 14;
const GRE = 47;
const GUE_PORT = 6080;
const FOU_PORT = 5555;
const OUTER_TTL = 64;
const ETHER_TYPE = { ipv4: 0x0800, ipv6: 0x86dd };
const IN_IP = { ipv4: 4, ipv6: 41 };
const MASK = (1n << 64n) - 1n;

const WIRE_BYTES = 1500;
const SHIM_BYTES = { l2dsr: 0, ipip: 0, gre: 4, gue: 12, fou: 8, dscp: 0, nat: 0, full_nat: 0 };
/** RFC 8200, section 5. */
const IPV6_BYTES_MIN = 1280;

/** Longest packet that fits the way; as IPv6 is told, no less than every link must take. */
export function mtuOf({ mode, backend }: Way, toldToIpv6: boolean): number {
  const isTunnel = ['ipip', 'gre', 'gue', 'fou'].includes(mode);
  const outer = isTunnel ? (isIpv6(backend) ? 40 : 20) : 0;
  const fits = WIRE_BYTES - outer - SHIM_BYTES[mode];
  return toldToIpv6 ? Math.max(fits, IPV6_BYTES_MIN) : fits;
}

/** `natPort`: of full_nat, the port of this node that stands for the client's. */
export function forwarded(frame: Uint8Array, way: Way, flow: FlowTuple, natPort = 0): Uint8Array {
  const sent = untaggedForwarded(frame, way, flow, natPort);
  return way.vlan === undefined ? sent : tagged(sent, way.vlan);
}

function untaggedForwarded(
  frame: Uint8Array,
  way: Way,
  flow: FlowTuple,
  natPort: number,
): Uint8Array {
  const sent = readdressed(frame, way);
  switch (way.mode) {
    case 'l2dsr':
      return sent;
    case 'ipip':
    case 'gre':
    case 'gue':
    case 'fou':
      return encapsulated(sent, way, way.mode, flow);
    case 'dscp':
      return rewritten(marked(sent, way.dscp), { destination: way.backend });
    case 'nat':
      return translated(sent, { source: flow.source, sport: flow.sport }, way);
    case 'full_nat':
      return translated(sent, { source: way.node, sport: natPort }, way);
  }
}

/**
 * RFC 2003, RFC 2473, RFC 2784, GUE variant 0, foo over UDP. DSCP and ECN are copied (RFC 6040), IPv4 has
 * DF set, IPv6 has the flow's entropy for a label (RFC 6438), UDP has it for a port (RFC 7510, section 3).
 */
function encapsulated(
  frame: Uint8Array,
  way: Way,
  mode: 'ipip' | 'gre' | 'gue' | 'fou',
  flow: FlowTuple,
): Uint8Array {
  const packet = read(frame);
  const inner = frame.subarray(ETHERNET_BYTES);
  const hash = flowEntropy(flow);
  const innerFamily = packet.isIpv6 ? 'ipv6' : 'ipv4';
  const tos = packet.isIpv6 ? (word(frame, packet.l3) >> 4) & 0xff : (frame[packet.l3 + 1] ?? 0);
  const bytes = packet.end - packet.l3;
  const summed = hasKnownSum(frame, packet) && isIpv6(way.backend);
  const shim = shimOf(mode, innerFamily, hash, bytes);
  const protocol = { ipip: IN_IP[innerFamily], gre: GRE, gue: UDP, fou: UDP }[mode];
  const outer = isIpv6(way.backend)
    ? outer6(way, protocol, tos, shim.length + bytes, hash)
    : outer4(way, protocol, tos, shim.length + bytes);
  if (summed && protocol === UDP) {
    const pseudo = [
      addressBytes(way.node),
      addressBytes(way.backend),
      be16(UDP),
      be16(shim.length + bytes),
    ];
    put(shim, 6, sum(...pseudo, shim, inner.subarray(0, bytes)) || 0xffff);
  }
  const type = isIpv6(way.backend) ? ETHER_TYPE.ipv6 : ETHER_TYPE.ipv4;
  return concat(frame.subarray(0, 12), be16(type), outer, shim, inner);
}

/** TCP and UDP that come whole and at once behind the IP header: what is in them sums up to nothing. */
function hasKnownSum(frame: Uint8Array, packet: Reading): boolean {
  const headerBytes = packet.isIpv6 ? 40 : 20;
  if (packet.isFragment || packet.l4 !== packet.l3 + headerBytes) return false;
  if (packet.protocol === UDP) return word(frame, packet.l4 + 6) !== 0;
  return packet.protocol === TCP;
}

function shimOf(
  mode: 'ipip' | 'gre' | 'gue' | 'fou',
  inner: 'ipv4' | 'ipv6',
  hash: number,
  bytes: number,
): Uint8Array {
  const port = 49152 + (hash & 0x3fff);
  switch (mode) {
    case 'ipip':
      return new Uint8Array(0);
    case 'gre':
      return concat(be16(0), be16(ETHER_TYPE[inner]));
    case 'gue':
      return concat(
        be16(port),
        be16(GUE_PORT),
        be16(12 + bytes),
        be16(0),
        Uint8Array.of(0, IN_IP[inner], 0, 0),
      );
    case 'fou':
      return concat(be16(port), be16(FOU_PORT), be16(8 + bytes), be16(0));
  }
}

function outer4(way: Way, protocol: number, tos: number, bytes: number): Uint8Array {
  const header = concat(
    Uint8Array.of(0x45, tos),
    be16(20 + bytes),
    Uint8Array.of(0, 0, 0x40, 0, OUTER_TTL, protocol, 0, 0),
    addressBytes(way.node),
    addressBytes(way.backend),
  );
  put(header, 10, sum(header));
  return header;
}

function outer6(way: Way, protocol: number, tos: number, bytes: number, hash: number): Uint8Array {
  const label = hash & 0xfffff;
  return concat(
    Uint8Array.of(0x60 | (tos >> 4), ((tos & 0xf) << 4) | (label >> 16)),
    be16(label & 0xffff),
    be16(bytes),
    Uint8Array.of(protocol, OUTER_TTL),
    addressBytes(way.node),
    addressBytes(way.backend),
  );
}

/** A copy with this DSCP (RFC 2474); ECN stays as it was. */
function marked(frame: Uint8Array, dscp: number): Uint8Array {
  const copy = frame.slice();
  const packet = read(copy);
  const at = packet.l3;
  if (packet.isIpv6) {
    put(copy, at, (word(copy, at) & ~0x0fc0) | (dscp << 6));
  } else {
    copy[at + 1] = (dscp << 2) | ((copy[at + 1] ?? 0) & 3);
    sumIpv4(copy, packet);
  }
  return copy;
}

interface Ends {
  readonly source?: string;
  readonly destination?: string;
  readonly sport?: number;
  readonly dport?: number;
}

/** To the backend's own address and port; of an ICMP error, also what it quotes (RFC 5508, section 4). */
function translated(
  frame: Uint8Array,
  client: { readonly source: string; readonly sport: number },
  way: Way,
): Uint8Array {
  const backend = { address: way.backend, port: way.port };
  const peer = { address: client.source, port: client.sport };
  if (!isError(frame)) return rewritten(frame, endsOf(peer, backend));
  // An error comes from whoever met the packet, so its own source stays.
  return rewrittenError(frame, { destination: way.backend }, endsOf(backend, peer));
}

/** An address and a port of it. */
export interface End {
  readonly address: string;
  readonly port: number;
}

/**
 * What a reply of a backend, or an error about what was sent to one, becomes on its way to the client: one
 * router has been passed, and it is the VIP that speaks.
 */
export function returned(
  frame: Uint8Array,
  to: { readonly dmac: string; readonly smac: string; readonly client: End; readonly vip: End },
): Uint8Array {
  const sent = hopped(readdressed(frame, to));
  if (!isError(frame)) return rewritten(sent, endsOf(to.vip, to.client));
  const { l4, end, source, isIpv6: isSix } = read(sent);
  // Where the backend itself speaks of the packet that it got, the VIP does.
  const width = isSix ? 16 : 4;
  const receiver = sent.subarray(l4 + 8 + (isSix ? 24 : 16), end).subarray(0, width);
  const isReceiver = Buffer.compare(receiver, sent.subarray(source, source + width)) === 0;
  const outer = { destination: to.client.address, ...(isReceiver && { source: to.vip.address }) };
  return rewrittenError(sent, outer, endsOf(to.client, to.vip));
}

function endsOf(from: End, to: End): Ends {
  return { source: from.address, sport: from.port, destination: to.address, dport: to.port };
}

function isError(frame: Uint8Array): boolean {
  const { protocol } = read(frame);
  return protocol === ICMP || protocol === ICMP6;
}

function rewrittenError(frame: Uint8Array, outer: Ends, quoted: Ends): Uint8Array {
  const packet = read(frame);
  const copy = rewritten(frame, outer);
  const quote = copy.subarray(packet.l4 + 8, packet.end);
  copy.set(rewrittenPacket(quote, 0, quoted), packet.l4 + 8);
  sumIcmp(copy, packet);
  return copy;
}

/** A copy that has passed one router more. */
function hopped(frame: Uint8Array): Uint8Array {
  const copy = frame.slice();
  const packet = read(copy);
  const at = packet.l3 + (packet.isIpv6 ? 7 : 8);
  copy[at] = (copy[at] ?? 0) - 1;
  sumIpv4(copy, packet);
  return copy;
}

/** A copy with other ends; every checksum that covers them is mended by RFC 1624. */
function rewritten(frame: Uint8Array, ends: Ends): Uint8Array {
  return rewrittenPacket(frame, ETHERNET_BYTES, ends);
}

function rewrittenPacket(bytes: Uint8Array, l3: number, ends: Ends): Uint8Array {
  const copy = bytes.slice();
  const isSix = (copy[l3] ?? 0) >> 4 === 6;
  const from = l3 + (isSix ? 8 : 12);
  const width = isSix ? 16 : 4;
  const old = copy.slice(from, from + 2 * width);
  if (ends.source !== undefined) copy.set(addressBytes(ends.source), from);
  if (ends.destination !== undefined) copy.set(addressBytes(ends.destination), from + width);
  const addresses: Change = [old, copy.slice(from, from + 2 * width)];
  if (!isSix) adjust(copy, l3 + 10, [addresses]);
  const { l4, protocol, later } = transportOf(copy, l3);
  if (later || protocol === ICMP) return copy;
  const changes: Change[] = [addresses];
  if (protocol === TCP || protocol === UDP) {
    const ports = copy.slice(l4, l4 + 4);
    if (ends.sport !== undefined) put(copy, l4, ends.sport);
    if (ends.dport !== undefined) put(copy, l4 + 2, ends.dport);
    changes.push([ports, copy.slice(l4, l4 + 4)]);
  }
  const at = l4 + (protocol === TCP ? 16 : protocol === UDP ? 6 : 2);
  const none = protocol === UDP && word(copy, at) === 0;
  if (at + 2 <= copy.length && !none) adjust(copy, at, changes);
  if (protocol === UDP && !none && word(copy, at) === 0 && at + 2 <= copy.length)
    put(copy, at, 0xffff);
  return copy;
}

interface Transport {
  readonly l4: number;
  readonly protocol: number;
  /** A fragment other than the first. */
  readonly later: boolean;
}

/** Behind IPv4 options and IPv6 extension headers; a quote may end anywhere after that. */
function transportOf(bytes: Uint8Array, l3: number): Transport {
  if ((bytes[l3] ?? 0) >> 4 === 4) {
    const l4 = l3 + ((bytes[l3] ?? 0) & 0xf) * 4;
    return { l4, protocol: bytes[l3 + 9] ?? 0, later: (word(bytes, l3 + 6) & 0x1fff) !== 0 };
  }
  let protocol = bytes[l3 + 6] ?? 0;
  let l4 = l3 + 40;
  while ([0, 43, 44, 60].includes(protocol)) {
    if (protocol === 44 && (word(bytes, l4 + 2) & 0xfff8) !== 0) {
      return { l4: l4 + 8, protocol: bytes[l4] ?? 0, later: true };
    }
    const units = protocol === 44 ? 0 : (bytes[l4 + 1] ?? 0);
    protocol = bytes[l4] ?? 0;
    l4 += 8 + units * 8;
  }
  return { l4, protocol, later: false };
}

/** What no RFC says: client and ports, as bytes, in one multiplication. */
function flowEntropy(flow: FlowTuple): number {
  const ports = concat(be16(flow.sport), be16(flow.dport));
  const source = addressBytes(flow.source);
  const start = isIpv6(flow.source)
    ? littleEndian(source.subarray(0, 8)) ^ littleEndian(source.subarray(8)) ^ littleEndian(ports)
    : littleEndian(concat(ports, source));
  const product = (start * 0x9e3779b97f4a7c15n) & MASK;
  const mixed = product ^ (product >> 32n);
  return Number((mixed ^ (mixed >> 18n)) & 0xffffffffn);
}

function littleEndian(bytes: Uint8Array): bigint {
  return bytes.reduceRight((value, byte) => (value << 8n) | BigInt(byte), 0n);
}
