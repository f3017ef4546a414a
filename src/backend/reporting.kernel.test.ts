/** `skein backend --report` in a namespace of its own: one process that serves VIPs and says how it is. */
import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { refuseForeignNamespace } from '../bpf/fixture-network.ts';
import { address } from '../model/address.ts';
import { UnicastLink } from '../peers/unicast.ts';
import type { Report } from '../reports/report.ts';
import { ReportOpener } from '../reports/seal.ts';
import { decodeReport } from '../reports/wire.ts';
import { end, FAR, HTTP_PORT, isOver, NEAR, ServerNamespace, until } from './fixture.ts';

const VIP = '192.0.2.80';
const PORT = 7484;
const CLUSTER = 'c';

let server: ServerNamespace;
let folder: string;

beforeEach(async () => {
  await refuseForeignNamespace();
  server = await ServerNamespace.open();
  folder = mkdtempSync(join(tmpdir(), 'skein-reporting-'));
});
afterEach(async () => {
  await server.close();
  rmSync(folder, { recursive: true });
});

function writeKey(): Uint8Array {
  const key = randomBytes(32);
  writeFileSync(join(folder, 'reports.key'), key.toString('hex'), { mode: 0o600 });
  return key;
}

/** Its reports go to here. */
function writeDocument(backend: string = FAR.ipv4, reports = true): string {
  const file = join(folder, 'skein.yaml');
  const section = { nodes: [`${NEAR.ipv4}:${PORT}`], key_files: ['reports.key'] };
  const service = { name: 'web', vip: VIP, port: HTTP_PORT, backends: 'web', checks: [] };
  const document = { cluster: CLUSTER, backends: { web: [backend] }, services: [service] };
  writeFileSync(file, JSON.stringify(reports ? { ...document, reports: section } : document));
  return file;
}

/** A node, as far as it takes reports: what was signed with a key, in the order of arrival. */
class Ear {
  readonly #link = new UnicastLink({
    local: { address: address(NEAR.ipv4), port: PORT },
    peers: [],
  });
  readonly #datagrams: Uint8Array[] = [];

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#link.stop();
  }

  async listen(): Promise<this> {
    await this.#link.start((datagram) => {
      this.#datagrams.push(Uint8Array.from(datagram));
    });
    return this;
  }

  get count(): number {
    return this.#datagrams.length;
  }

  heard(key: Uint8Array): readonly Report[] {
    const opener = new ReportOpener(CLUSTER, [key]);
    return this.#datagrams.flatMap((datagram) => {
      const opened = opener.open(datagram);
      return opened.kind === 'opened' ? (decodeReport(opened.payload) ?? []) : [];
    });
  }

  states(key: Uint8Array): readonly string[] {
    return this.heard(key).map(({ state }) => state);
  }
}

const OFTEN = ['--report', '--report-interval', '200ms'] as const;

test('reports by its checks, with the keys of the last SIGHUP, and leaves before the VIP does', async () => {
  const before = await server.state();
  const first = writeKey();
  await using ear = await new Ear().listen();
  const check = ['--check', `tcp:${VIP}:${HTTP_PORT}`];
  const run = server.startBackend('--config', writeDocument(), ...OFTEN, ...check);
  await server.ready(run);
  await until('a report that nobody listens', () => ear.states(first).includes('unhealthy'));
  await server.serve([VIP]);
  await until('a healthy report', () => ear.states(first).at(-1) === 'healthy');
  expect(ear.heard(first).at(-1)?.addresses).toEqual([FAR.ipv4]);

  const second = writeKey();
  run.child.kill('SIGHUP');
  await until('a report with the new key', () => ear.states(second).includes('healthy'));
  rmSync(join(folder, 'reports.key'));
  run.child.kill('SIGHUP');
  await until('a refusal', () => run.said().includes('the keys stay as they were'));
  const { length } = ear.heard(second);
  await until('reports that go on', () => ear.heard(second).length > length);

  expect(await end(run.child, 'SIGTERM')).toBe(0);
  await until('three last words', () => {
    return ear.states(second).filter((state) => state === 'leaving').length === 3;
  });
  expect(ear.states(second).slice(-3)).toEqual(['leaving', 'leaving', 'leaving']);
  const said = run.said();
  expect(said.indexOf('the nodes were told that this backend leaves')).toBeGreaterThan(0);
  expect(said.indexOf('the nodes were told that this backend leaves')).toBeLessThan(
    said.indexOf('taking everything back'),
  );
  expect(await server.state()).toEqual(before);
});

describe('refused in one line, with nothing changed and nothing said', () => {
  const rows = [
    {
      what: 'without a document',
      options: () => ['--vip', VIP, '--report'],
      words: '--report needs --config',
      code: 2,
    },
    {
      what: 'an option of reports without reports',
      options: () => ['--config', writeDocument(), '--check', 'tcp:80'],
      words: 'give --report too',
      code: 2,
    },
    {
      what: 'a document without reports',
      options: () => ['--config', writeDocument(FAR.ipv4, false), ...OFTEN],
      words: 'has no section "reports"',
      code: 2,
    },
    {
      what: 'a name that is none',
      options: () => ['--config', writeDocument(), ...OFTEN, '--report-name', 'a b'],
      words: 'give one with --report-name',
      code: 2,
    },
    {
      what: 'a key that is not there',
      options: () => ['--config', writeDocument(), ...OFTEN],
      words: 'reports.key',
      code: 1,
    },
    {
      what: 'a backend without an address of the family that nodes listen by',
      options: () => ['--config', writeDocument(FAR.ipv6), ...OFTEN],
      words: 'reports are sent by ipv4',
      code: 2,
    },
    {
      what: 'a VIP that cannot be served',
      before: `ip addr add ${VIP}/24 dev ${FAR.name}`,
      options: () => {
        writeKey();
        return ['--config', writeDocument(), ...OFTEN];
      },
      words: `VIP ${VIP} is on ${FAR.name}`,
      code: 1,
    },
  ];

  test.each(rows)('$what', async ({ options, before, words, code }) => {
    if (before !== undefined) await server.tool('sh', '-c', before);
    await using ear = await new Ear().listen();
    const state = await server.state();
    const run = server.startBackend(...options());
    await until('an end', () => isOver(run.child));
    expect(run.said()).toContain(words);
    expect(run.child.exitCode).toBe(code);
    const lines = run.said().split('\n');
    expect(lines.filter((line) => line.startsWith('skein: '))).toHaveLength(1);
    expect(await server.state()).toEqual(state);
    expect(ear.count).toBe(0);
  });
});
