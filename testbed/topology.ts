/**
 * The testbed as plain data: namespaces, links, addresses and routes for N balancers and M backends.
 * Pure: it never looks at the machine. The drawing is in README.md.
 */
import { SkeinError } from '../src/lib/errors.ts';
import { address, type Address } from '../src/model/address.ts';

export const NODES_MAX = 8;
export const BACKENDS_MAX = 16;
export const VIP_PAIRS_MAX = 16;

/** The one interface that the testbed puts into the root namespace. */
export const ROOT_INTERFACE = 'skein-mgmt';

export const CONSOLE_PORT = 8080;
export const HTTP_PORT = 80;
export const ECHO_PORT = 7000;
export const UDP_ECHO_PORT = 7001;

export const ROUTER_AS = 65000;
export const NODE_AS = 65010;

export interface TopologyOptions {
  /** 0 to 8. */
  readonly nodes: number;
  /** 0 to 16. */
  readonly backends: number;
  /** VIPs of each family that every backend carries; 1 to 16, default 4. */
  readonly vipPairs?: number;
  /** The first so many backends are left to `skein backend`, the others set up by hand. Default 0. */
  readonly managedBackends?: number;
}

/** One end of a veth pair. */
export interface LinkEnd {
  /** Undefined: the root namespace. */
  readonly namespace: string | undefined;
  readonly interface: string;
  readonly mac: string;
  /** With prefix lengths. */
  readonly addresses: readonly string[];
  /** Name of the bridge that this end is a port of. */
  readonly bridge: string | undefined;
  /** Has an XDP program that lets everything through: see pass.bpf.c. */
  readonly pass: boolean;
}

export interface Link {
  readonly ends: readonly [LinkEnd, LinkEnd];
}

export interface Namespace {
  readonly name: string;
  readonly bridge: string | undefined;
  /** Path below /proc/sys -> value. */
  readonly sysctls: Readonly<Record<string, string>>;
  /** Host addresses on `lo`, with prefix lengths. */
  readonly loopback: readonly string[];
  /** Default gateways. */
  readonly gateways: readonly Address[];
}

/** Such as `lb1`: what people type. */
export interface Named {
  readonly name: string;
}

/** A host of the testbed and where it is reached. */
export interface Site extends Named {
  readonly namespace: string;
  readonly ipv4: Address;
  readonly ipv6: Address;
}

export interface NodeSite extends Site {
  readonly number: number;
  /** Address of the console, reachable from the root namespace. */
  readonly management: Address;
}

export interface BackendSite extends Site {
  readonly number: number;
  /** VIPs and all that goes with them are the business of `skein backend`. */
  readonly managed: boolean;
}

export interface VipPair {
  readonly ipv4: Address;
  readonly ipv6: Address;
}

export interface Topology {
  readonly client: Site;
  /** `ipv4` and `ipv6` are its addresses on the LAN, where the balancers are. */
  readonly router: Site;
  readonly nodes: readonly NodeSite[];
  readonly backends: readonly BackendSite[];
  readonly vips: readonly VipPair[];
  readonly namespaces: readonly Namespace[];
  readonly links: readonly Link[];
}

const CLIENT_SEGMENT = 0;
const LAN_SEGMENT = 1;
const MANAGEMENT_SEGMENT = 254;
const LAN_NAMESPACE = 'skein-lan';
const MANAGEMENT_NAMESPACE = 'skein-mgmt';

