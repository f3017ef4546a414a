import { describe, expect, test } from 'vitest';
import { address } from '../model/address.ts';
import { dutiesOf, LIMITS, mssFor, type Assignment, type Duties } from './duties.ts';
import {
  BACKEND_ADDRESSES_MAX,
  BACKEND_DSCPS_MAX,
  BACKEND_VIPS_MAX,
} from '../abi/abi.generated.ts';

const VIP4 = address('192.0.2.1');
const VIP6 = address('2001:db8::1');
const OWN4 = address('10.1.0.11');
const OWN6 = address('2001:db8:1::11');

function assigned(change: Partial<Assignment> = {}): Assignment {
  return { vip: VIP4, address: OWN4, mode: 'l2dsr', ...change };
}

function duties(...assignments: readonly Assignment[]): Duties {
  const result = dutiesOf(assignments);
  if (!result.ok) throw new Error(result.problems.join('; '));
  return result.duties;
}

describe('what a mode needs', () => {
  test('l2dsr: the VIP, and no program', () => {
    expect(duties(assigned())).toEqual({ vips: [VIP4], addresses: [], overheads: new Map() });
  });

  test.each(['nat', 'full_nat'] as const)('%s: nothing', (mode) => {
    expect(duties(assigned({ mode }))).toMatchObject({ vips: [], addresses: [] });
  });

  test('dscp: the VIP by its DSCP, and no clamp', () => {
    expect(duties(assigned({ mode: 'dscp', dscp: 0 }))).toMatchObject({
      vips: [VIP4],
      addresses: [{ address: OWN4, dscps: new Map([[0, VIP4]]) }],
      overheads: new Map(),
    });
  });

  test('tunnels of one address come together, with the ports of their UDP', () => {
    const made = duties(
      assigned({ mode: 'ipip' }),
      assigned({ mode: 'gue', vip: VIP6 }),
      assigned({ mode: 'fou', tunnelPort: 7000 }),
      assigned({ mode: 'gre', address: OWN6 }),
    );
    expect(made.vips).toEqual([VIP4, VIP6]);
    expect(made.addresses).toMatchObject([
      { address: OWN4, tunnels: new Set(['ipip', 'gue', 'fou']), guePort: 6080, fouPort: 7000 },
      { address: OWN6, tunnels: new Set(['gre']) },
    ]);
  });
});

describe('the largest segment', () => {
  // What is left of 1,500 bytes: RFC 791 and 8200 for the headers of IP, 2784 for GRE, 768 for UDP.
  const rows = [
    { mode: 'ipip', own: OWN4, vip: VIP4, mss: 1440 },
    { mode: 'ipip', own: OWN4, vip: VIP6, mss: 1420 },
    { mode: 'ipip', own: OWN6, vip: VIP4, mss: 1420 },
    { mode: 'ipip', own: OWN6, vip: VIP6, mss: 1400 },
    { mode: 'gre', own: OWN4, vip: VIP4, mss: 1436 },
    { mode: 'fou', own: OWN4, vip: VIP4, mss: 1432 },
    { mode: 'gue', own: OWN4, vip: VIP4, mss: 1428 },
    { mode: 'gue', own: OWN6, vip: VIP6, mss: 1388 },
  ] as const;

  test.each(rows)('$mode over $own for $vip: $mss', ({ mode, own, vip, mss }) => {
    expect(mssFor(vip, duties(assigned({ mode, address: own, vip })), 1500)).toBe(mss);
  });

  test('of several ways to a VIP the smallest decides', () => {
    const made = duties(
      assigned({ mode: 'ipip' }),
      assigned({ mode: 'gue', address: OWN6 }),
      assigned({ mode: 'ipip', mtu: 1300, vip: VIP6 }),
    );
    expect(mssFor(VIP4, made, 1500)).toBe(1408);
    expect(mssFor(VIP6, made, 1500)).toBe(1220);
    expect(mssFor(VIP6, made, 9000)).toBe(1220);
  });

  test('without a tunnel there is none', () => {
    const made = duties(assigned(), assigned({ mode: 'ipip', vip: VIP6 }));
    expect(mssFor(VIP4, made, 1500)).toBeUndefined();
  });

  test('an MTU that leaves no room gives what TCP can still do with', () => {
    expect(mssFor(VIP4, duties(assigned({ mode: 'ipip', mtu: 68 })), 1500)).toBe(48);
  });
});

describe('refused', () => {
  const rows = [
    {
      what: 'a DSCP that stands for two VIPs',
      assignments: [
        assigned({ mode: 'dscp', dscp: 10 }),
        assigned({ mode: 'dscp', dscp: 10, vip: address('192.0.2.2') }),
      ],
      problem: 'DSCP 10 to 10.1.0.11 stands for two VIPs, 192.0.2.1 and 192.0.2.2',
    },
    {
      what: 'mode dscp without one',
      assignments: [assigned({ mode: 'dscp' })],
      problem: 'VIP 192.0.2.1 comes by DSCP, but no DSCP is given',
    },
    {
      what: 'DSCP across families',
      assignments: [assigned({ mode: 'dscp', dscp: 1, vip: VIP6 })],
      problem:
        'VIP 2001:db8::1 cannot come by DSCP to 10.1.0.11: that changes the address, not the family',
    },
    {
      what: 'two ports for gue',
      assignments: [assigned({ mode: 'gue' }), assigned({ mode: 'gue', tunnelPort: 1 })],
      problem: 'gue comes to two ports of 10.1.0.11, 6080 and 1: use one',
    },
    {
      what: 'one port for gue and fou',
      assignments: [assigned({ mode: 'gue' }), assigned({ mode: 'fou', tunnelPort: 6080 })],
      problem: 'gue and fou both come to port 6080 of 10.1.0.11: they cannot be told apart',
    },
    {
      what: 'a VIP that is an own address',
      assignments: [assigned(), assigned({ mode: 'ipip', address: VIP4, vip: VIP6 })],
      problem: '192.0.2.1 is both a VIP and an address of this server',
    },
    {
      what: 'a VIP that is no unicast address',
      assignments: [assigned({ vip: address('127.0.0.1') })],
      problem: '127.0.0.1 cannot be a VIP: it is no unicast address',
    },
  ];

  test.each(rows)('$what', ({ assignments, problem }) => {
    expect(dutiesOf(assignments)).toEqual({ ok: false, problems: [problem] });
  });

  test('more than the maps hold', () => {
    expect(LIMITS).toEqual({
      vips: BACKEND_VIPS_MAX,
      addresses: BACKEND_ADDRESSES_MAX,
      dscps: BACKEND_DSCPS_MAX,
    });
    const many = Array.from({ length: 4097 }, (_, n) =>
      assigned({ vip: address(`198.18.${n >> 8}.${n & 255}`) }),
    );
    expect(dutiesOf(many)).toEqual({
      ok: false,
      problems: ['a server has at most 4096 VIPs, not 4097'],
    });
  });
});
