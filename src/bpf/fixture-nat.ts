/** Services by nat and full_nat, and what clients, nodes and backends send each other then. */
import type { WantedService } from '../dataplane/dataplane.ts';
import type { ForwardingOptions, NatMode } from '../model/forwarding.ts';
import { backendMac, ROUTER_MAC, type Plan } from './fixture-network.ts';
import { service } from './fixture.ts';
import { ETHERNET_BYTES, NODE_MAC, tcp, udp, type IpFields } from './packet.ts';

export const BACKEND_PORT = 8080;
export const PROTOCOLS = ['tcp', 'udp'] as const;
export type Protocol = (typeof PROTOCOLS)[number];

export interface Ends {
  readonly source: string;
  readonly destination: string;
  readonly sport: number;
  readonly dport: number;
}

export type Change = Partial<IpFields> & {
  readonly flags?: string;
  readonly payload?: Uint8Array;
  readonly checksum?: boolean;
};

const PAYLOAD = Uint8Array.from({ length: 61 }, (_, i) => i * 7 + 3);

export function frame(protocol: Protocol, ends: Ends, change: Change = {}): Uint8Array {
  const { flags = 'PA', ...rest } = change;
  const fields = { payload: PAYLOAD, ...ends, ...rest };
  return protocol === 'tcp' ? tcp({ ...fields, flags }) : udp(fields);
}

/** What a router quotes of a packet. */
export function quote(protocol: Protocol, ends: Ends, bytes?: number): Uint8Array {
  return frame(protocol, ends).subarray(ETHERNET_BYTES).slice(0, bytes);
}

/** In front of the routers, which is where the testing network has its clients. */
export function network(plan: Plan) {
  const client = { address: plan.routed, port: 40000 };
  const backend = plan.backend(1);
  const between = (source: string, sport: number, destination: string, dport: number): Ends => {
    return { source, sport, destination, dport };
  };
  return {
    headerBytes: plan.family === 'ipv4' ? 20 : 40,
    asked: between(client.address, client.port, plan.vip, 80),
    sent: between(client.address, client.port, backend, BACKEND_PORT),
    reply: between(backend, BACKEND_PORT, client.address, client.port),
    answered: between(plan.vip, 80, client.address, client.port),
    toBackend: { dmac: backendMac(1), smac: NODE_MAC },
    fromBackend: { dmac: NODE_MAC, smac: backendMac(1) },
    toClient: { dmac: ROUTER_MAC, smac: NODE_MAC },
  };
}

/** In an IP packet of so many bytes. */
export function big(
  plan: Plan,
  protocol: Protocol,
  ends: Ends,
  bytes: number,
  change: Change = {},
): Uint8Array {
  const headers = network(plan).headerBytes + (protocol === 'tcp' ? 20 : 8);
  const payload = Uint8Array.from({ length: bytes - headers }, (_, i) => i * 13);
  return frame(protocol, ends, { payload, ...change });
}

export function services(
  plan: Plan,
  mode: NatMode,
  forwarding: ForwardingOptions = { port: BACKEND_PORT },
): WantedService[] {
  const backends = [{ address: plan.backend(1), mode, forwarding }];
  return PROTOCOLS.map((protocol) => service({ vip: plan.vip, protocol, backends }));
}
