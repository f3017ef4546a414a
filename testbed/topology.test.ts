import { describe, expect, test } from 'vitest';
import { isTestbedNamespace, sites, topology } from './topology.ts';

describe('addresses', () => {
  const shape = topology({ nodes: 8, backends: 16 });

  test.each([
    ['client', '10.83.0.2', 'fd83::2'],
    ['router', '10.83.1.1', 'fd83:1::1'],
    ['lb1', '10.83.1.11', 'fd83:1::11'],
    ['lb8', '10.83.1.18', 'fd83:1::18'],
    ['b1', '10.83.1.101', 'fd83:1::101'],
    ['b16', '10.83.1.116', 'fd83:1::116'],
  ])('%s has %s and %s', (name, ipv4, ipv6) => {
    const site = sites(shape).find((one) => one.name === name);
    expect(site).toMatchObject({ ipv4, ipv6, namespace: `skein-${name}` });
  });

  test('the consoles are on the management network', () => {
    expect(shape.nodes.map((node) => node.management)).toEqual([
      ...['10.83.254.11', '10.83.254.12', '10.83.254.13', '10.83.254.14'],
      ...['10.83.254.15', '10.83.254.16', '10.83.254.17', '10.83.254.18'],
    ]);
  });

  test('no address and no MAC address is given twice, but for the VIPs', () => {
    const ends = shape.links.flatMap((link) => link.ends);
    const addresses = ends.flatMap((end) => end.addresses);
    expect(new Set(addresses).size).toBe(addresses.length);
    expect(new Set(ends.map((end) => end.mac)).size).toBe(ends.length);
  });

  test('every backend carries every VIP, and nobody else does', () => {
    const carrying = shape.namespaces.filter((namespace) => namespace.loopback.length > 0);
    expect(carrying.map((namespace) => namespace.name)).toEqual(
      shape.backends.map((backend) => backend.namespace),
    );
    expect(new Set(carrying.map((namespace) => namespace.loopback.join()))).toEqual(
      new Set([shape.vips.map((vip) => `${vip.ipv4}/32,${vip.ipv6}/128`).join()]),
    );
  });
});

describe('links', () => {
  const shape = topology({ nodes: 3, backends: 4 });
  const ends = shape.links.flatMap((link) => link.ends);

  test('the switch ports of balancers, and no others, have an XDP program', () => {
    const on = ends.filter((end) => end.pass).map((end) => `${end.namespace} ${end.interface}`);
    expect(on).toEqual(['skein-lan lb1', 'skein-lan lb2', 'skein-lan lb3']);
  });

  test('one interface is in the root namespace', () => {
    const inRoot = ends.filter((end) => end.namespace === undefined);
    expect(inRoot.map((end) => end.interface)).toEqual(['skein-mgmt']);
  });

  test('no interface name is longer than the kernel allows or used twice in a namespace', () => {
    const names = ends.map((end) => `${end.namespace}/${end.interface}`);
    expect(new Set(names).size).toBe(names.length);
    expect(ends.every((end) => end.interface.length <= 15)).toBe(true);
  });
});

test('the first backends are left to `skein backend`, if so many are', () => {
  const { backends, namespaces } = topology({ nodes: 1, backends: 3, managedBackends: 2 });
  expect(backends.map(({ managed }) => managed)).toEqual([true, true, false]);
  for (const { namespace, managed } of backends) {
    const found = namespaces.find(({ name }) => name === namespace);
    expect(found?.loopback.length === 0, namespace).toBe(managed);
    expect('net/ipv4/conf/all/arp_ignore' in (found?.sysctls ?? {}), namespace).toBe(!managed);
  }
});

describe('sizes', () => {
  test.each([
    { nodes: 9, backends: 1 },
    { nodes: 1, backends: 17 },
    { nodes: -1, backends: 1 },
    { nodes: 1.5, backends: 1 },
    { nodes: 1, backends: 1, vipPairs: 0 },
    { nodes: 1, backends: 1, managedBackends: 2 },
  ])('%o is refused', (options) => {
    expect(() => topology(options)).toThrow(/the testbed has \d to \d+/);
  });

  test('a testbed without balancers is one', () => {
    expect(topology({ nodes: 0, backends: 1 }).nodes).toEqual([]);
  });
});

describe('names that may be removed', () => {
  test('are those that a topology makes', () => {
    const { namespaces } = topology({ nodes: 8, backends: 16 });
    expect(namespaces.filter(({ name }) => !isTestbedNamespace(name))).toEqual([]);
  });

  test.each([
    'skein-lb9',
    'skein-b17',
    'skein-b0',
    'skein-bgp-12-n',
    'skein',
    'other',
    'skein-lb1x',
  ])('do not include %s', (name) => {
    expect(isTestbedNamespace(name)).toBe(false);
  });
});
