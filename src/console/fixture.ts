/**
 * Test data: the snapshots of a node that does not exist, as a function of time, so that rates on
 * the page look like those of a working node. Never used outside of tests.
 */
import { address } from '../model/address.ts';
import type { BgpStatus, PeerStatus } from '../model/bgp.ts';
import type {
  BackendSnapshot,
  NodeSnapshot,
  ServiceSnapshot,
  TrafficSnapshot,
  VipSnapshot,
} from '../snapshot.ts';
import { peersOf } from './fixture-peers.ts';
import { plans, type Scenario, type ServicePlan } from './fixture-plans.ts';

const START_MS = 1_760_000_000_000;
const UP_SINCE_MS = START_MS - 12.4 * 86_400_000;
const BYTES_PER_PACKET = 412;
const CONFIG_DIGEST = '3f9a2c10b7e84d5561c0aa94f2d8137be06c5f71d2a94e3388b1c6f0457de92a';

/** The same snapshot for the same scenario and time; `nowMs` counts from any start. */
export function fixtureSnapshot(scenario: Scenario, nowMs = START_MS): NodeSnapshot {
  const services = plans(scenario).map((plan, index) => serviceAt(plan, index, nowMs));
  const stopping = scenario === 'stopping';
  const vips = vipsOf(services, nowMs, scenario);
  return {
    node: 'lb1',
    cluster: 'edge-fra',
    version: '0.1.0',
    startedAtMs: UP_SINCE_MS,
    takenAtMs: nowMs,
    stopping,
    config: {
      digest: CONFIG_DIGEST,
      loadedAtMs: nowMs - 2.2 * 3_600_000,
      refused: scenario === 'refused' ? refusedProblems : [],
      refusedAtMs: scenario === 'refused' ? nowMs - 95_000 : null,
    },
    dataplane: {
      interfaces: [
        { name: 'eth0', ifindex: 2, xdpMode: 'native' },
        { name: 'eth1', ifindex: 3, xdpMode: 'generic' },
      ],
      adopted: scenario !== 'joining',
      layoutDigest: '8c41d07e',
      tables: tablesAt(scenario, nowMs),
      failures: scenario === 'refused' ? ['backends[118]: no space left in the map (E2BIG)'] : [],
    },
    bgp: scenario === 'no-bgp' ? null : bgpOf(scenario, vips),
    peers: peersOf(scenario, { nowMs, upSinceMs: UP_SINCE_MS, configDigest: CONFIG_DIGEST }),
    reports: scenario === 'no-sync' ? null : reportsAt(scenario, nowMs),
    vips,
    services,
    counters: countersAt(scenario, nowMs),
  };
}

/** A view that moves with the wall clock from `START_MS` on, a snapshot a second as on a real node. */
export function fixtureView(scenario: () => Scenario): { snapshot(): NodeSnapshot } {
  let last: { readonly key: string; readonly snapshot: NodeSnapshot } | undefined;
  const madeAtMs = Date.now();
  return {
    snapshot() {
      const nowMs = START_MS + Math.floor((Date.now() - madeAtMs) / 1000) * 1000;
      const key = `${scenario()} ${nowMs}`;
      if (last?.key !== key) last = { key, snapshot: fixtureSnapshot(scenario(), nowMs) };
      return last.snapshot;
    },
  };
}

const refusedProblems = [
  {
    line: 41,
    column: 9,
    path: 'services[2].backends[0].weight',
    message: 'must be between 1 and 65535, is 0',
  },
  {
    line: 58,
    column: 13,
    path: 'services[3].checks[1].timeout_ms',
    message: 'must be less than interval_ms (1000), is 2500',
  },
];

