/**
 * Every metric of a node as data: name, help, labels, and how it is read off a snapshot.
 * `service` is a service id, `backend` a backend's address, `vip` an address: each is unique on a
 * node, and the `_info` metrics translate them into names.
 */
import type { BackendSnapshot, NodeSnapshot, ServiceSnapshot, VipSnapshot } from '../snapshot.ts';
import { peerMetrics } from './peer-metrics.ts';
import { reportMetrics } from './report-metrics.ts';

export type Sample = readonly [labels: Record<string, string>, value: number];

export interface Definition {
  readonly name: string;
  readonly type: 'counter' | 'gauge';
  readonly help: string;
  readonly labels: readonly string[];
  readonly samples: (snapshot: NodeSnapshot) => Iterable<Sample>;
}

type Row = readonly [name: string, type: Definition['type'], help: string];

const sourceMetrics: readonly Definition[] = [
  {
    name: 'skein_source_rule_hits_total',
    type: 'counter',
    help: 'New flows that a rule of a source filter decided on.',
    labels: ['service', 'prefix', 'verdict'],
    samples: ({ services }) =>
      services.flatMap(({ id, sources }) =>
        sources.map(({ prefix, verdict, hits }): Sample => [
          { service: id, prefix, verdict },
          hits,
        ]),
      ),
  },
];

const nodeMetrics: readonly Definition[] = [
  {
    name: 'skein_build_info',
    type: 'gauge',
    help: 'Version of Skein and digest of the layout of its maps; always 1.',
    labels: ['version', 'layout'],
    samples: ({ version, dataplane }) => [[{ version, layout: dataplane.layoutDigest }, 1]],
  },
  {
    name: 'skein_node_info',
    type: 'gauge',
    help: 'Names of this node and its cluster; always 1.',
    labels: ['node', 'cluster'],
    samples: ({ node, cluster }) => [[{ node, cluster }, 1]],
  },
  {
    name: 'skein_interface_info',
    type: 'gauge',
    help: 'Interfaces that the XDP program is attached to, and in which mode; always 1.',
    labels: ['interface', 'xdp_mode'],
    samples: ({ dataplane }) =>
      dataplane.interfaces.map(({ name, xdpMode }) => [{ interface: name, xdp_mode: xdpMode }, 1]),
  },
  {
    name: 'skein_config_info',
    type: 'gauge',
    help: 'Digest of the running cluster document: equal on all nodes of a cluster; always 1.',
    labels: ['digest'],
    samples: ({ config }) => [[{ digest: config.digest }, 1]],
  },
  {
    name: 'skein_stopping',
    type: 'gauge',
    help: '1 while the node is stopping and has withdrawn its VIPs.',
    labels: [],
    samples: ({ stopping }) => [[{}, Number(stopping)]],
  },
  {
    name: 'skein_config_loaded_timestamp_seconds',
    type: 'gauge',
    help: 'When the running configuration was loaded, in seconds since 1970.',
    labels: [],
    samples: ({ config }) => [[{}, config.loadedAtMs / 1000]],
  },
  {
    name: 'skein_config_refused_problems',
    type: 'gauge',
    help: 'Problems of the last reload if it was refused; 0 after an accepted one.',
    labels: [],
    samples: ({ config }) => [[{}, config.refused.length]],
  },
  {
    name: 'skein_dataplane_failures',
    type: 'gauge',
    help: 'Map writes that failed and are tried again.',
    labels: [],
    samples: ({ dataplane }) => [[{}, dataplane.failures.length]],
  },
  {
    name: 'skein_flow_table_entries',
    type: 'gauge',
    help: 'Flows in a table of the data plane.',
    labels: ['table'],
    samples: ({ dataplane }) =>
      dataplane.tables.map(({ name, entries }) => [{ table: name }, entries]),
  },
  {
    name: 'skein_flow_table_capacity',
    type: 'gauge',
    help: 'Flows that a table of the data plane can hold.',
    labels: ['table'],
    samples: ({ dataplane }) =>
      dataplane.tables.map(({ name, capacity }) => [{ table: name }, capacity]),
  },
  {
    name: 'skein_drops_total',
    type: 'counter',
    help: 'Packets dropped by the data plane, by reason; there is no other drop.',
    labels: ['reason'],
    samples: ({ counters }) =>
      counters.filter(({ drop }) => drop).map(({ name, value }) => [{ reason: name }, value]),
  },
  {
    name: 'skein_events_total',
    type: 'counter',
    help: 'What else the data plane counted besides forwarded and dropped packets, by event.',
    labels: ['event'],
    samples: ({ counters }) =>
      counters.filter(({ drop }) => !drop).map(({ name, value }) => [{ event: name }, value]),
  },
];

