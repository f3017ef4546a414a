import { Command } from 'commander';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Finding } from '../backend/doctor-check.ts';
import type { ServerState } from '../backend/doctor-facts.ts';
import { address, type Address } from '../model/address.ts';
import { addDoctor, report, wantedOf, type DoctorOptions } from './backend-doctor.ts';

const folder = mkdtempSync(join(tmpdir(), 'skein-doctor-'));
const config = join(folder, 'skein.yaml');

beforeAll(() => {
  writeFileSync(
    config,
    `cluster: c
bgp: { as: 65000, peers: [{ address: 10.0.0.1, as: 65001, password_file: not-here }] }
backends: { web: [10.0.0.2, 10.0.0.3] }
services:
  - { name: web, vip: [192.0.2.10, 2001:db8::10], port: [80, 443], backends: web, checks: [] }
`,
  );
});
afterAll(() => {
  rmSync(folder, { recursive: true });
});

const options: DoctorOptions = {
  ...{ config, mode: 'l2dsr', json: false },
};

function holding(...own: Address[]): ServerState {
  return { addresses: own.map((each) => ({ address: each })) } as unknown as ServerState;
}

describe('a cluster document', () => {
  test('gives the server that has an address of a backend its part, without the keys of nodes', () => {
    const { roles } = wantedOf(options, holding(address('10.0.0.2')));
    expect(roles).toMatchObject([
      { mode: 'l2dsr', address: '10.0.0.2', vips: ['192.0.2.10', '2001:db8::10'] },
    ]);
    expect(roles[0]?.services).toHaveLength(4);
  });

  test('has no part for others, but for one that is named', () => {
    const stranger = holding(address('10.0.0.4'));
    expect(() => wantedOf(options, stranger)).toThrow(/no backend is at 10\.0\.0\.4; .*--address/);
    const named = { ...options, address: [address('10.0.0.3')] };
    expect(wantedOf(named, stranger).roles).toMatchObject([{ address: '10.0.0.3' }]);
  });

  test('that is wrong is told by its lines', () => {
    const broken = join(folder, 'broken.yaml');
    writeFileSync(broken, 'cluster: c\nservices:\n  - name: web\n');
    expect(() => wantedOf({ ...options, config: broken }, holding())).toThrow(/broken\.yaml:3/);
    const missing = join(folder, 'missing.yaml');
    expect(() => wantedOf({ ...options, config: missing }, holding())).toThrow(/missing\.yaml/);
  });
});

test('without a document every VIP has a service on every port', () => {
  const plain: DoctorOptions = {
    ...{ mode: 'gue', json: false },
    vip: [address('192.0.2.10'), address('2001:db8::10')],
    port: [
      { port: 80, protocol: 'tcp' },
      { port: 53, protocol: 'udp' },
    ],
  };
  const [role] = wantedOf(plain, holding()).roles;
  expect(role).toMatchObject({ mode: 'gue', tunnelPort: 6080 });
  expect(role?.services).toHaveLength(4);
});

test.each([
  [''],
  ['--vip 192.0.2.1 --config x.yaml'],
  ['--config x.yaml --mode ipip'],
  ['--config x.yaml --port 80'],
  ['--config x.yaml --tunnel-port 6080'],
  ['--config x.yaml --dscp 10'],
  ['--config x.yaml --mtu 1500'],
  ['--vip 192.0.2.300'],
  ['--vip 192.0.2.1 --mode katran'],
  ['--vip 192.0.2.1 --port 80/sctp'],
  ['--vip 192.0.2.1 --port 0'],
  ['--vip 192.0.2.1 --mtu 1e3'],
])('the command line is refused: %j', async (line) => {
  const quiet = { writeErr: () => undefined };
  const backend = new Command('backend').exitOverride().configureOutput(quiet);
  addDoctor(backend, () => {
    throw new Error('it was examined');
  });
  const words = ['doctor', ...line.split(' ').filter((word) => word !== '')];
  await expect(backend.parseAsync(words, { from: 'user' })).rejects.toMatchObject({ exitCode: 1 });
});

test('options of the same names as those of the parent are its own', async () => {
  const quiet = { writeErr: () => undefined };
  const backend = new Command('backend').exitOverride().configureOutput(quiet);
  backend.option('--vip <address...>').option('--config <file>');
  addDoctor(backend, () => undefined);
  const words = ['doctor', '--vip', '192.0.2.1', '--mtu', '1'];
  await expect(backend.parseAsync(words, { from: 'user' })).rejects.toThrow(/--mtu/);
  expect(backend.opts()).toEqual({});
});

test('each finding is one line, and the last one sums up', () => {
  const problem: Finding = {
    ...{ code: 'vip_missing', severity: 'problem' },
    ...{ sentence: 'no interface has it', command: 'ip addr add it' },
  };
  const lines = report([problem, { ...problem, severity: 'advice' }], ['the firewall']);
  expect(lines).toEqual([
    'vip_missing: no interface has it; mend it: ip addr add it',
    'advice: vip_missing: no interface has it; mend it: ip addr add it',
    'not seen: the firewall',
    '1 problem, and 1 piece of advice',
  ]);
  expect(report([], [])).toEqual(['fine: no problem was found']);
});