export function topology(options: TopologyOptions): Topology {
  const { vipPairs = 4, managedBackends = 0 } = options;
  checkSize('nodes', options.nodes, 0, NODES_MAX);
  checkSize('backends', options.backends, 0, BACKENDS_MAX);
  checkSize('VIP pairs', vipPairs, 1, VIP_PAIRS_MAX);
  checkSize('managed backends', managedBackends, 0, options.backends);

  const client = site('client', CLIENT_SEGMENT, 2);
  const router = site('router', LAN_SEGMENT, 1);
  const vips = numbers(vipPairs).map((number) => ({
    ipv4: address(`10.83.100.${number}`),
    ipv6: address(`fd83:100::${number}`),
  }));
  const nodes = numbers(options.nodes).map((number) => ({
    ...site(`lb${number}`, LAN_SEGMENT, 10 + number),
    number,
    management: address(`10.83.${MANAGEMENT_SEGMENT}.${10 + number}`),
  }));
  const backends = numbers(options.backends).map((number) => ({
    ...site(`b${number}`, LAN_SEGMENT, 100 + number),
    number,
    managed: number <= managedBackends,
  }));

  return {
    client,
    router,
    nodes,
    backends,
    vips,
    namespaces: [
      clientNamespace(client),
      routerNamespace(router),
      switchNamespace(LAN_NAMESPACE),
      switchNamespace(MANAGEMENT_NAMESPACE),
      ...nodes.map((node) => nodeNamespace(node, router)),
      ...backends.map((backend) => backendNamespace(backend, router, vips)),
    ],
    links: [
      clientLink(client, router),
      lanLink(router, 1, 'lan', false),
      managementLink(undefined, ROOT_INTERFACE, 'host', 1),
      ...nodes.flatMap((node) => [
        lanLink(node, 10 + node.number, 'eth0', true),
        managementLink(node.namespace, 'mgmt', node.name, 10 + node.number),
      ]),
      ...backends.map((backend) => lanLink(backend, 100 + backend.number, 'eth0', false)),
    ],
  };
}

/** The end of a host's LAN cable that is in the switch: taking it down is pulling the cable. */
export function switchPort(host: Named): {
  readonly namespace: string;
  readonly interface: string;
} {
  return { namespace: LAN_NAMESPACE, interface: host.name };
}

/** Whether some topology could have made this namespace: only those are ever removed. */
export function isTestbedNamespace(name: string): boolean {
  return /^skein-(client|router|lan|mgmt|lb[1-8]|b([1-9]|1[0-6]))$/.test(name);
}

/** Every host by the name that people type: client, router, lb1.., b1... */
export function sites(shape: Topology): readonly Site[] {
  return [shape.client, shape.router, ...shape.nodes, ...shape.backends];
}

function clientNamespace(client: Site): Namespace {
  return {
    ...plainNamespace(client.namespace),
    sysctls: {
      // Ten thousand connections held at once, and short ones beside them.
      'net/ipv4/ip_local_port_range': '10240 65535',
    },
    gateways: segmentAddresses(CLIENT_SEGMENT, 1),
  };
}

/** Addresses, protocol and ports: bits of fib_multipath_hash_fields (ip-sysctl in the kernel's docs). */
const FIVE_TUPLE = String(0x01 | 0x02 | 0x04 | 0x10 | 0x20);

function routerNamespace(router: Site): Namespace {
  return {
    ...plainNamespace(router.namespace),
    sysctls: {
      'net/ipv4/ip_forward': '1',
      'net/ipv6/conf/all/forwarding': '1',
      // By the 5-tuple that is in the packet, as the ECMP routers in front of a real cluster do.
      // Policy 1 would believe the hash that came with it from the client's socket, on the same
      // machine, and a socket picks another one when a segment has to be sent again.
      'net/ipv4/fib_multipath_hash_policy': '3',
      'net/ipv6/fib_multipath_hash_policy': '3',
      'net/ipv4/fib_multipath_hash_fields': FIVE_TUPLE,
      'net/ipv6/fib_multipath_hash_fields': FIVE_TUPLE,
      'net/ipv4/conf/all/rp_filter': '0',
      'net/ipv4/conf/all/send_redirects': '0',
    },
  };
}

/** A bridge and nothing else: it has no addresses, so no IPv6 chatter of its own either. */
function switchNamespace(name: string): Namespace {
  return {
    ...plainNamespace(name),
    bridge: 'br0',
    sysctls: {
      'net/ipv6/conf/all/disable_ipv6': '1',
      'net/ipv6/conf/default/disable_ipv6': '1',
    },
  };
}

function nodeNamespace(node: NodeSite, router: Site): Namespace {
  return { ...plainNamespace(node.namespace), gateways: [router.ipv4, router.ipv6] };
}