const bgpMetrics: readonly Definition[] = [
  {
    name: 'skein_bgp_daemon_up',
    type: 'gauge',
    help: '1 while the BGP daemon is driven by this node; absent where BGP is not configured.',
    labels: [],
    samples: ({ bgp }) => (bgp === null ? [] : [[{}, Number(bgp.daemon === 'connected')]]),
  },
  {
    name: 'skein_bgp_resyncs_total',
    type: 'counter',
    help: 'Times that the BGP daemon was lost and everything was put back.',
    labels: [],
    samples: ({ bgp }) => (bgp === null ? [] : [[{}, bgp.resyncs]]),
  },
  {
    name: 'skein_bgp_announced_routes',
    type: 'gauge',
    help: 'Routes that the BGP daemon has confirmed.',
    labels: [],
    samples: ({ bgp }) => (bgp === null ? [] : [[{}, bgp.announced.length]]),
  },
  {
    name: 'skein_bgp_peer_up',
    type: 'gauge',
    help: '1 while the BGP session with the peer is established.',
    labels: ['peer', 'as'],
    samples: ({ bgp }) =>
      (bgp?.peers ?? []).map(({ address, as, session }) => [
        { peer: address, as: String(as) },
        Number(session === 'established'),
      ]),
  },
  {
    name: 'skein_bgp_peer_advertised_routes',
    type: 'gauge',
    help: 'Routes advertised to the peer.',
    labels: ['peer'],
    samples: ({ bgp }) =>
      (bgp?.peers ?? []).map(({ address, advertised }) => [{ peer: address }, advertised]),
  },
  {
    name: 'skein_bfd_peer_up',
    type: 'gauge',
    help: '1 while BFD with the peer is up; absent for peers without BFD.',
    labels: ['peer'],
    samples: ({ bgp }) =>
      (bgp?.peers ?? [])
        .filter(({ bfd }) => bfd !== 'off')
        .map(({ address, bfd }) => [{ peer: address }, Number(bfd === 'up')]),
  },
];

const vipMetrics: readonly Definition[] = [
  ofVips(
    ['skein_vip_announced', 'gauge', '1 while the verdict on the VIP is to announce it.'],
    ({ announce }) => Number(announce),
  ),
  ofVips(
    ['skein_vip_route_confirmed', 'gauge', "1 while the BGP daemon confirms the VIP's route."],
    ({ confirmed }) => Number(confirmed),
  ),
  {
    name: 'skein_vip_withheld',
    type: 'gauge',
    help: 'Why a VIP is not announced; always 1, and absent while it is announced.',
    labels: ['vip', 'reason'],
    samples: ({ vips }) =>
      vips
        .filter(({ announce }) => !announce)
        .map(({ address, reason }) => [{ vip: address, reason: reason ?? 'unknown' }, 1]),
  },
];

