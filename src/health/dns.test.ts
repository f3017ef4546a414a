import { getEventListeners } from 'node:events';
import { afterEach, expect, test } from 'vitest';
import { address, type Address } from '../model/address.ts';
import type { DnsCheck } from '../model/check.ts';
import { DnsProbe } from './dns.ts';
import { dnsCheck } from './fixtures.ts';
import { closedPort, listenUdp, type LocalServer } from './local-servers.ts';
import type { ProbeReport } from './probe.ts';

const VIP = address('192.0.2.1');
const LOOPBACK = address('127.0.0.1');
const PASSED = { kind: 'pass', latencyMs: expect.any(Number) as number };

const TYPES = { A: 1, NS: 2, CNAME: 5, SOA: 6, PTR: 12, MX: 15, TXT: 16, AAAA: 28, SRV: 33 };
const HEADER_BYTES = 12;

const servers: LocalServer[] = [];
afterEach(async () => {
  for (const server of servers.splice(0)) await server.close();
});

/** A DNS server (RFC 1035) that gives every question the same answer, and how often it was asked. */
async function dnsServer(
  answer: {
    readonly rcode?: number;
    readonly records?: readonly (readonly [number, Uint8Array])[];
  },
  host = '127.0.0.1',
) {
  const asked: { name: string; type: number }[] = [];
  const server = await listenUdp((query) => {
    asked.push(questionOf(query));
    const { rcode = 0, records = [] } = answer;
    const header = Buffer.from(query.subarray(0, HEADER_BYTES));
    header.writeUInt16BE(0x8180 | rcode, 2);
    header.writeUInt16BE(records.length, 6);
    header.writeUInt32BE(0, 8);
    const encoded = records.map(([type, data]) => {
      const record = Buffer.alloc(12 + data.length);
      record.writeUInt16BE(0xc000 | HEADER_BYTES, 0);
      record.writeUInt16BE(type, 2);
      record.writeUInt16BE(1, 4);
      record.writeUInt32BE(60, 6);
      record.writeUInt16BE(data.length, 10);
      record.set(data, 12);
      return record;
    });
    return Buffer.concat([header, query.subarray(HEADER_BYTES), ...encoded]);
  }, host);
  servers.push(server);
  return { port: server.port, asked };
}

function questionOf(query: Buffer): { name: string; type: number } {
  const labels: string[] = [];
  let at = HEADER_BYTES;
  for (let length = query[at] ?? 0; length > 0; length = query[at] ?? 0) {
    labels.push(query.toString('latin1', at + 1, at + 1 + length));
    at += 1 + length;
  }
  return { name: labels.join('.'), type: query.readUInt16BE(at + 1) };
}

async function check(
  spec: Partial<DnsCheck>,
  via: Address | undefined = LOOPBACK,
  abort = new AbortController(),
): Promise<ProbeReport> {
  const target = { vip: VIP, backend: LOOPBACK, via };
  const report = await new DnsProbe().check(dnsCheck(spec), target, abort.signal);
  expect(getEventListeners(abort.signal, 'abort')).toEqual([]);
  return report;
}

const A = [TYPES.A, Uint8Array.of(198, 51, 100, 7)] as const;
const A2 = [TYPES.A, Uint8Array.of(198, 51, 100, 8)] as const;
const AAAA = [TYPES.AAAA, Uint8Array.of(0x20, 1, 0xd, 0xb8, ...new Uint8Array(11), 7)] as const;
const ROOT = Uint8Array.of(0);
const SOA = [TYPES.SOA, Uint8Array.of(0, 0, ...new Uint8Array(20))] as const;

test.each(['127.0.0.1', '::1'])('passes at %s with a record, asked for once', async (host) => {
  const { port, asked } = await dnsServer({ records: [A] }, host);
  expect(await check({ port }, address(host))).toEqual(PASSED);
  expect(asked).toEqual([{ name: 'www.example.com', type: TYPES.A }]);
});

