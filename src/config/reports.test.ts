import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { configOf, problemsOf, SAMPLE_SYNC, type Sample } from './load-sample.ts';
import { loadClusterFile } from './load.ts';

const KEYS = { key_files: ['reports.key'] };
const GROUP = { ...KEYS, group: '239.83.75.79:7484' };
const NODES = { ...KEYS, nodes: ['10.83.1.12:7484', '10.83.1.11:7485'] };
const CHECK = { 'services/0/checks': [{ type: 'report' }] };

const KNOWN = 'known here: type, name, interval_ms, silence_ms, rise, fall';

test('reports by a group, and the check of them, with every default filled in', () => {
  const { cluster } = configOf({ cluster: { reports: GROUP, ...CHECK } });
  expect(cluster.reports).toEqual({
    group: { address: '239.83.75.79', port: 7484 },
    nodes: [],
    keyFiles: ['/etc/skein/reports.key'],
    maxSkewMs: 30_000,
  });
  expect(cluster.services[0]?.checks).toEqual([
    {
      type: 'report',
      name: 'report',
      port: 80,
      intervalMs: 1_000,
      timeoutMs: 800,
      silenceMs: 10_000,
      rise: { count: 1, window: 1 },
      fall: { count: 1, window: 1 },
    },
  ]);
});

test('reports to a list of nodes, of which this is one', () => {
  const { cluster } = configOf({ cluster: { reports: NODES } });
  expect(cluster.reports?.nodes).toEqual([
    { address: '10.83.1.11', port: 7485 },
    { address: '10.83.1.12', port: 7484 },
  ]);
});

test('without the section there are no reports', () => {
  expect(configOf({}).cluster.reports).toBeUndefined();
});

test('the digest tells of every change, and not of where the keys are', () => {
  const digest = (reports: unknown, folder = '/etc/skein') =>
    configOf({ cluster: { reports }, folder }).cluster.digest;
  const all = [undefined, GROUP, NODES, { ...GROUP, max_skew_ms: 5_000 }].map((each) =>
    digest(each),
  );
  expect(new Set(all).size).toBe(all.length);
  expect(digest(GROUP, '/elsewhere')).toBe(digest(GROUP));
  expect(digest({ ...NODES, nodes: NODES.nodes.toReversed() })).toBe(digest(NODES));
});

test.each<[string, Sample, string[]]>([
  [
    'a check of reports, and nowhere to get them',
    { cluster: CHECK },
    ['services[0].checks[0].type: needs a section "reports" in this document'],
  ],
  [
    'neither group nor nodes',
    { cluster: { reports: KEYS } },
    ['reports.group: is required, unless nodes lists every node'],
  ],
  ['both', { cluster: { reports: { ...GROUP, ...NODES } } }, ['reports.nodes: excludes group']],
  [
    'a group that is none',
    { cluster: { reports: { ...KEYS, group: '10.83.1.11:7484' } } },
    ['reports.group: must be a multicast address, or use nodes'],
  ],
  [
    'a group of a family that this node has no address of',
    { cluster: { reports: { ...KEYS, group: '[ff05::5ce2]:7484' } } },
    ['ipv6: is required, because backends report by ipv6'],
  ],
  [
    'a list without this node',
    { cluster: { reports: { ...KEYS, nodes: ['10.83.1.13:7484'] } } },
    ['reports.nodes: has neither ipv4 nor ipv6 of node "lb1", which would hear no report'],
  ],
  [
    'nodes of two families, and one twice',
    {
      cluster: {
        reports: { ...KEYS, nodes: ['10.83.1.11:1', '[fd83:1::11]:1', '10.83.1.11:2'] },
      },
    },
    [
      'reports.nodes[1]: must be of the same family as nodes[0]: a backend reports by one',
      'reports.nodes[2]: is already the address of nodes[0]',
    ],
  ],
  [
    'a key twice',
    { cluster: { reports: { ...GROUP, key_files: ['a', 'a'] } } },
    ['reports.key_files[1]: is listed twice'],
  ],
  [
    'the key of sync',
    { cluster: { sync: SAMPLE_SYNC, reports: { ...GROUP, key_files: ['sync.key'] } } },
    [
      'reports.key_files[0]: is a key of sync: backends would hold the key that nodes trust each other by',
    ],
  ],
  [
    'a port or a timeout of a check that asks nobody',
    {
      cluster: {
        reports: GROUP,
        'services/0/checks': [{ type: 'report', port: 80, timeout_ms: 100 }],
      },
    },
    [
      `services[0].checks[0].port: unknown key "port"; ${KNOWN}`,
      `services[0].checks[0].timeout_ms: unknown key "timeout_ms"; ${KNOWN}`,
    ],
  ],
])('refused: %s', (_, sample, expected) => {
  const found = problemsOf(sample).map((each) => each.replace(/^[a-z.]+:\d+:\d+: /, ''));
  expect(found).toEqual(expected);
});

test('a service of every port needs no port for a check of reports', () => {
  expect(problemsOf({ cluster: { reports: GROUP, ...CHECK, 'services/0/port': 0 } })).toEqual([]);
});

test('a backend reads the cluster document by itself, without the secrets of the nodes', () => {
  const folder = mkdtempSync(join(tmpdir(), 'skein-cluster-'));
  try {
    const path = join(folder, 'skein.yaml');
    const peers = [{ address: '10.83.1.1', as: 65000, password_file: 'not-on-this-host' }];
    const document = { cluster: 'demo', bgp: { as: 65010, peers }, reports: GROUP };
    writeFileSync(path, JSON.stringify(document));
    const loaded = loadClusterFile(path);
    if (!loaded.ok) throw new Error(JSON.stringify(loaded.problems));
    expect(loaded.cluster.reports?.keyFiles).toEqual([join(folder, 'reports.key')]);
    expect(loaded.cluster.bgp?.peers[0]?.password).toBeUndefined();

    writeFileSync(path, JSON.stringify({ ...document, cluster: '', services: 5 }));
    const broken = loadClusterFile(path);
    expect(broken.ok ? [] : broken.problems.map((each) => each.path)).toEqual([
      'cluster',
      'services',
    ]);
    expect(loadClusterFile(join(folder, 'nowhere'))).toMatchObject({ ok: false });
  } finally {
    rmSync(folder, { recursive: true });
  }
});
