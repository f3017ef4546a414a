/**
 * Makes a topology real and takes it away again. Must never touch a namespace, an interface or a pin
 * that a topology could not have made; what an earlier testbed left behind is removed by name.
 */
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { SkeinError } from '../src/lib/errors.ts';
import { run } from './exec.ts';
import { BPFFS, PASS_PROGRAM } from './places.ts';
import {
  isTestbedNamespace,
  ROOT_INTERFACE,
  switchPort,
  type LinkEnd,
  type Named,
  type Namespace,
  type Topology,
} from './topology.ts';

const NAMESPACES = '/run/netns';
const FIRST_INDEX = 101;

/** What is there of a testbed, whoever made it. */
export interface NetworkStatus {
  readonly namespaces: readonly string[];
  readonly rootInterface: boolean;
  readonly pins: boolean;
}

/** Nothing of an earlier testbed may be left: see `removeNetwork`. */
export async function raiseNetwork(shape: Topology): Promise<void> {
  if (!existsSync(PASS_PROGRAM)) {
    throw new SkeinError('testbed_requirement', `${PASS_PROGRAM} is missing: npm run build`);
  }
  await run(['ip', '-batch', '-'], { input: linkBatch(shape) });
  const scripts = shape.namespaces.map((namespace) =>
    run(['sh', '-e'], { namespace: namespace.name, input: namespaceScript(shape, namespace) }),
  );
  await Promise.all(scripts);
}

/** Removes whatever is there of any testbed; returns what that was. Processes must have ended. */
export async function removeNetwork(): Promise<NetworkStatus> {
  const found = networkStatus();
  const lines = [
    ...(found.rootInterface ? [`link del ${ROOT_INTERFACE}`] : []),
    ...found.namespaces.map((name) => `netns del ${name}`),
  ];
  if (lines.length > 0) await run(['ip', '-batch', '-'], { input: lines.join('\n') });
  if (found.pins) rmSync(BPFFS, { recursive: true, force: true });
  return found;
}

export function networkStatus(): NetworkStatus {
  const names = existsSync(NAMESPACES) ? readdirSync(NAMESPACES) : [];
  return {
    namespaces: names.filter(isTestbedNamespace).sort(),
    rootInterface: existsSync(`/sys/class/net/${ROOT_INTERFACE}`),
    pins: existsSync(BPFFS),
  };
}

/** Mounts bpffs where that has not been done, as systemd does; it stays mounted afterwards. */
export async function ensureBpffs(): Promise<void> {
  const mounted = readFileSync('/proc/self/mounts', 'utf8')
    .split('\n')
    .some((line) => line.split(' ')[1] === '/sys/fs/bpf' && line.split(' ')[2] === 'bpf');
  if (!mounted) await run(['mount', '-t', 'bpf', 'bpf', '/sys/fs/bpf']);
  mkdirSync(BPFFS, { recursive: true });
}

/** What a dead machine no longer has: the maps and links that it had pinned. */
export function removePins(host: Named): void {
  rmSync(`${BPFFS}/${host.name}`, { recursive: true, force: true });
}

/** Pulls a host's LAN cable, or puts it back. Management stays reachable. */
export async function setCable(host: Named, state: 'up' | 'down'): Promise<void> {
  const port = switchPort(host);
  await run(['ip', '-n', port.namespace, 'link', 'set', port.interface, state]);
}

/** One batch for the root namespace: every namespace, every veth pair with both ends in place. */
export function linkBatch(shape: Topology): string {
  const rootEnds = shape.links
    .flatMap((link) => link.ends)
    .filter((end) => end.namespace === undefined);
  return [
    ...shape.namespaces.map((namespace) => `netns add ${namespace.name}`),
    ...shape.links.map(({ ends: [one, other] }, index) => {
      const [first, second] = [FIRST_INDEX + 2 * index, FIRST_INDEX + 2 * index + 1];
      return `link add ${endWords(one, first)} type veth peer ${endWords(other, second)}`;
    }),
    ...rootEnds.flatMap(endBatch),
  ].join('\n');
}

