/**
 * The frames that the cases send. Only that of flow 0: replay.bpf.c varies the source, and leaves the
 * checksums as they are, which no program under test looks at.
 */
import { ECHO, icmp, tcp, udp, type IpFields } from '../src/bpf/packet.ts';
import { familyOf, type Address } from '../src/model/address.ts';
import { CLIENT, NO_VIP, PORT, PORT_WITHOUT_SERVICE, TUNNEL_PORT, VIP } from './scene.ts';

/** Flows are told apart by the address and the 1,024 ports from here. */
const SOURCE_PORT = 1024;
/** None of these is ever one of those that other cases have established. */
const SOURCE_PORT_NEW = 4096;
const PAYLOAD = Uint8Array.from({ length: 64 }, (_, n) => n);

function to(destination: Address): IpFields {
  return { source: CLIENT[familyOf(destination)], destination };
}

function syn(destination: Address, sport: number, dport: number = PORT): Uint8Array {
  return tcp({ ...to(destination), sport, dport, flags: 'S' });
}

/** A segment in mid-flow. */
function ack(destination: Address, dport: number): Uint8Array {
  return tcp({ ...to(destination), sport: SOURCE_PORT, dport, flags: 'A', payload: PAYLOAD });
}

function datagram(destination: Address): Uint8Array {
  return udp({ ...to(destination), sport: SOURCE_PORT, dport: PORT, payload: PAYLOAD });
}

function echo(destination: Address): Uint8Array {
  const { request: type } = ECHO[familyOf(destination)];
  return icmp({ ...to(destination), type, payload: PAYLOAD });
}

export const FRAMES = {
  tcp4_syn: syn(VIP.ipv4, SOURCE_PORT),
  tcp4_new: syn(VIP.ipv4, SOURCE_PORT_NEW),
  tcp4_ack: ack(VIP.ipv4, PORT),
  tcp6_syn: syn(VIP.ipv6, SOURCE_PORT),
  tcp6_new: syn(VIP.ipv6, SOURCE_PORT_NEW),
  tcp6_ack: ack(VIP.ipv6, PORT),
  ipip4_syn: syn(VIP.ipv4, SOURCE_PORT, TUNNEL_PORT.ipip),
  ipip4_ack: ack(VIP.ipv4, TUNNEL_PORT.ipip),
  ipip6_syn: syn(VIP.ipv6, SOURCE_PORT, TUNNEL_PORT.ipip),
  ipip6_ack: ack(VIP.ipv6, TUNNEL_PORT.ipip),
  gue4_syn: syn(VIP.ipv4, SOURCE_PORT, TUNNEL_PORT.gue),
  gue4_ack: ack(VIP.ipv4, TUNNEL_PORT.gue),
  gue6_syn: syn(VIP.ipv6, SOURCE_PORT, TUNNEL_PORT.gue),
  gue6_ack: ack(VIP.ipv6, TUNNEL_PORT.gue),
  udp4: datagram(VIP.ipv4),
  tcp4_no_vip: ack(NO_VIP.ipv4, PORT),
  tcp6_no_vip: ack(NO_VIP.ipv6, PORT),
  tcp4_no_service: ack(VIP.ipv4, PORT_WITHOUT_SERVICE),
  echo4: echo(VIP.ipv4),
  echo6: echo(VIP.ipv6),
} as const;

export type FrameName = keyof typeof FRAMES;
