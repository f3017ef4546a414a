import { describe, expect, test } from 'vitest';
import {
  parseAddresses,
  parseDefaultRoutes,
  parseFou,
  parseLinks,
  parseListeners,
  parseNeighbours,
  parseRouteAnswer,
} from './doctor-parse.ts';

test.each(['parseLinks', 'parseAddresses', 'parseNeighbours', 'parseFou'] as const)(
  '%s leaves out what does not fit',
  (name) => {
    const parse = { parseLinks, parseAddresses, parseNeighbours, parseFou }[name];
    for (const value of [undefined, null, 1, {}, [null, 1, 'x', {}, { ifname: 1, port: 'x' }]])
      expect(parse(value)).toEqual([]);
  },
);

describe('links', () => {
  test('flags, and the XDP programs of both modes', () => {
    const program = (mode: number, name?: string) => ({ mode, prog: { id: 7, name } });
    const [link] = parseLinks([
      {
        ifname: 'eth0',
        mtu: 1500,
        flags: ['BROADCAST', 'UP'],
        xdp: { mode: 4, attached: [program(1, 'skein_decap'), program(2)] },
      },
    ]);
    expect(link).toMatchObject({
      ...{ name: 'eth0', kind: '', up: true, arp: true, loopback: false },
      xdp: [
        { mode: 'native', program: 'skein_decap' },
        { mode: 'generic', program: undefined },
      ],
    });
  });

  test.each([
    [
      'ipip',
      { proto: 'ipip', remote: 'any', local: '10.0.0.2' },
      { takes: 'ipv4', local: '10.0.0.2' },
    ],
    ['ipip', { external: true }, { takes: 'any', local: undefined, remote: undefined }],
    ['sit', { proto: 'any', remote: '10.0.0.1' }, { takes: 'any', remote: '10.0.0.1' }],
    ['sit', { proto: 'ip6ip', local: '0.0.0.0' }, { takes: 'ipv6', local: undefined }],
    ['ip6tnl', { proto: 'ip6ip6', remote: '::' }, { takes: 'ipv6', remote: undefined }],
    ['gre', { remote: 'any', ikey: '0.0.0.7' }, { takes: 'any', keyed: true }],
  ])('a device of kind %s with %j', (kind, data, tunnel) => {
    const linkinfo = { info_kind: kind, info_data: data };
    const [link] = parseLinks([{ ifname: 't', mtu: 1480, flags: ['NOARP'], linkinfo }]);
    expect(link).toMatchObject({ arp: false, up: false, tunnel });
  });
});

test('addresses with what duplicate detection says of them', () => {
  const info = { local: '2001:DB8::10', prefixlen: 64, tentative: true, dadfailed: true };
  expect(parseAddresses([{ ifname: 'eth0', addr_info: [info, { local: 'x' }] }])).toEqual([
    {
      ...{ address: '2001:db8::10', prefixLength: 64, interface: 'eth0' },
      ...{ hostScope: false, tentative: true, dadFailed: true },
    },
  ]);
});

describe('routes', () => {
  test('an answer with metrics, and with a gateway of the other family', () => {
    const metrics = [{ mtu: 1450, advmss: 1400 }];
    expect(
      parseRouteAnswer([{ dst: '1.1.1.1', dev: 'eth0', gateway: '10.0.0.1', metrics }]),
    ).toEqual({ interface: 'eth0', gateway: '10.0.0.1', mtuBytes: 1450, advmssBytes: 1400 });
    const via = { family: 'inet6', host: 'fe80::1' };
    expect(parseRouteAnswer([{ dev: 'eth0', via }])).toMatchObject({ gateway: 'fe80::1' });
    expect(parseRouteAnswer([])).toBeUndefined();
  });

  test('a default route in the words that change it', () => {
    const route = {
      ...{ dst: 'default', gateway: '10.0.0.1', dev: 'eth0', protocol: 'dhcp' },
      ...{ prefsrc: '10.0.0.2', metric: 50, metrics: [{ mtu: 1450, advmss: 1400 }] },
    };
    const [parsed] = parseDefaultRoutes([route], 'ipv4');
    expect(parsed?.words.join(' ')).toBe(
      'default via 10.0.0.1 dev eth0 proto dhcp src 10.0.0.2 metric 50 mtu 1450',
    );
  });

  test('several next hops are not changed so', () => {
    const nexthops = [{ gateway: '10.0.0.1', dev: 'eth0' }];
    expect(parseDefaultRoutes([{ dst: 'default', nexthops }], 'ipv4')).toEqual([]);
  });
});

test('ports of fou and gue', () => {
  const answer = [
    { port: 5555, ipproto: 4, family: 'inet' },
    { port: 6080, gue: null, family: 'inet6' },
  ];
  expect(parseFou(answer)).toEqual([
    { port: 5555, family: 'ipv4', protocol: 4 },
    { port: 6080, family: 'ipv6', protocol: undefined },
  ]);
});

test.each([
  ['0.0.0.0:80', ['ipv4'], undefined, 80],
  ['*:81', ['ipv4', 'ipv6'], undefined, 81],
  ['[::]:82', ['ipv6'], undefined, 82],
  ['10.0.0.2%eth0:84', ['ipv4'], '10.0.0.2', 84],
  ['[::ffff:192.0.2.10]:85', ['ipv4'], '192.0.2.10', 85],
  ['*%eth0:86', ['ipv4', 'ipv6'], undefined, 86],
  ['[fe80::1]%eth0:87', ['ipv6'], 'fe80::1', 87],
])('a socket at %s', (local, families, address, port) => {
  const line = `tcp LISTEN 0 128 ${local} 0.0.0.0:* users:(("nginx",pid=7,fd=6))`;
  expect(parseListeners(`${line}\n\nnoise\n`)).toEqual([
    { protocol: 'tcp', families, address, port, process: 'nginx' },
  ]);
});
