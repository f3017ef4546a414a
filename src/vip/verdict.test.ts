import { describe, expect, test } from 'vitest';
import { address } from '../model/address.ts';
import { serviceId } from '../model/service.ts';
import { explain, verdict, type ServiceFacts, type VipFacts } from './verdict.ts';

const vip = address('192.0.2.1');
const web = serviceId({ vip, protocol: 'tcp', port: 80 });
const dns = serviceId({ vip, protocol: 'udp', port: 53 });

const up: ServiceFacts = { id: web, programmed: true, state: 'up', up: 2, need: 1 };
const down: ServiceFacts = { id: dns, programmed: true, state: 'down', up: 0, need: 1 };
const pending: ServiceFacts = { ...down, state: 'unknown' };

function facts(services: ServiceFacts[], change: Partial<VipFacts> = {}): VipFacts {
  return { policy: 'all', stopping: false, unsynced: undefined, services, ...change };
}

describe('a VIP is announced', () => {
  test.each([
    ['with every service up', facts([up])],
    ['by policy any with one service up', facts([up, down], { policy: 'any' })],
    ['by policy any while another waits for its checks', facts([pending, up], { policy: 'any' })],
  ])('%s', (_, given) => {
    expect(verdict(given)).toEqual({ kind: 'announce' });
  });
});

describe('a VIP is withheld', () => {
  test.each([
    ['while the node stops, whatever its services do', facts([up], { stopping: true }), 'stopping'],
    ['without services', facts([]), 'no_services'],
    [
      'before its maps are programmed, even with checks passed',
      facts([{ ...up, programmed: false }]),
      'not_programmed',
    ],
    [
      'by policy any too when a service is not programmed',
      facts([up, { ...down, programmed: false }], { policy: 'any' }),
      'not_programmed',
    ],
    ['until the flows of its peers are here', facts([up], { unsynced: 'listening' }), 'not_synced'],
    [
      'for its backends first, and for its peers then',
      facts([down], { unsynced: 'listening' }),
      'too_few_backends',
    ],
    ['until the first checks are through', facts([pending]), 'checks_pending'],
    ['by policy all with one service down', facts([up, down]), 'too_few_backends'],
    ['when one is down and another pending', facts([pending, down]), 'too_few_backends'],
    ['by policy any with every service down', facts([down], { policy: 'any' }), 'too_few_backends'],
  ])('%s', (_, given, code) => {
    expect(verdict(given)).toMatchObject({ kind: 'withhold', reason: { code } });
  });

  test('and the reason names the services and their numbers', () => {
    const given = verdict(facts([up, down]));
    if (given.kind === 'announce') throw new Error('must be withheld');
    expect(explain(given.reason)).toBe('udp/192.0.2.1:53 has 0 of 1 needed backends up');
  });
});
