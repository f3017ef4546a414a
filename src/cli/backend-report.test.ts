import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { Command } from 'commander';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { silentLogger } from '../lib/logger.ts';
import { address } from '../model/address.ts';
import { UnicastLink } from '../peers/unicast.ts';
import { REPORTS_BURST } from '../reports/board.ts';
import { signer, TestNode } from '../reports/fixture.ts';
import { ReportOpener } from '../reports/seal.ts';
import { decodeReport } from '../reports/wire.ts';
import { freeUdpPorts, until } from '../health/local-servers.ts';
import {
  addBackendReport,
  planReports,
  openReporting,
  type ReportOptions,
  type ReportPlan,
} from './backend-report.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'skein-report-'));
});
afterEach(() => {
  rmSync(folder, { recursive: true });
});

const B1 = address('10.0.0.1');
const GROUP = { group: '239.83.75.79:7484', key_files: ['reports.key'] };

function documentWith(reports: unknown, backends: readonly string[] = ['10.0.0.1']): string {
  const path = join(folder, 'skein.yaml');
  const service = { name: 'web', vip: '192.0.2.1', port: 80, backends: 'web', checks: [] };
  const document = { cluster: 'west', reports, backends: { web: backends }, services: [service] };
  writeFileSync(path, JSON.stringify(document));
  return path;
}

function options(more: Partial<ReportOptions>): ReportOptions {
  return more;
}

/** What the command line makes of its arguments. */
async function parsed(...args: string[]): Promise<Record<string, unknown>> {
  const program = new Command('backend').exitOverride().configureOutput({ writeErr: () => '' });
  addBackendReport(program);
  let seen: Record<string, unknown> = {};
  program.commands[0]?.exitOverride().configureOutput({ writeErr: () => '' });
  program.commands[0]?.action((given: Record<string, unknown>) => {
    seen = given;
  });
  await program.parseAsync(['report', ...args], { from: 'user' });
  return seen;
}

describe('the command line', () => {
  test('takes several of what there may be several of', async () => {
    const given = await parsed(
      ...['--to', '10.0.0.11:7484', '--to', '10.0.0.12:7484', '--key-file', 'a', 'b'],
      ...['--address', '10.0.0.1', '2001:db8::1', '--interval', '500ms', '--check', 'tcp:80'],
    );
    expect(given).toMatchObject({
      to: [
        { address: '10.0.0.11', port: 7484 },
        { address: '10.0.0.12', port: 7484 },
      ],
      keyFile: ['a', 'b'],
      address: ['10.0.0.1', '2001:db8::1'],
      interval: 500,
    });
    expect(given['check']).toHaveLength(1);
  });

  test('has defaults', async () => {
    const given = { ...(await parsed()), config: documentWith(GROUP), address: [B1] };
    expect(planReports(given)).toMatchObject({ intervalMs: 3_000, checks: [] });
  });

  test.each([
    ['--interval', '3'],
    ['--interval', '199ms'],
    ['--interval', '61s'],
    ['--to', '10.0.0.1'],
    ['--address', 'web1'],
    ['--address', '239.1.2.3'],
    ['--check', 'ping:me'],
    ['--log-level', 'loud'],
  ])('refuses %s %s', async (option, value) => {
    await expect(parsed(option, value)).rejects.toMatchObject({
      code: 'commander.invalidArgument',
    });
  });
});

test('at the shortest interval a node takes all reports, and the last word besides', async () => {
  const { interval } = await parsed('--interval', '200ms');
  const node = new TestNode();
  const from = signer();
  for (let count = 0; count < 10 * REPORTS_BURST; count += 1) {
    expect(await node.receive(node.made(from))).toBe('accepted');
    node.clock.advance(Number(interval));
  }
  expect(await node.receive(node.made(from, { state: 'leaving' }))).toBe('accepted');
});

describe('the plan', () => {
  test('comes from the document, and what is given goes before it', () => {
    const config = documentWith(GROUP);
    expect(planReports(options({ config, address: [B1] }))).toMatchObject({
      cluster: 'west',
      reporter: hostname(),
      targets: [{ address: '239.83.75.79', port: 7484 }],
      keyFiles: [join(folder, 'reports.key')],
    });
    const to = [{ address: address('10.0.0.11'), port: 1 }];
    const given = { cluster: 'east', name: 'b1', to, keyFile: ['/k'] };
    expect(planReports(options({ config, address: [B1], ...given }))).toMatchObject({
      cluster: 'east',
      reporter: 'b1',
      targets: to,
      keyFiles: ['/k'],
    });
  });

  test('finds out which backend of the document this host is', () => {
    const config = documentWith(GROUP, ['10.0.0.9', B1, '2001:db8::1']);
    const own = ['127.0.0.1', '2001:db8::1', '10.0.0.1', '192.0.2.1'].map(address);
    expect(planReports(options({ config }), own).addresses).toEqual([B1, '2001:db8::1']);
  });

  test.each<[string, () => Partial<ReportOptions>, RegExp]>([
    ['nothing', () => ({}), /^--cluster is required/],
    [
      'no reports in the document',
      () => ({ config: documentWith(undefined), address: [B1] }),
      /has no section "reports"/,
    ],
    [
      'a document that is wrong',
      () => ({ config: documentWith({ key_files: [] }) }),
      /reports\.group: is required/,
    ],
    ['no document', () => ({ config: '/nowhere.yaml' }), /cannot be read/],
    [
      'a host that is no backend',
      () => ({ config: documentWith(GROUP, ['10.255.255.254']) }),
      /give --address/,
    ],
    [
      'a name that is none',
      () => ({ config: documentWith(GROUP), address: [B1], name: 'a b' }),
      /--name/,
    ],
  ])('is refused: %s', (_, given, message) => {
    expect(() => planReports(options(given()))).toThrow(
      expect.objectContaining({
        code: 'CONFIG',
        message: expect.stringMatching(message) as string,
      }),
    );
  });
});

