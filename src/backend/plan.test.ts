import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { address, type Address } from '../model/address.ts';
import { planChanges, type Change, type Found } from './plan.ts';

const VIP4 = address('192.0.2.1');
const VIP6 = address('2001:db8::1');

interface Machine {
  readonly loopback?: readonly Address[];
  readonly eth0?: readonly Address[];
  readonly settings?: Readonly<Record<string, number>>;
  readonly up?: boolean;
}

function machine({ loopback = [], eth0 = [], settings = {}, up = true }: Machine = {}): Found {
  const quiet = Object.fromEntries(
    ['all', 'eth0', 'lo'].flatMap((name) =>
      ['arp_ignore', 'arp_announce', 'rp_filter'].map((setting) => [`${name}/${setting}`, 0]),
    ),
  );
  return {
    interfaces: [
      { name: 'lo', mtu: 65536, up, addresses: loopback },
      { name: 'eth0', mtu: 1500, up: true, addresses: eth0 },
    ],
    settings: new Map(Object.entries({ ...quiet, ...settings })),
  };
}

function setting(key: string, before: number, after: number): Change {
  return { kind: 'setting', key, before, after };
}

function onLo(vip: Address): Change {
  return { kind: 'address', address: vip };
}

/** What a machine becomes when changes are made, or taken back. */
function changed(found: Found, changes: readonly Change[], direction: 'apply' | 'undo'): Found {
  const settings = new Map(found.settings);
  let loopback = [...(found.interfaces[0]?.addresses ?? [])];
  for (const change of changes) {
    if (change.kind === 'setting') {
      settings.set(change.key, direction === 'apply' ? change.after : change.before);
    } else {
      loopback = loopback.filter((each) => each !== change.address);
      if (direction === 'apply') loopback.push(change.address);
    }
  }
  const [lo, ...others] = found.interfaces;
  return { settings, interfaces: [{ ...lo!, addresses: loopback.sort() }, ...others] };
}

const QUIET = [setting('all/arp_ignore', 0, 1), setting('all/arp_announce', 0, 2)];

describe('what is changed', () => {
  test('settings come before the addresses that they keep quiet', () => {
    expect(planChanges([VIP4, VIP6], ['eth0'], machine(), [])).toEqual({
      refusals: [],
      undo: [],
      apply: [...QUIET, onLo(VIP4), onLo(VIP6)],
      changes: [...QUIET, onLo(VIP4), onLo(VIP6)],
    });
  });

  test('IPv6 needs no settings', () => {
    expect(planChanges([VIP6], ['eth0'], machine(), []).apply).toEqual([onLo(VIP6)]);
  });

  test('an address that is there already is not ours', () => {
    const { apply, changes } = planChanges([VIP6], ['eth0'], machine({ loopback: [VIP6] }), []);
    expect({ apply, changes }).toEqual({ apply: [], changes: [] });
  });

  // Values of `all` and of the interface, and what becomes of them; undefined: left alone.
  const rows = [
    { name: 'arp_ignore', all: 0, own: 0, wanted: [1, undefined] },
    { name: 'arp_ignore', all: 2, own: 0, wanted: [undefined, undefined] },
    { name: 'arp_ignore', all: 8, own: 0, wanted: [undefined, undefined] },
    { name: 'arp_ignore', all: 3, own: 0, wanted: [1, undefined] },
    { name: 'arp_ignore', all: 0, own: 3, wanted: [1, 1] },
    { name: 'arp_announce', all: 0, own: 0, wanted: [2, undefined] },
    { name: 'arp_announce', all: 1, own: 2, wanted: [2, undefined] },
    { name: 'arp_announce', all: 2, own: 0, wanted: [undefined, undefined] },
    { name: 'rp_filter', all: 0, own: 0, wanted: [undefined, undefined] },
    { name: 'rp_filter', all: 0, own: 1, wanted: [undefined, 2] },
    { name: 'rp_filter', all: 1, own: 0, wanted: [undefined, 2] },
    { name: 'rp_filter', all: 2, own: 1, wanted: [undefined, undefined] },
    { name: 'rp_filter', all: 1, own: 2, wanted: [undefined, undefined] },
  ];

  test.each(rows)('$name, all $all, eth0 $own: $wanted', ({ name, all, own, wanted }) => {
    const settings = { [`all/${name}`]: all, [`eth0/${name}`]: own };
    const { apply } = planChanges([VIP4], ['eth0'], machine({ settings }), []);
    const after = (key: string) => {
      const change = apply.find((each) => each.kind === 'setting' && each.key === key);
      return change?.kind === 'setting' ? change.after : undefined;
    };
    expect([after(`all/${name}`), after(`eth0/${name}`)]).toEqual(wanted);
  });
});

