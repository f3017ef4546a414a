/** How packets reach a backend. Values only; src/bpf/forward.h carries them out. */
import type { Address, Family, Prefix } from './address.ts';

/** Modes that put the packet into another one, addressed to the backend. */
export const TUNNEL_MODES = ['ipip', 'gre', 'gue', 'fou'] as const;
export type TunnelMode = (typeof TUNNEL_MODES)[number];

/**
 * Modes that put the backend's own address and port in the VIP's place. `nat`: replies come back
 * through any node. `full_nat`: this node is the client that the backend sees.
 */
export const NAT_MODES = ['nat', 'full_nat'] as const;
export type NatMode = (typeof NAT_MODES)[number];

/**
 * `l2dsr`: nothing but the MAC addresses changes, so the backend is on the same network. `dscp`: the
 * destination becomes the backend's own address and the DSCP says which VIP was meant.
 */
export const FORWARDING_MODES = ['l2dsr', ...TUNNEL_MODES, 'dscp', ...NAT_MODES] as const;
export type ForwardingMode = (typeof FORWARDING_MODES)[number];

/** UDP destination ports of the outer header: IANA's for GUE, and what Linux's examples use for FOU. */
export const TUNNEL_PORTS = { gue: 6080, fou: 5555 } as const;
export const TUNNEL_TTL_DEFAULT = 64;

/** VIPs and ports that one port of a nat backend may stand for: NAT_CANDIDATES_MAX in src/bpf/abi.h. */
export const NAT_SHARERS_MAX = 4;

/** What a mode leaves open; undefined: its default, which is in the comment. */
export interface ForwardingOptions {
  /** UDP destination port of gue and fou: TUNNEL_PORTS. The backend's own of nat: the service's. */
  readonly port?: number | undefined;
  /** Outer source address; bits beyond the length come from the flow's hash. The node's own address. */
  readonly tunnelSource?: Prefix | undefined;
  /** Of the outer header; `copy`: the packet's. TUNNEL_TTL_DEFAULT. */
  readonly tunnelTtl?: number | 'copy' | undefined;
  /** 0 to 63; mode dscp only, where it has no default. */
  readonly dscp?: number | undefined;
  /** VLAN ID that frames carry, 0: none. That of the interface which the route names. */
  readonly vlan?: number | undefined;
  /** Largest IP packet on the way. The route's. */
  readonly mtuBytes?: number | undefined;
  /** Largest MSS that a SYN may carry, `path`: what fits through the way. No clamp. */
  readonly mssBytes?: number | 'path' | undefined;
}

/** Tunnels to the node itself that are opened. */
export interface OwnTunnels {
  readonly addresses: readonly Address[];
  /** UDP destination ports. */
  readonly guePort: number;
  readonly fouPort: number;
}

export function isTunnel(mode: ForwardingMode): mode is TunnelMode {
  return (TUNNEL_MODES as readonly ForwardingMode[]).includes(mode);
}

export function isNat(mode: ForwardingMode): mode is NatMode {
  return (NAT_MODES as readonly ForwardingMode[]).includes(mode);
}

/**
 * The port on which a backend serves what a service has on `servicePort`. 0: every port has its own,
 * which is so where the service takes every port, whatever the backend's options say.
 */
export function natPort(servicePort: number, forwarding: ForwardingOptions | undefined): number {
  return servicePort === 0 ? 0 : (forwarding?.port ?? servicePort);
}

const OUTER_IP_BYTES: Readonly<Record<Family, number>> = { ipv4: 20, ipv6: 40 };
/** Of what stands between the outer IP header and the packet. */
const SHIM_BYTES: Readonly<Record<TunnelMode, number>> = { ipip: 0, gre: 4, gue: 12, fou: 8 };

/** Bytes that a mode puts in front of a packet; `mode_bytes()` of src/bpf/nexthop.h says the same. */
export function overheadBytes(mode: ForwardingMode, outer: Family): number {
  return isTunnel(mode) ? OUTER_IP_BYTES[outer] + SHIM_BYTES[mode] : 0;
}
