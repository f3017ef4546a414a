/** Goal: `npm start` shows requests being balanced and cleans up after itself, however it ends. */
import { spawn, type ChildProcess } from 'node:child_process';
import { existsSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { expect, onTestFinished, test } from 'vitest';
import { environment } from '../exec.ts';
import { networkStatus } from '../netns.ts';
import { PROJECT, STATE } from '../places.ts';
import { takeDown } from '../testbed.ts';
import { scenario } from './support.ts';

interface Ended {
  readonly code: number | null;
  readonly lines: readonly string[];
}

/** Runs the demo small; `each` sees every line that it prints, and may signal it. */
async function demo(
  args: readonly string[],
  each: (line: string, child: ChildProcess) => void = () => undefined,
): Promise<Ended> {
  const command = ['testbed/demo.ts', '--nodes', '2', '--backends', '2', ...args];
  const child = spawn(process.execPath, command, {
    cwd: PROJECT,
    env: environment(),
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  onTestFinished(async () => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    child.kill('SIGKILL');
    await takeDown('a test').catch(() => undefined);
  });
  const lines: string[] = [];
  for (const input of [child.stdout, child.stderr]) {
    createInterface({ input }).on('line', (line) => {
      lines.push(line);
      each(line, child);
    });
  }
  const { promise, resolve } = Promise.withResolvers<Ended>();
  child.once('close', (code) => {
    resolve({ code, lines });
  });
  return promise;
}

function expectNothingLeft(): void {
  expect(networkStatus()).toEqual({ namespaces: [], rootInterface: false, pins: false });
  expect(existsSync(STATE)).toBe(false);
}

scenario('the demo', () => {
  test('balances requests of both families, and ends by itself', async () => {
    const { code, lines } = await demo(['--for', '6']);
    const text = lines.join('\n');
    expect(text).toContain('http://10.83.254.12:8080/');
    const [, requests] = /(\d+) requests, 0 errors/.exec(text) ?? [];
    expect(Number(requests)).toBeGreaterThan(10);
    expect(text).toMatch(/b1 \d+ %, b2 \d+ %/);
    expect(code).toBe(0);
    expectNothingLeft();
  });

  test.each(['SIGINT', 'SIGTERM'] as const)('removes everything on %s', async (signal) => {
    const { code } = await demo([], (line, child) => {
      if (line.startsWith('Consoles:')) child.kill(signal);
    });
    expect(code).toBe(0);
    expectNothingLeft();
  });

  test('removes its beginnings when it is stopped on the way up', async () => {
    const { code } = await demo([], (line, child) => {
      if (line.includes('balancers')) child.kill('SIGINT');
    });
    expect(code).toBe(0);
    expectNothingLeft();
  });

  test('that was killed leaves nothing that the next testbed does not remove', async () => {
    await demo([], (line, child) => {
      if (line.startsWith('Consoles:')) child.kill('SIGKILL');
    });
    expect(networkStatus().namespaces.length).toBeGreaterThan(0);
    const removed = await takeDown('a test');
    expect(removed.processes).toBeGreaterThan(0);
    expectNothingLeft();
  });
});
