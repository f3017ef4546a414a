/** Test data: the services of a node that does not exist. `fixture.ts` puts them into motion. */
import type { CheckHealth, HealthState } from '../model/health.ts';
import type { BackendState } from '../model/service.ts';

export const scenarios = [
  'usual',
  'empty',
  'all-down',
  'forty',
  'thousand',
  'refused',
  'stopping',
  'no-bgp',
  'no-sync',
  'joining',
] as const;
export type Scenario = (typeof scenarios)[number];

interface BackendPlan {
  readonly name: string;
  readonly address: string;
  readonly weight: number;
  readonly state: BackendState;
  readonly health: HealthState;
  readonly healthAgeMs: number;
  readonly reason: string;
  readonly checks: readonly CheckHealth[];
  readonly nextHop: string | null;
}

export interface ServicePlan {
  readonly name: string;
  readonly vip: string;
  readonly protocol: 'tcp' | 'udp';
  readonly port: number;
  readonly need: number;
  /** Packets a second of the whole service, on average. */
  readonly packetsPerS: number;
  /** How packets reach its backends; l2dsr unless it says otherwise. */
  readonly mode?: string;
  /** Prefixes with their verdict, and new flows a second that each decides on. */
  readonly sources?: readonly (readonly ['allow' | 'deny', string, number])[];
  readonly backends: readonly BackendPlan[];
}

export function plans(scenario: Scenario): readonly ServicePlan[] {
  switch (scenario) {
    case 'empty':
      return [];
    case 'all-down':
      return usualPlans.map(withoutBackends);
    case 'forty':
      return manyPlans(40, 8);
    case 'thousand':
      return manyPlans(1000, 32);
    case 'usual':
    case 'refused':
    case 'stopping':
    case 'no-bgp':
    case 'no-sync':
    case 'joining':
      return usualPlans;
  }
}

function healthy(name: string, ip: string, weight: number): BackendPlan {
  const host = Number(/\d+$/.exec(ip)?.[0] ?? 0);
  return {
    name,
    address: ip,
    weight,
    state: 'up',
    health: 'up',
    healthAgeMs: (3 + (host % 9)) * 86_400_000,
    reason: '',
    checks: [passing('tcp', 0.4 + (host % 5) / 10), passing('http', 2.1 + (host % 7) / 5)],
    nextHop: mac(host),
  };
}

function failing(plan: BackendPlan, ageMs: number): BackendPlan {
  const detail = 'status 503, expected 200 to 299';
  return {
    ...plan,
    state: 'down',
    health: 'down',
    healthAgeMs: ageMs,
    reason: `http: ${detail}`,
    checks: [
      passing('tcp', 0.6),
      {
        check: 'http',
        state: 'down',
        recent: [true, true, false, false, false],
        last: { kind: 'fail', reason: 'status_unexpected', detail },
      },
    ],
  };
}

function withoutBackends(plan: ServicePlan): ServicePlan {
  const backends = plan.backends.map((backend): BackendPlan => {
    const detail = 'no answer within 800 ms';
    const last = { kind: 'fail', reason: 'timeout', detail } as const;
    const check = { state: 'down', recent: [false, false, false, false, false], last } as const;
    return {
      ...backend,
      state: 'down',
      health: 'down',
      healthAgeMs: 48_000,
      reason: `tcp: ${detail}`,
      checks: backend.checks.map(({ check: name }) => ({ ...check, check: name })),
      nextHop: null,
    };
  });
  return { ...plan, packetsPerS: 0, backends };
}

function pending(plan: BackendPlan): BackendPlan {
  return {
    ...plan,
    state: 'down',
    health: 'unknown',
    healthAgeMs: 2_000,
    reason: 'waiting for 3 passes of tcp',
    checks: [
      { check: 'tcp', state: 'unknown', recent: [true], last: { kind: 'pass', latencyMs: 0.7 } },
    ],
    nextHop: null,
  };
}

function lacksVip(plan: BackendPlan): BackendPlan {
  const detail = 'the host answers, but not for the VIP: is it on its loopback?';
  const last = { kind: 'fail', reason: 'vip_unanswered', detail } as const;
  const recent = [false, false, false, false, false];
  return {
    ...plan,
    state: 'down',
    health: 'down',
    healthAgeMs: 5_400_000,
    reason: `tcp: ${detail}`,
    checks: [{ check: 'tcp', state: 'down', recent, last }],
  };
}

