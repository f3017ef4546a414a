/**
 * Every counter of the data plane is produced here at least once, so that a new one, a new drop above
 * all, does not compile before it has a case.
 */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import { COUNTERS } from '../abi/abi.generated.ts';
import { hostPrefix, type Address } from '../model/address.ts';
import { ADMIT_ALL } from '../model/admission.ts';
import { ip as runIp, PLANS, UPLINK, type Plan } from './fixture-network.ts';
import { tunnelled, withTos } from './fixture-tunnels.ts';
import { Fixture, service, TIMEOUTS, type CounterName, type Outcome } from './fixture.ts';
import {
  ECHO,
  ETHERNET_BYTES,
  icmp,
  ip,
  patched,
  PROTOCOL,
  tcp,
  udp,
  type TcpFields,
} from './packet.ts';

const WAIT = { timeout: 90_000, interval: 20 };
const ECN_CE = 3;
const FLOWS = 16;
const REPEATS_MAX = 10_000;
/** A hundredth of what the ring buffer of 16 MiB holds. */
const CHANGES_AT_ONCE = 2_330;
/** A tenth of the ports that full_nat has. */
const NAT_FLOWS_AT_ONCE = 2_048;

let fixture: Fixture;

beforeEach(() => {
  fixture.fillCpuBuckets();
});
beforeAll(async () => {
  const limits = { services: 16, backends: 64, flows: FLOWS, embryonicFlows: 4096 };
  const decap = { addresses: PLANS.map(({ node }) => node), guePort: 6080, fouPort: 5555 };
  fixture = await Fixture.open({ limits, sharing: true, decap });
});
afterAll(async () => {
  await fixture.close();
});
afterEach(() => {
  fixture.forgetFlows();
});

const web = (plan: Plan, backend: Address = plan.backend(1)) =>
  service({ vip: plan.vip, backends: [backend] });

function segment(plan: Plan, flags: string, sport = 40000): Uint8Array {
  return tcp({ source: plan.client, destination: plan.vip, sport, dport: 80, flags });
}

function establish(plan: Plan, sport = 40000): Outcome {
  fixture.send(segment(plan, 'S', sport));
  return fixture.send(segment(plan, 'A', sport));
}

async function sendTo(plan: Plan, backend: Address): Promise<Outcome> {
  await fixture.program(web(plan, backend));
  return fixture.send(segment(plan, 'S'));
}

/** An ICMP error about an answer to the flow of `segment`; `change` is made to what it quotes. */
function icmpError(plan: Plan, change: Partial<TcpFields> = {}): Uint8Array {
  const between = { source: plan.vip, destination: plan.client, sport: 80, dport: 40000 };
  const payload = tcp({ ...between, flags: 'A', ...change }).subarray(ETHERNET_BYTES);
  // Time exceeded: RFC 792, RFC 4443.
  const type = plan.family === 'ipv4' ? 11 : 3;
  return icmp({ source: plan.stranger, destination: plan.vip, type, payload });
}

/** In a tunnel to the node itself, with this ECN field outside and none inside. */
function inOwnTunnel(plan: Plan, ecn: number): Uint8Array {
  const between = { source: plan.stranger, destination: plan.node };
  return withTos(tunnelled('ipip', between, segment(plan, 'S')), ecn);
}

/** A service that does not take flows of the client. */
function guarded(plan: Plan) {
  const sources = [{ prefix: hostPrefix(plan.client), admits: false }];
  return { vip: plan.vip, admission: { ...ADMIT_ALL, sources } };
}

/** Until `send` has counted it. */
function repeatUntil(name: CounterName, send: () => Outcome): Outcome {
  for (let sent = 0; sent < REPEATS_MAX; sent += 1) {
    const outcome = send();
    if (outcome.counted[name] !== undefined) return outcome;
  }
  throw new Error(`${name} was not counted within ${REPEATS_MAX} packets`);
}

/** The first packet of a check of the first backend. */
async function check(plan: Plan, sport = 40000): Promise<Outcome> {
  await fixture.program(web(plan));
  return fixture.send(checkFrame(plan, sport), 'skein_probe');
}

function checkFrame(plan: Plan, sport: number): Uint8Array {
  const destination = fixture.dataplane.probeAddress(web(plan).id, plan.backend(1))!;
  return tcp({ source: plan.client, destination, sport, dport: 80, flags: 'A' });
}

/** Of a nat backend, to a client behind a router. */
async function reply(plan: Plan, ttl = 64, vips = [plan.vip]): Promise<Outcome> {
  const backends = [{ address: plan.backend(1), mode: 'nat' as const }];
  await fixture.program();
  await fixture.program(...vips.map((vip) => service({ vip, backends })));
  const between = { source: plan.backend(1), destination: plan.routed, sport: 80, dport: 40000 };
  return fixture.send(tcp({ ...between, flags: 'A', ttl }));
}

