/** What two places must be to each other. Tables of changes and the problems they make. */
import { describe, expect, test } from 'vitest';
import {
  problemsOf,
  SAMPLE_CLUSTER,
  SAMPLE_SYNC,
  type Changes,
  type Sample,
} from './load-sample.ts';

/** Problems without line and column, but with their file. */
function found(sample: Sample): string[] {
  return problemsOf(sample).map((line) => line.replace(/:\d+:\d+:/, ':'));
}

const service = (changes: object) => ({ ...SAMPLE_CLUSTER.services[0], name: 'other', ...changes });

test('the sample itself has no problem', () => {
  expect(problemsOf({})).toEqual([]);
});

describe('a cluster document is refused', () => {
  test.each<[string, Changes, string[]]>([
    [
      'a group that does not exist',
      { 'services/0/backends': 'wbe' },
      [
        'skein.yaml: services[0].backends: no group of backends is named "wbe" (did you mean "web"?)',
      ],
    ],
    [
      'a group named like a property of every object',
      { 'services/0/backends': ['web', 'constructor'] },
      ['skein.yaml: services[0].backends[1]: no group of backends is named "constructor"'],
    ],
    [
      'more backends needed than there are',
      { 'services/0/need': 3 },
      ['skein.yaml: services[0].need: must be at most 2, the number of its backends'],
    ],
    [
      'a tunnel that has no address to come from',
      { 'backends/web/0': { address: '2001:db8::5', mode: 'ipip' } },
      [
        'skein.yaml: backends.web[0].address: node "lb1" has no ipv6 of its own to send the tunnel from: give the node one, or the backend a tunnel_source',
      ],
    ],
    [
      'a tunnel source of the other family',
      { 'backends/web/0': { address: '10.83.1.9', mode: 'gue', tunnel_source: '2001:db8::/64' } },
      ["skein.yaml: backends.web[0].tunnel_source: must be of the backend's family, ipv4"],
    ],
    [
      'dscp between two families',
      { 'backends/web/0': { address: '2001:db8::5', mode: 'dscp', dscp: 4 } },
      [
        'skein.yaml: backends.web[0].address: mode dscp needs a backend of the VIP\'s own family, and service "web" has the VIP 10.83.100.1',
      ],
    ],
    [
      'a prefix that is allowed and denied',
      { 'services/0/sources': { allow: ['10.0.0.0/8'], deny: ['10.9.0.0/16', '10.0.0.0/8'] } },
      ['skein.yaml: services[0].sources.deny[1]: is listed already, as sources.allow[0]'],
    ],
    [
      'a burst without a rate',
      { 'services/0/new_flows_burst': 7 },
      ['skein.yaml: services[0].new_flows_burst: means nothing without new_flows_per_s'],
    ],
    [
      'more source rules than there is room for',
      {
        'services/0/port': Array.from({ length: 1024 }, (_, n) => n + 1),
        'services/0/sources': {
          deny: Array.from({ length: 17 }, (_, n) => `10.${n}.0.0/16`),
        },
      },
      [
        'skein.yaml: services: have 17408 prefixes in sources, counted once for each VIP and port; the most is 16384',
      ],
    ],
    [
      'QUIC on a service of TCP, an ID that is too long, and one that is given twice',
      {
        'services/0/quic': { layout: 'quic_lb', server_id_bytes: 2 },
        'backends/web': [
          { address: '10.83.1.101', server_id: '0A01' },
          { address: '10.83.1.102', server_id: '0a01' },
          { address: '10.83.1.103', server_id: '0a0101' },
        ],
      },
      [
        'skein.yaml: backends.web[1].server_id: is already that of backend "10.83.1.101"',
        'skein.yaml: backends.web[2].server_id: must have 2 bytes for this layout',
        'skein.yaml: services[0].quic: is for services of protocol udp',
      ],
    ],
    [
      'values listed twice',
      {
        'services/0/vip': ['10.83.100.1', '10.83.100.1'],
        'services/0/port': [80, 443, 80],
        'services/0/backends': ['web', 'web'],
      },
      [
        'skein.yaml: services[0].vip[1]: is listed twice',
        'skein.yaml: services[0].port[2]: is listed twice',
        'skein.yaml: services[0].backends[1]: is listed twice',
      ],
    ],
    [
      'one VIP, protocol and port in two services',
      { 'services/2': service({ port: [443, 80] }) },
      ['skein.yaml: services[2].vip: tcp/10.83.100.1:80 is already taken by services[0], "web"'],
    ],
    [
      'the same VIP written in two ways',
      {
        'services/1/vip': 'fd83:100::1',
        'services/2': service({ vip: 'FD83:100:0::1', protocol: 'udp', port: 53 }),
      },
      [
        'skein.yaml: services[1].vip: node "lb1" has no ipv6 of its own, so checks of this VIP have no source and its route no next hop',
        'skein.yaml: services[2].vip: udp/[fd83:100::1]:53 is already taken by services[1], "dns"',
      ],
    ],
    [
      'an MSS without TCP',
      { 'services/1/mss_clamp': true },
      ['skein.yaml: services[1].mss_clamp: is for tcp only'],
    ],
    [
      'a way that is too narrow for IPv6',
      {
        'services/0/vip': ['10.83.100.1', 'fd83:100::1'],
        'services/0/backends': ['web', 'more'],
        'backends/web': [{ address: '10.83.1.101', mtu: 1279 }],
        'backends/more': [
          { address: '10.83.1.103', mtu: 1312, mode: 'gue' },
          { address: '10.83.1.104', mtu: 1311, mode: 'gue' },
        ],
      },
      [
        'skein.yaml: backends.web[0].mtu: must be at least 1280 for mode l2dsr, since service "web" has the IPv6 VIP fd83:100::1',
        'skein.yaml: backends.more[1].mtu: must be at least 1312 for mode gue, since service "web" has the IPv6 VIP fd83:100::1',
        'skein.yaml: services[0].vip[1]: node "lb1" has no ipv6 of its own, so checks of this VIP have no source and its route no next hop',
      ],
    ],
    [
      'two services of one name',
      { 'services/1/name': 'web' },
      ['skein.yaml: services[1].name: is already the name of services[0]'],
    ],
    [
      'a backend twice in a group',
      { 'backends/more': ['10.83.1.103', { address: '10.83.1.103', name: 'x' }] },
      ['skein.yaml: backends.more[1].address: is already the address of backends.more[0]'],
    ],
    [
      'two backends of one name in a group',
      {
        'backends/more': [
          { name: 'x', address: '10.83.1.103' },
          { name: 'x', address: '10.83.1.104' },
        ],
      },
      ['skein.yaml: backends.more[1].name: is already the name of backends.more[0]'],
    ],
    [
      'a backend twice in the groups of a service',
      { 'backends/more': ['10.83.1.102'], 'services/0/backends': ['web', 'more'] },
      ['skein.yaml: services[0].backends[1]: backend 10.83.1.102 is in group "web" already'],
    ],
    [
      'a check without a port where the service takes all',
      { 'services/0/port': [0] },
      [
        'skein.yaml: services[0].checks[0].port: is required, because the service takes every port (port 0)',
      ],
    ],
    [
      'two checks of one name',
      {
        'services/0/checks': [
          { type: 'tcp', name: 'x' },
          { type: 'http', name: 'x' },
        ],
      },
      ['skein.yaml: services[0].checks[1].name: is already the name of checks[0]'],
    ],
    [
      'a VIP that is a backend',
      { 'backends/more': ['10.83.100.53'] },
      [
        'skein.yaml: services[1].vip[0]: is the address of backend "10.83.100.53" of group "more", so it cannot be a VIP',
      ],
    ],
    [
      'a VIP that is a router',
      { 'bgp/peers/0/address': '10.83.100.53' },
      ['skein.yaml: services[1].vip[0]: is the address of bgp.peers[0], so it cannot be a VIP'],
    ],
    [
      'a VIP that is this node',
      { 'services/1/vip': '10.83.1.11' },
      ['skein.yaml: services[1].vip: is the address of node "lb1" itself, so it cannot be a VIP'],
    ],
    [
      'a router that is this node',
      { 'bgp/peers/0/address': '10.83.1.11' },
      ['skein.yaml: bgp.peers[0].address: is the address of node "lb1" itself'],
    ],
    [
      'a router twice',
      { 'bgp/peers/1': { address: '10.83.1.1', as: 65001 } },
      ['skein.yaml: bgp.peers[1].address: is already the address of peers[0]'],
    ],
    [
      'a node twice in sync, whatever its port',
      { sync: { ...SAMPLE_SYNC, peers: [...SAMPLE_SYNC.peers, '10.83.1.12:7484'] } },
      ['skein.yaml: sync.peers[2]: is already the address of peers[1]'],
    ],
    [
      'nodes in sync that cannot hear each other',
      { sync: { ...SAMPLE_SYNC, peers: ['10.83.1.11:7483', '[fd83:1::12]:7483'] } },
      [
        'skein.yaml: sync.peers[1]: must be of the same family as peers[0], or they cannot hear each other',
      ],
    ],
    [
      'a key file twice',
      { sync: { ...SAMPLE_SYNC, key_files: ['sync.key', 'sync.key'] } },
      ['skein.yaml: sync.key_files[1]: is listed twice'],
    ],
    [
      'a VIP, a backend and a router that are other nodes',
      {
        sync: {
          ...SAMPLE_SYNC,
          peers: [...SAMPLE_SYNC.peers, '10.83.1.101:1', '10.83.1.1:1', '10.83.100.53:1'],
        },
      },
      [
        'skein.yaml: bgp.peers[0].address: is the address of sync.peers[3]',
        'skein.yaml: backends.web[0].address: is the address of sync.peers[2]',
        'skein.yaml: services[1].vip[0]: is the address of sync.peers[4], so it cannot be a VIP',
      ],
    ],
    [
      'settings for a VIP that nobody uses',
      { 'vips/10.83.100.2': {} },
      ['skein.yaml: vips["10.83.100.2"]: is not the VIP of any service'],
    ],
    [
      'settings for what is no address',
      { 'vips/web': {} },
      ['skein.yaml: vips.web: must be the address of a VIP'],
    ],
    [
      'settings for one VIP twice',
      { 'vips/::ffff:10.83.100.1': {} },
      ['skein.yaml: vips["::ffff:10.83.100.1"]: is the same address as "10.83.100.1"'],
    ],
    [
      'more services than any node can have',
      {
        'services/0/vip': Array.from({ length: 256 }, (_, n) => `10.84.0.${n}`),
        'services/0/port': Array.from({ length: 257 }, (_, n) => n + 1),
        vips: {},
      },
      [
        'skein.yaml: services: make 65793 services; the most is 65536',
        'node.yaml: limits.backends: must be at least 131586: the cluster document makes 131586 backends, counted once for each service',
      ],
    ],
  ])('%s', (_, changes, expected) => {
    expect(found({ cluster: changes })).toEqual(expected);
  });
});

