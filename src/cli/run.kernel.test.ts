/** `skein run` as a process: that it ends where it cannot start, and stops in order whenever it is told. */
import { spawn, type ChildProcess } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { IPV4, xdpMode, UPLINK } from '../bpf/fixture-network.ts';
import { prepare, release } from '../bpf/fixture.ts';
import type { KernelOptions } from '../dataplane/kernel.ts';
import { detachNode } from './detach.ts';

const SYNC_PORT = 7483;
const MAIN = join(import.meta.dirname, '../main.ts');
const WAIT = { timeout: 60_000, interval: 20 };

let options: KernelOptions;
let folder: string;
let child: ChildProcess | undefined;
let output = '';
const paths = () => ({ config: join(folder, 'skein.json'), node: join(folder, 'node.json') });

beforeEach(async () => {
  options = await prepare();
  folder = mkdtempSync(join(tmpdir(), 'skein-run-'));
});
afterEach(async () => {
  if (child?.exitCode === null) child.kill('SIGKILL');
  await detachNode(paths());
  await release(options);
  rmSync(folder, { recursive: true });
});

function run(sync: object | undefined): ChildProcess {
  const { config, node } = paths();
  const services = [{ name: 'web', vip: IPV4.vip, port: 80, backends: 'web', checks: [] }];
  writeFileSync(
    config,
    JSON.stringify({
      cluster: 'run',
      backends: { web: ['10.1.0.101'] },
      services,
      ...(sync && { sync }),
    }),
  );
  const limits = { services: 16, backends: 64, flows: 1024, embryonic_flows: 1024 };
  const { bpffs, interfaces } = options;
  const part = {
    node: 'n1',
    interfaces,
    ipv4: IPV4.node,
    bpffs,
    limits,
    console: '127.0.0.1:8080',
  };
  writeFileSync(node, JSON.stringify(part));
  output = '';
  child = spawn(process.execPath, [MAIN, 'run', '-c', config, '-n', node], { stdio: 'pipe' });
  for (const stream of [child.stdout, child.stderr]) {
    stream?.on('data', (chunk: Buffer) => (output += chunk.toString()));
  }
  return child;
}

const said = (words: string) =>
  vi.waitFor(() => {
    expect(output).toContain(words);
  }, WAIT);

test('a port that is taken ends it, and what it attached stays for the next one', async () => {
  const taken = createServer().listen(SYNC_PORT, IPV4.node);
  await once(taken, 'listening');
  const keyFile = join(folder, 'sync.key');
  writeFileSync(keyFile, randomBytes(32).toString('base64'), { mode: 0o600 });
  const peers = [`${IPV4.node}:${SYNC_PORT}`, `10.1.0.2:${SYNC_PORT}`];
  const [code] = (await once(run({ peers, key_files: [keyFile] }), 'exit')) as [number | null];
  expect(output).toContain('cannot give snapshots at 10.1.0.1:7483');
  expect(code).toBe(1);
  expect(readdirSync(options.bpffs)).not.toEqual([]);
  taken.close();
});

test('a SIGTERM that comes while it starts stops it in order', async () => {
  const node = run(undefined);
  await said('"starting"');
  node.kill('SIGTERM');
  const [code, signal] = (await once(node, 'exit')) as [number | null, string | null];
  expect([code, signal]).toEqual([0, null]);
  expect(output).toContain('stopping: withdrawing first');
  expect(await xdpMode(UPLINK)).toBeUndefined();
  expect(existsSync(options.bpffs) ? readdirSync(options.bpffs) : []).toEqual([]);
});
