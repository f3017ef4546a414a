import { describe, expect, test } from 'vitest';
import { configOf, SAMPLE_CLUSTER, SAMPLE_SYNC, type Changes, type Sample } from './load-sample.ts';

test('every default is filled in', () => {
  const { cluster, node } = configOf({});
  expect(cluster).toMatchObject({
    name: 'demo',
    drainMs: 1000,
    flowTimeouts: { tcpSynS: 30, tcpSynAckS: 30, tcpFinS: 30, tcpS: 900, udpS: 60, defaultS: 60 },
  });
  expect(cluster.bgp).toEqual({
    as: 65010,
    peers: [
      {
        address: '10.83.1.1',
        as: 65000,
        holdTimeS: 9,
        password: undefined,
        ttlSecurity: false,
        multihopTtl: undefined,
        bfd: undefined,
      },
    ],
  });
  expect(cluster.sync).toBeUndefined();
  expect(cluster.services[0]).toEqual({
    id: 'tcp/10.83.100.1:80',
    name: 'web',
    vip: '10.83.100.1',
    protocol: 'tcp',
    port: 80,
    scheduler: 'maglev',
    affinity: 'flow',
    need: 1,
    backends: [
      { name: 'b1', address: '10.83.1.101', weight: 1, intent: 'active', mode: 'l2dsr' },
      { name: '10.83.1.102', address: '10.83.1.102', weight: 1, intent: 'active', mode: 'l2dsr' },
    ],
    checks: [
      {
        type: 'http',
        name: 'http',
        port: 80,
        intervalMs: 1000,
        timeoutMs: 800,
        rise: { count: 2, window: 2 },
        fall: { count: 3, window: 5 },
        method: 'GET',
        path: '/',
        host: undefined,
        expect: [{ from: 200, to: 399 }],
      },
    ],
  });
  expect(node).toEqual({
    name: 'lb1',
    interfaces: ['eth0'],
    ipv4: '10.83.1.11',
    ipv6: undefined,
    routerId: '10.83.1.11',
    gobgp: '127.0.0.1:50051',
    console: { host: '127.0.0.1', port: 8080 },
    bpffs: '/sys/fs/bpf/skein',
    syncAddress: undefined,
    stateDir: '/var/lib/skein',
    xdpMode: 'auto',
    limits: { services: 4096, backends: 65_536, flows: 1_048_576, embryonicFlows: 131_072 },
  });
});

test('an https check has what http has, and a TLS name', () => {
  const check = {
    type: 'https',
    interval_ms: 500,
    server_name: 'www.example.com',
    verify: true,
    expect: [200, '204-206'],
  };
  const { cluster } = configOf({ cluster: { 'services/0/checks': [check] } });
  expect(cluster.services[0]?.checks[0]).toMatchObject({
    type: 'https',
    name: 'https',
    intervalMs: 500,
    // Not 800: a check must be over before the next one.
    timeoutMs: 500,
    serverName: 'www.example.com',
    verify: true,
    expect: [
      { from: 200, to: 200 },
      { from: 204, to: 206 },
    ],
  });
});

test('an entry makes a service for each VIP and port, in the order of their ids', () => {
  const { cluster } = configOf({
    cluster: { 'services/0/vip': ['10.83.100.2', '10.83.100.1'], 'services/0/port': [80, 443] },
  });
  expect(cluster.services.map(({ id }) => id)).toEqual([
    'tcp/10.83.100.1:443',
    'tcp/10.83.100.1:80',
    'tcp/10.83.100.2:443',
    'tcp/10.83.100.2:80',
    'udp/10.83.100.53:53',
  ]);
  expect(cluster.services.map(({ checks }) => checks.map(({ port }) => port))).toEqual([
    [443],
    [80],
    [443],
    [80],
    [],
  ]);
});

test('the groups of a service follow each other', () => {
  const { cluster } = configOf({ cluster: { 'services/0/backends': ['more', 'web'] } });
  const addresses = cluster.services[0]?.backends.map(({ address }) => address);
  expect(addresses).toEqual(['10.83.1.103', '10.83.1.101', '10.83.1.102']);
});

test('a draining backend is one by intent', () => {
  const { cluster } = configOf({ cluster: { 'backends/web/0/drain': true } });
  expect(cluster.services[0]?.backends.map(({ intent }) => intent)).toEqual(['draining', 'active']);
});

test('checks without a name get one that nobody has', () => {
  const checks = [
    { type: 'http' },
    { type: 'tcp' },
    { type: 'http', name: 'http-2' },
    { type: 'http' },
    { type: 'http' },
  ];
  const { cluster } = configOf({ cluster: { 'services/0/checks': checks } });
  const names = cluster.services[0]?.checks.map(({ name }) => name);
  expect(names).toEqual(['http', 'tcp', 'http-2', 'http-3', 'http-4']);
});

