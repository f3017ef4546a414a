/** What cannot be made on every kernel: tunnel devices. The rest is seen in doctor.kernel.test.ts. */
import { describe, expect, test } from 'vitest';
import { address, type Address, type Family } from '../model/address.ts';
import type { LinkFact, ServerFacts, TunnelFact } from './doctor-facts.ts';
import { diagnose } from './doctor.ts';
import {
  clientOf,
  defaultTunnelPort,
  rolesOf,
  type BackendMode,
  type Role,
  type Wanted,
} from './doctor-wanted.ts';
import { quoted, setSysctl } from './doctor-words.ts';

const VIPS = { ipv4: address('192.0.2.10'), ipv6: address('2001:db8::10') };
const OWN = { ipv4: address('10.0.0.2'), ipv6: address('fd00::2') };
const NODE = address('10.0.0.1');

function link(name: string, more: Partial<LinkFact> = {}): LinkFact {
  const common = { kind: '', loopback: false, up: true, arp: true, mtuBytes: 1600 };
  return { name, ...common, xdp: [], tunnel: undefined, ...more };
}

function tunnel(kind: string, more: Partial<TunnelFact> = {}, up = true): LinkFact {
  const fact = {
    takes: 'any',
    local: undefined,
    remote: undefined,
    keyed: false,
    ...more,
  } as const;
  return link(`skein-${kind}`, { kind, arp: false, up, tunnel: fact });
}

function held(value: Address, prefixLength: number, name: string) {
  const where = { address: value, prefixLength, interface: name };
  return { ...where, hostScope: false, tentative: false, dadFailed: false };
}

function role(mode: BackendMode, outer: Family, inner: Family): Role {
  const tunnelPort = defaultTunnelPort(mode);
  return {
    ...{ mode, address: OWN[outer], vips: [VIPS[inner]], services: [] },
    ...{ tunnelPort, mtuBytes: undefined, dscp: undefined },
  };
}

function wantedOf(roles: Role[], nodes: Address[] = []): Wanted {
  return { roles, interface: undefined, nodes, clients: [], config: undefined };
}

function codes(facts: ServerFacts, wanted: Wanted): string[] {
  return diagnose(facts, wanted).map(({ code }) => code);
}

/** A server that has its VIPs and routes, and these devices besides. */
function server(devices: LinkFact[], more: Partial<ServerFacts> = {}): ServerFacts {
  const answer = (gateway: Address) => {
    return { interface: 'eth0', gateway, advmssBytes: undefined, mtuBytes: undefined };
  };
  return {
    links: [link('lo', { loopback: true }), link('eth0'), ...devices],
    addresses: [
      held(VIPS.ipv4, 32, 'lo'),
      held(VIPS.ipv6, 128, 'lo'),
      held(OWN.ipv4, 24, 'eth0'),
      held(OWN.ipv6, 64, 'eth0'),
    ],
    lookups: (['ipv4', 'ipv6'] as const).map((family) => ({
      to: clientOf(wantedOf([]), family),
      from: VIPS[family],
      answer: answer(family === 'ipv4' ? NODE : address('fd00::1')),
    })),
    ...{ defaultRoutes: [], neighbours: [], fouPorts: [], tunnelModules: [], sysctls: {} },
    ...{ listeners: undefined, firewall: undefined, unseen: [] },
    ...more,
  };
}

const fou = (port: number, family: Family, protocol: number | undefined) => ({
  fouPorts: [{ port, family, protocol }],
});

