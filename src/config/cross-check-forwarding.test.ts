/** Whether the way to a backend fits its VIPs: nat, whose replies must say where they belong. */
import { describe, expect, test } from 'vitest';
import { loadSample, problemsOf, SAMPLE_CLUSTER, type Changes } from './load-sample.ts';

const NAT = { address: '10.83.1.101', mode: 'nat', port: 8080 };
const web = (changes: object) => ({ ...SAMPLE_CLUSTER.services[0], ...changes });

function found(cluster: Changes): string[] {
  return problemsOf({ cluster }).map((line) => line.replace(/:\d+:\d+:/, ':'));
}

function refused(port: string, sharers: number, at = 'backends.web[0]'): string {
  return (
    `skein.yaml: ${at}.mode: mode nat tells the replies of ${port} of 10.83.1.101 apart for 4 VIPs ` +
    `and ports at most, and here are ${sharers}: use other ports of the backend, or mode full_nat`
  );
}

const vips = (count: number) => Array.from({ length: count }, (_, i) => `10.83.100.${i + 1}`);

describe('nat', () => {
  test.each<[string, Changes, string[]]>([
    ['four VIPs on one port', { 'backends/web': [NAT], 'services/0/vip': vips(4) }, []],
    [
      'five VIPs on one port',
      { 'backends/web': [NAT], 'services/0/vip': vips(5) },
      [refused('tcp port 8080', 5)],
    ],
    [
      'five ports of a VIP on one port',
      { 'backends/web': [NAT], 'services/0/port': [80, 81, 82, 83, 84] },
      [refused('tcp port 8080', 5)],
    ],
    [
      'five ports of a VIP on ports of their own',
      {
        'backends/web': [{ ...NAT, port: undefined }],
        'services/0/port': [80, 81, 82, 83, 84],
      },
      [],
    ],
    [
      'two groups with one backend',
      {
        'backends/web': [NAT],
        'backends/more': [NAT],
        'services/0/vip': vips(3),
        'services/2': web({ name: 'more', port: 81, vip: vips(2), backends: 'more' }),
      },
      [refused('tcp port 8080', 5)],
    ],
    [
      'a service that takes every port is one more for each port',
      {
        'backends/web': [NAT],
        'services/0/vip': vips(4),
        'services/2': web({
          name: 'all',
          port: 0,
          vip: '10.83.100.9',
          checks: [{ type: 'tcp', port: 80 }],
        }),
      },
      [refused('tcp port 8080', 5)],
    ],
    [
      'full_nat tells any number apart',
      { 'backends/web': [{ ...NAT, mode: 'full_nat' }], 'services/0/vip': vips(9) },
      [],
    ],
    [
      'a backend of the other family',
      { 'backends/web': [{ ...NAT, address: 'fd83:1::101' }] },
      [
        'skein.yaml: backends.web[0].address: mode nat needs a backend of the VIP\'s own family, and service "web" has the VIP 10.83.100.1',
      ],
    ],
  ])('%s', (_, cluster, expected) => {
    expect(found(cluster)).toEqual(expected);
  });

  test('the port of the backend reaches the data plane', () => {
    const result = loadSample({ cluster: { 'backends/web': [NAT] } });
    if (!result.ok) throw new Error('the sample is refused');
    const [service] = result.config.cluster.services;
    expect(service?.backends[0]).toMatchObject({ mode: 'nat', forwarding: { port: 8080 } });
  });
});