function serviceAt(plan: ServicePlan, index: number, nowMs: number): ServiceSnapshot {
  const active = plan.backends.filter(({ state }) => state === 'up');
  const weights = active.reduce((sum, { weight }) => sum + weight, 0);
  const backends = plan.backends.map((backend, position): BackendSnapshot => {
    // A draining backend still carries what is left of its flows.
    const due = backend.state === 'up' ? backend.weight / weights : 0;
    const share = backend.state === 'draining' ? 0.02 : due * (1 + 0.04 * Math.sin(position * 2.4));
    const { healthAgeMs, ...rest } = backend;
    return {
      ...rest,
      mode: plan.mode ?? 'l2dsr',
      healthSinceMs: nowMs - healthAgeMs,
      traffic: trafficAt(plan.packetsPerS * share, index + position / 10, nowMs),
    };
  });
  const up = backends.filter(({ health, state }) => health === 'up' && state !== 'down').length;
  return {
    id: `${plan.protocol}/${plan.vip.includes(':') ? `[${plan.vip}]` : plan.vip}:${plan.port}`,
    name: plan.name,
    vip: plan.vip,
    protocol: plan.protocol,
    port: plan.port,
    scheduler: 'maglev',
    state: up >= plan.need ? 'up' : 'down',
    programmed: true,
    up,
    need: plan.need,
    backends,
    sources: (plan.sources ?? []).map(([verdict, prefix, perS]) => {
      return { verdict, prefix, hits: Math.round((perS * (nowMs - UP_SINCE_MS)) / 1000) };
    }),
    traffic: sum(backends.map(({ traffic }) => traffic)),
  };
}

/** A rate with a slow and a fast swing, integrated, so that the counters never run backwards. */
function trafficAt(packetsPerS: number, phase: number, nowMs: number): TrafficSnapshot {
  const s = (nowMs - UP_SINCE_MS) / 1000;
  const swing = -0.12 * 23 * Math.cos(s / 23 + phase) - 0.05 * 3.7 * Math.cos(s / 3.7 + phase * 3);
  const packets = Math.max(0, Math.round(packetsPerS * (s + swing)));
  const flowsOpened = Math.round(packets / 38);
  const flowsActive = Math.round(packetsPerS * (1.9 + 0.2 * Math.sin(s / 23 + phase)));
  return { packets, bytes: packets * BYTES_PER_PACKET, flowsOpened, flowsActive };
}

function sum(traffics: readonly TrafficSnapshot[]): TrafficSnapshot {
  return traffics.reduce(
    (total, each) => ({
      packets: total.packets + each.packets,
      bytes: total.bytes + each.bytes,
      flowsOpened: total.flowsOpened + each.flowsOpened,
      flowsActive: total.flowsActive + each.flowsActive,
    }),
    { packets: 0, bytes: 0, flowsOpened: 0, flowsActive: 0 },
  );
}

function vipsOf(
  services: readonly ServiceSnapshot[],
  nowMs: number,
  scenario: Scenario,
): readonly VipSnapshot[] {
  const stopping = scenario === 'stopping';
  return [...new Set(services.map(({ vip }) => vip))].map((vip, index): VipSnapshot => {
    const closed = services.filter((service) => service.vip === vip && service.state !== 'up');
    const common = { address: vip, policy: 'all', sinceMs: nowMs - (41 + index * 7) * 3_600_000 };
    if (scenario === 'joining' && closed.length === 0) return { ...common, ...notSynced(nowMs) };
    if (!stopping && closed.length === 0) {
      const confirmed = scenario !== 'no-bgp';
      return { ...common, announce: true, reason: null, explanation: null, confirmed };
    }
    return {
      ...common,
      announce: false,
      confirmed: false,
      sinceMs: nowMs - (stopping ? 6_000 : 5_390_000),
      reason: stopping ? 'stopping' : 'too_few_backends',
      explanation: stopping
        ? 'this node is stopping: withdrawn so that traffic moves to its peers first'
        : closed
            .map(({ id, up, need }) => `${id} has ${up} of ${need} needed backends up`)
            .join('; '),
    };
  });
}

function notSynced(nowMs: number) {
  return {
    announce: false,
    confirmed: false,
    sinceMs: nowMs - 2_000,
    reason: 'not_synced',
    explanation: 'waiting for the flows of the other nodes: a snapshot of lb2, 42%',
  };
}