const web = (last: number, weight = 10): BackendPlan =>
  healthy(`web-${last - 10}`, `10.20.4.${last}`, weight);
const web6 = (last: number): BackendPlan =>
  healthy(`web-${last - 10}-v6`, `2001:db8:20:4:216:3eff:fe5a:${last}`, 10);
const dns = (last: number): BackendPlan => ({
  ...healthy(`dns-${last - 30}`, `10.20.6.${last}`, 1),
  checks: [passing('tcp', 0.9)],
});

const usualPlans: readonly ServicePlan[] = [
  {
    name: 'web',
    vip: '192.0.2.10',
    protocol: 'tcp',
    port: 443,
    need: 2,
    packetsPerS: 184_000,
    sources: [
      ['deny', '203.0.113.0/24', 12.4],
      ['deny', '2001:db8:bad:c0de:a1b2:c3d4:e5f6:0/112', 0],
      ['deny', '198.51.100.77/32', 0.003],
    ],
    backends: [
      web(11),
      web(12),
      web(13, 20),
      { ...web(14), state: 'draining' },
      failing(web(15), 187_000),
    ],
  },
  {
    name: 'web',
    vip: '192.0.2.10',
    protocol: 'tcp',
    port: 80,
    need: 2,
    packetsPerS: 9_300,
    backends: [web(11), web(12), web(13, 20), { ...web(14), state: 'draining' }, web(15)],
  },
  {
    name: 'web-v6',
    vip: '2001:db8:ffff:c0de:a1b2:c3d4:e5f6:4430',
    protocol: 'tcp',
    port: 443,
    need: 1,
    packetsPerS: 61_500,
    backends: [web6(11), web6(12), web6(13)],
  },
  {
    name: 'dns',
    vip: '192.0.2.53',
    protocol: 'udp',
    port: 53,
    need: 1,
    packetsPerS: 38_800,
    mode: 'gue',
    backends: [dns(31), dns(32)],
  },
  {
    name: 'mail-submission',
    vip: '192.0.2.40',
    protocol: 'tcp',
    port: 587,
    need: 2,
    packetsPerS: 0,
    mode: 'full_nat',
    sources: Array.from({ length: 40 }, (_, index) => ['allow', `10.${index + 60}.0.0/16`, 0.2]),
    backends: [
      lacksVip(healthy('mail-1', '10.20.7.41', 1)),
      pending(healthy('mail-2', '10.20.7.42', 1)),
      { ...healthy('mail-3', '10.20.7.43', 1), checks: [passing('tcp', 0.8)] },
    ],
  },
];

function manyPlans(count: number, width: number): readonly ServicePlan[] {
  return Array.from({ length: count }, (_, index) => {
    const third = Math.floor(index / 250);
    const name = `app-${String(index + 1).padStart(String(count).length, '0')}`;
    const backends = Array.from({ length: width }, (_unused, last) =>
      healthy(`${name}-${last + 1}`, `10.${40 + third}.${index % 250}.${last + 11}`, 10),
    );
    const plan: ServicePlan = {
      name,
      vip:
        index % 7 === 3
          ? `2001:db8:40::${index + 1}`
          : `198.51.${100 + third}.${(index % 250) + 1}`,
      protocol: index % 5 === 4 ? 'udp' : 'tcp',
      port: [443, 80, 8443, 5060, 53][index % 5] ?? 443,
      need: 2,
      packetsPerS: 400 + ((index * 7919) % 23_000),
      backends,
    };
    if (index % 17 === 9) return withoutBackends(plan);
    if (index % 6 !== 2) return plan;
    const [first, ...others] = backends;
    return first === undefined ? plan : { ...plan, backends: [failing(first, 720_000), ...others] };
  });
}

function passing(check: string, latencyMs: number): CheckHealth {
  const recent = [true, true, true, true, true];
  return { check, state: 'up', recent, last: { kind: 'pass', latencyMs } };
}

function mac(host: number): string {
  return `02:16:3e:5a:04:${host.toString(16).padStart(2, '0')}`;
}
