import { expect, test } from 'vitest';
import { vlanDevices } from './vlan-devices.ts';

const INDEXES: Readonly<Record<string, number>> = { eth0: 2, 'eth0.300': 7 };
const indexOf = (name: string): number => INDEXES[name] ?? 0;

/** As `ip -j -d link show type vlan` prints a device. */
function device(change: Readonly<Record<string, unknown>>, data: object = {}): unknown {
  return {
    ifindex: 7,
    link: 'eth0',
    ifname: 'eth0.300',
    flags: ['BROADCAST', 'MULTICAST', 'UP', 'LOWER_UP'],
    mtu: 1500,
    operstate: 'UP',
    link_type: 'ether',
    address: '02:00:00:00:00:01',
    linkinfo: {
      info_kind: 'vlan',
      info_data: { protocol: '802.1Q', id: 300, flags: ['REORDER_HDR'], ...data },
    },
    ...change,
  };
}

test('a device is the interface below it and a tag', () => {
  const found = vlanDevices([device({}), device({ ifindex: 8, ifname: 'v9' }, { id: 9 })], indexOf);
  expect(found).toEqual({
    devices: new Map([
      [7, { lowerIfindex: 2, vlan: 300 }],
      [8, { lowerIfindex: 2, vlan: 9 }],
    ]),
    unusable: [],
  });
});

test.each([
  { name: 'nothing', links: [] },
  { name: 'links of other kinds', links: [{ ifindex: 2, ifname: 'eth0', link_type: 'ether' }, {}] },
])('$name: no devices', ({ links }) => {
  expect(vlanDevices(links, indexOf)).toEqual({ devices: new Map(), unusable: [] });
});

test.each([
  { name: 'below it another namespace', link: device({ link: undefined, link_index: 4 }) },
  { name: 'below it what is gone', link: device({ link: 'eth7' }) },
  { name: 'without a tag', link: device({}, { id: undefined }) },
  { name: 'a tag of 802.1ad', link: device({}, { protocol: '802.1ad' }) },
])('$name: unusable, and says so', ({ link }) => {
  const { devices, unusable } = vlanDevices([link], indexOf);
  expect(devices.size).toBe(0);
  expect(unusable).toEqual([expect.stringMatching(/^eth0\.300: /)]);
});

test('a device upon another needs two tags, which is one too many', () => {
  const upper = device({ ifindex: 9, ifname: 'eth0.300.5', link: 'eth0.300' }, { id: 5 });
  const { devices, unusable } = vlanDevices([device({}), upper], indexOf);
  expect([...devices.keys()]).toEqual([7]);
  expect(unusable).toEqual(['eth0.300.5: only one tag of 802.1Q can be pushed']);
});
