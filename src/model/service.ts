/**
 * The nouns that every other folder shares: service, backend, check, and what a VIP's owner wants
 * announced. Plain immutable values; config/resolve.ts makes them, nothing changes them.
 */
import { formatEndpoint, type Address } from './address.ts';
import type { Admission } from './admission.ts';
import type { CheckSpec } from './check.ts';
import type { QuicRouting } from './quic.ts';
import type { ForwardingMode, ForwardingOptions } from './forwarding.ts';

export type L4Protocol = 'tcp' | 'udp';

/** What identifies a service on the wire. Port 0 stands for every port of the VIP. */
export interface ServiceKey {
  readonly vip: Address;
  readonly protocol: L4Protocol;
  readonly port: number;
}

declare const serviceIdBrand: unique symbol;

/** Text of a ServiceKey, such as `tcp/192.0.2.1:80`: unique, stable, and fit for Map keys and URLs. */
export type ServiceId = string & { readonly [serviceIdBrand]: true };

export function serviceId(key: ServiceKey): ServiceId {
  return `${key.protocol}/${formatEndpoint(key.vip, key.port)}` as ServiceId;
}

export type Scheduler = 'maglev';

/** What a flow's schedule depends on: the whole tuple, or the client's address alone. */
export type Affinity = 'flow' | 'client';

/** Set by the operator, not by health: a draining backend keeps its flows and gets no new ones. */
export type BackendIntent = 'active' | 'draining';

/** `up` gets new flows; `draining` and `down` keep the flows they have and get no new ones. */
export type BackendState = 'up' | 'draining' | 'down';

export interface Backend {
  readonly name: string;
  readonly address: Address;
  /** 1 to 65535; the backend's share of a service's new flows is weight / sum of weights. */
  readonly weight: number;
  readonly intent: BackendIntent;
  readonly mode: ForwardingMode;
  readonly forwarding?: ForwardingOptions | undefined;
  /** What QUIC connection IDs call it, in hex of as many bytes as the service says. */
  readonly serverId?: string | undefined;
}

/** One (VIP, protocol, port). A service of the document with two VIPs and two ports makes four. */
export interface Service extends ServiceKey {
  readonly id: ServiceId;
  /** Name in the document; services that come from one entry share it. */
  readonly name: string;
  readonly scheduler: Scheduler;
  readonly affinity: Affinity;
  /** Which new flows it takes; undefined: all. */
  readonly admission?: Admission | undefined;
  /** Undefined: not QUIC, or not routed by connection ID. */
  readonly quic?: QuicRouting | undefined;
  /** How many backends must be up for the service to be up. */
  readonly need: number;
  /** Largest MSS that SYNs to backends may carry, `path`: what fits the way. Undefined: any. */
  readonly mssClamp?: number | 'path' | undefined;
  readonly backends: readonly Backend[];
  readonly checks: readonly CheckSpec[];
}

/** `all`: a VIP is announced while every service on it is up. `any`: while at least one is. */
export type VipPolicy = 'all' | 'any';

/** A VIP and how to announce it. Every service's VIP has exactly one. */
export interface Vip {
  readonly address: Address;
  readonly policy: VipPolicy;
  /** Standard communities (RFC 1997) as `asn:value`. */
  readonly communities: readonly string[];
  /** Large communities (RFC 8092) as `global:local1:local2`. */
  readonly largeCommunities: readonly string[];
  /** MULTI_EXIT_DISC (RFC 4271, section 5.1.4); undefined: not sent. */
  readonly med: number | undefined;
}
