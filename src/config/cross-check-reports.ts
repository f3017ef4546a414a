/** Where `reports` are sent a node listens, and who checks reports has somewhere to get them. */
import { familyOf } from '../model/address.ts';
import type { Report } from './problems.ts';
import { eachRepeated } from './repeated.ts';
import type { ClusterRemains, NodeDocument } from './schema.ts';

type Reports = NonNullable<ClusterRemains['reports']>;

/** `node` is undefined when the node part does not fit its schema. */
export function crossCheckReports(
  cluster: ClusterRemains,
  node: NodeDocument | undefined,
  report: Report,
): void {
  const { reports } = cluster;
  if (reports === undefined) return;
  const keyFiles = reports.key_files ?? [];
  eachRepeated(keyFiles, (index) => {
    report('cluster', { path: ['reports', 'key_files', index], message: 'is listed twice' });
  });
  for (const [index, file] of keyFiles.entries()) {
    if (file === undefined || cluster.sync?.key_files?.includes(file) !== true) continue;
    const message = 'is a key of sync: backends would hold the key that nodes trust each other by';
    report('cluster', { path: ['reports', 'key_files', index], message });
  }
  checkNodes(reports, node, report);
}

/** For documents that fit as a whole: what is there is known only then. */
export function checksWithoutReports(cluster: ClusterRemains, report: Report): void {
  if (cluster.reports !== undefined) return;
  for (const [index, service] of (cluster.services ?? []).entries()) {
    for (const [at, check] of (service?.checks ?? []).entries()) {
      if (check?.type !== 'report') continue;
      const path = ['services', index, 'checks', at, 'type'];
      report('cluster', { path, message: 'needs a section "reports" in this document' });
    }
  }
}

function checkNodes({ group, nodes }: Reports, node: NodeDocument | undefined, report: Report) {
  const addresses = (nodes ?? []).map((each) => each?.address);
  eachRepeated(addresses, (index, first) => {
    const message = `is already the address of nodes[${first}]`;
    report('cluster', { path: ['reports', 'nodes', index], message });
  });
  const first = addresses.findIndex((address) => address !== undefined);
  const family = addresses[first] && familyOf(addresses[first]);
  for (const [index, address] of addresses.entries()) {
    if (address === undefined || familyOf(address) === family) continue;
    const message = `must be of the same family as nodes[${first}]: a backend reports by one`;
    report('cluster', { path: ['reports', 'nodes', index], message });
  }
  if (node === undefined || (group !== undefined && nodes !== undefined)) return;
  if (group !== undefined) {
    const family = familyOf(group.address);
    if (node[family] !== undefined) return;
    const message = `is required, because backends report by ${family}`;
    report('node', { path: [family], message });
    return;
  }
  if (nodes === undefined || addresses.includes(undefined)) return;
  if (addresses.includes(node.ipv4) || addresses.includes(node.ipv6)) return;
  const message = `has neither ipv4 nor ipv6 of node "${node.node}", which would hear no report`;
  report('cluster', { path: ['reports', 'nodes'], message });
}
