/** Whether the way to a backend fits its VIPs and this node: families, and who has what address. */
import { familyOf } from '../model/address.ts';
import { isNat, isTunnel, natPort, NAT_SHARERS_MAX, overheadBytes } from '../model/forwarding.ts';
import type { Path, Report } from './problems.ts';
import type { BackendEntry } from './schema-backend.ts';
import type { ClusterRemains, NodeDocument } from './schema.ts';

/** What every IPv6 way takes (RFC 8200, section 5): senders need not know how to send less. */
const IPV6_MTU_MIN = 1280;

/** `node` is undefined when the node part does not fit its schema. */
export function crossCheckForwarding(
  cluster: ClusterRemains,
  node: NodeDocument | undefined,
  report: Report,
): void {
  for (const [group, entries] of Object.entries(cluster.backends ?? {})) {
    for (const [index, entry] of (entries ?? []).entries()) {
      if (entry === undefined) continue;
      const path = ['backends', group, index];
      if (isTunnel(entry.mode)) checkTunnelSource(entry, path, node, report);
      if (entry.mode === 'dscp' || isNat(entry.mode)) {
        checkVipFamilies(cluster, group, entry, path, report);
      }
      if (entry.mtu !== undefined) checkMtu(cluster, group, entry, path, report);
    }
  }
  checkSharers(cluster, report);
  for (const [index, service] of (cluster.services ?? []).entries()) {
    if (service?.protocol !== 'udp' || !isClamped(service.mss_clamp)) continue;
    report('cluster', { path: ['services', index, 'mss_clamp'], message: 'is for tcp only' });
  }
}

function isClamped(clamp: boolean | number | undefined): boolean {
  return clamp !== undefined && clamp !== false;
}

/** IPv6 needs what it needs, and the tunnel comes on top. */
function checkMtu(
  cluster: ClusterRemains,
  group: string,
  { address, mode, mtu = 0 }: BackendEntry,
  path: Path,
  report: Report,
): void {
  const needed = IPV6_MTU_MIN + overheadBytes(mode, familyOf(address));
  if (mtu >= needed) return;
  for (const service of cluster.services ?? []) {
    if (service?.backends?.includes(group) !== true) continue;
    const vip = service.vip?.find((each) => familyOf(each) === 'ipv6');
    if (vip === undefined) continue;
    const message =
      `must be at least ${needed} for mode ${mode}, ` +
      `since service "${service.name ?? ''}" has the IPv6 VIP ${vip}`;
    report('cluster', { path: [...path, 'mtu'], message });
    return;
  }
}

function checkTunnelSource(
  { address, tunnel_source: source }: BackendEntry,
  path: Path,
  node: NodeDocument | undefined,
  report: Report,
): void {
  const family = familyOf(address);
  if (source !== undefined && familyOf(source.address) !== family) {
    const message = `must be of the backend's family, ${family}`;
    report('cluster', { path: [...path, 'tunnel_source'], message });
  }
  if (source !== undefined || node === undefined || node[family] !== undefined) return;
  const message =
    `node "${node.node}" has no ${family} of its own to send the tunnel from: ` +
    `give the node one, or the backend a tunnel_source`;
  report('cluster', { path: [...path, 'address'], message });
}

/** What takes the place of the VIP in the packet must be as long as the VIP. */
function checkVipFamilies(
  cluster: ClusterRemains,
  group: string,
  { address, mode }: BackendEntry,
  path: Path,
  report: Report,
): void {
  for (const service of cluster.services ?? []) {
    if (service?.backends?.includes(group) !== true) continue;
    const other = service.vip?.find((vip) => familyOf(vip) !== familyOf(address));
    if (other === undefined) continue;
    const message =
      `mode ${mode} needs a backend of the VIP's own family, ` +
      `and service "${service.name ?? ''}" has the VIP ${other}`;
    report('cluster', { path: [...path, 'address'], message });
    return;
  }
}

interface Sharers {
  readonly path: Path;
  /** How many VIPs and ports. */
  count: number;
}

/** By protocol and address, and then by port, 0 for every one: what replies of nat stand for. */
function countSharers(cluster: ClusterRemains): Map<string, Map<number, Sharers>> {
  const hosts = new Map<string, Map<number, Sharers>>();
  for (const [group, entries] of Object.entries(cluster.backends ?? {})) {
    const services = (cluster.services ?? []).flatMap((each) => {
      return each?.backends?.includes(group) === true ? [each] : [];
    });
    for (const [index, entry] of (entries ?? []).entries()) {
      if (entry?.mode !== 'nat') continue;
      for (const { vip: vips = [], port: ports = [], protocol = '' } of services) {
        const host = `${protocol} ${entry.address}`;
        const sources = hosts.get(host) ?? new Map<number, Sharers>();
        hosts.set(host, sources);
        for (const servicePort of ports) {
          const port = natPort(servicePort, entry);
          const source = sources.get(port) ?? { path: ['backends', group, index], count: 0 };
          source.count += vips.length;
          sources.set(port, source);
        }
      }
    }
  }
  return hosts;
}

/** The replies of a backend must say by their source, or nearly so, from which VIP they are to go on. */
function checkSharers(cluster: ClusterRemains, report: Report): void {
  for (const [host, sources] of countSharers(cluster)) {
    for (const [port, { path, count }] of sources) {
      const sharers = count + (port === 0 ? 0 : (sources.get(0)?.count ?? 0));
      if (sharers <= NAT_SHARERS_MAX) continue;
      const [protocol = '', address = ''] = host.split(' ');
      const what = port === 0 ? `every ${protocol} port` : `${protocol} port ${port}`;
      const message =
        `mode nat tells the replies of ${what} of ${address} apart for ${NAT_SHARERS_MAX} VIPs and ` +
        `ports at most, and here are ${sharers}: use other ports of the backend, or mode full_nat`;
      report('cluster', { path: [...path, 'mode'], message });
    }
  }
}