describe('a node part is refused', () => {
  test.each<[string, Sample, string[]]>([
    [
      'no address of a family that has VIPs, once for each VIP',
      {
        node: { ipv4: undefined, ipv6: 'fd83:1::11', router_id: '10.0.0.1' },
        cluster: { 'services/2': service({ port: 8080 }) },
      },
      [
        'skein.yaml: services[0].vip: node "lb1" has no ipv4 of its own, so checks of this VIP have no source and its route no next hop',
        'skein.yaml: services[1].vip[0]: node "lb1" has no ipv4 of its own, so checks of this VIP have no source and its route no next hop',
      ],
    ],
    [
      'no router id',
      { node: { ipv4: undefined, ipv6: 'fd83:1::11' }, cluster: { services: [], vips: {} } },
      [
        'node.yaml: router_id: is required, because the cluster has bgp and this node no ipv4 to take it from',
      ],
    ],
    [
      'tunnels that end at a VIP or at a backend',
      { node: { decap: ['10.83.100.1', '10.83.1.101'] } },
      [
        'skein.yaml: backends.web[0].address: is the address of node "lb1" itself',
        'skein.yaml: services[0].vip: is the address of node "lb1" itself, so it cannot be a VIP',
      ],
    ],
    [
      'an interface twice',
      { node: { interfaces: ['eth0', 'eth1', 'eth0'] } },
      ['node.yaml: interfaces[2]: is listed twice'],
    ],
    [
      'no address to sync by',
      {
        cluster: { sync: { group: '[ff02::5ce1]:7483', key_files: ['sync.key'] } },
      },
      [
        'node.yaml: sync_address: is required, because the nodes sync by ipv6 and this node has none to take it from',
      ],
    ],
    [
      'an address to sync by that is not of the family of the group',
      {
        cluster: { sync: { group: '[ff02::5ce1]:7483', key_files: ['sync.key'] } },
        node: { sync_address: '10.83.1.11' },
      },
      ['node.yaml: sync_address: must be an address of the family that the nodes sync by, ipv6'],
    ],
    [
      'an address to sync by that is not of the family of the peers',
      { cluster: { sync: SAMPLE_SYNC }, node: { sync_address: 'fd83:1::11' } },
      ['node.yaml: sync_address: must be an address of the family that the nodes sync by, ipv4'],
    ],
    [
      'an address to sync by that is no peer',
      { cluster: { sync: SAMPLE_SYNC }, node: { sync_address: '10.83.2.11' } },
      ['node.yaml: sync_address: is none of sync.peers in the cluster document'],
    ],
    [
      'an address that would be the one to sync by, but is no peer',
      { cluster: { sync: SAMPLE_SYNC }, node: { ipv4: '10.83.1.13' } },
      [
        'node.yaml: sync_address: is required, because the ipv4 of this node, 10.83.1.13, is none of sync.peers in the cluster document',
      ],
    ],
    [
      'an address to sync by that is a VIP',
      { node: { sync_address: '10.83.100.53' } },
      [
        'skein.yaml: services[1].vip[0]: is the address of node "lb1" itself, so it cannot be a VIP',
      ],
    ],
    [
      'room for too few services and backends',
      { node: { limits: { services: 1, backends: 3 } } },
      [
        'node.yaml: limits.services: must be at least 2: the cluster document makes 2 services',
        'node.yaml: limits.backends: must be at least 4: the cluster document makes 4 backends, counted once for each service',
      ],
    ],
  ])('%s', (_, sample, expected) => {
    expect(found(sample)).toEqual(expected);
  });
});

