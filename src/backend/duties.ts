/**
 * What a real server has to do for the VIPs that it serves: pure, from its part in the cluster to
 * loopback addresses, decapsulation and MSS. Must never look at the machine.
 */
import { familyOf, isUnicast, type Address } from '../model/address.ts';
import {
  isTunnel,
  TUNNEL_PORTS,
  type ForwardingMode,
  type TunnelMode,
} from '../model/forwarding.ts';

/** How packets for a VIP come to a server: the modes of a backend in the cluster document. */
export type ServerMode = ForwardingMode | 'nat' | 'full_nat';

/** One VIP that comes to one of this server's own addresses in one way. */
export interface Assignment {
  readonly vip: Address;
  /** This server's own. */
  readonly address: Address;
  readonly mode: ServerMode;
  /** UDP destination port of gue and fou; undefined: the default. */
  readonly tunnelPort?: number | undefined;
  /** Of mode dscp: 0 to 63. */
  readonly dscp?: number | undefined;
  /** Largest IP packet that the nodes send to this server; undefined: the interface's MTU. */
  readonly mtu?: number | undefined;
}

/** What is done to packets to one of this server's own addresses. */
export interface TakenAddress {
  readonly address: Address;
  readonly tunnels: ReadonlySet<TunnelMode>;
  readonly guePort: number;
  readonly fouPort: number;
  /** DSCP -> the VIP that it stands for. */
  readonly dscps: ReadonlyMap<number, Address>;
}

/** What the tunnels take from the packets to a VIP. */
export interface Overhead {
  readonly bytes: number;
  readonly mtu: number | undefined;
}

export interface Duties {
  /** On the loopback interface; nat needs none. */
  readonly vips: readonly Address[];
  /** Empty: no program is needed. */
  readonly addresses: readonly TakenAddress[];
  /** By VIP, the largest one of its tunnels; none of a VIP that comes without a tunnel. */
  readonly overheads: ReadonlyMap<Address, readonly Overhead[]>;
}

export type DutiesResult =
  | { readonly ok: true; readonly duties: Duties }
  | { readonly ok: false; readonly problems: readonly string[] };

/** As BACKEND_VIPS_MAX, BACKEND_ADDRESSES_MAX and BACKEND_DSCPS_MAX of abi.h, the sizes of the maps. */
export const LIMITS = { vips: 4096, addresses: 64, dscps: 1024 } as const;

const IP_BYTES = { ipv4: 20, ipv6: 40 } as const;
const TCP_BYTES = 20;
/** Between the outer IP header and the packet: GRE 4, UDP 8, UDP and GUE 12. */
const TUNNEL_BYTES: Readonly<Record<TunnelMode, number>> = { ipip: 0, gre: 4, gue: 12, fou: 8 };

/** The least that Linux takes for a segment's size (tcp_min_snd_mss). */
const MSS_MIN = 48;

/** What a server serves, and all that speaks against it. */
export function dutiesOf(assignments: readonly Assignment[]): DutiesResult {
  const vips = new Set<Address>();
  const taken = new Map<Address, Draft>();
  const overheads = new Map<Address, Overhead[]>();
  const problems: string[] = [];
  for (const each of assignments) {
    const problem = refusal(each) ?? take(taken, each);
    if (problem !== undefined) problems.push(problem);
    if (each.mode === 'nat' || each.mode === 'full_nat') continue;
    vips.add(each.vip);
    if (!isTunnel(each.mode)) continue;
    const bytes = IP_BYTES[familyOf(each.address)] + TUNNEL_BYTES[each.mode];
    const known = overheads.get(each.vip) ?? [];
    if (!known.some((other) => other.bytes === bytes && other.mtu === each.mtu)) {
      overheads.set(each.vip, [...known, { bytes, mtu: each.mtu }]);
    }
  }
  const addresses = [...taken.values()].filter(
    ({ tunnels, dscps }) => tunnels.size > 0 || dscps.size > 0,
  );
  for (const vip of vips) {
    if (taken.has(vip)) problems.push(`${vip} is both a VIP and an address of this server`);
  }
  problems.push(...sizeProblems(vips, addresses));
  if (problems.length > 0) return { ok: false, problems: [...new Set(problems)] };
  return { ok: true, duties: { vips: [...vips], addresses, overheads } };
}

/** The largest TCP segment to `vip` that fits through every tunnel; undefined: there is no tunnel. */
export function mssFor(vip: Address, duties: Duties, interfaceMtu: number): number | undefined {
  const rooms = (duties.overheads.get(vip) ?? []).map(
    ({ bytes, mtu }) => (mtu ?? interfaceMtu) - bytes - IP_BYTES[familyOf(vip)] - TCP_BYTES,
  );
  return rooms.length === 0 ? undefined : Math.max(MSS_MIN, Math.min(...rooms));
}

interface Draft extends TakenAddress {
  readonly tunnels: Set<TunnelMode>;
  readonly dscps: Map<number, Address>;
  guePort: number;
  fouPort: number;
}

function refusal({ vip, address, mode, dscp }: Assignment): string | undefined {
  if (!isUnicast(vip)) return `${vip} cannot be a VIP: it is no unicast address`;
  if (!isUnicast(address)) return `${address} cannot be an address of a server`;
  if (mode !== 'dscp') return undefined;
  if (dscp === undefined) return `VIP ${vip} comes by DSCP, but no DSCP is given`;
  if (familyOf(vip) !== familyOf(address)) {
    return `VIP ${vip} cannot come by DSCP to ${address}: that changes the address, not the family`;
  }
  return undefined;
}

/** Returns why an assignment contradicts one before it. */
function take(taken: Map<Address, Draft>, assignment: Assignment): string | undefined {
  const { address, vip, mode, tunnelPort, dscp } = assignment;
  const draft: Draft = taken.get(address) ?? {
    address,
    tunnels: new Set(),
    dscps: new Map(),
    guePort: 0,
    fouPort: 0,
  };
  taken.set(address, draft);
  if (mode === 'dscp' && dscp !== undefined) {
    const other = draft.dscps.get(dscp);
    if (other !== undefined && other !== vip) {
      return `DSCP ${dscp} to ${address} stands for two VIPs, ${other} and ${vip}`;
    }
    draft.dscps.set(dscp, vip);
  }
  if (mode === 'nat' || mode === 'full_nat' || !isTunnel(mode)) return undefined;
  draft.tunnels.add(mode);
  if (mode !== 'gue' && mode !== 'fou') return undefined;
  const key = mode === 'gue' ? 'guePort' : 'fouPort';
  const port = tunnelPort ?? TUNNEL_PORTS[mode];
  if (draft[key] !== 0 && draft[key] !== port) {
    return `${mode} comes to two ports of ${address}, ${draft[key]} and ${port}: use one`;
  }
  draft[key] = port;
  if (draft.guePort === draft.fouPort) {
    return `gue and fou both come to port ${port} of ${address}: they cannot be told apart`;
  }
  return undefined;
}

function sizeProblems(
  vips: ReadonlySet<Address>,
  addresses: readonly TakenAddress[],
): readonly string[] {
  const dscps = addresses.reduce((sum, each) => sum + each.dscps.size, 0);
  const sizes = [
    { what: 'VIPs', count: vips.size, max: LIMITS.vips },
    { what: 'own addresses', count: addresses.length, max: LIMITS.addresses },
    { what: 'DSCPs', count: dscps, max: LIMITS.dscps },
  ];
  return sizes
    .filter(({ count, max }) => count > max)
    .map(({ what, count, max }) => `a server has at most ${max} ${what}, not ${count}`);
}
