import { describe, expect, test } from 'vitest';
import { address } from '../model/address.ts';
import type { Route } from '../model/bgp.ts';
import { IPV4_UNICAST, IPV6_UNICAST, type PathMessage } from './messages.ts';
import { pathKey, pathMessage, planRoutes, prefixOf } from './paths.ts';

const PLAIN: Route = {
  prefix: { address: address('192.0.2.1'), length: 32 },
  nextHop: address('10.0.0.1'),
  communities: [],
  largeCommunities: [],
  med: undefined,
};
const FULL: Route = {
  ...PLAIN,
  communities: ['65001:1', '65001:2'],
  largeCommunities: ['65001:1:1', '65001:1:2'],
  med: 0,
};
const V6: Route = {
  ...PLAIN,
  prefix: { address: address('2001:db8::1'), length: 128 },
  nextHop: address('2001:db8::f'),
};

function pathOf(route: Route): PathMessage {
  const path = pathMessage(route);
  if (typeof path === 'string') throw new TypeError(path);
  return path;
}

describe('a path', () => {
  test('carries an IPv4 next hop in its own attribute', () => {
    expect(pathOf(FULL)).toEqual({
      nlri: { prefix: { prefix: '192.0.2.1', prefixLen: 32 } },
      family: IPV4_UNICAST,
      identifier: 0,
      pattrs: [
        { origin: { origin: 0 } },
        { nextHop: { nextHop: '10.0.0.1' } },
        { multiExitDisc: { med: 0 } },
        { communities: { communities: [0xfde90001, 0xfde90002] } },
        {
          largeCommunities: {
            communities: [
              { globalAdmin: 65_001, localData1: 1, localData2: 1 },
              { globalAdmin: 65_001, localData1: 1, localData2: 2 },
            ],
          },
        },
      ],
    });
  });

  test.each([
    ['IPv6', V6, IPV6_UNICAST, { prefix: '2001:db8::1', prefixLen: 128 }],
    [
      'IPv4 behind IPv6',
      { ...PLAIN, nextHop: V6.nextHop },
      IPV4_UNICAST,
      { prefix: '192.0.2.1', prefixLen: 32 },
    ],
  ])('carries the next hop of %s with the prefix', (_, route, family, prefix) => {
    expect(pathOf(route).pattrs).toEqual([
      { origin: { origin: 0 } },
      { mpReach: { family, nextHops: ['2001:db8::f'], nlris: [{ prefix }] } },
    ]);
  });

  test('says a community once, however often it is wanted', () => {
    const twice = {
      ...PLAIN,
      communities: ['65001:1', '65001:01'],
      largeCommunities: ['1:1:1', '1:1:1'],
    };
    const once = { ...PLAIN, communities: ['65001:1'], largeCommunities: ['1:1:1'] };
    expect(pathKey(pathOf(twice))).toBe(pathKey(pathOf(once)));
  });

  test('is refused with the place and the text that is wrong', () => {
    expect(pathMessage({ ...PLAIN, communities: ['1:2:3'] })).toBe(
      '192.0.2.1/32: not a community: 1:2:3',
    );
    expect(pathMessage({ ...PLAIN, largeCommunities: ['1:2'] })).toContain('1:2');
  });
});

describe('two paths are equal', () => {
  test('in whatever order they are said and however addresses are written', () => {
    const held: PathMessage = {
      ...pathOf(V6),
      nlri: { prefix: { prefix: '2001:DB8:0::1', prefixLen: 128 } },
      pattrs: [
        { communities: { communities: [2, 1] } },
        { mpReach: { family: IPV6_UNICAST, nextHops: ['2001:db8:0:0::f'], nlris: [] } },
        { origin: { origin: 0 } },
      ],
    };
    expect(pathKey(held)).toBe(pathKey(pathOf({ ...V6, communities: ['0:1', '0:2'] })));
  });

  test.each<[string, Partial<Route>]>([
    ['next hop', { nextHop: address('10.0.0.2') }],
    ['med', { med: 1 }],
    ['absent med', { med: undefined }],
    ['communities', { communities: ['65001:1'] }],
    ['large communities', { largeCommunities: ['65001:1:1', '65001:1:3'] }],
  ])('but not with another %s', (_, change) => {
    expect(pathKey(pathOf({ ...FULL, ...change }))).not.toBe(pathKey(pathOf(FULL)));
  });

  test('but not when one has an attribute that we never set', () => {
    const strange = { ...pathOf(PLAIN), pattrs: [...pathOf(PLAIN).pattrs, {}] };
    expect(pathKey(strange)).not.toBe(pathKey(pathOf(PLAIN)));
  });
});

describe('the plan for routes', () => {
  const prefixes = (paths: readonly PathMessage[]) => paths.map(prefixOf);

  test('announces what is missing and withdraws what is not wanted', () => {
    const plan = planRoutes([pathOf(PLAIN)], [V6]);
    expect(prefixes(plan.announce)).toEqual(['2001:db8::1/128']);
    expect(prefixes(plan.withdraw)).toEqual(['192.0.2.1/32']);
    expect(plan.kept).toEqual([]);
  });

  test('leaves alone what is held as wanted', () => {
    expect(planRoutes([pathOf(FULL), pathOf(V6)], [V6, FULL])).toEqual({
      kept: ['2001:db8::1/128', '192.0.2.1/32'],
      announce: [],
      withdraw: [],
      rejected: [],
    });
  });

  test('replaces a changed route without withdrawing it', () => {
    const plan = planRoutes([pathOf(FULL)], [{ ...FULL, med: 1 }]);
    expect(plan.withdraw).toEqual([]);
    expect(plan.announce).toEqual([pathOf({ ...FULL, med: 1 })]);
  });

  test('withdraws a second path to a wanted prefix', () => {
    const second = { ...pathOf(PLAIN), identifier: 7 };
    const plan = planRoutes([second, pathOf(PLAIN)], [PLAIN]);
    expect(plan.withdraw).toEqual([second]);
    expect(plan.kept).toEqual(['192.0.2.1/32']);
  });

  test('keeps the held route of a wanted one that cannot be said', () => {
    const plan = planRoutes([pathOf(PLAIN)], [{ ...PLAIN, communities: ['nonsense'] }]);
    expect(plan).toMatchObject({ announce: [], withdraw: [], kept: [] });
    expect(plan.rejected).toEqual(['192.0.2.1/32: not a community: nonsense']);
  });
});
