/** One address, one role: VIPs, backends, routers and this node must not be mistaken for each other. */
import { familyOf, type Address } from '../model/address.ts';
import type { Path, Report } from './problems.ts';
import type { ClusterRemains, NodeDocument } from './schema.ts';

/** Who has an address, in words. */
type Owners = Map<Address, string>;

/** `node` is undefined when the node part does not fit its schema. */
export function crossCheckAddresses(
  cluster: ClusterRemains,
  node: NodeDocument | undefined,
  report: Report,
): void {
  const nodes = nodeOwners(cluster, node);
  checkPeers(cluster, nodes, report);
  const backends = checkBackends(cluster, nodes, node, report);
  checkVips(cluster, [nodes, backends, peerOwners(cluster)], report);
  if (node !== undefined) checkFamilies(cluster, node, report);
}

/** This node and, where the cluster document lists them, the others. */
function nodeOwners(cluster: ClusterRemains, node: NodeDocument | undefined): Owners {
  const owners: Owners = new Map();
  for (const [index, peer] of (cluster.sync?.peers ?? []).entries()) {
    if (peer !== undefined) owners.set(peer.address, `sync.peers[${index}]`);
  }
  for (const own of [node?.ipv4, node?.ipv6, node?.sync_address, ...(node?.decap ?? [])]) {
    if (own !== undefined) owners.set(own, `node "${node?.node}" itself`);
  }
  return owners;
}

function peerOwners(cluster: ClusterRemains): Owners {
  const owners: Owners = new Map();
  for (const [index, peer] of (cluster.bgp?.peers ?? []).entries()) {
    if (peer !== undefined) owners.set(peer.address, `bgp.peers[${index}]`);
  }
  return owners;
}

function checkPeers(cluster: ClusterRemains, nodes: Owners, report: Report): void {
  for (const [index, peer] of (cluster.bgp?.peers ?? []).entries()) {
    const owner = peer === undefined ? undefined : nodes.get(peer.address);
    if (owner === undefined) continue;
    const path = ['bgp', 'peers', index, 'address'];
    report('cluster', { path, message: `is the address of ${owner}` });
  }
}

/**
 * This node itself may be a backend, which gets its packets from the kernel. Another may not: two
 * nodes could hand a packet to each other for ever. Returns whose address is whose.
 */
function checkBackends(
  cluster: ClusterRemains,
  nodes: Owners,
  own: NodeDocument | undefined,
  report: Report,
): Owners {
  const owners: Owners = new Map();
  for (const [group, entries] of Object.entries(cluster.backends ?? {})) {
    for (const [index, entry] of (entries ?? []).entries()) {
      if (entry === undefined) continue;
      owners.set(entry.address, `backend "${entry.name ?? entry.address}" of group "${group}"`);
      const node = nodes.get(entry.address);
      if (node === undefined || own?.[familyOf(entry.address)] === entry.address) continue;
      const path = ['backends', group, index, 'address'];
      report('cluster', { path, message: `is the address of ${node}` });
    }
  }
  return owners;
}

function checkVips(cluster: ClusterRemains, roles: readonly Owners[], report: Report): void {
  eachVip(cluster, (vip, path) => {
    for (const owners of roles) {
      const owner = owners.get(vip);
      if (owner === undefined) continue;
      report('cluster', { path, message: `is the address of ${owner}, so it cannot be a VIP` });
    }
  });
}

/** Health checks need a source and routes a next hop of the VIP's own family. */
function checkFamilies(cluster: ClusterRemains, node: NodeDocument, report: Report): void {
  const seen = new Set<Address>();
  eachVip(cluster, (vip, path) => {
    const family = familyOf(vip);
    if (node[family] !== undefined || seen.has(vip)) return;
    seen.add(vip);
    const message =
      `node "${node.node}" has no ${family} of its own, ` +
      'so checks of this VIP have no source and its route no next hop';
    report('cluster', { path, message });
  });
}

function eachVip(cluster: ClusterRemains, visit: (vip: Address, path: Path) => void): void {
  for (const [index, service] of (cluster.services ?? []).entries()) {
    for (const [at, vip] of (service?.vip ?? []).entries()) {
      visit(vip, ['services', index, 'vip', at]);
    }
  }
}
