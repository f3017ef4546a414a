/** What one value must be by itself, told in words. Tables of a change and the problems it makes. */
import { describe, expect, test } from 'vitest';
import { configOf, problemsOf, SAMPLE_SYNC, type Changes } from './load-sample.ts';

/** Problems without their places: those have tests of their own. */
function messages(problems: readonly string[]): string[] {
  return problems.map((line) => line.replace(/^\w+\.yaml(:\d+:\d+)?: /, ''));
}

describe('a cluster document is refused', () => {
  test.each<[Changes, string[]]>([
    [{ cluster: undefined }, ['cluster: is required']],
    [{ cluster: null }, ['cluster: must be text, not empty']],
    [
      { cluster: 'a b' },
      [
        'cluster: must be 1 to 63 letters, digits, dots, dashes or underscores, and begin with a letter or digit',
      ],
    ],
    [{ servces: [] }, ['servces: unknown key "servces" (did you mean "services"?)']],
    [{ drain_ms: -1 }, ['drain_ms: must be at least 0']],
    [{ drain_ms: 600_001 }, ['drain_ms: must be at most 600000']],
    [{ drain_ms: 1.5 }, ['drain_ms: must be a whole number, not 1.5']],
    [{ drain_ms: '1000' }, ['drain_ms: must be a number, not text']],
    [{ 'flow_timeouts_s/tcp': 0 }, ['flow_timeouts_s.tcp: must be at least 1']],
    [
      { 'flow_timeouts_s/sctp': 5 },
      ['flow_timeouts_s.sctp: unknown key "sctp" (did you mean "tcp"?)'],
    ],
    [{ bgp: null }, ['bgp: must be a mapping, not empty']],
    [{ 'bgp/as': 0 }, ['bgp.as: must be at least 1']],
    [{ 'bgp/as': 4_294_967_295 }, ['bgp.as: must be at most 4294967294']],
    [{ 'bgp/peers': [] }, ['bgp.peers: must have at least 1 entry']],
    [
      { 'bgp/communities': ['65536:1', 5] },
      [
        'bgp.communities[0]: must be two numbers up to 65535, such as "65010:100"',
        'bgp.communities[1]: must be text, not a number',
      ],
    ],
    [
      { 'bgp/large_communities': ['1:2'] },
      ['bgp.large_communities[0]: must be three numbers up to 4294967295, such as "65010:1:100"'],
    ],
    [{ 'bgp/med': -1 }, ['bgp.med: must be at least 0']],
    [
      { 'bgp/peers/0/address': 'router1' },
      ['bgp.peers[0].address: must be an IPv4 or IPv6 address, such as 192.0.2.1 or 2001:db8::1'],
    ],
    [{ 'bgp/peers/0/hold_time_s': 2 }, ['bgp.peers[0].hold_time_s: must be at least 3']],
    [
      { 'bgp/peers/0/multihop_ttl': 4, 'bgp/peers/0/ttl_security': true, 'bgp/peers/0/bfd': true },
      [
        'bgp.peers[0].ttl_security: excludes multihop_ttl',
        'bgp.peers[0].bfd: excludes multihop_ttl: BFD here is single-hop',
      ],
    ],
    [
      { 'bgp/peers/0/bfd': 'yes' },
      ['bgp.peers[0].bfd: must be true or false or a mapping, not text'],
    ],
    [
      { 'bgp/peers/0/bfd': { retries: 50 } },
      ['bgp.peers[0].bfd.retries: unknown key "retries"; known here: interval_ms, multiplier'],
    ],
    [{ 'bgp/peers/0/bfd': { multiplier: 0 } }, ['bgp.peers[0].bfd.multiplier: must be at least 1']],
    [{ sync: true }, ['sync: must be a mapping, not true']],
    [{ sync: {} }, ['sync.key_files: is required']],
    [{ sync: { key_files: ['a'] } }, ['sync.group: is required, unless peers lists every node']],
    [{ sync: { ...SAMPLE_SYNC, group: '239.83.75.78:7483' } }, ['sync.peers: excludes group']],
    [
      { sync: SAMPLE_SYNC, 'sync/group': '239.83.75.78' },
      ['sync.group: must be address:port, such as 239.83.75.78:7483 or "[ff02::5ce1]:7483"'],
    ],
    ...['10.83.1.12:7483', '255.255.255.255:7483', '[fd83::1]:7483', '[fe80::1]:7483'].map(
      (group): [Changes, string[]] => [
        { sync: { group, key_files: ['a'] } },
        ['sync.group: must be a multicast address, or use peers'],
      ],
    ),
    [
      { sync: { group: '[ff01::5ce1]:7483', key_files: ['a'] } },
      ['sync.group: is a group that no other node can hear'],
    ],
    [
      { sync: SAMPLE_SYNC, 'sync/peers': ['10.83.1.11:7483'] },
      ['sync.peers: must have at least 2 entries'],
    ],
    [
      {
        sync: SAMPLE_SYNC,
        'sync/peers': Array.from({ length: 65 }, (_, n) => `10.83.1.${n + 11}:7483`),
        backends: {},
        services: [],
        vips: {},
      },
      ['sync.peers: must have at most 64 entries'],
    ],
    [
      { sync: SAMPLE_SYNC, 'sync/peers/1': 'lb2:7483' },
      ['sync.peers[1]: must be address:port, such as 10.83.1.11:7483 or "[fd83:1::11]:7483"'],
    ],
    [
      { sync: SAMPLE_SYNC, 'sync/peers/1': '239.83.75.78:7483' },
      [
        'sync.peers[1]: must be a unicast address that others can reach: not loopback, link-local, multicast or unspecified',
      ],
    ],
    [{ sync: SAMPLE_SYNC, 'sync/key_files': [] }, ['sync.key_files: must have at least 1 entry']],
    [
      { sync: SAMPLE_SYNC, 'sync/key_files': ['a', 'b', 'c'] },
      ['sync.key_files: must have at most 2 entries'],
    ],
    [
      { sync: SAMPLE_SYNC, 'sync/key_files': ['a b', ''] },
      [
        'sync.key_files[0]: must be the path of a file',
        'sync.key_files[1]: must be the path of a file',
      ],
    ],
    [
      { sync: SAMPLE_SYNC, 'sync/join_deadline_ms': 999 },
      ['sync.join_deadline_ms: must be at least 1000'],
    ],
    [
      { sync: SAMPLE_SYNC, 'sync/join_deadline_ms': 600_001 },
      ['sync.join_deadline_ms: must be at most 600000'],
    ],
    [
      { sync: SAMPLE_SYNC, 'sync/key_file': 'a' },
      ['sync.key_file: unknown key "key_file" (did you mean "key_files"?)'],
    ],
    [{ 'backends/web': [] }, ['backends.web: must have at least 1 entry']],
    [{ 'backends/web': '10.83.1.101' }, ['backends.web: must be a list, not text']],
    [{ 'backends/web/0': 10.1 }, ['backends.web[0]: must be text or a mapping, not a number']],
    [
      { 'backends/web/1': '10.83.1' },
      ['backends.web[1]: must be an IPv4 or IPv6 address, such as 192.0.2.1 or 2001:db8::1'],
    ],
    [
      { 'backends/web/1': 'ff02::1' },
      [
        'backends.web[1]: must be a unicast address that others can reach: not loopback, link-local, multicast or unspecified',
      ],
    ],
    [{ 'backends/web/0/weight': 65_536 }, ['backends.web[0].weight: must be at most 65535']],
    [
      { 'backends/web/0/mode': 'ipop' },
      [
        'backends.web[0].mode: must be one of l2dsr, ipip, gre, gue, fou, dscp, nat, full_nat (did you mean "ipip"?)',
      ],
    ],
    [{ 'backends/web/0/dscp': 4 }, ['backends.web[0].dscp: is for mode dscp only']],
    [{ 'backends/web/0/port': 8080 }, ['backends.web[0].port: is for mode nat and full_nat only']],
    [{ 'backends/web/0/mode': 'dscp' }, ['backends.web[0].dscp: is required for mode dscp']],
    [
      { 'backends/web/0/tunnel_port': 4 },
      ['backends.web[0].tunnel_port: is for mode gue and fou only'],
    ],
    ...(
      [
        ['64', 'must be a number from 1 to 255, or copy'],
        [true, 'must be a number from 1 to 255, or copy'],
        ['cop', 'must be a number from 1 to 255, or copy (did you mean "copy"?)'],
        [256, 'must be at most 255'],
      ] as const
    ).map(([ttl, message]): [Changes, string[]] => [
      { 'backends/web/0/mode': 'ipip', 'backends/web/0/tunnel_ttl': ttl },
      [`backends.web[0].tunnel_ttl: ${message}`],
    ]),
    [
      { 'backends/web/0/mode': 'ipip', 'backends/web/0/tunnel_source': '10.9.0.1/16' },
      [
        'backends.web[0].tunnel_source: must be an address or a prefix without bits beyond its length, such as 10.9.0.0/16',
      ],
    ],
    [{ 'backends/web/0/address': undefined }, ['backends.web[0].address: is required']],
    [
      { 'backends/a b': ['10.83.1.104'] },
      [
        'backends["a b"]: must be 1 to 63 letters, digits, dots, dashes or underscores, and begin with a letter or digit',
      ],
    ],
    [{ services: {} }, ['services: must be a list, not a mapping']],
    [{ 'services/0/vip': undefined, vips: {} }, ['services[0].vip: is required']],
    [{ 'services/0/vip': [], vips: {} }, ['services[0].vip: must have at least 1 entry']],
    [{ 'services/0/vip': true }, ['services[0].vip: must be text or a list, not true']],
    [
      { 'services/0/vip': ['10.83.100.1', '127.0.0.1'] },
      [
        'services[0].vip[1]: must be a unicast address that others can reach: not loopback, link-local, multicast or unspecified',
      ],
    ],
    [{ 'services/0/port': 65_536 }, ['services[0].port: must be at most 65535']],
    [{ 'services/0/port': [80, -1] }, ['services[0].port[1]: must be at least 0']],
    [{ 'services/0/port': 'http' }, ['services[0].port: must be a number or a list, not text']],
    [
      { 'services/0/protocol': 'tpc' },
      ['services[0].protocol: must be one of tcp, udp (did you mean "tcp"?)'],
    ],
    [{ 'services/0/need': 0 }, ['services[0].need: must be at least 1']],
    [{ 'services/0/mss_clamp': 535 }, ['services[0].mss_clamp: must be at least 536']],
    [{ 'services/0/mss_clamp': 65_496 }, ['services[0].mss_clamp: must be at most 65495']],
    [
      { 'services/0/mss_clamp': 'yes' },
      ['services[0].mss_clamp: must be true or false or a number, not text'],
    ],
    [{ 'services/0/affinity': 'ip' }, ['services[0].affinity: must be one of flow, client']],
    [
      { 'services/0/checks': undefined },
      ['services[0].checks: is required: write "checks: []" if backends shall always count as up'],
    ],
    [{ 'services/0/checks': null }, ['services[0].checks: must be a list, not empty']],
    [
      { 'services/0/checks/0/type': undefined },
      [
        'services[0].checks[0].type: is required: must be one of tcp, http, https, dns, udp, grpc, ping, script, report',
      ],
    ],
    [
      { 'services/0/checks/0/type': 'htps' },
      [
        'services[0].checks[0].type: must be one of tcp, http, https, dns, udp, grpc, ping, script, report (did you mean "https"?)',
      ],
    ],
    [{ 'services/0/checks/0': 'http' }, ['services[0].checks[0]: must be a mapping, not text']],
    [
      { 'services/0/checks/0/verify': true },
      [
        'services[0].checks[0].verify: unknown key "verify"; known here: type, name, port, interval_ms, timeout_ms, rise, fall, method, path, host, expect',
      ],
    ],
    [{ 'services/0/checks/0/port': 0 }, ['services[0].checks[0].port: must be at least 1']],
    [
      { 'services/0/checks/0/interval_ms': 49 },
      ['services[0].checks[0].interval_ms: must be at least 50'],
    ],
    [
      { 'services/0/checks/0/timeout_ms': 60_001 },
      [
        'services[0].checks[0].timeout_ms: must be at most 60000',
        'services[0].checks[0].timeout_ms: must be at most 1000, the interval',
      ],
    ],
    [
      { 'services/0/checks/0/timeout_ms': 1001 },
      ['services[0].checks[0].timeout_ms: must be at most 1000, the interval'],
    ],
    [
      { 'services/0/checks/0/path': 'healthz' },
      ['services[0].checks[0].path: must begin with "/" and have no spaces'],
    ],
    [
      { 'services/0/checks/0/host': 'a\r\nX: y' },
      ['services[0].checks[0].host: must be a host name, with ":port" if need be'],
    ],
    [{ 'services/0/checks/0/expect': 99 }, ['services[0].checks[0].expect: must be at least 100']],
    [
      { 'services/0/checks/0/expect': [200, '299-200', []] },
      [
        'services[0].checks[0].expect[1]: must be a status code or a range of them, such as "200-299"',
        'services[0].checks[0].expect[2]: must be a number or text, not a list',
      ],
    ],
    [
      { 'services/0/checks/0/fall': '6/5' },
      ['services[0].checks[0].fall: must be at most 5, the window'],
    ],
    [
      { 'services/0/checks/0/fall': { count: 6, window: 5 } },
      ['services[0].checks[0].fall.count: must be at most 5, the window'],
    ],
    [
      { 'services/0/checks/0/rise': '2 of 3' },
      ['services[0].checks[0].rise: must be count/window, such as "3/5"'],
    ],
    [
      { 'services/0/checks/0/rise': 2 },
      ['services[0].checks[0].rise: must be text or a mapping, not a number: such as "2/2"'],
    ],
    [
      { 'services/0/checks/0/rise': { count: 2 } },
      ['services[0].checks[0].rise.window: is required'],
    ],
    [
      { 'vips/10.83.100.1/policy': 'most' },
      ['vips["10.83.100.1"].policy: must be one of all, any'],
    ],
  ])('%j', (changes, expected) => {
    expect(messages(problemsOf({ cluster: changes }))).toEqual(expected);
  });
});

