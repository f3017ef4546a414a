/**
 * Packets inside packets, as the nodes send them. Written from the RFCs and never from the C code,
 * since it is what that code is judged by.
 */
import {
  checksum,
  ETHERNET_BYTES,
  ip,
  isIpv6,
  patched,
  PROTOCOL,
  udp,
  type IpFields,
} from './packet.ts';

export const TUNNEL_KINDS = ['ipip', 'gre', 'gue', 'fou'] as const;
export type TunnelKind = (typeof TUNNEL_KINDS)[number];
export const TUNNEL_PORTS = { gue: 6080, fou: 5555 } as const;

const IN_IP = { ipv4: 4, ipv6: 41 } as const;
const ETHER_TYPE = { ipv4: 0x0800, ipv6: 0x86dd } as const;
const ENTROPY_PORT = 50_123;

/** The IP packet of a frame. */
export function packetOf(frame: Uint8Array): Uint8Array {
  return frame.subarray(ETHERNET_BYTES);
}

/** Puts the IP packet of `inner`, a frame, into a tunnel between the addresses of `outer`. */
export function tunnelled(kind: TunnelKind, outer: IpFields, inner: Uint8Array): Uint8Array {
  const packet = packetOf(inner);
  const family = (packet[0] ?? 0) >> 4 === 6 ? 'ipv6' : 'ipv4';
  switch (kind) {
    case 'ipip':
      return ip(outer, IN_IP[family], packet);
    case 'gre': {
      const type = ETHER_TYPE[family];
      return ip(outer, PROTOCOL.gre, Uint8Array.of(0, 0, type >> 8, type & 0xff, ...packet));
    }
    case 'gue':
      return inUdp(outer, TUNNEL_PORTS.gue, Uint8Array.of(0, IN_IP[family], 0, 0, ...packet));
    case 'fou':
      return inUdp(outer, TUNNEL_PORTS.fou, packet);
  }
}

function inUdp(outer: IpFields, dport: number, payload: Uint8Array): Uint8Array {
  const checksum = isIpv6(outer.source);
  return udp({ ...outer, sport: ENTROPY_PORT, dport, payload, checksum });
}

/** A copy with another TOS byte or traffic class: DSCP in the upper six bits, ECN below. */
export function withTos(frame: Uint8Array, tos: number): Uint8Array {
  const version = (frame[ETHERNET_BYTES] ?? 0) >> 4;
  if (version === 6) {
    const flow = (frame[ETHERNET_BYTES + 1] ?? 0) & 0xf;
    return patched(frame, ETHERNET_BYTES, 0x60 | (tos >> 4), ((tos & 0xf) << 4) | flow);
  }
  return mended(patched(frame, ETHERNET_BYTES + 1, tos));
}

/** A copy whose IPv4 header checksum holds. */
export function mended(frame: Uint8Array): Uint8Array {
  const bytes = ((frame[ETHERNET_BYTES] ?? 0) & 0xf) * 4;
  const blank = patched(frame, ETHERNET_BYTES + 10, 0, 0);
  const sum = checksum(blank.subarray(ETHERNET_BYTES, ETHERNET_BYTES + bytes));
  return patched(blank, ETHERNET_BYTES + 10, sum >> 8, sum & 0xff);
}
