/**
 * The announcer against a real gobgpd, with a real BIRD as the router. The tests are one story: each
 * goes on from the state that the one before it left.
 */
import { afterAll, beforeAll, describe, expect, onTestFailed, test, vi } from 'vitest';
import { systemClock } from '../lib/clock.ts';
import { silentLogger } from '../lib/logger.ts';
import { address } from '../model/address.ts';
import type { DesiredBgp, Route } from '../model/bgp.ts';
import { GobgpAnnouncer } from './gobgp.ts';
import { BgpLab, LAB_BFD, NODE, PASSWORD, ROUTER, ROUTER_AS } from './lab.ts';

const NODE_AS = 65_001;
const WAIT = { timeout: 45_000, interval: 50 };

const V4: Route = {
  prefix: { address: address('192.0.2.1'), length: 32 },
  nextHop: NODE.ipv4,
  communities: ['65001:100', 'no-export'],
  largeCommunities: ['65001:1:2'],
  med: 50,
};
const V6: Route = {
  prefix: { address: address('2001:db8:1::1'), length: 128 },
  nextHop: NODE.ipv6,
  communities: ['65001:600'],
  largeCommunities: ['4200000000:6:6'],
  med: 60,
};
const V4_VIA_V6: Route = {
  prefix: { address: address('192.0.2.2'), length: 32 },
  nextHop: NODE.ipv6,
  communities: [],
  largeCommunities: [],
  med: undefined,
};

const DESIRED: DesiredBgp = {
  speaker: {
    as: NODE_AS,
    routerId: NODE.ipv4,
    peers: [
      {
        address: ROUTER.ipv4,
        as: ROUTER_AS,
        holdTimeS: 9,
        password: PASSWORD,
        ttlSecurity: true,
        multihopTtl: undefined,
        bfd: LAB_BFD,
      },
    ],
  },
  routes: [V4, V6, V4_VIA_V6],
};