describe('accepted', () => {
  test.each<[string, Sample]>([
    ['no services', { cluster: { services: [], vips: {} } }],
    [
      'no bgp, and a node without a router id',
      {
        cluster: { bgp: undefined, services: [], vips: {} },
        node: { ipv4: undefined },
      },
    ],
    [
      'one VIP and port by TCP and by UDP',
      { cluster: { 'services/2': service({ protocol: 'udp' }) } },
    ],
    [
      'every port beside one port',
      {
        cluster: { 'services/2': service({ port: 0, checks: [{ type: 'tcp', port: 80 }] }) },
      },
    ],
    ['one backend in two services', { cluster: { 'services/1/backends': ['web', 'more'] } }],
    ['a backend that is this node', { cluster: { 'backends/more': ['10.83.1.11'] } }],
    [
      'tunnels that end at this node',
      { node: { decap: ['10.83.1.11', 'fd83::5'], decap_gue_port: 666 } },
    ],
    ['a group that no service uses', { cluster: { 'backends/spare': ['10.83.1.120'] } }],
    [
      'a node that syncs by an address of its own',
      {
        cluster: { sync: { ...SAMPLE_SYNC, peers: ['10.83.2.12:7483', '10.83.2.11:7484'] } },
        node: { sync_address: '10.83.2.11' },
      },
    ],
    ['an address to sync by, and no sync', { node: { sync_address: 'fd83:1::11' } }],
    ['as many as the limits say', { node: { limits: { services: 2, backends: 4 } } }],
  ])('%s', (_, sample) => {
    expect(problemsOf(sample)).toEqual([]);
  });
});

