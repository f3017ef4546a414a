import { expect, test } from 'vitest';
import { address } from '../model/address.ts';
import { assignmentsFor, type ServedService } from './document.ts';

const OWN = address('10.1.0.11');
const OTHER = address('10.1.0.12');
const VIP = address('192.0.2.1');

test('services of other servers are not this one’s', () => {
  const services: ServedService[] = [
    { vip: VIP, backends: [{ address: OTHER, mode: 'ipip' }] },
    { vip: address('192.0.2.2'), backends: [{ address: OWN, mode: 'l2dsr' }] },
  ];
  expect(assignmentsFor(services, new Set([OWN]))).toMatchObject([
    { vip: '192.0.2.2', address: OWN, mode: 'l2dsr' },
  ]);
});

test('what the backend says of its mode comes along', () => {
  const forwarding = { port: 7000, mtuBytes: 1400 };
  const services: ServedService[] = [
    { vip: VIP, backends: [{ address: OWN, mode: 'gue', forwarding }] },
    { vip: VIP, backends: [{ address: OWN, mode: 'dscp', forwarding: { dscp: 7 } }] },
  ];
  expect(assignmentsFor(services, new Set([OWN]))).toMatchObject([
    { mode: 'gue', tunnelPort: 7000, mtu: 1400 },
    { mode: 'dscp', dscp: 7 },
  ]);
});

test('two services on one VIP are one assignment', () => {
  const service: ServedService = { vip: VIP, backends: [{ address: OWN, mode: 'ipip' }] };
  expect(assignmentsFor([service, service], new Set([OWN]))).toHaveLength(1);
});