const OF_NO_HOST = { ipv4: '224.0.0.1', ipv6: 'ff02::1' };

/** A packet that must not be cut, unless `change` says so, and is too long for the way. */
async function tooBig(plan: Plan, change: Partial<TcpFields> = {}): Promise<Outcome> {
  const backend = { address: plan.backend(1), forwarding: { mtuBytes: 1300 } };
  await fixture.program();
  await fixture.program(service({ vip: plan.vip, backends: [backend] }));
  const between = { source: plan.client, destination: plan.vip, sport: 40000, dport: 80 };
  const payload = new Uint8Array(1300);
  return fixture.send(tcp({ ...between, flags: 'A', payload, dontFragment: true, ...change }));
}

async function clamped(plan: Plan, tcpOptions: Uint8Array): Promise<Outcome> {
  const backend = { address: plan.backend(1), forwarding: { mssBytes: 1000 } };
  await fixture.program(service({ vip: plan.vip, backends: [backend] }));
  const between = { source: plan.client, destination: plan.vip, sport: 40000, dport: 80 };
  return fixture.send(tcp({ ...between, flags: 'S', tcpOptions }));
}

interface Case {
  /** Runs until the counter has counted; the last packet is the one that did it. */
  readonly produce: (plan: Plan) => Promise<Outcome | undefined>;
  readonly only?: Plan['family'];
}

const UNSEEN = {
  internal: 'an invariant, which no packet breaks',
  headroom: 'a test run has more room than any header needs',
} as const;

