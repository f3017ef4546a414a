/** Checks that a backend runs on itself, as its command line writes them: the probes of a node, at home. */
import { parseAddressPort, type AddressPort } from '../config/values.ts';
import { HttpProbe } from '../health/http.ts';
import type { ProbeReport } from '../health/probe.ts';
import { TcpProbe } from '../health/tcp.ts';
import { address, parseAddress, type Address } from '../model/address.ts';
import type { ServiceKey } from '../model/service.ts';
import type { LocalCheck } from '../reports/reporter.ts';

const LOOPBACK = address('127.0.0.1');
const ONCE = { count: 1, window: 1 };
/** The reporter ends a check at its own timeout; these only show in what a failure says. */
const TIMING = { intervalMs: 1_000, timeoutMs: 1_000, rise: ONCE, fall: ONCE };

/** `[SERVICE=]tcp:PORT`, `tcp:ADDRESS:PORT` or `http:URL`, with an address or localhost as its host. */
export function parseLocalCheck(text: string): LocalCheck | undefined {
  const parts = /^(?:(tcp|udp)\/([^=]+)=)?(tcp|http):(.+)$/.exec(text);
  if (parts === null) return undefined;
  const [, protocol, endpoint = '', kind, target = ''] = parts;
  const run = kind === 'tcp' ? tcpRun(target) : httpRun(target);
  if (run === undefined) return undefined;
  if (protocol === undefined) return { service: undefined, run };
  const at = parseAddressPort(endpoint);
  return at && { service: keyOf(protocol === 'tcp' ? 'tcp' : 'udp', at), run };
}

function keyOf(protocol: ServiceKey['protocol'], { address: vip, port }: AddressPort): ServiceKey {
  return { vip, protocol, port };
}

function tcpRun(target: string): LocalCheck['run'] | undefined {
  const bare = /^\d{1,5}$/.test(target) ? `${LOOPBACK}:${target}` : target;
  const at = parseAddressPort(bare);
  if (at === undefined) return undefined;
  const probe = new TcpProbe();
  const spec = { type: 'tcp', name: 'tcp', port: at.port, ...TIMING } as const;
  return async (signal) => why(await probe.check(spec, targetAt(at.address), signal));
}

function httpRun(target: string): LocalCheck['run'] | undefined {
  const url = URL.parse(target);
  if (url?.protocol !== 'http:' || url.username !== '') return undefined;
  const host = url.hostname.replace(/^\[|\]$/g, '');
  const at = host === 'localhost' ? LOOPBACK : parseAddress(host);
  if (at === undefined) return undefined;
  const probe = new HttpProbe();
  const spec = {
    type: 'http',
    name: 'http',
    port: url.port === '' ? 80 : Number(url.port),
    method: 'GET',
    path: `${url.pathname}${url.search}`,
    host: url.host,
    expect: [{ from: 200, to: 399 }],
    ...TIMING,
  } as const;
  return async (signal) => why(await probe.check(spec, targetAt(at), signal));
}

function targetAt(at: Address) {
  return { vip: at, backend: at, via: at };
}

function why(report: ProbeReport): string | undefined {
  return report.kind === 'pass' ? undefined : report.detail;
}
