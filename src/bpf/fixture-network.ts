/**
 * The network of the kernel tests: addresses, a veth pair for each interface, static neighbours. Must
 * never touch a namespace that others use.
 */
import { writeFileSync } from 'node:fs';
import { ipBatch, ipJson } from '../dataplane/ip.ts';
import { vipFilterBit } from '../dataplane/vip-filter.ts';
import {
  address,
  addressBytes,
  addressFromBytes,
  type Address,
  type Family,
} from '../model/address.ts';
import { NODE_MAC } from './packet.ts';

/** The addresses of one family. Backends 1 to 9 are on link and have a neighbour entry. */
export interface Plan {
  readonly family: Family;
  readonly node: Address;
  readonly vip: Address;
  readonly otherVip: Address;
  readonly client: Address;
  /** No VIP, and its bit of the VIP filter is not that of a VIP either. */
  readonly stranger: Address;
  readonly backend: (n: number) => Address;
  /** On link at another interface. */
  readonly elsewhere: Address;
  /** Behind a router. */
  readonly routed: Address;
  readonly router: Address;
  /** Behind a router whose MAC address is not known. */
  readonly routedUnresolved: Address;
  /** No route leads there. */
  readonly unrouted: Address;
  /** On link, but nobody answers for it. */
  readonly unresolved: Address;
}

export const IPV4: Plan = {
  family: 'ipv4',
  node: address('10.1.0.1'),
  vip: address('192.0.2.1'),
  otherVip: address('192.0.2.2'),
  client: address('198.51.100.7'),
  stranger: address('203.0.113.5'),
  backend: (n) => address(`10.1.0.1${n}`),
  elsewhere: address('10.2.0.11'),
  routed: address('10.3.0.11'),
  router: address('10.1.0.254'),
  routedUnresolved: address('10.4.0.11'),
  unrouted: address('203.0.113.9'),
  unresolved: address('10.1.0.99'),
};
export const IPV6: Plan = {
  family: 'ipv6',
  node: address('2001:db8:1::1'),
  vip: address('2001:db8:f::1'),
  otherVip: address('2001:db8:f::2'),
  client: address('2001:db8:c::7'),
  stranger: address('2001:db8:e::5'),
  backend: (n) => address(`2001:db8:1::1${n}`),
  elsewhere: address('2001:db8:2::11'),
  routed: address('2001:db8:3::11'),
  router: address('2001:db8:1::fe'),
  routedUnresolved: address('2001:db8:4::11'),
  unrouted: address('2001:db8:e::9'),
  unresolved: address('2001:db8:1::99'),
};
export const PLANS: readonly Plan[] = [IPV4, IPV6];

/** The next address after `from` that the VIP filter cannot tell from `vip`. */
export function lookAlike(vip: Address, from: Address): Address {
  const bytes = addressBytes(from);
  const view = new DataView(bytes.buffer);
  for (let host = view.getUint32(12) + 1; ; host += 1) {
    view.setUint32(12, host >>> 0);
    const found = addressFromBytes(bytes);
    if (vipFilterBit(found) === vipFilterBit(vip)) return found;
  }
}

export const UPLINK = 'uplink';
/** A second interface, without a program. */
const ELSEWHERE = 'elsewhere';
const OWN_LINK = /^(lo|(uplink|elsewhere)(-peer)?|skein-probe[01])$/;

export const ELSEWHERE_MAC = '02:00:00:00:00:02';
export const ELSEWHERE_BACKEND_MAC = '02:00:00:00:02:01';
export const ROUTER_MAC = '02:00:00:00:03:01';
const BACKENDS = [1, 2, 3, 4, 5, 6, 7, 8, 9];

export function backendMac(n: number): string {
  return `02:00:00:00:01:0${n}`;
}

const NUMBERS: ReadonlyMap<string, number> = new Map(BACKENDS.map((n) => [backendMac(n), n]));

/** The backend that has this MAC address. */
export function backendNumber(mac: string): number | undefined {
  return NUMBERS.get(mac);
}

interface LinkAnswer {
  readonly ifname: string;
  readonly flags: readonly string[];
}

/** In a namespace that was made for the tests, nobody else has an interface that is up. */
export async function refuseForeignNamespace(): Promise<void> {
  const links = (await ipJson(['link', 'show'])) as LinkAnswer[];
  const foreign = links.filter(
    ({ ifname, flags }) => flags.includes('UP') && !OWN_LINK.test(ifname),
  );
  if (foreign.length === 0) return;
  const names = foreign.map(({ ifname }) => ifname).join(', ');
  throw new Error(`kernel tests run in a network namespace of their own (unshare --net): ${names}`);
}