describe('what was changed before', () => {
  const before = machine({ settings: { 'eth0/rp_filter': 1 } });
  const first = planChanges([VIP4, VIP6], ['eth0'], before, []);
  const during = changed(before, first.apply, 'apply');

  test('the same again changes nothing', () => {
    const again = planChanges([VIP4, VIP6], ['eth0'], during, first.changes);
    expect(again).toEqual({ ...first, apply: [] });
  });

  test('a VIP that is gone is taken back, and the settings with the last one of IPv4', () => {
    const fewer = planChanges([VIP6], ['eth0'], during, first.changes);
    expect(fewer).toEqual({
      refusals: [],
      undo: [onLo(VIP4), setting('eth0/rp_filter', 1, 2), ...QUIET.toReversed()],
      apply: [],
      changes: [onLo(VIP6)],
    });
  });

  test('what somebody took away is put back', () => {
    const without = machine({ settings: { 'eth0/rp_filter': 1 }, loopback: [VIP6] });
    const { undo, changes } = planChanges([VIP4, VIP6], ['eth0'], without, first.changes);
    expect(undo).toEqual([]);
    expect(changes).toEqual(first.changes);
  });

  test('a setting that somebody changed is theirs: it is what comes back', () => {
    const theirs = changed(during, [setting('all/arp_ignore', 1, 2)], 'apply');
    const { apply, changes } = planChanges([VIP4, VIP6], ['eth0'], theirs, first.changes);
    expect(apply).toEqual([]);
    expect(changes).not.toContainEqual(QUIET[0]);
  });
});

describe('refused, and nothing is planned', () => {
  const rows = [
    {
      what: 'a loopback that is down',
      found: machine({ up: false }),
      refusal: 'lo is down: ip link set lo up',
    },
    {
      what: 'a VIP on the interface itself',
      found: machine({ eth0: [VIP4] }),
      refusal:
        'VIP 192.0.2.1 is on eth0, which answers for it: ip addr flush to 192.0.2.1 dev eth0',
    },
  ];

  test.each(rows)('$what', ({ found, refusal }) => {
    const { refusals, apply, undo } = planChanges([VIP4], ['eth0'], found, []);
    expect({ refusals, apply, undo }).toEqual({ refusals: [refusal], apply: [], undo: [] });
  });

  test('an interface that is not there', () => {
    expect(planChanges([VIP4], ['eth9'], machine(), []).refusals).toEqual([
      'there is no network interface eth9',
    ]);
  });
});

test('whatever is wanted one after the other, the machine is in the end as it was', () => {
  const vips = fc.subarray([VIP4, VIP6, address('192.0.2.2'), address('2001:db8::2')]);
  const value = fc.integer({ min: 0, max: 3 });
  const settings = fc.record({
    'all/arp_ignore': value,
    'eth0/arp_ignore': value,
    'all/arp_announce': value,
    'eth0/arp_announce': value,
    'all/rp_filter': value,
    'eth0/rp_filter': value,
  });
  fc.assert(
    fc.property(vips, settings, fc.array(vips, { maxLength: 5 }), (there, values, wishes) => {
      const start = changed(machine({ settings: values }), there.map(onLo), 'apply');
      let found = start;
      let changes: readonly Change[] = [];
      for (const wish of [...wishes, []]) {
        const plan = planChanges(wish, ['eth0'], found, changes);
        found = changed(changed(found, plan.undo, 'undo'), plan.apply, 'apply');
        changes = plan.changes;
        for (const vip of wish) expect(found.interfaces[0]?.addresses).toContain(vip);
        expect(planChanges(wish, ['eth0'], found, changes)).toMatchObject({ undo: [], apply: [] });
      }
      expect(changes).toEqual([]);
      expect(found).toEqual(start);
    }),
  );
});
