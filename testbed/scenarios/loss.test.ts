/**
 * Goal: gobgpd, or a whole node, can be lost. Method: kill it, watch the router and what clients see.
 */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Testbed } from '../testbed.ts';
import { until } from '../until.ts';
import { FAMILIES, scenario, urlOf, vipOf } from './support.ts';

/**
 * BFD at 3 x 50 ms makes it some 150 ms on a machine at leisure, which is printed. The bound leaves
 * room for a busy one and is still below what a hold time of 9 s would take, 6 s at the least.
 */
const NODE_LOSS_MS_MAX = 3000;

scenario('loss', () => {
  let testbed: Testbed;

  beforeAll(async () => {
    testbed = await Testbed.up();
    await testbed.untilAnnouncing();
  });

  afterAll(async () => {
    await testbed.down();
  });

  /** BFD follows a session that has come up; without it the hold time would decide. */
  async function untilProtected(): Promise<void> {
    for (const node of testbed.nodes) {
      await node.untilSnapshot(
        'BFD',
        ({ bgp }) =>
          bgp?.peers.every(({ session, bfd }) => session === 'established' && bfd === 'up') ===
          true,
      );
    }
  }

  test('a killed gobgpd that returns gets its peers and routes back by itself', async () => {
    const node = testbed.node(1);
    const resyncsBefore = (await node.snapshot()).bgp?.resyncs ?? NaN;
    await node.gobgpd.kill();
    for (const family of FAMILIES) await testbed.router.untilNextHops(vipOf(testbed, family), 2);
    await node.untilSnapshot('the loss', ({ bgp }) => bgp?.daemon === 'unreachable');

    node.gobgpd.start();
    await node.gobgpd.untilReady();
    for (const family of FAMILIES) await testbed.router.untilNextHops(vipOf(testbed, family), 3);
    const snapshot = await node.untilAnnouncing();
    expect(snapshot.bgp?.daemon).toBe('connected');
    expect(snapshot.bgp?.resyncs).toBeGreaterThan(resyncsBefore);
    await untilProtected();
  });

  test.each(FAMILIES)('a node that vanishes is out of the routes in time, %s', async (family) => {
    const vip = vipOf(testbed, family);
    await testbed.untilAnnouncing();
    await untilProtected();
    const node = testbed.node(3);
    const stream = testbed.client.stream({ urls: [urlOf(vip)], ratePerS: 200, timeoutMs: 5000 });
    await until(() => stream.results.length > 100, { what: 'the stream' });

    const watched = testbed.router.untilNextHops(vip, 2).then(() => Date.now());
    const killedMs = Date.now();
    await node.kill();
    const goneMs = await watched;
    console.log(`route of ${node.site.name} gone after ${goneMs - killedMs} ms (${family})`);
    expect(goneMs - killedMs).toBeLessThan(NODE_LOSS_MS_MAX);

    await until(() => stream.results.some(({ atMs }) => atMs > goneMs + 500), {
      what: 'requests after the loss',
    });
    const results = await stream.stop();
    const late = results.filter(({ atMs }) => atMs > goneMs);
    expect(late.length).toBeGreaterThan(50);
    expect(late.filter(({ error }) => error !== null)).toEqual([]);
    await node.start();
    await testbed.untilAnnouncing();
  });
});
