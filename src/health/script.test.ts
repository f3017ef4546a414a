import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { getEventListeners } from 'node:events';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { address } from '../model/address.ts';
import type { ScriptCheck } from '../model/check.ts';
import { scriptCheck } from './fixtures.ts';
import { resources, until } from './local-servers.ts';
import type { ProbeReport } from './probe.ts';
import { ScriptProbe } from './script.ts';

const TARGET = {
  vip: address('2001:db8:f::1'),
  backend: address('10.0.0.1'),
  via: address('fd53:6b65:696e::7'),
};
const PASSED = { kind: 'pass', latencyMs: expect.any(Number) as number };

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'skein-script-'));
});
afterAll(() => {
  rmSync(folder, { recursive: true });
});

let written = 0;
/** The path of a program with this text. */
function program(text: string): string {
  const path = join(folder, `check-${written++}`);
  writeFileSync(path, `#!/bin/sh\n${text}\n`);
  chmodSync(path, 0o755);
  return path;
}

/** Runs a probe and makes sure that nothing of it is left. */
async function check(
  spec: Partial<ScriptCheck>,
  abort = new AbortController(),
): Promise<ProbeReport> {
  const before = resources();
  const report = await new ScriptProbe().check(scriptCheck(spec), TARGET, abort.signal);
  expect(getEventListeners(abort.signal, 'abort')).toEqual([]);
  await until(() => resources().length <= before.length);
  return report;
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    // A zombie that nobody has waited for yet is as dead as any.
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
  } catch {
    return false;
  }
}

/** Its parent, this process, has taken its exit status. */
function isReaped(pid: number): boolean {
  return !existsSync(`/proc/${pid}`);
}

test('passes with exit status 0, whatever it says', async () => {
  expect(await check({ command: program('echo fine; echo hm >&2') })).toEqual(PASSED);
});

test.each([
  ['echo "queue is full"; echo more; exit 3', 'exit status 3: queue is full'],
  ['echo; echo "  second"; exit 1', 'exit status 1: second'],
  ['echo "in vain" >&2; exit 1', 'exit status 1: in vain'],
  ['exit 1', 'exit status 1: it said nothing'],
  ['kill -SEGV $$', 'ended by SIGSEGV: it said nothing'],
  ['printf "\\033[31mred\\t\\000"; exit 1', 'exit status 1: [31mred'],
])('fails otherwise, with its first line: %s', async (text, said) => {
  const command = program(text);
  expect(await check({ command })).toEqual({
    kind: 'fail',
    reason: 'script_failed',
    detail: `${command} for 10.0.0.1: ${said}`,
  });
});

test('gets its arguments as they are, and knows what to check', async () => {
  const out = join(folder, 'seen');
  const command = program(`{ printf '%s\\n' "$@"; env | grep ^SKEIN_ | sort; pwd; } > ${out}`);
  const args = ['two words', '$HOME;`x`', ''];
  expect(await check({ command, args, port: 8080, timeoutMs: 700 })).toEqual(PASSED);
  expect(readFileSync(out, 'utf8').split('\n')).toEqual([
    ...args,
    'SKEIN_BACKEND=10.0.0.1',
    'SKEIN_CHECK=script',
    'SKEIN_PORT=8080',
    'SKEIN_PROBE_ADDRESS=fd53:6b65:696e::7',
    'SKEIN_TIMEOUT_MS=700',
    'SKEIN_VIP=2001:db8:f::1',
    '/',
    '',
  ]);
});

test("does not see the supervisor's own environment", async () => {
  vi.stubEnv('SKEIN_TEST_SECRET', 'x');
  const report = await check({ command: program('[ -z "$SKEIN_TEST_SECRET" ]') });
  vi.unstubAllEnvs();
  expect(report).toEqual(PASSED);
});

test('is killed at the timeout with what it has started', async () => {
  const pids = join(folder, 'pids');
  const ready = join(folder, 'ready');
  const command = program(
    `trap '' TERM INT; sleep 1000 & echo "$$ $!" > ${pids}; touch ${ready}; sleep 1000`,
  );
  const abort = new AbortController();
  const report = check({ command, timeoutMs: 600 }, abort);
  await until(() => existsSync(ready));
  abort.abort();
  expect(await report).toEqual({
    kind: 'fail',
    reason: 'timeout',
    detail: `${command} for 10.0.0.1 did not end within 600 ms`,
  });
  const started = readFileSync(pids, 'utf8').trim().split(' ').map(Number);
  expect(started).toHaveLength(2);
  await until(() => started.every((pid) => !isAlive(pid)));
});

test('what it leaves behind when it ends is killed too', async () => {
  const left = join(folder, 'left');
  expect(await check({ command: program(`sleep 1000 & echo $! > ${left}`) })).toEqual(PASSED);
  await until(() => !isAlive(Number(readFileSync(left, 'utf8'))));
});

test('counts by its exit status even where a daemon of its own holds the output', async () => {
  const left = join(folder, 'daemon');
  const own = join(folder, 'own');
  const ready = join(folder, 'gone');
  const command = program(
    `echo $$ > ${own}; setsid sh -c 'echo $$ > ${left}; exec sleep 1000' &
     while ! [ -s ${left} ]; do :; done; touch ${ready}`,
  );
  const abort = new AbortController();
  const report = check({ command }, abort);
  await until(() => existsSync(ready));
  // Once its exit status is known, the check still waits for the output, until its timeout.
  await until(() => isReaped(Number(readFileSync(own, 'utf8'))));
  abort.abort();
  expect(await report).toEqual(PASSED);
  process.kill(Number(readFileSync(left, 'utf8')), 'SIGKILL');
});

test('is ended when it writes without end', async () => {
  const command = program('while :; do echo yes yes yes; done');
  expect(await check({ command })).toEqual({
    kind: 'fail',
    reason: 'script_failed',
    detail: `${command} for 10.0.0.1 wrote too much`,
  });
});

test.each([
  ['is not there', () => join(folder, 'nowhere'), 'ENOENT'],
  ['may not be run', () => folder, 'EACCES'],
])('fails where the program %s', async (_, path, code) => {
  expect(await check({ command: path() })).toMatchObject({
    reason: 'script_failed',
    detail: `${path()} could not be run on this node: ${code}`,
  });
});

test('no_path, while the data plane does not know the pair', async () => {
  const never = new AbortController().signal;
  const target = { ...TARGET, via: undefined };
  expect(await new ScriptProbe().check(scriptCheck(), target, never)).toMatchObject({
    reason: 'no_path',
  });
});

test('may be aborted before it begins', async () => {
  const abort = new AbortController();
  abort.abort();
  expect(await check({}, abort)).toMatchObject({ reason: 'timeout' });
});
