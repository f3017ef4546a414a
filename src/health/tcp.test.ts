import { getEventListeners } from 'node:events';
import { setImmediate as turn } from 'node:timers/promises';
import { afterEach, describe, expect, test } from 'vitest';
import { systemClock } from '../lib/clock.ts';
import { address, type Address } from '../model/address.ts';
import { diagnose } from './diagnose.ts';
import { backend, probesOf, service, tcpCheck } from './fixtures.ts';
import {
  closedPort,
  lingering,
  listenRaw,
  listenSilently,
  resources,
  until,
  type LocalServer,
} from './local-servers.ts';
import type { ProbeReport, ProbeTarget } from './probe.ts';
import { HealthScheduler } from './scheduler.ts';
import { TcpProbe } from './tcp.ts';

const VIP = address('192.0.2.1');
const LOOPBACK = address('127.0.0.1');
const BROADCAST = address('255.255.255.255');

const servers: LocalServer[] = [];
afterEach(async () => {
  for (const server of servers.splice(0)) await server.close();
});

async function opened(server: Promise<LocalServer>): Promise<number> {
  const running = await server;
  servers.push(running);
  return running.port;
}

function target(via: Address | undefined, own = LOOPBACK): ProbeTarget {
  return { vip: VIP, backend: own, via };
}

/** Runs a probe and makes sure that nothing of it is left. */
async function check(
  port: number,
  via: Address | undefined,
  abort = new AbortController(),
): Promise<ProbeReport> {
  const before = resources();
  const spec = tcpCheck({ port, timeoutMs: 50 });
  const report = await new TcpProbe().check(spec, target(via), abort.signal);
  expect(getEventListeners(abort.signal, 'abort')).toEqual([]);
  // What the server side still holds of the connection goes a moment later.
  await until(() => resources().length <= before.length);
  return report;
}

test.each(['127.0.0.1', '::1'])('passes at %s once the handshake is through', async (host) => {
  const port = await opened(listenRaw(() => undefined, host));
  const report = await check(port, address(host));
  expect(report).toEqual({ kind: 'pass', latencyMs: expect.any(Number) as number });
});

test('leaves no connection in TIME_WAIT', async () => {
  let ended = 0;
  const port = await opened(listenRaw((socket) => socket.once('close', () => ended++)));
  const before = lingering(port);
  for (let i = 0; i < 5; i++) expect(await check(port, LOOPBACK)).toMatchObject({ kind: 'pass' });
  await until(() => ended === 5);
  expect(lingering(port)).toBeLessThanOrEqual(before);
});

test('refused, where nobody listens', async () => {
  expect(await check(await closedPort(), LOOPBACK)).toMatchObject({
    kind: 'fail',
    reason: 'refused',
    detail: expect.stringContaining('127.0.0.1 refuses 192.0.2.1:') as string,
  });
});

test('timeout, where no answer comes', async () => {
  const port = await opened(listenSilently());
  const abort = new AbortController();
  const report = check(port, LOOPBACK, abort);
  await turn();
  abort.abort();
  expect(await report).toEqual({
    kind: 'fail',
    reason: 'timeout',
    unanswered: true,
    detail: `no answer from 127.0.0.1 for 192.0.2.1:${port} within 50 ms`,
  });
});

test('unreachable, where there is no way', async () => {
  expect(await check(80, BROADCAST)).toMatchObject({ kind: 'fail', reason: 'unreachable' });
});

test('no_path, while the data plane does not know the pair', async () => {
  expect(await check(80, undefined)).toMatchObject({ kind: 'fail', reason: 'no_path' });
});

test('may be aborted before it begins', async () => {
  const port = await opened(listenRaw(() => undefined));
  const abort = new AbortController();
  abort.abort();
  expect(await check(port, LOOPBACK, abort)).toMatchObject({ reason: 'timeout' });
});

describe('diagnosis of a silent VIP', () => {
  const never = new AbortController().signal;

  test('a backend that answers on its own address only lacks the VIP', async () => {
    const port = await opened(listenRaw(() => undefined));
    expect(await diagnose(target(undefined), port, never)).toEqual({
      kind: 'fail',
      reason: 'vip_unanswered',
      detail:
        '127.0.0.1 answers on its own address but not for the VIP 192.0.2.1: is the VIP on its loopback?',
    });
  });

  test('so does one that refuses the port there', async () => {
    const found = await diagnose(target(undefined), await closedPort(), never);
    expect(found.reason).toBe('vip_unanswered');
  });

  test('one that is silent there too is dead', async () => {
    const port = await opened(listenSilently());
    const abort = new AbortController();
    const finding = diagnose(target(undefined), port, abort.signal);
    abort.abort();
    expect(await finding).toMatchObject({
      reason: 'timeout',
      detail: '127.0.0.1 answers neither for the VIP 192.0.2.1 nor for itself',
    });
  });

  test('one to which there is no way is unreachable', async () => {
    expect(await diagnose(target(undefined, BROADCAST), 80, never)).toMatchObject({
      reason: 'unreachable',
      detail: '255.255.255.255 cannot be reached from this node: ENETUNREACH',
    });
  });

  test('reaches the operator through the scheduler', async () => {
    const port = await opened(listenSilently());
    const own = address('127.0.0.2');
    const spec = tcpCheck({ port, intervalMs: 30, timeoutMs: 20 });
    const unused = { check: () => Promise.reject(new Error('not used')) };
    const scheduler = new HealthScheduler({
      clock: systemClock,
      probes: { ...probesOf(unused), tcp: new TcpProbe() },
      path: () => LOOPBACK,
      diagnose,
    });
    const web = service([spec], { backends: [backend(own)] });
    const health = () => scheduler.view().get(web.id)?.get(own);
    scheduler.set([web]);
    const before = resources();
    scheduler.start();
    await until(() => health()?.state === 'down');
    await until(() => health()?.reason.includes('is the VIP on its loopback?') === true);
    await scheduler.stop();
    await until(() => resources().length <= before.length);
  });
});
