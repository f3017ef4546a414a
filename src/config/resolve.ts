/**
 * Documents to values: every default filled in, every service expanded. Pure, and asks no more
 * questions: schema.ts and cross-check.ts have already refused what makes no sense.
 */
import { familyOf, parseAddress, type Address } from '../model/address.ts';
import type { Admission } from '../model/admission.ts';
import type { BgpPeer } from '../model/bgp.ts';
import type { FlowTimeouts } from '../model/flow.ts';
import type { ForwardingOptions } from '../model/forwarding.ts';
import { serviceId, type Backend, type Service, type Vip } from '../model/service.ts';
import { digestOf } from './digest.ts';
import { resolveChecks } from './resolve-checks.ts';
import type {
  ClusterDocument,
  NodeDocument,
  PeerEntry,
  ReportsSection,
  ServiceEntry,
  SyncSection,
} from './schema.ts';
import type { BackendEntry } from './schema-backend.ts';
import type { ClusterConfig, NodeConfig, NodePart, ReportsConfig, SyncConfig } from './types.ts';

/** What became of the files that the cluster document names. */
export interface NamedFiles {
  /** TCP MD5 keys by the `password_file` that holds them. */
  readonly passwords: ReadonlyMap<string, string>;
  /** Where `sync.key_files` are, in their order. */
  readonly keyFiles: readonly string[];
  /** Where `reports.key_files` are, in their order. */
  readonly reportKeyFiles: readonly string[];
}

export function resolve(
  cluster: ClusterDocument,
  node: NodeDocument,
  files: NamedFiles,
): NodeConfig {
  return { cluster: resolveCluster(cluster, files), node: resolveNode(node, cluster) };
}

/** `files` may leave out what the caller has no use for. */
export function resolveCluster(document: ClusterDocument, files: NamedFiles): ClusterConfig {
  const services = resolveServices(document);
  const settled = {
    name: document.cluster,
    services,
    vips: resolveVips(document, services),
    flowTimeouts: resolveTimeouts(document.flow_timeouts_s),
    drainMs: document.drain_ms,
  };
  const { bgp, sync, reports } = document;
  const peersBy = (password: (peer: PeerEntry) => string | undefined) => {
    return bgp && { as: bgp.as, peers: bgp.peers.map((peer) => resolvePeer(peer, password(peer))) };
  };
  return {
    ...settled,
    bgp: peersBy((peer) => files.passwords.get(peer.password_file ?? '')),
    sync: sync && resolveSync(sync, files.keyFiles),
    reports: reports && resolveReports(reports, files.reportKeyFiles),
    // The digest is shown to everyone, and a short key could be guessed from it: the path stands
    // in, as it is written, so that nodes may keep their documents in different folders.
    digest: digestOf({
      ...settled,
      bgp: peersBy((peer) => peer.password_file),
      sync: sync && resolveSync(sync, sync.key_files),
      reports: reports && resolveReports(reports, reports.key_files),
    }),
  };
}

function resolveServices(document: ClusterDocument): Service[] {
  const groups = new Map(
    Object.entries(document.backends).map(([name, entries]) => [name, entries.map(resolveBackend)]),
  );
  const services = document.services.flatMap((entry) => {
    const backends = entry.backends
      .flatMap((name) => groups.get(name) ?? [])
      .map((backend) => padServerId(backend, entry));
    return expand(entry, backends);
  });
  return services.sort((a, b) => compare(a.id, b.id));
}

/** One service for each VIP and port of the entry. */
function expand(entry: ServiceEntry, backends: readonly Backend[]): Service[] {
  const { name, protocol, scheduler, affinity, need, quic } = entry;
  const admission = resolveAdmission(entry);
  const mssClamp = resolveClamp(entry);
  const settled = { name, protocol, scheduler, affinity, admission, quic, need, mssClamp };
  return entry.port.flatMap((port) => {
    const checks = resolveChecks(entry.checks, port);
    return entry.vip.map((vip) => {
      const id = serviceId({ vip, protocol, port });
      return { ...settled, id, vip, port, backends, checks };
    });
  });
}

/** Undefined when the entry lets everything in. */
function resolveAdmission(entry: ServiceEntry): Admission | undefined {
  const { sources, new_flows_per_s: newFlowsPerS, new_flows_burst: burst = newFlowsPerS } = entry;
  const rules = [
    ...(sources?.allow ?? []).map((prefix) => ({ prefix, admits: true })),
    ...(sources?.deny ?? []).map((prefix) => ({ prefix, admits: false })),
  ];
  if (rules.length === 0 && newFlowsPerS === undefined) return undefined;
  return { sources: rules, newFlowsPerS, newFlowsBurst: burst };
}

