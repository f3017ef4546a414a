import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { address, type Address } from '../model/address.ts';
import { pingCheck } from './fixtures.ts';
import { resources, until } from './local-servers.ts';
import { PingProbe } from './ping.ts';
import type { ProbeReport } from './probe.ts';

const VIP = address('192.0.2.1');
const BACKEND = address('10.0.0.1');
const LOOPBACK = address('127.0.0.1');

async function check(
  probe: PingProbe,
  via: Address | undefined,
  abort = new AbortController(),
): Promise<ProbeReport> {
  const before = resources();
  const spec = pingCheck({ timeoutMs: 800 });
  const report = await probe.check(spec, { vip: VIP, backend: BACKEND, via }, abort.signal);
  await until(() => resources().length <= before.length);
  return report;
}

test.each(['127.0.0.1', '::1'])('passes at %s with the time of the reply', async (host) => {
  const report = await check(new PingProbe(), address(host));
  expect(report).toMatchObject({ kind: 'pass' });
  // That of the whole process would be longer than this on any machine.
  if (report.kind === 'pass') expect(report.latencyMs).toBeGreaterThan(0);
});

describe('by what ping says', () => {
  let folder: string;
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'skein-ping-'));
  });
  afterAll(() => {
    rmSync(folder, { recursive: true });
  });

  let written = 0;
  /** A ping that does what `text` says. */
  function saying(text: string): PingProbe {
    const path = join(folder, `ping-${written++}`);
    writeFileSync(path, `#!/bin/sh\n${text}\n`);
    chmodSync(path, 0o755);
    return new PingProbe(path);
  }

  test('one packet, no names, one family', async () => {
    const seen = join(folder, 'seen');
    const probe = saying(`echo "$@" >> ${seen}; echo "64 bytes: icmp_seq=1 ttl=64 time=1.25 ms"`);
    expect(await check(probe, LOOPBACK)).toEqual({ kind: 'pass', latencyMs: 1.25 });
    expect(await check(probe, address('fd53::7'))).toEqual({ kind: 'pass', latencyMs: 1.25 });
    expect(readFileSync(seen, 'utf8').trim().split('\n')).toEqual([
      '-4 -n -c 1 -W 1 127.0.0.1',
      '-6 -n -c 1 -W 1 fd53::7',
    ]);
  });

  test('a time that it does not tell is that of the process', async () => {
    expect(await check(saying('exit 0'), LOOPBACK)).toEqual({
      kind: 'pass',
      latencyMs: expect.any(Number) as number,
    });
  });

  const silence = {
    kind: 'fail',
    reason: 'timeout',
    detail: 'no echo reply from 10.0.0.1 for 192.0.2.1 within 800 ms',
    unanswered: true,
  };

  test('timeout, where it found no reply', async () => {
    expect(await check(saying('exit 1'), LOOPBACK)).toEqual(silence);
  });

  test('timeout, where it is still waiting', async () => {
    const abort = new AbortController();
    const report = check(saying('exec sleep 1000'), LOOPBACK, abort);
    abort.abort();
    expect(await report).toEqual(silence);
  });

  test.each([
    [
      'echo "ping: connect: Network is unreachable" >&2; exit 2',
      'unreachable',
      'no way to 10.0.0.1 for 192.0.2.1: ping: connect: Network is unreachable',
    ],
    [
      'echo "ping: socket: Operation not permitted" >&2; exit 2',
      'no_path',
      'this node could not ping 192.0.2.1: ping: socket: Operation not permitted',
    ],
    ['exit 2', 'no_path', 'this node could not ping 192.0.2.1: ended by status 2'],
  ])('%s: %s', async (text, reason, detail) => {
    expect(await check(saying(text), LOOPBACK)).toEqual({ kind: 'fail', reason, detail });
  });
});

test('a node without ping says what to install', async () => {
  expect(await check(new PingProbe('skein-no-such-ping'), LOOPBACK)).toEqual({
    kind: 'fail',
    reason: 'no_path',
    detail: 'this node has no skein-no-such-ping: install iputils-ping',
  });
});

test('no_path, while the data plane does not know the pair', async () => {
  expect(await check(new PingProbe(), undefined)).toMatchObject({ reason: 'no_path' });
});
