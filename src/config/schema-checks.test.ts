/** What one check must be, told in words, and what is made of it. */
import { describe, expect, test } from 'vitest';
import type { CheckSpec } from '../model/check.ts';
import { configOf, problemsOf } from './load-sample.ts';

type Check = Readonly<Record<string, unknown>>;

const ALLOWED = { allow_scripts: true };

/** Problems of a document with this one check, without the place of each and the path of the check. */
function problemsWith(check: Check): string[] {
  const cluster = { 'services/0/checks': [check] };
  const prefix = /^skein\.yaml:\d+:\d+: services\[0\]\.checks\[0\]\.?/;
  return problemsOf({ cluster, node: ALLOWED }).map((line) => line.replace(prefix, ''));
}

function specOf(check: Check): CheckSpec | undefined {
  const { cluster } = configOf({ cluster: { 'services/0/checks': [check] }, node: ALLOWED });
  return cluster.services[0]?.checks[0];
}

const DNS = { type: 'dns', query: 'www.example.com' };
const UDP = { type: 'udp', send: 'ping' };
const GRPC = { type: 'grpc' };
const SCRIPT = { type: 'script', command: '/usr/lib/skein/check' };
const HEX_PROBLEM = 'must be 1 to 1200 bytes as pairs of hexadecimal digits, such as "00ff"';

describe('is refused', () => {
  test.each<[Check, string[]]>([
    [{ type: 'dns' }, ['query: is required']],
    ...['', '..', 'a..b', '-a', 'a-', 'a b', 'a'.repeat(64), 'é.example', 'a.'.repeat(128)].map(
      (query): [Check, string[]] => [{ ...DNS, query }, ['query: must be a domain name']],
    ),
    [
      { ...DNS, record: 'a' },
      ['record: must be one of A, AAAA, CNAME, MX, NS, PTR, SOA, SRV, TXT (did you mean "A"?)'],
    ],
    [
      { ...DNS, expect: 'OK' },
      ['expect: must be one of NOERROR, FORMERR, SERVFAIL, NXDOMAIN, NOTIMP, REFUSED'],
    ],
    [{ ...DNS, expect: [] }, ['expect: must have at least 1 entry']],
    [
      { ...DNS, address: '192.0.2' },
      ['address: must be an IPv4 or IPv6 address, such as 192.0.2.1 or 2001:db8::1'],
    ],
    [{ ...DNS, address: '2001:db8::1' }, ['address: must be an IPv4 address, as record is A']],
    [
      { ...DNS, record: 'AAAA', address: '192.0.2.1' },
      ['address: must be an IPv6 address, as record is AAAA'],
    ],
    [{ ...DNS, record: 'MX', address: '192.0.2.1' }, ['address: needs record A or AAAA']],
    [{ ...DNS, expect: 'REFUSED', address: '192.0.2.1' }, ['address: needs NOERROR in expect']],
    [{ ...DNS, timeout_ms: 2000 }, ['timeout_ms: must be at most 1000, the interval']],

    [{ type: 'udp' }, ['send: is required, or send_hex']],
    [{ ...UDP, send_hex: '00' }, ['send_hex: excludes send']],
    [{ ...UDP, send: '' }, ['send: must be 1 to 1200 bytes (UTF-8)']],
    ...['', ' ', '0', '0g', '0x00', '00'.repeat(1201)].map((send_hex): [Check, string[]] => [
      { type: 'udp', send_hex },
      [`send_hex: ${HEX_PROBLEM}`],
    ]),
    [{ type: 'udp', send: 'é'.repeat(601) }, ['send: must be 1 to 1200 bytes (UTF-8)']],
    [
      { ...UDP, expect_prefix: 'a', expect_prefix_hex: '61', expect_contains: 'a' },
      ['expect_prefix_hex: excludes expect_prefix', 'expect_contains: excludes expect_prefix'],
    ],
    [{ ...UDP, expect_contains: '' }, ['expect_contains: must be 1 to 1200 bytes (UTF-8)']],
    [{ ...UDP, expect_contains_hex: '0' }, [`expect_contains_hex: ${HEX_PROBLEM}`]],

    [{ ...GRPC, service: 'a b' }, ['service: must be the name of a gRPC service']],
    [
      { ...GRPC, server_name: 'a.example', verify: true },
      ['server_name: needs "tls: true"', 'verify: needs "tls: true"'],
    ],
    [{ ...GRPC, tls: true, server_name: '-' }, ['server_name: must be a host name']],

    [
      { type: 'ping', port: 80 },
      ['port: unknown key "port"; known here: type, name, interval_ms, timeout_ms, rise, fall'],
    ],

    [{ type: 'script' }, ['command: is required']],
    ...['check', './check', '/', '/a b', '/a\n'].map((command): [Check, string[]] => [
      { ...SCRIPT, command },
      ['command: must be the absolute path of a program'],
    ]),
    [{ ...SCRIPT, args: '-v' }, ['args: must be a list, not text']],
    [{ ...SCRIPT, args: [1] }, ['args[0]: must be text, not a number']],
    [{ ...SCRIPT, args: ['a\0'] }, ['args[0]: must have no null character']],
    [{ ...SCRIPT, args: new Array(33).fill('a') }, ['args: must have at most 32 entries']],
  ])('%j', (check, expected) => {
    expect(problemsWith(check)).toEqual(expected);
  });
});

