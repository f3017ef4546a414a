/** The announcer without a daemon that it can drive. With one: gobgp.daemon.test.ts. */
import { Server, ServerCredentials } from '@grpc/grpc-js';
import { afterEach, describe, expect, onTestFinished, test, vi } from 'vitest';
import { closedPort } from '../health/local-servers.ts';
import { systemClock } from '../lib/clock.ts';
import { silentLogger } from '../lib/logger.ts';
import { address } from '../model/address.ts';
import type { DesiredBgp } from '../model/bgp.ts';
import { GobgpAnnouncer, retryDelayMs } from './gobgp.ts';

const WAIT = { timeout: 30_000, interval: 10 };

const DESIRED: DesiredBgp = {
  speaker: {
    as: 65_001,
    routerId: address('10.0.0.1'),
    peers: [
      {
        address: address('10.0.0.2'),
        as: 65_100,
        holdTimeS: 9,
        password: undefined,
        ttlSecurity: false,
        multihopTtl: undefined,
        bfd: undefined,
      },
    ],
  },
  routes: [],
};

describe('the GoBGP announcer', () => {
  const announcers: GobgpAnnouncer[] = [];

  const createAnnouncer = (target: string) => {
    const announcer = new GobgpAnnouncer({ target, clock: systemClock, logger: silentLogger });
    announcers.push(announcer);
    return announcer;
  };

  afterEach(async () => {
    for (const announcer of announcers.splice(0)) await announcer.stop();
  });

  test('shows that there is no daemon, and what it wanted of it', async () => {
    const target = `127.0.0.1:${await closedPort()}`;
    const announcer = createAnnouncer(target);
    announcer.start();
    announcer.set(DESIRED);

    await vi.waitFor(() => {
      expect(announcer.status()).toMatchObject({
        daemon: 'unreachable',
        detail: expect.stringContaining(target) as string,
        version: undefined,
        announced: [],
        peers: [{ address: '10.0.0.2', session: 'unknown', bfd: 'off' }],
        resyncs: 0,
      });
    }, WAIT);
  });

  test('refuses a daemon that speaks another API', async () => {
    const server = new Server();
    onTestFinished(() => {
      server.forceShutdown();
    });
    const port = await new Promise<number>((resolve, reject) => {
      server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, bound) => {
        if (error === null) resolve(bound);
        else reject(error);
      });
    });
    const announcer = createAnnouncer(`127.0.0.1:${port}`);
    announcer.start();
    announcer.set(DESIRED);

    await vi.waitFor(() => {
      expect(announcer.status().daemon).toBe('refused');
    }, WAIT);
    expect(announcer.status().detail).toContain('install gobgpd 4.6 or newer');
  });

  test('refuses a target that is none', async () => {
    const announcer = createAnnouncer('');
    announcer.start();
    announcer.set(DESIRED);

    await vi.waitFor(() => {
      expect(announcer.status().daemon).toBe('refused');
    }, WAIT);
  });

  test('is settled while nothing is wanted', async () => {
    const announcer = createAnnouncer('127.0.0.1:1');
    await announcer.settled(AbortSignal.abort());
    expect(announcer.status().daemon).toBe('connecting');
  });

  test('is not settled until it is done: gives up when told, and when stopped', async () => {
    const announcer = createAnnouncer(`127.0.0.1:${await closedPort()}`);
    announcer.set(DESIRED);
    await expect(announcer.settled(AbortSignal.abort())).rejects.toMatchObject({
      code: 'bgp_not_settled',
    });

    const settled = announcer.settled(new AbortController().signal);
    const rejection = expect(settled).rejects.toMatchObject({ code: 'bgp_not_settled' });
    await announcer.stop();
    await rejection;
  });

  test('may be stopped before it is started, and both twice', async () => {
    const announcer = createAnnouncer(`127.0.0.1:${await closedPort()}`);
    await announcer.stop();
    announcer.start();
    announcer.start();
    await announcer.stop();
    expect(announcer.status().daemon).toBe('connecting');
  });
});

test.each([
  [0, 100],
  [1, 100],
  [2, 200],
  [4, 800],
  [5, 1_000],
  [2_000, 1_000],
])('after %d failed attempts waits %d ms', (failedAttempts, delayMs) => {
  expect(retryDelayMs(failedAttempts)).toBe(delayMs);
});