describe('the kernel takes the headers off', () => {
  test.each<[BackendMode, Family, Family, string, Partial<ServerFacts>]>([
    ['ipip', 'ipv4', 'ipv4', 'ipip', {}],
    ['ipip', 'ipv4', 'ipv6', 'sit', {}],
    ['ipip', 'ipv6', 'ipv4', 'ip6tnl', {}],
    ['ipip', 'ipv6', 'ipv6', 'ip6tnl', {}],
    ['gre', 'ipv4', 'ipv6', 'gre', {}],
    ['gre', 'ipv6', 'ipv4', 'ip6gre', {}],
    ['fou', 'ipv4', 'ipv4', 'ipip', fou(5555, 'ipv4', 4)],
    ['fou', 'ipv4', 'ipv6', 'sit', fou(5555, 'ipv4', 41)],
    ['gue', 'ipv6', 'ipv6', 'ip6tnl', fou(6080, 'ipv6', undefined)],
  ])('%s over %s with %s inside, by a device of kind %s', (mode, outer, inner, kind, more) => {
    const wanted = wantedOf([role(mode, outer, inner)]);
    expect(codes(server([tunnel(kind)], more), wanted)).toEqual([]);
    expect(codes(server([tunnel(kind, {}, false)], more), wanted)).toEqual(['decapsulation_down']);
    expect(codes(server([]), wanted)).toEqual(['no_decapsulation']);
    expect(codes(server([tunnel(kind, { keyed: true })], more), wanted)).toEqual([
      'no_decapsulation',
    ]);
  });

  test.each<[string, Partial<TunnelFact>, string[]]>([
    ['from one node, and there is no other', { remote: NODE }, []],
    ['from someone else only', { remote: address('10.0.0.9') }, ['no_decapsulation']],
    ['for another of our addresses', { local: address('10.0.0.3') }, ['no_decapsulation']],
    ['with the other family inside', { takes: 'ipv6' }, ['no_decapsulation']],
  ])('a device that takes packets %s', (_name, more, expected) => {
    const facts = server([tunnel('ipip', more)]);
    expect(codes(facts, wantedOf([role('ipip', 'ipv4', 'ipv4')], [NODE]))).toEqual(expected);
  });

  test('a port for another protocol is none, and neither is one of the other family', () => {
    const wanted = wantedOf([role('fou', 'ipv4', 'ipv4')]);
    for (const port of [fou(5555, 'ipv4', 41), fou(5555, 'ipv6', 4), fou(5556, 'ipv4', 4)])
      expect(codes(server([tunnel('ipip')], port), wanted)).toEqual(['no_decapsulation']);
  });

  test('what arrives on the device meets its filter, not that of the interface', () => {
    const wanted = wantedOf([role('ipip', 'ipv4', 'ipv4')]);
    const strict = { sysctls: { 'ipv4/conf/skein-ipip/rp_filter': 1 } };
    const [finding] = diagnose(server([tunnel('ipip')], strict), wanted);
    expect(finding).toMatchObject({
      code: 'rp_filter',
      command: 'sysctl -w net.ipv4.conf.skein-ipip.rp_filter=2',
    });
    const lax = { sysctls: { 'ipv4/conf/all/rp_filter': 1, 'ipv4/conf/skein-ipip/rp_filter': 2 } };
    expect(codes(server([tunnel('ipip')], lax), wanted)).toEqual([]);
  });
});

describe('the command for what takes headers off', () => {
  test.each<[BackendMode, Family, Family, string]>([
    [
      'ipip',
      'ipv4',
      'ipv4',
      'ip link add name skein-ipip type ipip local 10.0.0.2 remote any && ip link set dev skein-ipip up',
    ],
    [
      'ipip',
      'ipv6',
      'ipv4',
      'ip link add name skein-ip6tnl type ip6tnl mode any local fd00::2 remote any && ip link set dev skein-ip6tnl up',
    ],
    [
      'gre',
      'ipv4',
      'ipv4',
      'ip link add name skein-gre type gre local 10.0.0.2 remote any && ip link set dev skein-gre up',
    ],
    [
      'fou',
      'ipv4',
      'ipv6',
      'ip fou add port 5555 ipproto 41 && ip link add name skein-sit type sit local 10.0.0.2 remote any && ip link set dev skein-sit up',
    ],
    [
      'gue',
      'ipv6',
      'ipv4',
      'ip -6 fou add port 6080 gue && ip link add name skein-ip6tnl type ip6tnl mode any local fd00::2 remote any && ip link set dev skein-ip6tnl up',
    ],
  ])('%s over %s with %s inside, on a kernel that can', (mode, outer, inner, command) => {
    const tunnelModules = ['ipip', 'sit', 'ip_gre', 'ip6_gre', 'ip6_tunnel', 'fou', 'fou6'];
    const [finding] = diagnose(server([], { tunnelModules }), wantedOf([role(mode, outer, inner)]));
    expect(finding?.command).toBe(command);
  });

  test('Skein itself, on a kernel that cannot', () => {
    const wanted = wantedOf([role('ipip', 'ipv4', 'ipv4')]);
    const [finding] = diagnose(server([]), { ...wanted, config: '/etc/my skein.yaml' });
    expect(finding?.command).toBe("skein backend --config '/etc/my skein.yaml'");
  });

  test.each<[Partial<Role>, string]>([
    [{}, '--mode gue --vip 192.0.2.10 --address 10.0.0.2 --interface eth0'],
    [
      { tunnelPort: 7000 },
      '--mode gue --vip 192.0.2.10 --address 10.0.0.2 --interface eth0 --gue-port 7000',
    ],
    [{ mode: 'dscp', dscp: 10 }, '--dscp 10=192.0.2.10 --address 10.0.0.2 --interface eth0'],
  ])('Skein itself, without a document: %j', (more, words) => {
    const facts = server([], { firewall: { chains: [] } });
    const wanted = wantedOf([{ ...role('gue', 'ipv4', 'ipv4'), ...more }]);
    expect(diagnose(facts, wanted)[0]?.command).toBe(`skein backend ${words}`);
  });

  test("fou with both families inside is Skein's, since a port of the kernel has one", () => {
    const both = { ...role('fou', 'ipv4', 'ipv4'), vips: [VIPS.ipv4, VIPS.ipv6] };
    const facts = server([], { tunnelModules: ['ipip', 'sit', 'fou'] });
    for (const { command } of diagnose(facts, wantedOf([both]))) expect(command).toMatch(/^skein /);
  });
});