/** Host IDs of katran's layout are numbers: shorter ones have zeros in front. */
function padServerId(backend: Backend, { quic }: ServiceEntry): Backend {
  if (quic?.layout !== 'katran' || backend.serverId === undefined) return backend;
  return { ...backend, serverId: backend.serverId.padStart(quic.idBytes * 2, '0') };
}

function resolveClamp({ mss_clamp: clamp }: ServiceEntry): Service['mssClamp'] {
  if (clamp === false) return undefined;
  return clamp === true ? 'path' : clamp;
}

function resolveBackend(entry: BackendEntry): Backend {
  return {
    name: entry.name ?? entry.address,
    address: entry.address,
    weight: entry.weight,
    intent: entry.drain ? 'draining' : 'active',
    mode: entry.mode,
    forwarding: resolveForwarding(entry),
    serverId: entry.server_id,
  };
}

/** Undefined when the entry says nothing beyond its mode. */
function resolveForwarding(entry: BackendEntry): ForwardingOptions | undefined {
  const options: ForwardingOptions = {
    port: entry.tunnel_port ?? entry.port,
    tunnelSource: entry.tunnel_source,
    tunnelTtl: entry.tunnel_ttl,
    dscp: entry.dscp,
    vlan: entry.vlan,
    mtuBytes: entry.mtu,
  };
  return Object.values(options).some((value) => value !== undefined) ? options : undefined;
}

function resolveVips(document: ClusterDocument, services: readonly Service[]): Vip[] {
  const settings = new Map(
    Object.entries(document.vips).map(([text, vip]) => [parseAddress(text), vip]),
  );
  const addresses = new Set<Address>(services.map(({ vip }) => vip));
  return [...addresses].sort(compare).map((address) => {
    const own = settings.get(address);
    const { bgp } = document;
    return {
      address,
      policy: own?.policy ?? 'all',
      communities: own?.communities ?? bgp?.communities ?? [],
      largeCommunities: own?.large_communities ?? bgp?.large_communities ?? [],
      med: own?.med ?? bgp?.med,
    };
  });
}

function resolvePeer(entry: PeerEntry, password: string | undefined): BgpPeer {
  return {
    address: entry.address,
    as: entry.as,
    holdTimeS: entry.hold_time_s,
    password,
    ttlSecurity: entry.ttl_security,
    multihopTtl: entry.multihop_ttl,
    bfd: entry.bfd && { intervalMs: entry.bfd.interval_ms, multiplier: entry.bfd.multiplier },
  };
}

function resolveSync(section: SyncSection, keyFiles: readonly string[]): SyncConfig {
  return {
    group: section.group,
    // In one order, because their order means nothing.
    peers: (section.peers ?? []).toSorted((a, b) => compare(a.address, b.address)),
    keyFiles,
    joinDeadlineMs: section.join_deadline_ms,
  };
}

function resolveReports(section: ReportsSection, keyFiles: readonly string[]): ReportsConfig {
  return {
    group: section.group,
    // In one order, because their order means nothing.
    nodes: (section.nodes ?? []).toSorted((a, b) => compare(a.address, b.address)),
    keyFiles,
    maxSkewMs: section.max_skew_ms,
  };
}

function resolveTimeouts(seconds: ClusterDocument['flow_timeouts_s']): FlowTimeouts {
  return {
    tcpSynS: seconds.tcp_syn,
    tcpSynAckS: seconds.tcp_syn_ack,
    tcpFinS: seconds.tcp_fin,
    tcpS: seconds.tcp,
    udpS: seconds.udp,
    defaultS: seconds.default,
  };
}

function resolveNode(document: NodeDocument, { sync }: ClusterDocument): NodePart {
  const { services, backends, flows, embryonic_flows: embryonicFlows } = document.limits;
  return {
    name: document.node,
    interfaces: document.interfaces,
    ipv4: document.ipv4,
    ipv6: document.ipv6,
    routerId: document.router_id ?? document.ipv4,
    gobgp: document.gobgp,
    console: document.console,
    bpffs: document.bpffs,
    syncAddress: sync && resolveSyncAddress(document, sync),
    stateDir: document.state_dir,
    xdpMode: document.xdp_mode,
    decap:
      document.decap.length === 0
        ? undefined
        : {
            addresses: document.decap,
            guePort: document.decap_gue_port,
            fouPort: document.decap_fou_port,
          },
    limits: { services, backends, flows, embryonicFlows },
  };
}

function resolveSyncAddress(document: NodeDocument, sync: SyncSection): Address | undefined {
  const like = sync.group ?? sync.peers?.[0];
  return document.sync_address ?? (like && document[familyOf(like.address)]);
}

/** The same on every machine: locales play no part. */
function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
