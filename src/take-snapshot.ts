/** Folds everything that a node knows into one NodeSnapshot. Pure. */
import type { ConfigProblem, NodeConfig } from './config/types.ts';
import type {
  BackendTraffic,
  Counters,
  DataplaneStatus,
  ReconcileResult,
  WantedService,
} from './dataplane/dataplane.ts';
import { serviceFacts } from './desired.ts';
import { formatPrefix, hostPrefix, type Address } from './model/address.ts';
import type { BgpStatus } from './model/bgp.ts';
import type { HealthView } from './model/health.ts';
import type { Backend, Service, ServiceId } from './model/service.ts';
import type { PeersStatus } from './peers/status.ts';
import type { ReportsStatus } from './reports/status.ts';
import type {
  BackendSnapshot,
  NodeSnapshot,
  ServiceSnapshot,
  TrafficSnapshot,
  VipSnapshot,
} from './snapshot.ts';
import { explain, type Verdict } from './vip/verdict.ts';

export interface VipRecord {
  readonly verdict: Verdict;
  /** Wall clock since when the verdict is what it is. */
  readonly sinceMs: number;
}

export interface SnapshotInputs {
  readonly config: NodeConfig;
  readonly version: string;
  readonly startedAtMs: number;
  readonly takenAtMs: number;
  readonly loadedAtMs: number;
  readonly refused: { problems: readonly ConfigProblem[]; atMs: number } | undefined;
  readonly stopping: boolean;
  readonly vips: ReadonlyMap<Address, VipRecord>;
  readonly wanted: readonly WantedService[];
  readonly reconciled: ReconcileResult;
  readonly health: HealthView;
  readonly counters: Counters;
  readonly dataplane: DataplaneStatus;
  readonly bgp: BgpStatus;
  readonly peers: PeersStatus | undefined;
  readonly reports: ReportsStatus | undefined;
}

const NO_TRAFFIC: TrafficSnapshot = { packets: 0, bytes: 0, flowsOpened: 0, flowsActive: 0 };

export function takeSnapshot(inputs: SnapshotInputs): NodeSnapshot {
  const { config, refused, dataplane, counters } = inputs;
  const bgp = config.cluster.bgp === undefined ? null : inputs.bgp;
  const traffic = new Map(
    counters.backends.map((each) => [`${each.service} ${each.backend}`, each]),
  );
  const hits = sourceHits(counters);
  const wanted = new Map(inputs.wanted.map((service) => [service.id, service]));
  return {
    node: config.node.name,
    cluster: config.cluster.name,
    version: inputs.version,
    startedAtMs: inputs.startedAtMs,
    takenAtMs: inputs.takenAtMs,
    stopping: inputs.stopping,
    config: {
      digest: config.cluster.digest,
      loadedAtMs: inputs.loadedAtMs,
      refused: (refused?.problems ?? []).map(({ line, column, path, message }) => ({
        line,
        column,
        path,
        message,
      })),
      refusedAtMs: refused?.atMs ?? null,
    },
    dataplane: {
      interfaces: dataplane.interfaces,
      adopted: dataplane.adopted,
      layoutDigest: dataplane.layoutDigest,
      tables: counters.tables,
      failures: inputs.reconciled.failures,
    },
    bgp,
    peers: inputs.peers ?? null,
    reports: inputs.reports ?? null,
    vips: vipSnapshots(inputs, bgp),
    services: config.cluster.services.map((service) =>
      serviceSnapshot(service, inputs, wanted.get(service.id), traffic, hits.get(service.id) ?? []),
    ),
    counters: counters.global,
  };
}

function vipSnapshots({ config, vips }: SnapshotInputs, bgp: BgpStatus | null): VipSnapshot[] {
  const announced = new Set(bgp?.announced ?? []);
  return config.cluster.vips.map(({ address, policy }) => {
    const record = vips.get(address);
    const reason = record?.verdict.kind === 'withhold' ? record.verdict.reason : undefined;
    return {
      address,
      policy,
      announce: record?.verdict.kind === 'announce',
      reason: reason?.code ?? null,
      explanation: reason === undefined ? null : explain(reason),
      confirmed: announced.has(formatPrefix(hostPrefix(address))),
      sinceMs: record?.sinceMs ?? 0,
    };
  });
}

type TrafficByPair = ReadonlyMap<string, BackendTraffic>;

function serviceSnapshot(
  service: Service,
  { health, reconciled }: SnapshotInputs,
  wanted: WantedService | undefined,
  traffic: TrafficByPair,
  hits: ServiceSnapshot['sources'],
): ServiceSnapshot {
  const facts = serviceFacts(service, health, reconciled.programmed);
  const states = new Map(wanted?.backends.map(({ address, state }) => [address, state]));
  const backends = service.backends.map((backend): BackendSnapshot => {
    const known = health.get(service.id)?.get(backend.address);
    const counted = traffic.get(`${service.id} ${backend.address}`);
    return {
      ...backendFacts(backend),
      state: states.get(backend.address) ?? 'down',
      health: known?.state ?? 'unknown',
      healthSinceMs: known?.sinceMs ?? 0,
      reason: known?.reason ?? '',
      checks: known?.checks ?? [],
      nextHop: counted?.nextHop ?? null,
      traffic: counted === undefined ? NO_TRAFFIC : pickTraffic(counted),
    };
  });
  return {
    id: service.id,
    name: service.name,
    vip: service.vip,
    protocol: service.protocol,
    port: service.port,
    scheduler: service.scheduler,
    state: facts.state,
    programmed: facts.programmed,
    up: facts.up,
    need: facts.need,
    backends,
    sources: hits,
    traffic: backends.map((each) => each.traffic).reduce(addTraffic, NO_TRAFFIC),
  };
}

function sourceHits({ sources }: Counters): Map<ServiceId, ServiceSnapshot['sources']> {
  const byService = Map.groupBy(sources, ({ service }) => service);
  return new Map(
    Array.from(byService, ([service, rules]) => [
      service,
      rules.map(({ prefix, admits, hits }) => ({
        prefix: formatPrefix(prefix),
        verdict: admits ? 'allow' : 'deny',
        hits,
      })),
    ]),
  );
}

function backendFacts({ name, address, weight, mode }: Backend) {
  return { name, address, weight, mode };
}

function pickTraffic({ packets, bytes, flowsOpened, flowsActive }: TrafficSnapshot) {
  return { packets, bytes, flowsOpened, flowsActive };
}

function addTraffic(a: TrafficSnapshot, b: TrafficSnapshot): TrafficSnapshot {
  return {
    packets: a.packets + b.packets,
    bytes: a.bytes + b.bytes,
    flowsOpened: a.flowsOpened + b.flowsOpened,
    flowsActive: a.flowsActive + b.flowsActive,
  };
}
