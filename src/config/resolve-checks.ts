/** Entries of `checks` to specs: names, ports and short forms settled. Pure, and refuses nothing. */
import type { CheckSpec, ReplyExpectation } from '../model/check.ts';
import type { CheckEntry } from './schema-checks.ts';

const TIMEOUT_DEFAULT_MS = 800;

type Common = Pick<CheckSpec, 'name' | 'port' | 'intervalMs' | 'timeoutMs' | 'rise' | 'fall'>;
type Entry<Type extends CheckEntry['type']> = Extract<CheckEntry, { readonly type: Type }>;
type ProbeEntry = Exclude<CheckEntry, { readonly type: 'report' }>;

export function resolveChecks(entries: readonly CheckEntry[], servicePort: number): CheckSpec[] {
  const names = new Set(entries.flatMap(({ name }) => name ?? []));
  return entries.map((entry) => {
    const name = entry.name ?? freeName(entry.type, names);
    names.add(name);
    if (entry.type === 'report') return resolveReportCheck(entry, name, servicePort);
    return resolveCheck(entry, commonOf(entry, name, servicePort));
  });
}

/** `http`, or else `http-2`, `http-3` and so on. */
function freeName(type: string, taken: ReadonlySet<string>): string {
  let name = type;
  for (let count = 2; taken.has(name); count++) name = `${type}-${count}`;
  return name;
}

/** It asks nobody, so its port and its timeout mean nothing. */
function resolveReportCheck(entry: Entry<'report'>, name: string, port: number): CheckSpec {
  const { interval_ms: intervalMs, silence_ms: silenceMs, rise, fall } = entry;
  const timeoutMs = TIMEOUT_DEFAULT_MS;
  return { type: 'report', name, port, intervalMs, timeoutMs, silenceMs, rise, fall };
}

function commonOf(entry: ProbeEntry, name: string, servicePort: number): Common {
  return {
    name,
    port: entry.type === 'ping' ? servicePort : (entry.port ?? servicePort),
    intervalMs: entry.interval_ms,
    timeoutMs: entry.timeout_ms ?? Math.min(entry.interval_ms, TIMEOUT_DEFAULT_MS),
    rise: entry.rise,
    fall: entry.fall,
  };
}

function resolveCheck(entry: ProbeEntry, common: Common): CheckSpec {
  switch (entry.type) {
    case 'tcp':
    case 'ping':
      return { ...common, type: entry.type };
    case 'http':
      return { ...common, type: 'http', ...httpOf(entry) };
    case 'https': {
      const { server_name: serverName, verify } = entry;
      return { ...common, type: 'https', ...httpOf(entry), serverName, verify };
    }
    case 'dns': {
      const { query, record, expect, address } = entry;
      return { ...common, type: 'dns', query, record, expect, address };
    }
    case 'udp':
      return {
        ...common,
        type: 'udp',
        sendHex: entry.send_hex ?? hexOf(entry.send ?? ''),
        expect: expectationOf(entry),
      };
    case 'grpc': {
      const tls = entry.tls ? { serverName: entry.server_name, verify: entry.verify } : undefined;
      return { ...common, type: 'grpc', service: entry.service, tls };
    }
    case 'script':
      return { ...common, type: 'script', command: entry.command, args: entry.args };
  }
}

function httpOf({ method, path, host, expect }: Entry<'http' | 'https'>) {
  return { method, path, host, expect };
}

function expectationOf(entry: Entry<'udp'>): ReplyExpectation {
  const prefix = entry.expect_prefix_hex ?? hexOf(entry.expect_prefix ?? '');
  if (prefix !== '') return { kind: 'prefix', hex: prefix };
  const part = entry.expect_contains_hex ?? hexOf(entry.expect_contains ?? '');
  return part === '' ? { kind: 'any' } : { kind: 'contains', hex: part };
}

function hexOf(text: string): string {
  return Buffer.from(text, 'utf8').toString('hex');
}