describe('every VIP has one announcement', () => {
  const bgp = {
    'bgp/communities': ['65010:100'],
    'bgp/large_communities': ['65010:1:1'],
    'bgp/med': 10,
  };

  test('as under bgp, where nothing else is said', () => {
    const { cluster } = configOf({ cluster: bgp });
    const route = { communities: ['65010:100'], largeCommunities: ['65010:1:1'], med: 10 };
    expect(cluster.vips).toEqual([
      { address: '10.83.100.1', policy: 'all', ...route },
      { address: '10.83.100.53', policy: 'all', ...route },
    ]);
  });

  test('as under vips, where that says so', () => {
    const own = { policy: 'any', communities: [], large_communities: ['1:2:3'], med: 0 };
    const { cluster } = configOf({ cluster: { ...bgp, vips: { '::ffff:10.83.100.1': own } } });
    expect(cluster.vips[0]).toEqual({
      address: '10.83.100.1',
      policy: 'any',
      communities: [],
      largeCommunities: ['1:2:3'],
      med: 0,
    });
  });

  test('and one only, however many services it has', () => {
    const more = { ...SAMPLE_CLUSTER.services[0], name: 'more', port: [81, 82] };
    const { cluster } = configOf({ cluster: { 'services/2': more } });
    expect(cluster.vips.map(({ address }) => address)).toEqual(['10.83.100.1', '10.83.100.53']);
  });
});

test('without bgp nothing is announced and no router id is needed', () => {
  const { cluster, node } = configOf({
    cluster: { bgp: undefined, services: [], vips: {} },
    node: { ipv4: undefined },
  });
  expect(cluster.bgp).toBeUndefined();
  expect(node.routerId).toBeUndefined();
});

describe('flow sync', () => {
  const ipv6 = { group: '[FF02:0::5CE1]:7483', key_files: ['sync.key'] };

  test('by a multicast group', () => {
    const key_files = ['/run/keys/new.key', '../old.key'];
    const { cluster, node } = configOf({
      cluster: { sync: { group: '239.83.75.78:7483', key_files } },
      node: { state_dir: '/srv/skein' },
    });
    expect(cluster.sync).toEqual({
      group: { address: '239.83.75.78', port: 7483 },
      peers: [],
      // Beside the document, which is in /etc/skein.
      keyFiles: ['/run/keys/new.key', '/etc/old.key'],
      joinDeadlineMs: 10_000,
    });
    expect(node).toMatchObject({ syncAddress: '10.83.1.11', stateDir: '/srv/skein' });
  });

  test('by a list of peers', () => {
    const peers = ['10.83.1.12:7484', '10.83.1.11:7483'];
    const { cluster, node } = configOf({
      cluster: { sync: { ...SAMPLE_SYNC, peers, join_deadline_ms: 1000 } },
    });
    expect(cluster.sync).toEqual({
      group: undefined,
      peers: [
        { address: '10.83.1.11', port: 7483 },
        { address: '10.83.1.12', port: 7484 },
      ],
      keyFiles: ['/etc/skein/sync.key'],
      joinDeadlineMs: 1000,
    });
    expect(node.syncAddress).toBe('10.83.1.11');
  });

  test.each<[string, Sample, string | undefined]>([
    [
      'IPv6, as the group is',
      { cluster: { sync: ipv6 }, node: { ipv6: 'fd83:1::11' } },
      'fd83:1::11',
    ],
    [
      'IPv6, as the peers are',
      {
        cluster: { sync: { ...SAMPLE_SYNC, peers: ['[fd83:1::11]:1', '[fd83:1::12]:1'] } },
        node: { ipv6: 'fd83:1::11' },
      },
      'fd83:1::11',
    ],
    [
      'what the node part says',
      { cluster: { sync: ipv6 }, node: { ipv6: 'fd83:1::11', sync_address: 'fd83:2::11' } },
      'fd83:2::11',
    ],
    ['nothing without sync', { node: { sync_address: '10.83.1.11' } }, undefined],
  ])('by an address of this node: %s', (_, sample, expected) => {
    expect(configOf(sample).node.syncAddress).toBe(expected);
  });
});

