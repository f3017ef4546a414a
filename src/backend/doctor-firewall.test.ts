import { describe, expect, test } from 'vitest';
import { address } from '../model/address.ts';
import {
  clampedMss,
  droppingChain,
  mayBeTranslated,
  packetTo,
  parseFirewall,
  rewritesDestinationTo,
} from './doctor-firewall.ts';

const VIP = address('192.0.2.10');
const packet = packetTo(VIP, 6, 80, 'eth0');
const ipip = packetTo(address('10.0.0.2'), 4, undefined, 'eth0');

type Part = Readonly<Record<string, unknown>>;

const drop: Part = { drop: null };
const accept: Part = { accept: null };

function payload(protocol: string, field: string, right: unknown, op = '=='): Part {
  return { match: { op, left: { payload: { protocol, field } }, right } };
}

function meta(key: string, right: unknown, op = '=='): Part {
  return { match: { op, left: { meta: { key } }, right } };
}

/** As nft prints it: a base chain `input` and one that is jumped to. */
function ruleset(rules: Part[][], policy = 'accept', jumped: Part[][] = []) {
  const chain = (name: string, more: Part) => ({
    chain: { family: 'inet', table: 't', name, ...more },
  });
  const rule = (name: string) => (expr: Part[]) => ({
    rule: { family: 'inet', table: 't', chain: name, expr },
  });
  return parseFirewall({
    nftables: [
      { metainfo: { json_schema_version: 1 } },
      chain('input', { type: 'filter', hook: 'input', prio: 0, policy }),
      chain('sub', {}),
      ...rules.map(rule('input')),
      ...jumped.map(rule('sub')),
    ],
  });
}

const ctState = (right: unknown, op = 'in'): Part => ({
  match: { op, left: { ct: { key: 'state' } }, right },
});
const ctMap = (states: string[]): Part => ({
  vmap: { key: { ct: { key: 'state' } }, data: { set: states.map((state) => [state, accept]) } },
});
const rare: Part = { match: { op: '==', left: { socket: { key: 'mark' } }, right: 1 } };

describe('a packet that starts a flow', () => {
  test.each<[string, Part[][], string]>([
    ['by its protocol', [[payload('ip', 'protocol', 'tcp'), drop]], 'accept'],
    [
      'by its port in a set',
      [[payload('tcp', 'dport', { set: [22, { range: [80, 90] }] }), drop]],
      'accept',
    ],
    ['by the destination', [[payload('ip', 'daddr', VIP), { reject: {} }]], 'accept'],
    ['by default', [], 'drop'],
    [
      'when only flows that are known may pass',
      [[ctState(['established', 'related']), accept]],
      'drop',
    ],
    ['when a map lets known flows pass', [[ctMap(['established', 'invalid'])]], 'drop'],
    ['when only loopback may pass', [[meta('iifname', 'lo'), accept]], 'drop'],
    ['when other ports may pass', [[payload('tcp', 'dport', 80, '!='), accept]], 'drop'],
    ['when another protocol may pass', [[payload('udp', 'dport', 80), accept]], 'drop'],
    ['when only the other family may pass', [[payload('ip6', 'daddr', '::1'), accept]], 'drop'],
    ['after a rule that is not understood drops some', [[rare, drop]], 'drop'],
    ['in a chain that is jumped to', [[{ jump: { target: 'sub' } }]], 'accept'],
  ])('is dropped %s', (_name, rules, policy) => {
    const firewall = ruleset(rules, policy, [[drop]]);
    expect(droppingChain(firewall, packet)).toMatchObject({ table: 't', name: 'input' });
  });

  test.each<[string, Part[][], string]>([
    ['a rule takes it first', [[payload('tcp', 'dport', 80), accept], [drop]], 'drop'],
    ['new flows may pass', [[ctState('new'), accept]], 'drop'],
    [
      'only the other protocol is dropped',
      [[payload('ip', 'protocol', 'ipencap'), drop]],
      'accept',
    ],
    ['only another interface is dropped', [[meta('iifname', 'eth1'), drop]], 'accept'],
    ['a rule that is not understood may take it', [[rare, accept]], 'drop'],
    ['a map may take it', [[ctMap(['new'])]], 'drop'],
    ['a named set may hold it', [[payload('tcp', 'dport', '@web'), accept]], 'drop'],
    ['nothing says that it is dropped', [[rare, drop]], 'accept'],
    ['the chain that is jumped to is not there', [[{ jump: { target: 'gone' } }]], 'drop'],
  ])('is not said to be dropped where %s', (_name, rules, policy) => {
    expect(droppingChain(ruleset(rules, policy), packet)).toBeUndefined();
  });

  test('a chain that jumps to itself ends', () => {
    const loop = [[{ jump: { target: 'sub' } }]];
    expect(droppingChain(ruleset(loop, 'drop', loop), packet)).toBeUndefined();
  });

  test.each(['ipencap', 4, { set: ['ipencap', 'ipv6'] }])('protocol 4 is known as %j', (right) => {
    expect(droppingChain(ruleset([[meta('l4proto', right), drop]]), ipip)).toBeDefined();
  });
});

test('a rule turns packets elsewhere, as far as it can be told', () => {
  const dnat = { dnat: { addr: '10.0.0.2', port: 8080 } };
  const firewall = (port: number) => ruleset([[rare, payload('tcp', 'dport', port), dnat]]);
  expect(mayBeTranslated(firewall(80), packet)).toBe(true);
  expect(mayBeTranslated(firewall(81), packet)).toBe(false);
});

test('a rule that rewrites destinations is known by the address', () => {
  const mangle = { key: { payload: { protocol: 'ip', field: 'daddr' } }, value: VIP };
  const firewall = ruleset([[payload('ip', 'dscp', 'af11'), { mangle }]]);
  expect(rewritesDestinationTo(firewall, VIP)).toBe(true);
  expect(rewritesDestinationTo(firewall, address('192.0.2.11'))).toBe(false);
});

test('the smallest MSS that rules for the reply leave is what counts', () => {
  const clamp = (vip: string, value: unknown) => [
    payload('ip', 'saddr', vip),
    { mangle: { key: { 'tcp option': { name: 'maxseg', field: 'size' } }, value } },
  ];
  const reply = { ...packet, source: VIP, destination: undefined };
  const rules = [clamp(VIP, 1440), clamp(VIP, 1400), clamp('192.0.2.11', 500)];
  expect(clampedMss(ruleset(rules), reply)).toBe(1400);
  expect(clampedMss(ruleset([clamp(VIP, { rt: { key: 'mtu' } })]), reply)).toBeUndefined();
});

test.each([
  undefined,
  null,
  7,
  [],
  { nftables: 'x' },
  { nftables: [{ chain: { name: 1 } }, { rule: 5 }] },
])('a ruleset that is none has no chains: %j', (value) => {
  expect(parseFirewall(value)).toEqual({ chains: [] });
});
