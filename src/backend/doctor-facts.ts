/**
 * What a server looks like to its doctor, as one plain value, and small questions about it. Must
 * never ask the machine anything: doctor-read.ts fills this in, tests write it by hand.
 */
import { familyOf, type Address, type Family } from '../model/address.ts';
import type { L4Protocol } from '../model/service.ts';
import type { Firewall } from './doctor-firewall.ts';

export interface XdpFact {
  readonly mode: 'native' | 'generic' | 'offloaded';
  /** Undefined where the reader may not know: the names of programs are root's. */
  readonly program: string | undefined;
}

/** A device that takes outer headers off (ip-link(8), the types ipip, sit, gre, ip6tnl, ip6gre). */
export interface TunnelFact {
  /** The inner packets that it takes. */
  readonly takes: 'any' | Family;
  readonly local: Address | undefined;
  /** Undefined: from anywhere. */
  readonly remote: Address | undefined;
  /** It wants a GRE key, which the nodes do not send. */
  readonly keyed: boolean;
}

export interface LinkFact {
  readonly name: string;
  /** Such as `veth`, `ipip`, `dummy`; empty for hardware. */
  readonly kind: string;
  readonly loopback: boolean;
  readonly up: boolean;
  /** False where the interface never speaks ARP or neighbour discovery. */
  readonly arp: boolean;
  readonly mtuBytes: number;
  readonly xdp: readonly XdpFact[];
  readonly tunnel: TunnelFact | undefined;
}

export interface AddressFact {
  readonly address: Address;
  readonly prefixLength: number;
  readonly interface: string;
  readonly hostScope: boolean;
  readonly tentative: boolean;
  readonly dadFailed: boolean;
}

/** A default route of the main table. */
export interface DefaultRoute {
  readonly family: Family;
  readonly interface: string;
  readonly gateway: Address | undefined;
  /** All of it in the words of `ip route change`. */
  readonly words: readonly string[];
}

/** What the kernel is asked; `from` must be an address of the server. */
export interface RouteQuestion {
  readonly to: Address;
  readonly from: Address | undefined;
}

export interface RouteAnswer {
  readonly interface: string;
  readonly gateway: Address | undefined;
  readonly advmssBytes: number | undefined;
  readonly mtuBytes: number | undefined;
}

export interface RouteLookup extends RouteQuestion {
  /** Undefined: there is no route. */
  readonly answer: RouteAnswer | undefined;
}

export interface ListenerFact {
  readonly protocol: L4Protocol;
  /** The families of packets that it takes; a wildcard IPv6 socket may take both. */
  readonly families: readonly Family[];
  /** Undefined: every address of those families. */
  readonly address: Address | undefined;
  readonly port: number;
  /** Name of the process, where it may be known. */
  readonly process: string | undefined;
}

export interface NeighbourFact {
  readonly address: Address;
  readonly interface: string;
  readonly failed: boolean;
  readonly router: boolean;
}

/** A UDP port whose packets the kernel strips of their UDP header (ip-fou(8)). */
export interface FouFact {
  readonly port: number;
  readonly family: Family;
  /** IP protocol of what is inside; undefined: GUE. */
  readonly protocol: number | undefined;
}

/** What the server is, before any route was looked up. */
export interface ServerState {
  readonly links: readonly LinkFact[];
  readonly addresses: readonly AddressFact[];
  readonly defaultRoutes: readonly DefaultRoute[];
  readonly neighbours: readonly NeighbourFact[];
  readonly fouPorts: readonly FouFact[];
  /** Tunnel modules that this kernel has, by the names of their files, such as `ip6_tunnel`. */
  readonly tunnelModules: readonly string[];
  /** By path below /proc/sys/net/, such as `ipv4/conf/all/rp_filter`. */
  readonly sysctls: Readonly<Record<string, number>>;
  /** Undefined: it could not be read. */
  readonly listeners: readonly ListenerFact[] | undefined;
  readonly firewall: Firewall | undefined;
  /** Sentences about what could not be seen. */
  readonly unseen: readonly string[];
}

export interface ServerFacts extends ServerState {
  readonly lookups: readonly RouteLookup[];
}

export function linkOf(state: ServerState, name: string): LinkFact | undefined {
  return state.links.find((link) => link.name === name);
}

export function isOwn(state: ServerState, address: Address): boolean {
  return state.addresses.some((entry) => entry.address === address);
}

/** Arguments equal to the question's; undefined when it was never asked. */
export function lookupOf(
  facts: ServerFacts,
  to: Address,
  from: Address | undefined,
): RouteLookup | undefined {
  return facts.lookups.find((lookup) => lookup.to === to && lookup.from === from);
}

/** The kernel goes by the larger of the two for rp_filter, arp_ignore and arp_announce. */
export function effectiveIpv4(facts: ServerState, key: string, interfaceName: string): number {
  return Math.max(
    facts.sysctls[`ipv4/conf/all/${key}`] ?? 0,
    facts.sysctls[`ipv4/conf/${interfaceName}/${key}`] ?? 0,
  );
}

export function hasSkeinXdp(link: LinkFact): boolean {
  return link.xdp.some(({ program }) => program?.startsWith('skein') ?? false);
}

/** An address of the interface that others can reach it by. */
export function ownAddress(
  state: ServerState,
  interfaceName: string,
  family: Family,
): Address | undefined {
  return state.addresses.find(
    (entry) =>
      entry.interface === interfaceName &&
      familyOf(entry.address) === family &&
      !entry.address.startsWith('fe80:'),
  )?.address;
}