describe('the digest', () => {
  const digest = (sample: Sample) => configOf(sample).cluster.digest;
  const [web, dns] = SAMPLE_CLUSTER.services;

  test('is 32 bytes in hex', () => {
    expect(digest({})).toMatch(/^[0-9a-f]{64}$/);
  });

  test.each<[string, Changes | string]>([
    ['defaults written out', { drain_ms: 1000, 'flow_timeouts_s/udp': 60, 'services/0/need': 1 }],
    ['the default port of a check written out', { 'services/0/checks/0/port': 80 }],
    [
      'the default name of a backend written out',
      { 'backends/web/1': { address: '10.83.1.102', name: '10.83.1.102' } },
    ],
    [
      'short and long forms',
      { 'services/0/port': [80], 'services/0/checks/0/fall': { count: 3, window: 5 } },
    ],
    ['the order of services', { services: [dns, web] }],
    ['settings that change nothing', { vips: {} }],
    [
      'the order of keys',
      JSON.stringify(Object.fromEntries(Object.entries(SAMPLE_CLUSTER).reverse())),
    ],
    [
      'YAML, with comments',
      `
vips: { 10.83.100.1: {} } # nothing of its own
services:
  - { vip: 10.83.100.53, name: dns, protocol: udp, checks: [], backends: [web], port: 53 }
  - { checks: [{ type: http }], name: web, backends: web, port: 80, vip: 10.83.100.1 }
backends:
  web: [&b1 { address: 10.83.1.101, name: b1 }, '10.83.1.102']
  more: [10.83.1.103]
bgp: { peers: [{ as: 65000, address: 10.83.1.1 }], as: 65010 }
cluster: demo
`,
    ],
  ])('does not see %s', (_, cluster) => {
    expect(digest({ cluster })).toBe(digest({}));
  });

  test('does not see the node part', () => {
    const node = { node: 'lb2', ipv4: '10.83.1.12', 'limits/flows': 4096 };
    expect(digest({ node })).toBe(digest({}));
  });

  test('sees everything that nodes must agree on', () => {
    const changes: Changes[] = [
      {},
      { cluster: 'demo2' },
      { drain_ms: 1001 },
      { 'flow_timeouts_s/tcp': 901 },
      { 'bgp/as': 65011 },
      { 'bgp/med': 0 },
      { 'bgp/peers/0/hold_time_s': 10 },
      { 'bgp/peers/0/bfd': true },
      { 'backends/web/0/weight': 2 },
      { 'backends/web/0/drain': true },
      { 'backends/web': SAMPLE_CLUSTER.backends.web.toReversed() },
      { 'services/0/name': 'www' },
      { 'services/0/port': 81 },
      { 'services/0/need': 2 },
      { 'services/0/affinity': 'client' },
      { 'services/0/checks/0/path': '/x' },
      { 'vips/10.83.100.1/policy': 'any' },
      { 'vips/10.83.100.1/communities': ['1:1'] },
      { sync: SAMPLE_SYNC },
      { sync: { ...SAMPLE_SYNC, peers: ['10.83.1.11:7483', '10.83.1.12:7484'] } },
      { sync: { group: '239.83.75.78:7483', key_files: ['sync.key'] } },
      { sync: { ...SAMPLE_SYNC, key_files: ['other.key'] } },
      { sync: { ...SAMPLE_SYNC, key_files: ['other.key', 'sync.key'] } },
      { sync: { ...SAMPLE_SYNC, key_files: ['sync.key', 'other.key'] } },
      { sync: { ...SAMPLE_SYNC, join_deadline_ms: 10_001 } },
    ];
    const digests = changes.map((cluster) => digest({ cluster }));
    expect(new Set(digests).size).toBe(changes.length);
  });

  test('does not see the order of peers, a default written out or the own address of sync', () => {
    const peers = SAMPLE_SYNC.peers.toReversed();
    const cluster = { sync: { ...SAMPLE_SYNC, peers, join_deadline_ms: 10_000 } };
    const node = { sync_address: '10.83.1.12' };
    expect(digest({ cluster, node })).toBe(digest({ cluster: { sync: SAMPLE_SYNC } }));
  });

  test('sees the path of a key file as it is written, wherever the document is', () => {
    const digestIn = (folder: string) => digest({ cluster: { sync: SAMPLE_SYNC }, folder });
    expect(digestIn('/etc/skein')).toBe(digestIn('/srv'));
  });

  test('sees that a router has a key, but not the key', () => {
    const cluster = { 'bgp/peers/0/password_file': 'router.key' };
    const withKey = (text: string) => digest({ cluster, readSecret: () => ({ ok: true, text }) });
    expect(withKey('one')).toBe(withKey('two'));
    expect(withKey('one')).not.toBe(digest({}));
  });
});

test.each([
  [undefined, undefined],
  [false, undefined],
  [true, 'path'],
  [1400, 1400],
])('mss_clamp %s is resolved to %s', (written, clamp) => {
  const { cluster } = configOf({ cluster: { 'services/0/mss_clamp': written } });
  expect(cluster.services.map(({ mssClamp }) => mssClamp)).toEqual([clamp, undefined]);
});
