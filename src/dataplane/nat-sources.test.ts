/** What replies of nat backends stand for, and that the kernel's map follows. */
import { describe, expect, test } from 'vitest';
import { address, type Address } from '../model/address.ts';
import type { ForwardingMode } from '../model/forwarding.ts';
import {
  featuresOf,
  natSources,
  NatTable,
  type NatMaps,
  type NatService,
  type NatSource,
} from './nat-sources.ts';

const BACKEND = address('10.0.0.1');
const vip = (n: number): Address => address(`192.0.2.${n}`);

function service(n: number, port: number, own?: number, mode: ForwardingMode = 'nat'): NatService {
  const backend = { address: BACKEND, mode, forwarding: { port: own } };
  return { vip: vip(n), protocol: 'tcp', port, backends: new Map([[BACKEND, backend]]) };
}

function textOf({ address: from, port, candidates }: NatSource): string {
  return `${from}:${port} -> ${candidates.map((each) => `${each.vip}:${each.port}`).join(' ')}`;
}

function texts(services: readonly NatService[]): string[] {
  return [...natSources(services).values()].map(textOf);
}

describe('the sources of replies', () => {
  test.each<[string, readonly NatService[], readonly string[]]>([
    ['of a port of its own', [service(1, 80, 8080)], ['10.0.0.1:8080 -> 192.0.2.1:80']],
    ["of the service's port", [service(1, 80)], ['10.0.0.1:80 -> 192.0.2.1:80']],
    ['of every port', [service(1, 0, 8080)], ['10.0.0.1:0 -> 192.0.2.1:0']],
    [
      'shared by two VIPs, in one order',
      [service(2, 80, 8080), service(1, 80, 8080)],
      ['10.0.0.1:8080 -> 192.0.2.1:80 192.0.2.2:80'],
    ],
    [
      'of one port and of every port',
      [service(1, 80, 8080), service(2, 0)],
      ['10.0.0.1:8080 -> 192.0.2.1:80 192.0.2.2:0', '10.0.0.1:0 -> 192.0.2.2:0'],
    ],
    ['other modes have none', [service(1, 80, 8080, 'full_nat'), service(2, 80, 0, 'l2dsr')], []],
  ])('%s', (_, services, expected) => {
    expect(texts(services)).toEqual(expected);
  });

  test('that stand for too many are an error', () => {
    const services = [1, 2, 3, 4, 5].map((n) => service(n, 80, 8080));
    expect(texts(services.slice(0, 4))).toHaveLength(1);
    expect(() => natSources(services)).toThrow('tcp 10.0.0.1 8080 stands for more than 4');
  });
});

test.each<[ForwardingMode, number]>([
  ['l2dsr', 0],
  ['nat', 1],
  ['full_nat', 2],
])('%s needs the features %i', (mode, expected) => {
  expect(featuresOf([{ backends: [{ mode }] }])).toBe(expected);
});

describe('the table', () => {
  function setUp(held?: readonly NatSource[]) {
    const log: string[] = [];
    const maps: NatMaps = {
      putNatSource: (source) => log.push(`put ${textOf(source)}`),
      removeNatSource: (source) => log.push(`remove ${textOf(source)}`),
    };
    return { log, table: new NatTable(maps, held) };
  }

  test('adds first and removes when told to', () => {
    const { log, table } = setUp();
    expect(table.add([service(1, 80, 8080)])).toBe(1);
    expect(table.add([service(1, 80, 8081)])).toBe(1);
    expect(table.settle([service(1, 80, 8081)])).toBe(1);
    expect(log).toEqual([
      'put 10.0.0.1:8080 -> 192.0.2.1:80',
      'put 10.0.0.1:8081 -> 192.0.2.1:80',
      'remove 10.0.0.1:8080 -> 192.0.2.1:80',
    ]);
  });

  test('writes nothing twice, and what has changed anew', () => {
    const { log, table } = setUp();
    table.add([service(1, 80, 8080)]);
    expect(table.add([service(1, 80, 8080)])).toBe(0);
    expect(table.settle([service(1, 80, 8080)])).toBe(0);
    table.add([service(2, 80, 8080)]);
    expect(log.slice(1)).toEqual(['put 10.0.0.1:8080 -> 192.0.2.2:80']);
  });

  test('goes on from what an earlier supervisor left', () => {
    const held = [...natSources([service(1, 80, 8080), service(1, 81, 8081)]).values()];
    const { log, table } = setUp(held);
    expect(table.add([service(1, 80, 8080)])).toBe(0);
    table.settle([service(1, 80, 8080)]);
    expect(log).toEqual(['remove 10.0.0.1:8081 -> 192.0.2.1:81']);
  });

  test('a write that failed is made again', () => {
    let broken = true;
    const table = new NatTable({
      putNatSource: () => {
        if (broken) throw new Error('full');
      },
      removeNatSource: () => undefined,
    });
    expect(() => table.add([service(1, 80)])).toThrow('full');
    broken = false;
    expect(table.add([service(1, 80)])).toBe(1);
  });
});
