/** Whether the way to a backend fits its VIPs and this node: families, and who has what address. */
import { familyOf } from '../model/address.ts';
import { isTunnel } from '../model/forwarding.ts';
import type { Path, Report } from './problems.ts';
import type { BackendEntry } from './schema-backend.ts';
import type { ClusterRemains, NodeDocument } from './schema.ts';

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
      if (entry.mode === 'dscp') checkVipFamilies(cluster, group, entry, path, report);
    }
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
