import { expect, test } from 'vitest';
import { address } from '../model/address.ts';
import type { DesiredBgp } from '../model/bgp.ts';
import { RecordingAnnouncer } from './recording.ts';

function desired(med: number): DesiredBgp {
  return {
    speaker: { as: 65_001, routerId: address('10.0.0.1'), peers: [] },
    routes: [
      {
        prefix: { address: address('192.0.2.1'), length: 32 },
        nextHop: address('10.0.0.1'),
        communities: [],
        largeCommunities: [],
        med,
      },
    ],
  };
}

test('remembers what was wanted, and the same only once', () => {
  const announcer = new RecordingAnnouncer();
  announcer.start();
  announcer.set(desired(1));
  announcer.set(desired(1));
  announcer.set(desired(2));

  expect(announcer.history).toEqual([desired(1), desired(2)]);
  expect(announcer.status()).toMatchObject({ daemon: 'connected', announced: ['192.0.2.1/32'] });
});

test('forgets the oldest after a thousand', () => {
  const announcer = new RecordingAnnouncer();
  for (let med = 0; med <= 1_000; med += 1) announcer.set(desired(med));

  expect(announcer.history).toHaveLength(1_000);
  expect(announcer.history[0]).toEqual(desired(1));
});