function backendNamespace(backend: BackendSite, router: Site, vips: readonly VipPair[]): Namespace {
  const gateways = [router.ipv4, router.ipv6];
  if (backend.managed) {
    // Its server binds the VIPs before they are there, and keeps them while they are gone.
    const sysctls = { 'net/ipv4/ip_nonlocal_bind': '1', 'net/ipv6/ip_nonlocal_bind': '1' };
    return { ...plainNamespace(backend.namespace), sysctls, gateways };
  }
  return {
    ...plainNamespace(backend.namespace),
    sysctls: {
      // Every backend carries the VIPs: none may answer ARP for them, or speak of them in ARP.
      'net/ipv4/conf/all/arp_ignore': '1',
      'net/ipv4/conf/all/arp_announce': '2',
      'net/ipv4/conf/all/rp_filter': '0',
    },
    loopback: vips.flatMap((vip) => [`${vip.ipv4}/32`, `${vip.ipv6}/128`]),
    gateways,
  };
}

function plainNamespace(name: string): Namespace {
  return { name, bridge: undefined, sysctls: {}, loopback: [], gateways: [] };
}

function clientLink(client: Site, router: Site): Link {
  return {
    ends: [
      hostEnd(client.namespace, 'eth0', CLIENT_SEGMENT, 2),
      hostEnd(router.namespace, 'client', CLIENT_SEGMENT, 1),
    ],
  };
}

function lanLink(host: Site, number: number, name: string, pass: boolean): Link {
  return {
    ends: [
      hostEnd(host.namespace, name, LAN_SEGMENT, number),
      portEnd(LAN_NAMESPACE, host.name, LAN_SEGMENT, number, pass),
    ],
  };
}

function managementLink(
  namespace: string | undefined,
  name: string,
  port: string,
  number: number,
): Link {
  const end = hostEnd(namespace, name, MANAGEMENT_SEGMENT, number);
  const addresses = [`10.83.${MANAGEMENT_SEGMENT}.${number}/24`];
  return {
    ends: [
      { ...end, addresses },
      portEnd(MANAGEMENT_NAMESPACE, port, MANAGEMENT_SEGMENT, number, false),
    ],
  };
}

function hostEnd(
  namespace: string | undefined,
  name: string,
  segment: number,
  number: number,
): LinkEnd {
  const [ipv4, ipv6] = segmentAddresses(segment, number);
  return {
    namespace,
    interface: name,
    mac: macAddress(segment, number, 0),
    addresses: [`${ipv4}/24`, `${ipv6}/64`],
    bridge: undefined,
    pass: false,
  };
}

function portEnd(
  namespace: string,
  name: string,
  segment: number,
  number: number,
  pass: boolean,
): LinkEnd {
  const mac = macAddress(segment, number, 1);
  return { namespace, interface: name, mac, addresses: [], bridge: 'br0', pass };
}

function site(name: string, segment: number, number: number): Site {
  const [ipv4, ipv6] = segmentAddresses(segment, number);
  return { name, namespace: `skein-${name}`, ipv4, ipv6 };
}

/** The host's number is written in decimal digits in both families: lb1 is .11 and ::11. */
function segmentAddresses(segment: number, number: number): readonly [Address, Address] {
  return [address(`10.83.${segment}.${number}`), address(`fd83:${segment}::${number}`)];
}

/** Locally administered, and readable in a packet trace: 02:83:segment:side:00:number. */
function macAddress(segment: number, number: number, side: 0 | 1): string {
  const hex = (value: number): string => value.toString(16).padStart(2, '0');
  return `02:83:${hex(segment)}:${hex(side)}:00:${hex(number)}`;
}

function numbers(count: number): readonly number[] {
  return Array.from({ length: count }, (_, index) => index + 1);
}

function checkSize(what: string, value: number, min: number, max: number): void {
  if (Number.isInteger(value) && value >= min && value <= max) return;
  throw new SkeinError('testbed_size', `the testbed has ${min} to ${max} ${what}, not ${value}`);
}