function bgpOf(scenario: Scenario, vips: readonly VipSnapshot[]): BgpStatus {
  const announced = vips.filter(({ announce }) => announce).map(({ address: ip }) => ip);
  const up = {
    as: 64_512,
    session: 'established',
    bfd: 'up',
    advertised: announced.length,
  } as const;
  const peers: PeerStatus[] = [
    { ...up, address: address('10.20.0.1'), uptimeS: 1_071_360 },
    { ...up, address: address('2001:db8:20::1:fffe:a1b2:c3d4'), uptimeS: 84_210 },
  ];
  if (scenario !== 'empty') {
    peers.push({
      address: address('10.20.0.2'),
      as: 64_513,
      session: 'active',
      bfd: 'down',
      uptimeS: undefined,
      advertised: 0,
    });
  }
  return {
    daemon: 'connected',
    detail: 'gobgpd 4.8.0',
    version: '4.8.0',
    peers,
    announced: announced.map((ip) => (ip.includes(':') ? `${ip}/128` : `${ip}/32`)),
    resyncs: 1,
  };
}

function tablesAt(scenario: Scenario, nowMs: number): NodeSnapshot['dataplane']['tables'] {
  const fill = scenario === 'empty' ? 0 : scenario === 'forty' ? 0.93 : 0.41;
  const wave = 1 + 0.02 * Math.sin(nowMs / 23_000);
  const table = (
    name: string,
    capacity: number,
    share: number,
  ): NodeSnapshot['dataplane']['tables'][0] => ({
    name,
    capacity,
    entries: Math.round(capacity * fill * share * wave),
  });
  return [
    table('flows4', 1_048_576, 1),
    table('flows6', 1_048_576, 0.28),
    table('embryonic4', 65_536, 0.09),
    table('embryonic6', 65_536, 0.03),
  ];
}

function reportsAt(scenario: Scenario, nowMs: number): NodeSnapshot['reports'] {
  const accepted = scenario === 'empty' ? 0 : Math.round((12 * (nowMs - UP_SINCE_MS)) / 1000);
  const refused = { forged: scenario === 'empty' ? 0 : 3, too_old: 0, address_taken: 0 };
  const reporters = scenario === 'empty' ? 0 : 12;
  return {
    listening: '239.83.75.79:7484 on eth0',
    problems: [],
    received: accepted + refused.forged,
    accepted,
    reporters,
    refused,
  };
}

function countersAt(scenario: Scenario, nowMs: number): NodeSnapshot['counters'] {
  const s = scenario === 'empty' ? 0 : (nowMs - UP_SINCE_MS) / 1000;
  const count = (name: string, perS: number, help: string) =>
    ({ name, drop: false, value: Math.round(perS * s), help }) as const;
  const drop = (name: string, value: number, help: string) =>
    ({ name, drop: true, value: scenario === 'empty' ? 0 : Math.round(value), help }) as const;
  return [
    count('passed', 311, 'Packets that are not for a VIP, given to the kernel'),
    count('echo_reply', 2.4, 'Echo requests to a VIP that were answered'),
    count('probe_sent', 64, 'Health check packets sent to backends'),
    count('probe_reply', 61, 'Packets of backends brought back to a health check'),
    count('flow_guessed', 0.002, 'Mid-flow TCP packets without a record, placed by hash'),
    count('flow_table_full', 0, 'Flows that stayed embryonic since their table was full'),
    count('flow_expired', 7_640, 'Flows removed after their idle timeout'),
    count('flow_replaced', 0, 'Flows placed anew since their backend was removed or reused'),
    count(
      'neighbour_stale',
      0,
      'Packets sent by the last known MAC address while it is resolved again',
    ),
    drop('malformed', 0, 'Headers to a VIP that contradict themselves or are cut short'),
    drop('fragment', 1_204, 'Fragments to a VIP'),
    drop('ip_options', 0, 'IPv6 extension headers to a VIP'),
    drop('protocol', 88, 'Neither TCP nor UDP nor an echo request, to a VIP'),
    drop('no_service', s * 3.1, 'A port of a VIP on which no service is configured'),
    drop('no_backend', 0, 'New flows of a service without a backend that is up'),
    drop('no_route', 0, 'The kernel has no usable route to the backend'),
    drop('not_on_link', 0, 'The backend is behind a router, where l2dsr cannot reach it'),
    drop('no_neighbour', 0, "The backend's MAC address is not known (yet)"),
    drop('internal', 0, 'An invariant of the program does not hold: a bug'),
  ];
}