const serviceMetrics: readonly Definition[] = [
  {
    name: 'skein_service_info',
    type: 'gauge',
    help: 'Name in the document, VIP and scheduler of a service; always 1.',
    labels: ['service', 'name', 'vip', 'scheduler'],
    samples: ({ services }) =>
      services.map(({ id, name, vip, scheduler }) => [{ service: id, name, vip, scheduler }, 1]),
  },
  ofServices(
    ['skein_service_up', 'gauge', '1 while enough backends of the service are up.'],
    ({ state }) => Number(state === 'up'),
  ),
  ofServices(
    ['skein_service_programmed', 'gauge', '1 while the maps hold the service exactly as wanted.'],
    ({ programmed }) => Number(programmed),
  ),
  ofServices(
    ['skein_service_backends_up', 'gauge', 'Backends of the service that are up.'],
    ({ up }) => up,
  ),
  ofServices(
    ['skein_service_backends_needed', 'gauge', 'Backends that must be up for the service to be.'],
    ({ need }) => need,
  ),
  // What services have carried is the sum over their backends: here it would fall with one that leaves.
  ofServices(
    ['skein_service_flows_active', 'gauge', 'Flows opened and not yet closed or expired.'],
    ({ traffic }) => traffic.flowsActive,
  ),
];

const backendMetrics: readonly Definition[] = [
  {
    name: 'skein_backend_info',
    type: 'gauge',
    help: 'Name in the document and forwarding mode of a backend; always 1.',
    labels: ['service', 'backend', 'name', 'mode'],
    samples: ({ services }) =>
      services.flatMap(({ id, backends }) =>
        backends.map(({ address, name, mode }): Sample => [
          { service: id, backend: address, name, mode },
          1,
        ]),
      ),
  },
  ofBackends(
    ['skein_backend_healthy', 'gauge', '1 while all health checks of the backend pass.'],
    ({ health }) => Number(health === 'up'),
  ),
  ofBackends(
    ['skein_backend_active', 'gauge', '1 while the backend gets new flows; 0: draining or down.'],
    ({ state }) => Number(state === 'up'),
  ),
  ofBackends(
    ['skein_backend_weight', 'gauge', "The backend's weight in the schedule of the service."],
    ({ weight }) => weight,
  ),
  ofBackends(
    ['skein_backend_packets_total', 'counter', 'Packets forwarded to the backend.'],
    ({ traffic }) => traffic.packets,
  ),
  ofBackends(
    ['skein_backend_bytes_total', 'counter', 'Bytes forwarded to the backend.'],
    ({ traffic }) => traffic.bytes,
  ),
  ofBackends(
    ['skein_backend_flows_opened_total', 'counter', 'Flows opened to the backend.'],
    ({ traffic }) => traffic.flowsOpened,
  ),
  ofBackends(
    ['skein_backend_flows_active', 'gauge', 'Flows opened and not yet closed or expired.'],
    ({ traffic }) => traffic.flowsActive,
  ),
];

export const definitions: readonly Definition[] = [
  ...nodeMetrics,
  ...bgpMetrics,
  ...peerMetrics,
  ...reportMetrics,
  ...vipMetrics,
  ...serviceMetrics,
  ...sourceMetrics,
  ...backendMetrics,
];

function ofVips([name, type, help]: Row, value: (vip: VipSnapshot) => number): Definition {
  return {
    name,
    type,
    help,
    labels: ['vip'],
    samples: ({ vips }) => vips.map((vip) => [{ vip: vip.address }, value(vip)]),
  };
}

function ofServices([name, type, help]: Row, value: (of: ServiceSnapshot) => number): Definition {
  return {
    name,
    type,
    help,
    labels: ['service', 'vip'],
    samples: ({ services }) =>
      services.map((service) => [{ service: service.id, vip: service.vip }, value(service)]),
  };
}

function ofBackends([name, type, help]: Row, value: (of: BackendSnapshot) => number): Definition {
  return {
    name,
    type,
    help,
    labels: ['service', 'backend'],
    samples: ({ services }) =>
      services.flatMap(({ id, backends }) =>
        backends.map((backend): Sample => [
          { service: id, backend: backend.address },
          value(backend),
        ]),
      ),
  };
}
