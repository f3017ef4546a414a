import { describe, expect, test } from 'vitest';
import type { ReportsConfig } from '../config/types.ts';
import { address } from '../model/address.ts';
import { formatPlace, placeOf } from './place.ts';

const OWN = { ipv4: address('10.83.1.11'), ipv6: address('fd83:1::11') };
const V4 = { address: address('239.83.75.79'), port: 7484 };
const V6 = { address: address('ff05::5ce2'), port: 7484 };

function found({ group, nodes = [] }: Partial<ReportsConfig>, own: Parameters<typeof placeOf>[1]) {
  const reports = { group, nodes, keyFiles: [], maxSkewMs: 1 };
  return formatPlace(placeOf(reports, own, (each) => `the one with ${each}`));
}

describe('a node listens', () => {
  test.each<[string, Partial<ReportsConfig>, string]>([
    ['for an IPv4 group', { group: V4 }, '239.83.75.79:7484 on the one with 10.83.1.11'],
    ['for an IPv6 group', { group: V6 }, '[ff05::5ce2]:7484 on the one with fd83:1::11'],
    [
      'at its own address of the list',
      {
        nodes: [
          { address: address('10.83.1.12'), port: 1 },
          { address: OWN.ipv4, port: 2 },
        ],
      },
      '10.83.1.11:2',
    ],
    ['at either', { nodes: [{ address: OWN.ipv6, port: 3 }] }, '[fd83:1::11]:3'],
  ])('%s', (_, reports, place) => {
    expect(found(reports, OWN)).toBe(place);
  });

  test.each<[string, Partial<ReportsConfig>, RegExp]>([
    ['without an address of the family', { group: V6 }, /by ipv6, .* started without ipv6/],
    ['that is not in the list', { nodes: [V4] }, /neither ipv4 nor ipv6 .* reports\.nodes/],
  ])('nowhere: %s', (_, reports, why) => {
    const message = expect.stringMatching(why) as string;
    const error = expect.objectContaining({ code: 'REPORTS_ADDRESS', message }) as Error;
    expect(() => found(reports, { ...OWN, ipv6: undefined })).toThrow(error);
  });
});