describe('one mistake does not hide others, nor invent any', () => {
  test.each<[string, Sample, string[]]>([
    [
      'mistakes of every sort at once',
      {
        cluster: {
          drain: 5,
          'services/0/need': 9,
          'services/0/checks/0/timeout_ms': 5000,
          'services/1/backends': 'wbe',
          'bgp/as': 'x',
          'bgp/peers/1': { address: '10.83.1.1', as: 1 },
        },
        node: { console: 'nowhere', interfaces: ['eth0', 'eth0'] },
      },
      [
        'skein.yaml: bgp.as: must be a number, not text',
        'skein.yaml: bgp.peers[1].address: is already the address of peers[0]',
        'skein.yaml: services[0].checks[0].timeout_ms: must be at most 1000, the interval',
        'skein.yaml: services[0].need: must be at most 2, the number of its backends',
        'skein.yaml: services[1].backends: no group of backends is named "wbe" (did you mean "web"?)',
        'skein.yaml: drain: unknown key "drain" (did you mean "drain_ms"?)',
        'node.yaml: console: must be host:port, such as 127.0.0.1:8080',
      ],
    ],
    [
      'a group that does not fit is not missing, and its size not known',
      { cluster: { 'backends/web': 5, 'services/0/need': 9 } },
      ['skein.yaml: backends.web: must be a list, not a number'],
    ],
    [
      'a backend that does not fit still counts',
      { cluster: { 'backends/web/0/weight': 0, 'services/0/need': 2 } },
      ['skein.yaml: backends.web[0].weight: must be at least 1'],
    ],
    [
      'a VIP that does not fit may be the one that has settings',
      { cluster: { 'services/0/vip': '10.83.100' } },
      [
        'skein.yaml: services[0].vip: must be an IPv4 or IPv6 address, such as 192.0.2.1 or 2001:db8::1',
      ],
    ],
    [
      'a peer that does not fit may be the node itself',
      { cluster: { sync: { ...SAMPLE_SYNC, peers: ['10.83.1.12:7483', '10.83.1.11'] } } },
      [
        'skein.yaml: sync.peers[1]: must be address:port, such as 10.83.1.11:7483 or "[fd83:1::11]:7483"',
      ],
    ],
    [
      'where group and peers are both there, nobody knows which the node should fit',
      {
        cluster: { sync: { ...SAMPLE_SYNC, group: '[ff02::5ce1]:7483' } },
        node: { ipv4: '10.83.1.13' },
      },
      ['skein.yaml: sync.peers: excludes group'],
    ],
    [
      'a node part that does not fit is not held against the cluster',
      { node: { ipv4: 'x', limits: { services: 1 } } },
      ['node.yaml: ipv4: must be an IPv4 or IPv6 address, such as 192.0.2.1 or 2001:db8::1'],
    ],
    [
      'a cluster document that cannot be read is not held against the node',
      { cluster: 'cluster: [', node: { interfaces: ['eth0', 'eth0'] } },
      [
        'skein.yaml: syntax: Flow sequence in block collection must be sufficiently indented and end with a ]',
        'node.yaml: interfaces[1]: is listed twice',
      ],
    ],
  ])('%s', (_, sample, expected) => {
    expect(found(sample)).toEqual(expected);
  });
});