describe('the GoBGP announcer', () => {
  let lab: BgpLab;
  let announcer: GobgpAnnouncer;

  const createAnnouncer = () =>
    new GobgpAnnouncer({ target: lab.target, clock: systemClock, logger: silentLogger });

  beforeAll(async () => {
    lab = await BgpLab.create();
    await lab.startBird();
    announcer = createAnnouncer();
    announcer.start();
    announcer.set(DESIRED);
  });

  afterAll(async () => {
    await announcer.stop();
    await lab.destroy();
  });

  const story = (name: string, step: () => Promise<void>) => {
    test(name, async () => {
      onTestFailed(async () => {
        console.error(JSON.stringify(announcer.status()), await lab.logs());
      });
      await step();
    });
  };

  const settled = (desired: DesiredBgp) => {
    announcer.set(desired);
    return announcer.settled(AbortSignal.timeout(WAIT.timeout));
  };

  const birdPrefixes = async () => [...(await lab.birdRoutes()).keys()].sort();

  story('waits for a daemon that is not there yet', async () => {
    await vi.waitFor(() => {
      expect(announcer.status()).toMatchObject({ daemon: 'unreachable', announced: [] });
    }, WAIT);
    await lab.startGobgpd();
    await announcer.settled(AbortSignal.timeout(WAIT.timeout));

    expect(announcer.status()).toMatchObject({
      daemon: 'connected',
      version: expect.stringMatching(/^4\.\d+\.\d+/) as string,
      announced: ['192.0.2.1/32', '192.0.2.2/32', '2001:db8:1::1/128'],
      resyncs: 0,
    });
  });

  story('brings up the session and BFD, and shows them', async () => {
    await vi.waitFor(() => {
      expect(announcer.status().peers).toEqual([
        {
          address: ROUTER.ipv4,
          as: ROUTER_AS,
          session: 'established',
          bfd: 'up',
          uptimeS: expect.any(Number) as number,
          advertised: 3,
        },
      ]);
    }, WAIT);
  });

  story('announces both families as wanted', async () => {
    await vi.waitFor(async () => {
      expect(await birdPrefixes()).toEqual(announcer.status().announced);
    }, WAIT);
    const routes = await lab.birdRoutes();
    expect(Object.fromEntries(routes.get('192.0.2.1/32') ?? [])).toEqual({
      'BGP.origin': 'IGP',
      'BGP.as_path': '65001',
      'BGP.next_hop': NODE.ipv4,
      'BGP.med': '50',
      'BGP.community': '(65001,100) (65535,65281)',
      'BGP.large_community': '(65001, 1, 2)',
      'BGP.local_pref': '100',
    });
    expect(Object.fromEntries(routes.get('2001:db8:1::1/128') ?? [])).toMatchObject({
      'BGP.next_hop': NODE.ipv6,
      'BGP.med': '60',
      'BGP.community': '(65001,600)',
      'BGP.large_community': '(4200000000, 6, 6)',
    });
    expect(routes.get('192.0.2.2/32')?.get('BGP.next_hop')).toBe(NODE.ipv6);
  });

  story('installs nothing that the router announces', async () => {
    expect(await lab.gobgp('neighbor', ROUTER.ipv4, 'adj-in')).toContain('203.0.113.0/24');
    expect(await lab.gobgp('global', 'rib')).not.toContain('203.0.113.0/24');
  });

  story('replaces a changed route without withdrawing it', async () => {
    const before = await lab.birdCounts();
    const changed = { ...V4, med: 51, communities: ['65001:101'] };
    await settled({ ...DESIRED, routes: [changed, V6, V4_VIA_V6] });

    await vi.waitFor(async () => {
      const route = (await lab.birdRoutes()).get('192.0.2.1/32');
      expect(route?.get('BGP.med')).toBe('51');
      expect(route?.get('BGP.community')).toBe('(65001,101)');
    }, WAIT);
    const after = await lab.birdCounts();
    expect(after).toEqual({ updates: before.updates + 1, withdrawals: before.withdrawals });
  });

  story('withdraws a route that is no longer wanted, and only that', async () => {
    const before = await lab.birdCounts();
    await settled({ ...DESIRED, routes: [V6, V4_VIA_V6] });

    expect(announcer.status().announced).toEqual(['192.0.2.2/32', '2001:db8:1::1/128']);
    await vi.waitFor(async () => {
      expect(await birdPrefixes()).toEqual(['192.0.2.2/32', '2001:db8:1::1/128']);
    }, WAIT);
    const after = await lab.birdCounts();
    expect(after).toEqual({ updates: before.updates, withdrawals: before.withdrawals + 1 });
  });

  story('keeps wanted routes of an earlier supervisor without a flap', async () => {
    await settled(DESIRED);
    await vi.waitFor(async () => {
      expect(await birdPrefixes()).toHaveLength(3);
    }, WAIT);
    const before = await lab.birdCounts();

    await announcer.stop();
    announcer = createAnnouncer();
    announcer.start();
    await settled(DESIRED);

    expect(announcer.status()).toMatchObject({ daemon: 'connected', resyncs: 0 });
    expect(announcer.status().peers[0]).toMatchObject({ session: 'established' });
    expect(await lab.birdCounts()).toEqual(before);
  });

  story('repairs what somebody changes by hand', async () => {
    const before = await lab.birdCounts();
    await lab.gobgp('global', 'rib', 'del', '192.0.2.1/32', '-a', 'ipv4');
    await lab.gobgp('global', 'rib', 'add', '198.51.100.1/32', 'nexthop', NODE.ipv4, '-a', 'ipv4');

    await vi.waitFor(async () => {
      expect(await birdPrefixes()).toEqual(['192.0.2.1/32', '192.0.2.2/32', '2001:db8:1::1/128']);
      // Each route went and the other came, by hand, and then the other way round. To see them so
      // is a matter of luck: the next audit may come at any moment.
      const { updates, withdrawals } = await lab.birdCounts();
      expect([updates - before.updates, withdrawals - before.withdrawals]).toEqual([2, 2]);
    }, WAIT);
  });

  story('puts everything back into a daemon that was restarted', async () => {
    await lab.kill('gobgpd');
    await vi.waitFor(() => {
      expect(announcer.status()).toMatchObject({ daemon: 'unreachable', announced: [] });
      expect(announcer.status().peers).toMatchObject([{ session: 'unknown', advertised: 0 }]);
    }, WAIT);
    await vi.waitFor(async () => {
      expect(await birdPrefixes()).toEqual([]);
    }, WAIT);

    await lab.startGobgpd();
    await vi.waitFor(() => {
      expect(announcer.status()).toMatchObject({ daemon: 'connected', resyncs: 1 });
    }, WAIT);
    await vi.waitFor(async () => {
      expect(await birdPrefixes()).toHaveLength(3);
    }, WAIT);
  });

  story('shows that the router is lost, and that it is back', async () => {
    await vi.waitFor(() => {
      expect(announcer.status().peers).toMatchObject([{ session: 'established', bfd: 'up' }]);
    }, WAIT);
    await lab.kill('bird');
    await vi.waitFor(() => {
      const [peer] = announcer.status().peers;
      expect(peer?.session).not.toBe('established');
      expect(peer).toMatchObject({ bfd: 'down', uptimeS: undefined, advertised: 0 });
    }, WAIT);

    await lab.startBird();
    await vi.waitFor(() => {
      expect(announcer.status().peers).toMatchObject([{ session: 'established', bfd: 'up' }]);
    }, WAIT);
  });

  story('takes another AS at once, and another router id with the next start', async () => {
    const speaker = { ...DESIRED.speaker, as: 65_010, routerId: address('10.99.0.9') };
    await settled({ ...DESIRED, speaker });

    await vi.waitFor(async () => {
      const routes = await lab.birdRoutes();
      expect(routes.get('192.0.2.1/32')?.get('BGP.as_path')).toBe('65010');
    }, WAIT);
    expect(announcer.status().detail).toContain('router id 10.99.0.1 until gobgpd is restarted');
  });

  story('removes a peer that is no longer wanted', async () => {
    await settled({ ...DESIRED, speaker: { ...DESIRED.speaker, peers: [] } });

    expect(announcer.status().peers).toEqual([]);
    expect(await lab.gobgp('neighbor')).not.toContain(ROUTER.ipv4);
  });
});