describe('a node part is refused', () => {
  test.each<[Changes, string[]]>([
    [{ node: undefined }, ['node: is required']],
    [{ interfaces: [] }, ['interfaces: must have at least 1 entry']],
    [{ interfaces: ['../eth0'] }, ['interfaces[0]: must be the name of a network interface']],
    [{ ipv4: 'fd83:1::11' }, ['ipv4: must be an IPv4 address']],
    [{ ipv6: '10.83.1.12' }, ['ipv6: must be an IPv6 address']],
    [{ router_id: '0.0.0.0' }, ['router_id: must be four numbers, such as 192.0.2.1']],
    [{ gobgp: '50051' }, ['gobgp: must be host:port or unix:/path']],
    [{ console: 8080 }, ['console: must be text, not a number']],
    [{ console: '[::1]' }, ['console: must be host:port, such as 127.0.0.1:8080']],
    [{ bpffs: '/sys/../etc' }, ['bpffs: must be an absolute path']],
    [{ bpffs: 'skein' }, ['bpffs: must be an absolute path']],
    [
      { sync_address: '10.83.1.11:7483' },
      ['sync_address: must be an IPv4 or IPv6 address, such as 192.0.2.1 or 2001:db8::1'],
    ],
    [
      { sync_address: 'ff02::1' },
      [
        'sync_address: must be a unicast address that others can reach: not loopback, link-local, multicast or unspecified',
      ],
    ],
    [{ allow_scripts: 'yes' }, ['allow_scripts: must be true or false, not text']],
    [{ state_dir: 'skein' }, ['state_dir: must be an absolute path']],
    [{ xdp_mode: 'offload' }, ['xdp_mode: must be one of auto, native, generic']],
    [{ 'limits/flows': 1023 }, ['limits.flows: must be at least 1024']],
    [{ 'limits/flow': 4096 }, ['limits.flow: unknown key "flow" (did you mean "flows"?)']],
  ])('%j', (changes, expected) => {
    expect(messages(problemsOf({ node: changes }))).toEqual(expected);
  });

  test.each([
    ['[]', 'a list'],
    ['5', 'a number'],
    ['', 'empty'],
    ['lb1', 'text'],
  ])('%j is no document', (text, kind) => {
    expect(problemsOf({ node: text })).toEqual([`node.yaml:1:1: must be a mapping, not ${kind}`]);
  });
});