const LOOPBACK = address('127.0.0.1');
const KEY = new Uint8Array(32).map((_, index) => index);

/** Nodes on loopback, and what each has heard, such as `0 127.0.0.1 127.0.0.1 healthy`: from where, about whom. */
async function listening(count: number) {
  const opener = new ReportOpener('west', [KEY]);
  const heard: string[] = [];
  const ports = await freeUdpPorts(LOOPBACK, count);
  const targets = ports.map((port) => ({ address: LOOPBACK, port }));
  const nodes = targets.map((local) => new UnicastLink({ local, peers: [] }));
  for (const [index, node] of nodes.entries()) {
    await node.start((datagram, from) => {
      const opened = opener.open(datagram);
      const report = opened.kind === 'opened' ? decodeReport(opened.payload) : undefined;
      const about = report?.addresses.join('+');
      heard.push(`${index} ${from.split(':')[0]} ${about} ${report?.state}`);
    });
  }
  const stop = async () => {
    for (const node of nodes) await node.stop();
  };
  return { targets, heard, stop };
}

function planTo(targets: ReportPlan['targets']): ReportPlan {
  const keyFile = join(folder, 'key');
  writeFileSync(keyFile, Buffer.from(KEY).toString('hex'), { mode: 0o600 });
  const rest = { keyFiles: [keyFile], intervalMs: 100, checks: [] };
  return { cluster: 'west', reporter: 'b1', addresses: [LOOPBACK], targets, ...rest };
}

test('reports arrive at every node that is listed, from the address that they are about', async () => {
  const { targets, heard, stop } = await listening(2);
  const reporting = await openReporting({ ...planTo(targets), intervalMs: 3_000 }, silentLogger);
  reporting.begin();
  await until(() => heard.length === 2);
  await reporting.stop();
  await until(() => heard.length === 8);
  expect(new Set(heard.slice(0, 2))).toEqual(
    new Set(['0 127.0.0.1 127.0.0.1 healthy', '1 127.0.0.1 127.0.0.1 healthy']),
  );
  expect(new Set(heard.slice(2))).toEqual(
    new Set(['0 127.0.0.1 127.0.0.1 leaving', '1 127.0.0.1 127.0.0.1 leaving']),
  );
  await stop();
});

test('a new document moves a reporter while it runs, which nobody takes for its end', async () => {
  const { targets, heard, stop } = await listening(2);
  const [first, second] = targets.map((each) => planTo([each]));
  if (first === undefined || second === undefined) throw new Error('no plan');
  const reporting = await openReporting(first, silentLogger);
  reporting.begin();
  await until(() => heard.length >= 2);
  await reporting.follow({ ...second, addresses: [LOOPBACK, B1] });
  await until(() => heard.some((each) => each === '1 127.0.0.1 10.0.0.1+127.0.0.1 healthy'));
  await reporting.follow(second);
  await until(() => heard.some((each) => each === '1 127.0.0.1 127.0.0.1 healthy'));
  await reporting.stop();
  await until(() => heard.filter((each) => each.endsWith('leaving')).length === 3);
  expect(new Set(heard)).toEqual(
    new Set([
      '0 127.0.0.1 127.0.0.1 healthy',
      '1 127.0.0.1 10.0.0.1+127.0.0.1 healthy',
      '1 127.0.0.1 127.0.0.1 healthy',
      '1 127.0.0.1 127.0.0.1 leaving',
    ]),
  );
  await stop();
});

test('a reporter that cannot follow goes on as it was', async () => {
  const { targets, heard, stop } = await listening(1);
  const plan = planTo(targets);
  const reporting = await openReporting(plan, silentLogger);
  reporting.begin();
  await reporting.follow({ ...plan, addresses: [address('192.0.2.254')] });
  await reporting.follow({ ...plan, keyFiles: [join(folder, 'nowhere')] });
  const { length } = heard;
  await until(() => heard.length >= length + 2);
  expect(new Set(heard)).toEqual(new Set(['0 127.0.0.1 127.0.0.1 healthy']));
  await reporting.stop();
  await stop();
});

test.each([
  ['no address of the family that reports are sent by', [B1], ['2001:db8::1']],
  ['targets of both families', [B1], ['10.0.0.11', '2001:db8::1']],
])('%s is refused', async (_, addresses, to) => {
  const targets = to.map((each) => ({ address: address(each), port: 1 }));
  const plan = { cluster: 'west', reporter: 'b1', addresses, targets, keyFiles: [] };
  const starting = openReporting({ ...plan, intervalMs: 3_000, checks: [] }, silentLogger);
  await expect(starting).rejects.toMatchObject({ code: 'CONFIG' });
});