test.each([
  ['AAAA', AAAA],
  ['CNAME', [TYPES.CNAME, ROOT]],
  ['MX', [TYPES.MX, Uint8Array.of(0, 10, 0)]],
  ['NS', [TYPES.NS, ROOT]],
  ['PTR', [TYPES.PTR, ROOT]],
  ['SOA', SOA],
  ['SRV', [TYPES.SRV, Uint8Array.of(0, 1, 0, 1, 0, 80, 0)]],
  ['TXT', [TYPES.TXT, Uint8Array.of(2, 104, 105)]],
] as const)('asks for %s', async (record, answer) => {
  const { port, asked } = await dnsServer({ records: [answer] });
  expect(await check({ port, record, query: '_x._udp.example.com.' })).toEqual(PASSED);
  expect(asked).toEqual([{ name: '_x._udp.example.com', type: TYPES[record] }]);
});

test.each([
  ['FORMERR', 1],
  ['SERVFAIL', 2],
  ['NXDOMAIN', 3],
  ['NOTIMP', 4],
  ['REFUSED', 5],
] as const)('%s fails without another try, unless it is expected', async (name, rcode) => {
  const { port, asked } = await dnsServer({ rcode });
  expect(await check({ port })).toEqual({
    kind: 'fail',
    reason: 'answer_unexpected',
    detail: `127.0.0.1 for 192.0.2.1:${port}: answered ${name}, expected NOERROR: A of www.example.com`,
  });
  expect(asked).toHaveLength(1);
  expect(await check({ port, expect: ['NOERROR', name] })).toEqual(PASSED);
});

test('an answer that is not expected to come fails', async () => {
  const { port } = await dnsServer({ records: [A] });
  expect(await check({ port, expect: ['REFUSED', 'NXDOMAIN'] })).toMatchObject({
    reason: 'answer_unexpected',
    detail: expect.stringContaining('answered NOERROR, expected REFUSED, NXDOMAIN') as string,
  });
});

test.each([
  ['none at all', []],
  ['only some of another type', [AAAA]],
])('NOERROR without a record of the type fails: %s', async (_, records) => {
  const { port } = await dnsServer({ records });
  expect(await check({ port })).toMatchObject({
    reason: 'answer_unexpected',
    detail: expect.stringContaining('without a record for A of www.example.com') as string,
  });
});

test.each([
  ['A', '198.51.100.8', [A, A2], true],
  ['A', '198.51.100.9', [A, A2], false],
  ['AAAA', '2001:db8::7', [AAAA], true],
  ['AAAA', '2001:db8::8', [AAAA], false],
] as const)('%s must hold %s', async (record, wanted, records, passes) => {
  const { port } = await dnsServer({ records });
  const report = await check({ port, record, address: address(wanted) });
  if (passes) expect(report).toEqual(PASSED);
  else {
    const found = record === 'A' ? '198.51.100.7, 198.51.100.8' : '2001:db8::7';
    expect(report).toMatchObject({
      reason: 'answer_unexpected',
      detail: `127.0.0.1 for 192.0.2.1:${port}: answered ${found} for ${record} of www.example.com, expected ${wanted} among them`,
    });
  }
});

test('what is no DNS at all fails', async () => {
  const server = await listenUdp((query) => Buffer.concat([query.subarray(0, 2), query]));
  servers.push(server);
  expect(await check({ port: server.port })).toMatchObject({ kind: 'fail' });
});

test('timeout, where no answer comes; the question is not asked again', async () => {
  const abort = new AbortController();
  let asked = 0;
  const server = await listenUdp(() => {
    asked++;
    abort.abort();
    return undefined;
  });
  servers.push(server);
  const { port } = server;
  expect(await check({ port, timeoutMs: 50 }, LOOPBACK, abort)).toEqual({
    kind: 'fail',
    reason: 'timeout',
    detail: `no answer from 127.0.0.1 for UDP 192.0.2.1:${port} within 50 ms: does its server listen on the VIP, and is the VIP on its loopback?`,
  });
  expect(asked).toBe(1);
});

test('refused, where the error of a closed port comes back', async () => {
  expect(await check({ port: await closedPort() })).toMatchObject({ reason: 'refused' });
});

test('no_path, while the data plane does not know the pair', async () => {
  const target = { vip: VIP, backend: LOOPBACK, via: undefined };
  const never = new AbortController().signal;
  expect(await new DnsProbe().check(dnsCheck(), target, never)).toMatchObject({
    reason: 'no_path',
  });
});

test('may be aborted before it begins', async () => {
  const abort = new AbortController();
  abort.abort();
  expect(await check({}, LOOPBACK, abort)).toMatchObject({ reason: 'timeout' });
});