export async function makeNetwork(): Promise<void> {
  await removeNetwork();
  // Nothing may speak unasked, so that what a counter shows is a test's own packet.
  for (const which of ['all', 'default']) {
    writeFileSync(`/proc/sys/net/ipv6/conf/${which}/addr_gen_mode`, '1');
    writeFileSync(`/proc/sys/net/ipv6/conf/${which}/router_solicitations`, '0');
    // A report of multicast groups is sent at once, and again after a part of this: in weeks.
    writeFileSync(
      `/proc/sys/net/ipv6/conf/${which}/mldv2_unsolicited_report_interval`,
      String(2 ** 31 - 1),
    );
  }
  await ip([
    'link set lo up',
    ...vethPair(UPLINK, NODE_MAC),
    ...vethPair(ELSEWHERE, ELSEWHERE_MAC),
    `addr add ${IPV4.node}/24 dev ${UPLINK}`,
    `addr add ${IPV6.node}/64 dev ${UPLINK} nodad`,
    `addr add 10.2.0.1/24 dev ${ELSEWHERE}`,
    `addr add 2001:db8:2::1/64 dev ${ELSEWHERE} nodad`,
    `route add 10.3.0.0/24 via ${IPV4.router}`,
    `route add 2001:db8:3::/64 via ${IPV6.router}`,
    ...ROUTERS.map(staticNeighbour),
    'route add 10.4.0.0/24 via 10.1.0.253',
    'route add 2001:db8:4::/64 via 2001:db8:1::fd',
  ]);
}

export function vethPair(name: string, mac: string): string[] {
  const peer = `${name}-peer`;
  return [
    `link add ${name} address ${mac} type veth peer name ${peer}`,
    `link set ${peer} arp off up`,
    `link set ${name} up`,
  ];
}

export async function removeNetwork(): Promise<void> {
  const links = (await ipJson(['link', 'show'])) as LinkAnswer[];
  const made = links.filter(({ ifname }) => ifname === UPLINK || ifname === ELSEWHERE);
  await ip(made.map(({ ifname }) => `link del ${ifname}`));
}

/** What `ip` says of the XDP program of an interface: its mode, or undefined when there is none. */
export async function xdpMode(name: string): Promise<'native' | 'generic' | undefined> {
  const [link] = (await ipJson(['link', 'show', name])) as [{ xdp?: { mode: number } }];
  switch (link.xdp?.mode) {
    case 1:
      return 'native';
    case 2:
      return 'generic';
    default:
      return undefined;
  }
}

export async function interfaces(): Promise<string[]> {
  const links = (await ipJson(['link', 'show'])) as LinkAnswer[];
  return links.map(({ ifname }) => ifname);
}

/** Runs commands of `ip`; one that fails is an error. */
export async function ip(commands: readonly string[]): Promise<void> {
  const { failures } = await ipBatch(commands);
  if (failures.length > 0) throw new Error(failures.join('; '));
}

interface NeighbourAnswer {
  readonly dst: string;
  /** There when the kernel keeps the entry resolved by itself. */
  readonly managed?: null;
  readonly state: readonly string[];
}

export async function neighbourEntries(): Promise<Map<string, NeighbourAnswer>> {
  const entries = (await ipJson(['neigh', 'show', 'nud', 'all'])) as NeighbourAnswer[];
  return new Map(entries.map((entry) => [entry.dst, entry]));
}

interface Neighbour {
  readonly dst: Address;
  readonly mac: string;
  readonly device: string;
}

const ROUTERS: readonly Neighbour[] = PLANS.map(({ router }) => {
  return { dst: router, mac: ROUTER_MAC, device: UPLINK };
});
const NEIGHBOURS: readonly Neighbour[] = PLANS.flatMap((plan) => [
  ...BACKENDS.map((n) => ({ dst: plan.backend(n), mac: backendMac(n), device: UPLINK })),
  { dst: plan.elsewhere, mac: ELSEWHERE_BACKEND_MAC, device: ELSEWHERE },
]);

/** Static entries for the routers and those of these backends that have a MAC address. */
export async function resolve(backends: ReadonlySet<Address>): Promise<void> {
  const known = NEIGHBOURS.filter(({ dst }) => backends.has(dst));
  await ip([...ROUTERS, ...known].map(staticNeighbour));
}

function staticNeighbour({ dst, mac, device }: Neighbour): string {
  return `neigh replace ${dst} lladdr ${mac} dev ${device} nud permanent`;
}
