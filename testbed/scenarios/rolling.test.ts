/**
 * Goal: nodes can be stopped and started one after the other, and no connection notices; a node that
 * has lost its memory announces nothing before it has its peers' flows. Method: connections that
 * check their own byte stream, on backends that no hash would choose any more.
 *
 * ROLLING_CONNECTIONS (default 1000, half of them by each family) makes it longer.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Family } from '../../src/model/address.ts';
import type { NodeSnapshot } from '../../src/snapshot.ts';
import type { Hold } from '../client.ts';
import { SYNC_PORT, type ConfigOptions, type Document } from '../config.ts';
import type { BalancerNode } from '../daemons.ts';
import { filterInput } from '../filter.ts';
import { Testbed } from '../testbed.ts';
import type { HoldReport } from '../traffic/report.ts';
import { drain, FAMILIES, PATIENT_BFD, scenario, untilEchoed, vipOf } from './support.ts';

const CONNECTIONS = Number(process.env['ROLLING_CONNECTIONS'] ?? 1000);
/** Longer than BFD and a few retransmissions take, shorter than the hold time of BGP. */
const STALL_MS = 5000;
/** Of each connection at the end: for longer than a stall, or none would be seen. */
const LINES_AFTER = 30;
const UNHARMED = {
  opened: CONNECTIONS / 2,
  open: CONNECTIONS / 2,
  broken: 0,
  moved: 0,
  stalled: 0,
};
/** How long a blocked node is watched. One that is not blocked announces within a second. */
const WATCH_MS = 3000;

scenario('nodes are restarted under load', () => {
  const config: ConfigOptions = { patch: patience, bgp: PATIENT_BFD };
  let testbed: Testbed;
  let holds: readonly Hold[];

  beforeAll(async () => {
    testbed = await Testbed.up({ config });
    holds = await holdAndDrain(testbed, config);
  });

  afterAll(async () => {
    await stopAll(holds);
    await testbed.down();
  });

  test('one after the other: no connection notices', async () => {
    for (const node of testbed.nodes) {
      const startedMs = Date.now();
      await node.stop();
      await untilEchoed(holds, 1);
      await node.start();
      await testbed.untilAnnouncing();
      await untilEchoed(holds, 1);
      const took = `${Date.now() - startedMs} ms`;
      console.log(`${node.site.name}: restarted in ${took}, synced by ${await syncedBy(node)}`);
    }
    await untilEchoed(holds, LINES_AFTER);
    for (const report of await reportsOf(holds)) {
      expect(report).toMatchObject(UNHARMED);
      expect(report.longestGapMs).toBeLessThan(STALL_MS);
    }
  });

  test('a killed node announces nothing until its snapshot is in', async () => {
    const node = testbed.node(1);
    const vips = FAMILIES.map((family) => vipOf(testbed, family));
    for (const each of holds) each.mark();
    await node.kill();
    for (const vip of vips) await testbed.router.untilNextHops(vip, testbed.nodes.length - 1);

    await using blocked = await filterInput(node.site, [`tcp sport ${SYNC_PORT} drop`]);
    await node.start();
    const withheld = await node.untilSnapshot(
      'nothing but flows to be missing',
      isReadyButForFlows,
    );
    expect(withheld.peers?.gate).toMatchObject({ open: false });
    // A fixed time, since what is to be seen is that nothing happens.
    const watchedUntilMs = performance.now() + WATCH_MS;
    while (performance.now() < watchedUntilMs) {
      for (const vip of vips) {
        const hops = await testbed.router.nextHops(vip);
        expect(hops).not.toContain(node.site.ipv4);
        expect(hops).not.toContain(node.site.ipv6);
      }
      const seen = await node.snapshot();
      expect(seen.vips.filter(({ announce }) => announce)).toEqual([]);
      expect(seen.peers?.gate).toMatchObject({ open: false });
      await sleep(50);
    }
    await node.untilSnapshot('nothing but flows to be missing still', isReadyButForFlows);
    for (const vip of vips) await testbed.router.untilNextHops(vip, testbed.nodes.length - 1);

    const liftedMs = Date.now();
    await blocked.lift();
    await testbed.untilAnnouncing();
    console.log(`announces ${Date.now() - liftedMs} ms after its snapshot was let through`);
    expect(await syncedBy(node)).toBe('snapshot');
    await untilEchoed(holds, LINES_AFTER);
    for (const report of await reportsOf(holds)) {
      expect(report).toMatchObject(UNHARMED);
      expect(report.longestGapMs).toBeLessThan(STALL_MS);
    }
  });
});

scenario('a node is stopped under load, without flow sync', () => {
  let testbed: Testbed;

  beforeAll(async () => {
    testbed = await Testbed.up({ config: { sync: 'off' } });
  });

  afterAll(async () => {
    await testbed.down();
  });

  test('control: connections are lost', async () => {
    const holds = await holdAndDrain(testbed, { sync: 'off' });
    await testbed.node(1).stop();
    await untilEchoed(holds, 1);
    const lost = (await stopAll(holds)).reduce((sum, each) => sum + each.broken, 0);
    console.log(`control: ${lost} of ${CONNECTIONS} connections lost with one node of three`);
    expect(lost).toBeGreaterThan(CONNECTIONS / 100);
  });
});

/** Connections are held, and then the hash would send a quarter of them elsewhere. */
async function holdAndDrain(testbed: Testbed, config: ConfigOptions): Promise<readonly Hold[]> {
  await testbed.untilAnnouncing();
  const holds = await Promise.all(FAMILIES.map((family) => hold(testbed, family)));
  await untilEchoed(holds, 2);
  await drain(testbed, config, ['b2']);
  return holds;
}

/** It has learned everything, and has a BGP session: only the flows keep it from announcing. */
function isReadyButForFlows({ bgp, vips }: NodeSnapshot): boolean {
  const hasSession = bgp?.peers.every(({ session }) => session === 'established') === true;
  return hasSession && vips.length > 0 && vips.every(({ reason }) => reason === 'not_synced');
}

/** A node that waits for its snapshot longer than this test blocks it. */
function patience(document: Document): Document {
  const sync = document['sync'] as Document;
  return { ...document, sync: { ...sync, join_deadline_ms: 200_000 } };
}

async function hold(testbed: Testbed, family: Family): Promise<Hold> {
  const host = vipOf(testbed, family);
  const intervalMs = Math.max(200, CONNECTIONS / 5);
  return testbed.client.hold({ host, count: CONNECTIONS / 2, intervalMs, stallMs: STALL_MS });
}

async function reportsOf(holds: readonly Hold[]): Promise<readonly HoldReport[]> {
  const reports = await Promise.all(holds.map((each) => each.report()));
  for (const { longestGapMs, examples } of reports) {
    console.log(`longest gap ${longestGapMs} ms`, ...examples.slice(0, 3));
  }
  return reports;
}

async function stopAll(holds: readonly Hold[]): Promise<readonly HoldReport[]> {
  return Promise.all(holds.map((each) => each.stop()));
}

async function syncedBy(node: BalancerNode): Promise<string | null | undefined> {
  return (await node.snapshot()).peers?.self.syncedBy;
}
