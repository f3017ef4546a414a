import { describe, expect, test } from 'vitest';
import {
  parseBfdSessions,
  parseKernelNextHops,
  parseProtocols,
  parseRoutes,
  renderBird,
} from './bird.ts';
import { topology } from './topology.ts';

const shape = topology({ nodes: 2, backends: 0 });

describe('the configuration', () => {
  test('has every balancer as a neighbour', () => {
    const lines = renderBird(shape).split('\n');
    expect(lines.filter((line) => line.startsWith('protocol bgp'))).toEqual([
      'protocol bgp lb1 from balancer { neighbor 10.83.1.11 as 65010; }',
      'protocol bgp lb2 from balancer { neighbor 10.83.1.12 as 65010; }',
    ]);
  });

  test.each([
    [{}, ['interval 50 ms; multiplier 3', 'bfd on;', 'hold time 9;', 'ttl security off;']],
    [{ bfd: { intervalMs: 300, multiplier: 5 } }, ['interval 300 ms; multiplier 5', 'bfd on;']],
    [{ bfd: undefined }, ['bfd off;']],
    [{ holdTimeS: 3, ttlSecurity: true }, ['hold time 3;', 'ttl security on;']],
    [{ password: 'a secret' }, ['neighbor 10.83.1.11 as 65010; password "a secret"; }']],
  ])('with %o says %o', (options, expected) => {
    const text = renderBird(shape, options);
    expect(expected.filter((part) => !text.includes(part))).toEqual([]);
  });

  test('without BFD has no BFD sessions', () => {
    expect(renderBird(shape, { bfd: undefined })).not.toContain('dev "lan"');
  });
});

test('routes are read with their next hops and attributes', () => {
  const text = `BIRD 2.0.12 ready.
Table master4:
10.83.100.1/32       unicast [lb1 06:03:12.056] * (100) [AS65010?]
	via 10.83.1.11 on lan
	Type: BGP univ
	BGP.origin: Incomplete
	BGP.as_path: 65010
	BGP.next_hop: 10.83.1.11
	BGP.med: 10
	BGP.local_pref: 100
	BGP.community: (65010,100) (65010,101)
	BGP.large_community: (65010, 1, 100)
                     unicast [lb2 06:03:12.316 from 10.83.1.12] (100) [AS65010?]
	via 10.83.1.12 on lan
	Type: BGP univ
`;
  expect(parseRoutes(text)).toEqual([
    {
      prefix: '10.83.100.1/32',
      node: 'lb1',
      primary: true,
      nextHops: ['10.83.1.11'],
      communities: ['65010:100', '65010:101'],
      largeCommunities: ['65010:1:100'],
      med: 10,
    },
    {
      prefix: '10.83.100.1/32',
      node: 'lb2',
      primary: false,
      nextHops: ['10.83.1.12'],
      communities: [],
      largeCommunities: [],
      med: undefined,
    },
  ]);
});

test('a prefix that nobody announces has no routes', () => {
  expect(parseRoutes('BIRD 2.0.12 ready.\nNetwork not found\n')).toEqual([]);
});

test('protocols are read with their state and what BIRD says of it', () => {
  const text = `BIRD 2.0.12 ready.
Name       Proto      Table      State  Since         Info
kernel4    Kernel     master4    up     05:49:50.965  
lb1        BGP        ---        up     05:49:51.894  Established   
lb2        BGP        ---        start  05:49:50.965  Active        Socket: Connection refused
`;
  expect(parseProtocols(text)).toEqual([
    { name: 'kernel4', kind: 'Kernel', state: 'up', info: '' },
    { name: 'lb1', kind: 'BGP', state: 'up', info: 'Established' },
    { name: 'lb2', kind: 'BGP', state: 'start', info: 'Active        Socket: Connection refused' },
  ]);
});

test('BFD sessions are read', () => {
  const text = `BIRD 2.0.12 ready.
bfd1:
IP address                Interface  State      Since         Interval  Timeout
10.83.1.12                lan        Down       05:49:50.966    1.000    0.000
10.83.1.11                lan        Up         05:49:51.717    0.050    0.150
`;
  expect(parseBfdSessions(text)).toEqual([
    { address: '10.83.1.12', interface: 'lan', state: 'Down' },
    { address: '10.83.1.11', interface: 'lan', state: 'Up' },
  ]);
});

test.each([
  ['[]', []],
  ['', []],
  ['[{"dst":"10.83.100.1","gateway":"10.83.1.11","dev":"lan"}]', ['10.83.1.11']],
  [
    '[{"dst":"10.83.100.1","nexthops":[{"gateway":"10.83.1.12"},{"gateway":"10.83.1.11"}]}]',
    ['10.83.1.11', '10.83.1.12'],
  ],
])('next hops of the kernel route %s are %j', (text, expected) => {
  expect(parseKernelNextHops(text)).toEqual(expected);
});