/** A shell script for the inside of one namespace: sysctls, then ip, then offloads. */
export function namespaceScript(shape: Topology, namespace: Namespace): string {
  const ends = shape.links
    .flatMap((link) => link.ends)
    .filter((end) => end.namespace === namespace.name);
  const sysctls = { ...namespace.sysctls, ...Object.assign({}, ...ends.map(endSysctls)) } as Record<
    string,
    string
  >;
  return [
    ...Object.entries(sysctls).map(([path, value]) => `echo '${value}' > /proc/sys/${path}`),
    ...ends.map(ethtoolCommand),
    `ip -batch - <<'END'`,
    'link set lo up',
    ...(namespace.bridge === undefined ? [] : bridgeBatch(namespace.bridge)),
    ...namespace.loopback.map((address) => `addr add ${address} dev lo${noDad(address)}`),
    ...ends.flatMap(endBatch),
    ...namespace.gateways.map((gateway) => `route add default via ${gateway}`),
    'END',
    ...shape.links.flatMap(({ ends: [one, other] }) => [
      ...stationCommand(namespace, one, other),
      ...stationCommand(namespace, other, one),
    ]),
  ].join('\n');
}

/**
 * The two ends of a pair must not have the same index, as they would in two fresh namespaces: the
 * kernel then takes the pair's coming up for no news, reports it up to a second later, and until
 * then IPv6 neighbour discovery gets no answer. In the root namespace the index may be taken.
 */
function endWords(end: LinkEnd, index: number): string {
  const words = `name ${end.interface} address ${end.mac}`;
  return end.namespace === undefined ? words : `index ${index} ${words} netns ${end.namespace}`;
}

/** Multicast snooping would drop IPv6 neighbour discovery and flow sync, as nobody queries here. */
function bridgeBatch(bridge: string): readonly string[] {
  return [`link add ${bridge} type bridge stp_state 0 mcast_snooping 0`, `link set ${bridge} up`];
}

/**
 * Who is at which port, for ever: a switch that has forgotten a host whose cable is cut floods what
 * is meant for it, and XDP on a veth, unlike a network card, sees frames to other MACs. The other
 * balancers would forward them, and a death would go unnoticed.
 */
function stationCommand(namespace: Namespace, port: LinkEnd, host: LinkEnd): readonly string[] {
  if (port.namespace !== namespace.name || port.bridge === undefined) return [];
  return [`bridge fdb replace ${host.mac} dev ${port.interface} master static`];
}

function endBatch(end: LinkEnd): readonly string[] {
  const name = end.interface;
  const master = end.bridge === undefined ? [] : [`link set ${name} master ${end.bridge}`];
  const addresses = end.addresses.map((text) => `addr add ${text} dev ${name}${noDad(text)}`);
  const pass = end.pass ? [`link set ${name} xdpdrv obj ${PASS_PROGRAM} sec xdp`] : [];
  return [...master, ...addresses, ...pass, `link set ${name} up`];
}

/** An address that must first be probed for duplicates cannot be used for a second or more. */
function endSysctls(end: LinkEnd): Record<string, string> {
  if (end.addresses.length === 0) return {};
  return {
    [`net/ipv6/conf/${end.interface}/accept_dad`]: '0',
    [`net/ipv6/conf/${end.interface}/accept_ra`]: '0',
  };
}

/** XDP at the other end must see whole checksums, not ones that are left to the hardware. */
function ethtoolCommand(end: LinkEnd): string {
  return `ethtool -K ${end.interface} tx off > /dev/null`;
}

function noDad(address: string): string {
  return address.includes(':') ? ' nodad' : '';
}

/** The namespace of a host by its short name. Throws a SkeinError that lists the names there are. */
export function namespaceOf(name: string): string {
  const { namespaces } = networkStatus();
  const found = namespaces.find((namespace) => namespace === `skein-${name}`);
  if (found !== undefined) return found;
  if (namespaces.length === 0) {
    throw new SkeinError('testbed_down', 'no testbed is up: npm run testbed -- up');
  }
  const names = namespaces.map((namespace) => namespace.slice('skein-'.length));
  throw new SkeinError('testbed_name', `no ${name} in this testbed, which has ${names.join(', ')}`);
}