test('programs whose names may not be known are not accused', () => {
  const facts = server([]);
  const xdp = [{ mode: 'native', program: undefined }] as const;
  const links = facts.links.map((each) => (each.name === 'eth0' ? { ...each, xdp } : each));
  expect(codes({ ...facts, links }, wantedOf([role('ipip', 'ipv4', 'ipv4')]))).toEqual([]);
});

test.each(['tentative', 'dadFailed'] as const)('a VIP that is %s is not ready', (flag) => {
  const facts = server([tunnel('dummy')]);
  const vip = { ...held(VIPS.ipv6, 128, 'skein-dummy'), [flag]: true };
  const addresses = facts.addresses.map((each) => (each.address === VIPS.ipv6 ? vip : each));
  expect(codes({ ...facts, addresses }, wantedOf([role('l2dsr', 'ipv6', 'ipv6')]))).toEqual([
    'vip_not_ready',
  ]);
});

test.each([
  ['ARP answers for it', 0],
  ['ARP would answer for it once it has global scope', 3],
])('a VIP that is missing while %s: ARP is to be quiet first', (_, ignore) => {
  const sysctls = { 'ipv4/conf/all/arp_ignore': ignore };
  const facts = server([], { sysctls });
  const addresses = facts.addresses.filter(({ address: value }) => value !== VIPS.ipv4);
  const roles = [role('ipip', 'ipv4', 'ipv4'), role('l2dsr', 'ipv4', 'ipv4')];
  expect(codes({ ...facts, addresses }, wantedOf(roles)).slice(0, 2)).toEqual([
    'arp_answers_vip',
    'vip_missing',
  ]);
});

test('an interface that is not there, and one that is down', () => {
  const wanted = wantedOf([role('dscp', 'ipv4', 'ipv4')]);
  expect(codes(server([]), { ...wanted, interface: 'eth7' })).toEqual(['interface_missing']);
  const idle = server([link('eth1', { up: false })]);
  expect(codes(idle, { ...wanted, interface: 'eth1' })).toEqual(['interface_down']);
});

test('roles of a document: one for each address, mode and way, with where the service listens', () => {
  const backend = (own: Address, mode: string, more = {}) => ({ address: own, mode, ...more });
  const services = [80, 443].map((port) => ({
    ...{ vip: VIPS.ipv4, protocol: 'tcp', port },
    backends: [
      backend(OWN.ipv4, 'gue', { forwarding: { port: 7000, mtuBytes: 1400 } }),
      backend(OWN.ipv6, 'nat', { port: 8080 }),
      backend(address('10.0.0.99'), 'ipip'),
    ],
  }));
  const roles = rolesOf(services as never, new Set([OWN.ipv4, OWN.ipv6]));
  expect(roles).toMatchObject([
    { mode: 'gue', address: OWN.ipv4, tunnelPort: 7000, mtuBytes: 1400, vips: [VIPS.ipv4] },
    { mode: 'nat', address: OWN.ipv6 },
  ]);
  expect(roles.map((each) => each.services.map(({ port }) => port))).toEqual([
    [80, 443],
    [8080, 8080],
  ]);
});

test('names of interfaces go through a shell and through sysctl', () => {
  expect(quoted("a;b'c")).toBe(`'a;b'\\''c'`);
  expect(setSysctl('ipv4/conf/eth0.7/rp_filter', 2)).toBe(
    'sysctl -w net/ipv4/conf/eth0.7/rp_filter=2',
  );
});