const CASES: Readonly<Record<CounterName, Case | (typeof UNSEEN)[keyof typeof UNSEEN]>> = {
  passed: {
    produce: async (plan) => {
      await fixture.program();
      return fixture.send(segment(plan, 'S'));
    },
  },
  echo_reply: {
    produce: async (plan) => {
      await fixture.program(web(plan));
      const { request: type } = ECHO[plan.family];
      return fixture.send(icmp({ source: plan.client, destination: plan.vip, type }));
    },
  },
  echo_limited: {
    produce: async (plan) => {
      await fixture.program(web(plan));
      fixture.fillCpuBuckets('empty');
      const { request: type } = ECHO[plan.family];
      return fixture.send(icmp({ source: plan.client, destination: plan.vip, type }));
    },
  },
  probe_sent: { produce: check },
  probe_reply: {
    produce: async (plan) => {
      const { sport } = (await check(plan)).packet;
      const answer = { source: plan.vip, destination: plan.node, sport: 80, dport: sport };
      return fixture.send(tcp({ ...answer, flags: 'SA' }));
    },
  },
  no_source: {
    produce: async (plan) => {
      const backend = { address: plan.backend(1), mode: 'ipip' } as const;
      await fixture.program(service({ vip: plan.vip, backends: [backend] }));
      const sources = fixture.map('tunnel_sources');
      for (let slot = 0; slot < sources.maxEntries; slot += 1) {
        sources.update(new Uint8Array(Uint32Array.of(slot).buffer), new Uint8Array(32));
      }
      return fixture.send(segment(plan, 'S'));
    },
  },
  no_headroom: UNSEEN.headroom,
  too_big: { produce: (plan) => tooBig(plan, { source: OF_NO_HOST[plan.family] }) },
  too_big_answered: { produce: (plan) => tooBig(plan) },
  too_big_limited: {
    produce: (plan) => {
      fixture.fillCpuBuckets('empty');
      return tooBig(plan);
    },
  },
  flow_denied: {
    produce: async (plan) => {
      await fixture.program(web(plan));
      establish(plan);
      const before = fixture.count('flow_denied');
      await fixture.program(service({ ...guarded(plan), backends: [plan.backend(1)] }));
      await fixture.dataplane.maintain();
      expect(fixture.count('flow_denied')).toBe(before + 1);
      return undefined;
    },
  },
  source_denied: {
    produce: async (plan) => {
      await fixture.program(service({ ...guarded(plan), backends: [plan.backend(1)] }));
      return fixture.send(segment(plan, 'S'));
    },
  },
  new_flows_limited: {
    produce: async (plan) => {
      const admission = { sources: [], newFlowsPerS: 1, newFlowsBurst: 3 };
      await fixture.program(service({ vip: plan.vip, admission, backends: [plan.backend(1)] }));
      let sport = 1;
      return repeatUntil('new_flows_limited', () => fixture.send(segment(plan, 'S', sport++)));
    },
  },
  quic_routed: {
    produce: async (plan) => {
      const quic = { layout: 'quic_lb', idBytes: 1, configId: 0 } as const;
      const backends = [{ address: plan.backend(1), serverId: '0a' }];
      await fixture.program(service({ vip: plan.vip, protocol: 'udp', quic, backends }));
      const payload = Uint8Array.of(0x40, 0x00, 0x0a, 1, 2, 3);
      return fixture.send(
        udp({ source: plan.client, destination: plan.vip, sport: 1, dport: 80, payload }),
      );
    },
  },
  too_big_cut: { only: 'ipv4', produce: (plan) => tooBig(plan, { dontFragment: false }) },
  mss_clamped: { produce: (plan) => clamped(plan, Uint8Array.of(2, 4, 0xff, 0xff)) },
  mss_no_room: { produce: (plan) => clamped(plan, new Uint8Array(40).fill(1)) },
  flow_guessed: {
    produce: async (plan) => {
      await fixture.program(web(plan));
      return fixture.send(segment(plan, 'A'));
    },
  },
  flow_table_full: {
    produce: async (plan) => {
      await fixture.program(web(plan));
      for (let sport = 1; sport <= FLOWS; sport += 1) establish(plan, sport);
      return establish(plan, FLOWS + 1);
    },
  },
  flow_expired: {
    produce: async (plan) => {
      await fixture.program(web(plan));
      establish(plan);
      for (const flow of fixture.established()) fixture.makeIdle(flow, TIMEOUTS.tcpS * 1000 + 5000);
      await fixture.dataplane.maintain();
      return undefined;
    },
  },
  flow_replaced: {
    produce: async (plan) => {
      await fixture.program(web(plan));
      establish(plan);
      fixture.send(segment(plan, 'FA'));
      return fixture.send(segment(plan, 'S'));
    },
  },
  neighbour_stale: {
    produce: async (plan) => {
      await fixture.program();
      await sendTo(plan, plan.backend(1));
      await runIp([`neigh del ${plan.backend(1)} dev ${UPLINK}`]);
      return await vi.waitFor(() => {
        const outcome = fixture.send(segment(plan, 'S'));
        expect(outcome.counted).toHaveProperty('neighbour_stale');
        return outcome;
      }, WAIT);
    },
  },
  fragment_forwarded: {
    produce: async (plan) => {
      await fixture.program(
        service({ vip: plan.vip, protocol: 'udp', backends: [plan.backend(1)] }),
      );
      const fragment = { offset: 0, more: true };
      const between = { source: plan.client, destination: plan.vip, fragment };
      return fixture.send(udp({ ...between, sport: 40000, dport: 80 }));
    },
  },
  decapsulated: {
    produce: async (plan) => {
      await fixture.program(web(plan));
      return fixture.send(inOwnTunnel(plan, 0));
    },
  },
  congestion: {
    produce: async (plan) => {
      await fixture.program(web(plan));
      return fixture.send(inOwnTunnel(plan, ECN_CE));
    },
  },
  malformed: {
    produce: async (plan) => {
      await fixture.program(web(plan));
      const l4 = plan.family === 'ipv4' ? 34 : 54;
      return fixture.send(patched(segment(plan, 'S'), l4 + 12, 0));
    },
  },
  fragment: {
    produce: async (plan) => {
      await fixture.program(web(plan));
      const fragment = { offset: 1, more: false };
      const between = { source: plan.client, destination: plan.vip, fragment };
      return fixture.send(udp({ ...between, sport: 40000, dport: 80 }));
    },
  },
  ip_options: {
    only: 'ipv6',
    produce: async (plan) => {
      await fixture.program(web(plan));
      const between = { source: plan.client, destination: plan.vip, extensions: [60, 0] };
      return fixture.send(udp({ ...between, sport: 40000, dport: 80 }));
    },
  },
  protocol: {
    produce: async (plan) => {
      await fixture.program(web(plan));
      const between = { source: plan.client, destination: plan.vip };
      return fixture.send(ip(between, PROTOCOL.gre, new Uint8Array(8)));
    },
  },
  no_service: {
    produce: async (plan) => {
      await fixture.program(web(plan));
      const between = { source: plan.client, destination: plan.vip };
      return fixture.send(udp({ ...between, sport: 40000, dport: 80 }));
    },
  },
  no_backend: {
    produce: async (plan) => {
      await fixture.program(service({ vip: plan.vip, backends: [] }));
      return fixture.send(segment(plan, 'S'));
    },
  },
  no_route: { produce: (plan) => sendTo(plan, plan.unrouted) },
  not_on_link: { produce: (plan) => sendTo(plan, plan.routed) },
  no_neighbour: { produce: (plan) => sendTo(plan, plan.unresolved) },
  probe_unknown: {
    produce: async (plan) => {
      await fixture.program(web(plan));
      return fixture.send(segment(plan, 'S'), 'skein_probe');
    },
  },
  probe_no_port: {
    produce: async (plan) => {
      await fixture.program(web(plan));
      // Made before: each check must have sent something in the last two seconds.
      const frames = Array.from({ length: 12_000 }, (_, i) => checkFrame(plan, 1 + i));
      return await vi.waitFor(() => {
        for (const frame of frames) fixture.run(frame, 'skein_probe');
        const outcome = fixture.send(checkFrame(plan, 50_000), 'skein_probe');
        expect(outcome.counted).toHaveProperty('probe_no_port');
        return outcome;
      }, WAIT);
    },
  },
  change_lost: {
    produce: async (plan) => {
      await fixture.program(web(plan));
      establish(plan);
      const [flow] = fixture.established();
      const reopen = () => {
        fixture.map(flow!.table).update(flow!.key, flow!.value);
      };
      // Until the ring buffer is full, which nobody drains: a flow is news each time that it closes.
      return repeatUntil('change_lost', () => {
        for (let told = 0; told < CHANGES_AT_ONCE; told += 1) {
          reopen();
          fixture.run(segment(plan, 'FA'));
        }
        reopen();
        return fixture.send(segment(plan, 'FA'));
      });
    },
  },
  icmp_forwarded: {
    produce: async (plan) => {
      await fixture.program(web(plan));
      establish(plan);
      return fixture.send(icmpError(plan));
    },
  },
  nat_reply: { produce: (plan) => reply(plan) },
  nat_error: {
    produce: async (plan) => {
      await reply(plan);
      const between = {
        source: plan.routed,
        destination: plan.backend(1),
        sport: 40000,
        dport: 80,
      };
      const payload = tcp({ ...between, flags: 'A' }).subarray(ETHERNET_BYTES);
      const type = plan.family === 'ipv4' ? 11 : 3;
      const { stranger: source, routed: destination } = plan;
      return fixture.send(icmp({ source, destination, type, payload }));
    },
  },
  ttl: { produce: (plan) => reply(plan, 1) },
  nat_no_port: {
    produce: async (plan) => {
      const backends = [{ address: plan.backend(1), mode: 'full_nat' as const }];
      await fixture.program(service({ vip: plan.vip, backends }));
      const tuple = { source: plan.client, destination: plan.vip, dport: 80, flags: 'A' };
      let sport = 0;
      return repeatUntil('nat_no_port', () => {
        for (let opened = 0; opened < NAT_FLOWS_AT_ONCE; opened += 1) {
          sport += 1;
          fixture.run(tcp({ ...tuple, sport }));
        }
        sport += 1;
        return fixture.send(tcp({ ...tuple, sport }));
      });
    },
  },
  nat_unknown: {
    produce: (plan) => reply(plan, 64, [plan.vip, plan.otherVip]),
  },
  icmp_malformed: {
    produce: async (plan) => {
      await fixture.program(web(plan));
      const type = plan.family === 'ipv4' ? 11 : 3;
      return fixture.send(icmp({ source: plan.stranger, destination: plan.vip, type }));
    },
  },
  icmp_forged: {
    produce: async (plan) => {
      await fixture.program(web(plan));
      return fixture.send(icmpError(plan, { source: plan.client }));
    },
  },
  icmp_relayed: {
    produce: async (plan) => {
      await fixture.program(web(plan));
      // An earlier case may have used up what this service may hand over.
      return repeatUntil('icmp_relayed', () => fixture.send(icmpError(plan)));
    },
  },
  icmp_limited: {
    produce: async (plan) => {
      await fixture.program(web(plan));
      return repeatUntil('icmp_limited', () => fixture.send(icmpError(plan)));
    },
  },
  icmp_unknown: {
    produce: async (plan) => {
      await fixture.program(web(plan));
      return fixture.send(icmpError(plan), 'skein_relayed');
    },
  },
  internal: UNSEEN.internal,
};

describe.each(PLANS)('$family', (plan) => {
  const producible = COUNTERS.filter(({ name }) => {
    const each = CASES[name];
    return typeof each !== 'string' && (each.only ?? plan.family) === plan.family;
  });

  test.each(producible)('$name', async ({ name, drop }) => {
    const each = CASES[name];
    if (typeof each === 'string') throw new TypeError('filtered out above');
    const before = fixture.count(name);
    const outcome = await each.produce(plan);
    expect(fixture.count(name)).toBeGreaterThan(before);
    if (outcome === undefined) return;
    expect(outcome.counted[name]).toBe(1);
    expect(outcome.verdict === 'DROP').toBe(drop);
    const counters = Object.keys(outcome.counted);
    const drops = COUNTERS.filter((one) => one.drop && counters.includes(one.name));
    expect(drops, 'each dropped packet has one name').toHaveLength(drop ? 1 : 0);
  });
});

test('every counter has a case', () => {
  const missing = COUNTERS.filter(({ name }) => !Object.hasOwn(CASES, name));
  expect(missing).toEqual([]);
});

test('no case met what the program calls a bug of its own', () => {
  expect(fixture.count('internal')).toBe(0);
});
