import { expect, test } from 'vitest';
import type { BackendStatus } from '../backend/server.ts';
import { address } from '../model/address.ts';
import { describeBackendServer } from './backend-status.ts';

const STATUS: BackendStatus = {
  pid: 4711,
  vips: [address('192.0.2.1'), address('2001:db8::1')],
  interfaces: [{ name: 'eth0', ifindex: 2, xdpMode: 'native' }],
  clamps: [{ vip: address('192.0.2.1'), mss: 1440 }],
  changes: [],
  counters: [
    { name: 'ipip', drop: false, help: 'Taken out', value: 12 },
    { name: 'gre', drop: false, help: 'Taken out', value: 0 },
    { name: 'congestion', drop: true, help: 'Marked', value: 1 },
  ],
};

test('VIPs with their clamp, interfaces with their mode, counters that moved', () => {
  expect(describeBackendServer(STATUS)).toEqual([
    'process 4711; XDP on eth0 (native)',
    'vip 192.0.2.1  segments up to 1440 bytes',
    'vip 2001:db8::1',
    '12 ipip: Taken out',
    'dropped 1 congestion: Marked',
  ]);
});

test('without a program', () => {
  const [first] = describeBackendServer({ ...STATUS, interfaces: [], counters: [] });
  expect(first).toBe('process 4711; XDP on no interface: no mode needs it');
});
