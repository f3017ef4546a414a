import { getEventListeners } from 'node:events';
import { afterEach, describe, expect, test } from 'vitest';
import { address, type Address } from '../model/address.ts';
import type { ReplyExpectation, UdpCheck } from '../model/check.ts';
import { udpCheck } from './fixtures.ts';
import { closedPort, listenUdp, resources, until, type LocalServer } from './local-servers.ts';
import type { ProbeReport } from './probe.ts';
import { UdpProbe } from './udp.ts';

const VIP = address('192.0.2.1');
const LOOPBACK = address('127.0.0.1');
const PASSED = { kind: 'pass', latencyMs: expect.any(Number) as number };

const servers: LocalServer[] = [];
afterEach(async () => {
  for (const server of servers.splice(0)) await server.close();
});

async function opened(...args: Parameters<typeof listenUdp>): Promise<number> {
  const server = await listenUdp(...args);
  servers.push(server);
  return server.port;
}

/** Runs a probe and makes sure that nothing of it is left. */
async function check(
  spec: Partial<UdpCheck>,
  via: Address | undefined = LOOPBACK,
  abort = new AbortController(),
): Promise<ProbeReport> {
  const before = resources();
  const target = { vip: VIP, backend: LOOPBACK, via };
  const report = await new UdpProbe().check(udpCheck(spec), target, abort.signal);
  expect(getEventListeners(abort.signal, 'abort')).toEqual([]);
  await until(() => resources().length <= before.length);
  return report;
}

function hex(text: string): string {
  return Buffer.from(text).toString('hex');
}

test.each(['127.0.0.1', '::1'])('passes at %s with any reply', async (host) => {
  const received: string[] = [];
  const port = await opened((datagram) => {
    received.push(datagram.toString('hex'));
    return 'pong';
  }, host);
  expect(await check({ port, sendHex: '00ff70' }, address(host))).toEqual(PASSED);
  expect(received).toEqual(['00ff70']);
});

test.each<[string, string, ReplyExpectation, boolean]>([
  ['', 'an empty reply is one', { kind: 'any' }, true],
  ['SIP/2.0 200 OK', 'begins so', { kind: 'prefix', hex: hex('SIP/2.0 200') }, true],
  ['SIP/2.0 503 No', 'begins otherwise', { kind: 'prefix', hex: hex('SIP/2.0 200') }, false],
  ['SIP', 'is shorter', { kind: 'prefix', hex: hex('SIP/2.0 200') }, false],
  ['x ready y', 'has it somewhere', { kind: 'contains', hex: hex('ready') }, true],
  ['x', 'has it nowhere', { kind: 'contains', hex: hex('ready') }, false],
  ['a\xff\x00b', 'is taken byte by byte', { kind: 'contains', hex: 'ff00' }, true],
])('of %j: %s', async (reply, _, expectation, passes) => {
  const port = await opened(() => Buffer.from(reply, 'latin1'));
  const report = await check({ port, expect: expectation });
  expect(report).toMatchObject(
    passes ? { kind: 'pass' } : { kind: 'fail', reason: 'answer_unexpected' },
  );
});

test.each([
  ['HTTP/1.1 503 Unavailable', '"HTTP/1.1 503 Unavailable"'],
  [Uint8Array.of(0, 255), '0x00ff'],
  ['a'.repeat(60_000), `"${'a'.repeat(32)}"...`],
])('shows what came instead, %#', async (reply, shown) => {
  const port = await opened(() => reply);
  expect(await check({ port, expect: { kind: 'prefix', hex: hex('OK') } })).toEqual({
    kind: 'fail',
    reason: 'answer_unexpected',
    detail: `127.0.0.1 for 192.0.2.1:${port}: answered ${shown}, expected "OK" at its start`,
  });
});

test('shows what was to be in it', async () => {
  const port = await opened(() => 'no');
  expect(await check({ port, expect: { kind: 'contains', hex: 'ff' } })).toMatchObject({
    detail: `127.0.0.1 for 192.0.2.1:${port}: answered "no", expected 0xff in it`,
  });
});

test('timeout, where no reply comes; that is no case for a diagnosis by TCP', async () => {
  const abort = new AbortController();
  const port = await opened(() => {
    abort.abort();
    return undefined;
  });
  expect(await check({ port, timeoutMs: 50 }, LOOPBACK, abort)).toEqual({
    kind: 'fail',
    reason: 'timeout',
    detail: `no answer from 127.0.0.1 for UDP 192.0.2.1:${port} within 50 ms: does its server listen on the VIP, and is the VIP on its loopback?`,
  });
});

describe('without a server to talk to', () => {
  test('refused, where the error of a closed port comes back', async () => {
    expect(await check({ port: await closedPort() })).toMatchObject({ reason: 'refused' });
  });

  test('unreachable, where there is no way', async () => {
    const report = await check({}, address('255.255.255.255'));
    expect(report).toMatchObject({ kind: 'fail', reason: 'unreachable' });
  });

  test('no_path, while the data plane does not know the pair', async () => {
    const target = { vip: VIP, backend: LOOPBACK, via: undefined };
    const never = new AbortController().signal;
    expect(await new UdpProbe().check(udpCheck(), target, never)).toMatchObject({
      reason: 'no_path',
    });
  });

  test('may be aborted before it begins', async () => {
    const abort = new AbortController();
    abort.abort();
    expect(await check({}, LOOPBACK, abort)).toMatchObject({ reason: 'timeout' });
  });
});
