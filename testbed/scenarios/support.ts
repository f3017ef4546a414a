/** What several scenarios need: both families as a table, statistics, and ways through one node. */
import { describe } from 'vitest';
import type { Family } from '../../src/model/address.ts';
import type { NodeSnapshot, VipSnapshot } from '../../src/snapshot.ts';
import type { ConfigOptions } from '../config.ts';
import { missingRequirement, run } from '../exec.ts';
import type { Hold } from '../client.ts';
import type { BirdOptions } from '../bird.ts';
import type { Testbed } from '../testbed.ts';
import type { NodeSite } from '../topology.ts';
import type { Counts } from '../traffic/report.ts';
import { until } from '../until.ts';

export const FAMILIES: readonly Family[] = ['ipv4', 'ipv6'];

/** Not root, or not Linux: skipped, which with CI=true is a failure. */
export const scenario = describe.skipIf(missingRequirement() !== undefined);

/**
 * BFD that takes half a second: for scenarios in which routes must stay, or that take long. A machine
 * that stands still for the 150 ms of the default, as a virtual one may, loses all sessions at once.
 */
export const PATIENT_BFD: BirdOptions = { bfd: { intervalMs: 50, multiplier: 10 } };

/** The first VIP, on which the standard services are. */
export function vipOf(testbed: Testbed, family: Family): string {
  const [first] = testbed.topology.vips;
  if (first === undefined) throw new Error('the testbed has no VIP');
  return first[family];
}

export function urlOf(host: string, path = '/'): string {
  return `http://${host.includes(':') ? `[${host}]` : host}${path}`;
}

export function hostPrefixOf(host: string): string {
  return host.includes(':') ? `${host}/128` : `${host}/32`;
}

/**
 * Pearson's statistic of `seen` against shares in proportion to `weights`. With three degrees of
 * freedom a fair sample exceeds `CHI_SQUARE_MAX` once in a million times.
 */
export function chiSquare(seen: Counts, weights: Counts): number {
  const total = Object.values(seen).reduce((sum, count) => sum + count, 0);
  const weightSum = Object.values(weights).reduce((sum, weight) => sum + weight, 0);
  return Object.entries(weights).reduce((sum, [name, weight]) => {
    const expected = (total * weight) / weightSum;
    return sum + ((seen[name] ?? 0) - expected) ** 2 / expected;
  }, 0);
}

export const CHI_SQUARE_MAX = 30.66;

/** Makes the router send everything for a host to one balancer, ahead of what BGP says. */
export async function routeThrough(testbed: Testbed, host: string, node: NodeSite): Promise<void> {
  const family = host.includes(':') ? 'ipv6' : 'ipv4';
  await changeRoute(testbed, 'replace', [host, 'via', node[family]]);
}

/** Gives the routes for a host back to BGP. */
export async function routeByBgp(testbed: Testbed, host: string): Promise<void> {
  await changeRoute(testbed, 'del', [host]);
}

/** Drains these backends and no other ones, and waits until every node does. */
export async function drain(
  testbed: Testbed,
  config: ConfigOptions,
  draining: readonly string[],
): Promise<void> {
  testbed.reconfigure({ ...config, draining });
  const isDone = ({ services }: NodeSnapshot): boolean =>
    services
      .flatMap(({ backends }) => backends)
      .every(({ name, state }) => (state === 'draining') === draining.includes(name));
  const what = `${draining.join(', ') || 'no backend'} to drain`;
  await Promise.all(testbed.nodes.map((node) => node.untilSnapshot(what, isDone)));
}

/** How often the client has sent a SYN again so far, or its peers theirs: TcpExt in proc_net(5). */
export async function resentSyns({ topology: { client } }: Testbed): Promise<number> {
  const [names = '', values = ''] = (await run(['grep', '^TcpExt:', '/proc/net/netstat'], client))
    .trim()
    .split('\n');
  const at = names.split(' ').indexOf('TCPSynRetrans');
  const count = Number(values.split(' ')[at]);
  if (!Number.isInteger(count)) throw new Error('this kernel does not count TCPSynRetrans');
  return count;
}

/** Every connection has exchanged so many more lines, on average. */
export async function untilEchoed(holds: readonly Hold[], lines: number): Promise<void> {
  for (const each of holds) {
    const before = await each.report();
    const wanted = before.linesEchoed + before.opened * lines;
    await until(async () => (await each.report()).linesEchoed >= wanted, {
      what: `${lines} lines on every connection`,
      timeoutMs: 120_000,
      everyMs: 100,
    });
  }
}

async function changeRoute(testbed: Testbed, change: string, route: string[]): Promise<void> {
  const family = route[0]?.includes(':') === true ? '-6' : '-4';
  const command = ['ip', family, 'route', change, ...route, 'metric', '1'];
  await run(command, { namespace: testbed.topology.router.namespace });
}

/** The state that a node shows of one backend of the service on this VIP and port. */
export function backendOf(snapshot: NodeSnapshot, vip: string, port: number, name: string) {
  const service = snapshot.services.find((each) => each.vip === vip && each.port === port);
  return service?.backends.find((each) => each.name === name);
}

export function vipIn(snapshot: NodeSnapshot, vip: string): VipSnapshot | undefined {
  return snapshot.vips.find(({ address }) => address === vip);
}
