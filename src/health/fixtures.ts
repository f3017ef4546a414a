/** Values for the tests of health/: specs, services and results with the dull parts filled in. */
import { setImmediate as turn } from 'node:timers/promises';
import { address, type Address } from '../model/address.ts';
import type {
  CheckSpec,
  DnsCheck,
  GrpcCheck,
  HttpCheck,
  HttpsCheck,
  PingCheck,
  ReportCheck,
  ScriptCheck,
  TcpCheck,
  UdpCheck,
} from '../model/check.ts';
import type { ProbeResult } from '../model/health.ts';
import { serviceId, type Backend, type Service } from '../model/service.ts';
import type { Probe, Probes } from './probe.ts';

const COMMON = {
  port: 80,
  intervalMs: 1000,
  timeoutMs: 500,
  rise: { count: 2, window: 2 },
  fall: { count: 2, window: 2 },
};

const HTTP = {
  method: 'GET',
  path: '/health',
  host: undefined,
  expect: [{ from: 200, to: 299 }],
} as const;

export const PASS: ProbeResult = { kind: 'pass', latencyMs: 1 };
export const FAIL: ProbeResult = { kind: 'fail', reason: 'refused', detail: 'nobody listens' };

export function tcpCheck(overrides: Partial<TcpCheck> = {}): TcpCheck {
  return { type: 'tcp', name: 'tcp', ...COMMON, ...overrides };
}

export function httpCheck(overrides: Partial<HttpCheck> = {}): HttpCheck {
  return { type: 'http', name: 'http', ...COMMON, ...HTTP, ...overrides };
}

export function httpsCheck(overrides: Partial<HttpsCheck> = {}): HttpsCheck {
  const tls = { serverName: undefined, verify: false };
  return { type: 'https', name: 'https', ...COMMON, ...HTTP, ...tls, ...overrides };
}

export function reportCheck(overrides: Partial<ReportCheck> = {}): ReportCheck {
  const once = { count: 1, window: 1 };
  const own = { silenceMs: 10_000, rise: once, fall: once };
  return { type: 'report', name: 'report', ...COMMON, ...own, ...overrides };
}

export function dnsCheck(overrides: Partial<DnsCheck> = {}): DnsCheck {
  const asked = { query: 'www.example.com', record: 'A', expect: ['NOERROR'] } as const;
  return { type: 'dns', name: 'dns', ...COMMON, ...asked, address: undefined, ...overrides };
}

export function udpCheck(overrides: Partial<UdpCheck> = {}): UdpCheck {
  const sent = { sendHex: '70696e67', expect: { kind: 'any' } } as const;
  return { type: 'udp', name: 'udp', ...COMMON, ...sent, ...overrides };
}

export function grpcCheck(overrides: Partial<GrpcCheck> = {}): GrpcCheck {
  return { type: 'grpc', name: 'grpc', ...COMMON, service: '', tls: undefined, ...overrides };
}

export function pingCheck(overrides: Partial<PingCheck> = {}): PingCheck {
  return { type: 'ping', name: 'ping', ...COMMON, ...overrides };
}

export function scriptCheck(overrides: Partial<ScriptCheck> = {}): ScriptCheck {
  return {
    type: 'script',
    name: 'script',
    ...COMMON,
    command: '/bin/true',
    args: [],
    ...overrides,
  };
}

/** One probe for every type of check. */
export function probesOf(probe: Probe): Probes {
  return {
    tcp: probe,
    http: probe,
    https: probe,
    dns: probe,
    udp: probe,
    grpc: probe,
    ping: probe,
    script: probe,
  };
}

export const BACKEND_A = address('10.0.0.1');
export const BACKEND_B = address('10.0.0.2');

export function backend(at: Address, overrides: Partial<Backend> = {}): Backend {
  return { name: at, address: at, weight: 1, intent: 'active', mode: 'l2dsr', ...overrides };
}

/** TCP port 80 of `vip`, with the backends A and B unless told otherwise. */
export function service(
  checks: readonly CheckSpec[],
  overrides: Partial<Service> & { readonly vip?: Address } = {},
): Service {
  const vip = overrides.vip ?? address('192.0.2.1');
  const key = { vip, protocol: 'tcp', port: 80 } as const;
  return {
    ...key,
    id: serviceId(key),
    name: 'web',
    scheduler: 'maglev',
    affinity: 'flow',
    need: 1,
    backends: [backend(BACKEND_A), backend(BACKEND_B)],
    checks,
    ...overrides,
  };
}

/** Lets promises and callbacks that are ready run. */
export async function settle(): Promise<void> {
  for (let i = 0; i < 3; i++) await turn();
}