describe('becomes a spec', () => {
  test.each<[Check, Partial<CheckSpec>]>([
    [
      DNS,
      {
        type: 'dns',
        query: 'www.example.com',
        record: 'A',
        expect: ['NOERROR'],
        address: undefined,
      },
    ],
    [
      { ...DNS, query: '.', record: 'NS', expect: ['NOERROR', 'REFUSED'] },
      { query: '.', record: 'NS', expect: ['NOERROR', 'REFUSED'] },
    ],
    [
      { ...DNS, query: '_x._udp.a-b.example.', record: 'AAAA', address: '2001:DB8::0:1' },
      { query: '_x._udp.a-b.example.', address: '2001:db8::1' } as Partial<CheckSpec>,
    ],
    [UDP, { type: 'udp', sendHex: '70696e67', expect: { kind: 'any' } }],
    [
      { type: 'udp', send_hex: '00 FF aB', expect_prefix: 'é' },
      { sendHex: '00ffab', expect: { kind: 'prefix', hex: 'c3a9' } },
    ],
    [{ ...UDP, expect_prefix_hex: '80 00' }, { expect: { kind: 'prefix', hex: '8000' } }],
    [{ ...UDP, expect_contains: 'a' }, { expect: { kind: 'contains', hex: '61' } }],
    [{ ...UDP, expect_contains_hex: 'FF' }, { expect: { kind: 'contains', hex: 'ff' } }],
    [GRPC, { type: 'grpc', service: '', tls: undefined }],
    [
      { ...GRPC, service: 'shop.v1.Cart', tls: true },
      { service: 'shop.v1.Cart', tls: { serverName: undefined, verify: false } },
    ],
    [
      { ...GRPC, tls: true, server_name: 'a.example', verify: true },
      { tls: { serverName: 'a.example', verify: true } },
    ],
    [{ type: 'ping' }, { type: 'ping', name: 'ping', port: 80 }],
    [SCRIPT, { type: 'script', command: '/usr/lib/skein/check', args: [] }],
    [
      { ...SCRIPT, args: ['-v', ''], port: 81 },
      { args: ['-v', ''], port: 81 },
    ],
  ])('%j', (check, expected) => {
    expect(specOf(check)).toMatchObject(expected);
  });
});

describe('scripts', () => {
  const cluster = `cluster: demo
backends: { web: [10.83.1.101] }
services:
  - name: web
    vip: 10.83.100.1
    port: 80
    backends: web
    checks:
      - type: tcp
      - type: script
        command: /usr/lib/skein/check
`;
  const problem =
    'skein.yaml:10:15: services[0].checks[1].type: is off on this node: a script needs "allow_scripts: true" in the node part';

  test.each<[string, Check, string[]]>([
    ['off by default', {}, [problem]],
    ['off', { allow_scripts: false }, [problem]],
    ['on', ALLOWED, []],
  ])('are refused where they are off: %s', (_, node, expected) => {
    expect(problemsOf({ cluster, node })).toEqual(expected);
  });
});

test('on a service that takes every port, only a ping needs none of its own', () => {
  const checks = [{ type: 'ping' }, DNS, { ...SCRIPT, port: 81 }];
  const changes = { 'services/0/port': 0, 'services/0/checks': checks };
  expect(problemsOf({ cluster: changes, node: ALLOWED }).join('\n')).toMatch(
    /^skein\.yaml:\d+:\d+: services\[0\]\.checks\[1\]\.port: is required, because the service takes every port \(port 0\)$/,
  );
  const { cluster } = configOf({
    cluster: { ...changes, 'services/0/checks': [{ type: 'ping' }] },
  });
  expect(cluster.services[0]?.checks[0]?.port).toBe(0);
});
