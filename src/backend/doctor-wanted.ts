/**
 * What a server is meant to be: the roles it has as a backend, from options or from a cluster
 * document. Pure.
 */
import { familyOf, type Address, type Family } from '../model/address.ts';
import {
  FORWARDING_MODES,
  TUNNEL_MODES,
  TUNNEL_PORTS,
  type ForwardingMode,
  type TunnelMode,
} from '../model/forwarding.ts';
import type { Backend, L4Protocol, Service } from '../model/service.ts';
import type { RouteQuestion, ServerState } from './doctor-facts.ts';
import { isOwn } from './doctor-facts.ts';

/** With those of the model, nat to another port and full nat: they too can be set up wrongly. */
export type BackendMode = ForwardingMode | 'nat' | 'full_nat';
export const BACKEND_MODES: readonly BackendMode[] = [
  ...new Set<BackendMode>([...FORWARDING_MODES, 'nat', 'full_nat']),
];

export interface WantedService {
  readonly vip: Address;
  readonly protocol: L4Protocol;
  /** Where the backend is to listen. 0: every port, so nothing to look for. */
  readonly port: number;
}

/** One backend of the document: a server may be several. */
export interface Role {
  readonly mode: BackendMode;
  /** Own address that the nodes send to; undefined: not told. */
  readonly address: Address | undefined;
  readonly vips: readonly Address[];
  readonly services: readonly WantedService[];
  /** UDP port of gue and fou. */
  readonly tunnelPort: number;
  /** Of mode dscp; undefined: not told. */
  readonly dscp: number | undefined;
  /** What the nodes take the MTU of the way here to be; undefined: as the interface. */
  readonly mtuBytes: number | undefined;
}

export interface Wanted {
  readonly roles: readonly Role[];
  /** Where packets from the nodes arrive; undefined: found by addresses and routes. */
  readonly interface: string | undefined;
  readonly nodes: readonly Address[];
  /** Stand for all clients: at most one of each family is used. */
  readonly clients: readonly Address[];
  /** Path of the cluster document, for commands that need it. */
  readonly config: string | undefined;
}

/**
 * Anyone on the Internet, here a root name server: its route is looked up, nothing is sent to it.
 * Addresses for documentation would not do, since some servers have black holes for them.
 */
const ANY_CLIENT: Readonly<Record<Family, Address>> = {
  ipv4: '198.41.0.4' as Address,
  ipv6: '2001:503:ba3e::2:30' as Address,
};

/** Of gue and fou; 0 where the mode has none. */
export function defaultTunnelPort(mode: BackendMode): number {
  return mode === 'gue' || mode === 'fou' ? TUNNEL_PORTS[mode] : 0;
}

export function isTunnel(mode: BackendMode): mode is TunnelMode {
  return (TUNNEL_MODES as readonly BackendMode[]).includes(mode);
}

/** With nat the backend sees its own address only. */
export function holdsVip(mode: BackendMode): boolean {
  return mode !== 'nat' && mode !== 'full_nat';
}

const BESIDE_IP_BYTES: Readonly<Record<TunnelMode, number>> = { ipip: 0, gre: 4, fou: 8, gue: 12 };

/** Bytes that the mode puts around a packet. */
export function overheadBytes(mode: BackendMode, outer: Family): number {
  if (!isTunnel(mode)) return 0;
  return (outer === 'ipv4' ? 20 : 40) + BESIDE_IP_BYTES[mode];
}

export function clientOf(wanted: Wanted, family: Family): Address {
  return wanted.clients.find((client) => familyOf(client) === family) ?? ANY_CLIENT[family];
}

/** Addresses that replies to clients are sent from. */
export function replySources(role: Role): readonly Address[] {
  if (role.mode === 'full_nat') return [];
  if (role.mode === 'nat') return role.address === undefined ? [] : [role.address];
  return role.vips;
}

/** The question about replies: an address that the server lacks cannot be a source yet. */
export function replyQuestion(state: ServerState, wanted: Wanted, source: Address): RouteQuestion {
  return {
    to: clientOf(wanted, familyOf(source)),
    from: isOwn(state, source) ? source : undefined,
  };
}

/** Every route that the diagnosis will ask about, each once. */
export function routeQuestions(state: ServerState, wanted: Wanted): RouteQuestion[] {
  const sources = wanted.roles.flatMap(replySources);
  const questions: RouteQuestion[] = [
    ...wanted.nodes.map((node) => ({ to: node, from: undefined })),
    ...sources.map((source) => replyQuestion(state, wanted, source)),
  ];
  const unique = new Map(questions.map((question) => [JSON.stringify(question), question]));
  return [...unique.values()];
}

/** A backend of a document as far as it matters here. */
interface DocumentBackend extends Pick<Backend, 'address' | 'forwarding'> {
  readonly mode: BackendMode;
  /** With nat: where the backend listens. */
  readonly port?: number | undefined;
}

/** The roles that a document gives to the holder of these addresses, one for each kind of backend. */
export function rolesOf(services: readonly Service[], own: ReadonlySet<Address>): Role[] {
  const roles = new Map<string, Role & { services: WantedService[]; vips: Address[] }>();
  for (const { vip, protocol, port, backends } of services) {
    for (const backend of backends as readonly DocumentBackend[]) {
      if (!own.has(backend.address)) continue;
      const { address, mode, forwarding } = backend;
      const tunnelPort = forwarding?.port ?? defaultTunnelPort(mode);
      const mtuBytes = forwarding?.mtuBytes;
      const dscp = forwarding?.dscp;
      const key = JSON.stringify([address, mode, tunnelPort, mtuBytes, dscp]);
      const role = roles.get(key) ?? {
        ...{ mode, address, tunnelPort, mtuBytes, dscp },
        vips: [],
        services: [],
      };
      if (!role.vips.includes(vip)) role.vips.push(vip);
      const listens = holdsVip(mode) ? port : (backend.port ?? port);
      role.services.push({ vip, protocol, port: listens });
      roles.set(key, role);
    }
  }
  return [...roles.values()];
}