describe('short forms mean what the long ones do', () => {
  test.each<[string, Changes, Changes]>([
    ['one VIP', { 'services/0/vip': '10.83.100.1' }, { 'services/0/vip': ['10.83.100.1'] }],
    ['one port', { 'services/0/port': 80 }, { 'services/0/port': [80] }],
    ['one group', { 'services/0/backends': 'web' }, { 'services/0/backends': ['web'] }],
    [
      'a bare address',
      { 'backends/more': ['10.83.1.103'] },
      { 'backends/more': [{ address: '10.83.1.103' }] },
    ],
    [
      'bfd: true',
      { 'bgp/peers/0/bfd': true },
      { 'bgp/peers/0/bfd': { interval_ms: 300, multiplier: 3 } },
    ],
    ['bfd: false', { 'bgp/peers/0/bfd': false }, {}],
    [
      '3/4',
      { 'services/0/checks/0/rise': '3/4' },
      { 'services/0/checks/0/rise': { count: 3, window: 4 } },
    ],
    [
      'one code',
      { 'services/0/checks/0/expect': 204 },
      { 'services/0/checks/0/expect': ['204-204'] },
    ],
    ['an address in capitals', { 'services/1/vip': '::FFFF:10.83.100.53' }, {}],
    ['a hint for editors', { $schema: './skein.schema.json' }, {}],
  ])('%s', (_, short, long) => {
    expect(configOf({ cluster: short })).toEqual(configOf({ cluster: long }));
  });
});
