/**
 * Goal: a supervisor can be lost, and its configuration changed, without a connection noticing.
 * Method: connections that keep exchanging and checking data while it happens, over both families.
 */
import { appendFileSync, readFileSync } from 'node:fs';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { configFiles } from '../config.ts';
import { Testbed } from '../testbed.ts';
import { until } from '../until.ts';
import type { ConfigOptions } from '../config.ts';
import { FAMILIES, PATIENT_BFD, resentSyns, scenario, urlOf, vipOf } from './support.ts';

const FOUR: ConfigOptions = { backends: ['b1', 'b2', 'b3', 'b4'], bgp: PATIENT_BFD };
const THREE: ConfigOptions = { ...FOUR, backends: ['b1', 'b2', 'b3'] };

scenario('a supervisor', () => {
  let testbed: Testbed;

  beforeAll(async () => {
    testbed = await Testbed.up({ config: THREE });
    await testbed.untilAnnouncing();
  });

  afterAll(async () => {
    await testbed.down();
  });

  test('is killed under 500 active connections: none is lost, flows and routes stay', async () => {
    const holds = await Promise.all(
      FAMILIES.map((family) =>
        testbed.client.hold({ host: vipOf(testbed, family), count: 250, intervalMs: 100 }),
      ),
    );
    const synsBefore = await resentSyns(testbed);
    const stream = testbed.client.stream({
      urls: FAMILIES.map((family) => urlOf(vipOf(testbed, family))),
      ratePerS: 50,
    });
    const routeLost = watchRoutes(testbed);
    const flowsBefore = await activeFlows();

    for (const node of testbed.nodes) await node.supervisor.kill();
    await until(() => stream.results.length >= 100, { what: 'requests without any supervisor' });
    for (const node of testbed.nodes) await node.start();
    for (const node of testbed.nodes) {
      const snapshot = await node.untilAnnouncing();
      expect(snapshot.dataplane.adopted).toBe(true);
    }
    // A full second of check results, so that adopted states have been confirmed.
    await untilChecked();

    expect(await routeLost()).toEqual([]);
    expect(await activeFlows()).toBeGreaterThanOrEqual(flowsBefore);
    const results = await stream.stop();
    expect(results.filter(({ error }) => error !== null)).toEqual([]);
    expect(await resentSyns(testbed), 'no packet got lost').toBe(synsBefore);
    for (const hold of holds) {
      const report = await hold.stop();
      expect(report).toMatchObject({ opened: 250, open: 250, broken: 0, moved: 0, stalled: 0 });
    }
  });

  async function activeFlows(): Promise<number> {
    const snapshots = await Promise.all(testbed.nodes.map((node) => node.snapshot()));
    return snapshots
      .flatMap(({ services }) => services)
      .filter(({ name }) => name === 'echo')
      .reduce((sum, { traffic }) => sum + traffic.flowsActive, 0);
  }

  async function untilChecked(): Promise<void> {
    for (const node of testbed.nodes) {
      await node.untilSnapshot('fresh results of every check', ({ services }) =>
        services.every(({ backends }) =>
          backends.every(({ checks }) => checks.every(({ recent }) => recent.length >= 3)),
        ),
      );
    }
  }

  test('takes a backend in under 1,000 open connections: none moves', async () => {
    const holds = await Promise.all(
      FAMILIES.map((family) =>
        testbed.client.hold({ host: vipOf(testbed, family), count: 500, intervalMs: 200 }),
      ),
    );
    testbed.reconfigure(FOUR);
    for (const node of testbed.nodes) {
      await node.untilSnapshot('b4 to be up', ({ services }) =>
        services.every(({ backends }) => backends.length === 4 && backends[3]?.state === 'up'),
      );
    }
    for (const family of FAMILIES) {
      const url = urlOf(vipOf(testbed, family));
      const report = await testbed.client.requests({ url, count: 200, concurrency: 16 });
      expect(report.perBackend['b4']).toBeGreaterThan(10);
    }
    // Every connection has exchanged data since the change.
    for (const hold of holds) {
      const before = (await hold.report()).linesEchoed;
      await until(async () => (await hold.report()).linesEchoed >= before + 1000, {
        what: 'data on every connection',
      });
      expect(await hold.stop()).toMatchObject({ opened: 500, open: 500, broken: 0, moved: 0 });
    }
  });

  test('is given a broken document: nothing changes and every problem has its line', async () => {
    const [node] = testbed.nodes;
    if (node === undefined) throw new Error('no node');
    const before = await node.snapshot();
    const { config } = configFiles(node.site);
    const good = readFileSync(config, 'utf8');
    const lines = good.split('\n').length;
    // Seen by the file's change alone: no signal is sent.
    appendFileSync(config, 'drain_msx: 5\nvips:\n  10.83.100.1: { policy: most }\n');
    const after = await node.untilSnapshot('the refusal', (each) => each.config.refused.length > 0);

    expect(after.config.refused).toMatchObject([
      { line: lines, column: 1, path: 'drain_msx' },
      { line: lines + 2, path: 'vips["10.83.100.1"].policy' },
    ]);
    expect(after.config.digest).toBe(before.config.digest);
    expect(after.services.map(({ id }) => id)).toEqual(before.services.map(({ id }) => id));
    expect(after.vips.every(({ announce }) => announce)).toBe(true);
    const url = urlOf(vipOf(testbed, 'ipv4'));
    expect((await testbed.client.requests({ url, count: 50 })).ok).toBe(50);

    testbed.reconfigure(FOUR);
    await node.untilSnapshot('the good document', (each) => each.config.refused.length === 0);
  });

  test('is asked to stop: it withdraws first, and no request fails', async () => {
    const node = testbed.node(2);
    const urls = FAMILIES.map((family) => urlOf(vipOf(testbed, family)));
    const synsBefore = await resentSyns(testbed);
    const stream = testbed.client.stream({ urls, ratePerS: 100 });
    await until(() => stream.results.length > 50, { what: 'the stream' });
    await node.stop();
    for (const family of FAMILIES) {
      expect(await testbed.router.nextHops(vipOf(testbed, family))).toHaveLength(2);
    }
    const sent = stream.results.length;
    await until(() => stream.results.length > sent + 50, { what: 'requests after the stop' });
    const results = await stream.stop();
    expect(results.filter(({ error }) => error !== null)).toEqual([]);
    expect(await resentSyns(testbed), 'no packet got lost').toBe(synsBefore);
    await node.start();
    await testbed.untilAnnouncing();
  });
});

/** Looks at the router's routes again and again; the returned function ends it and says what it missed. */
function watchRoutes(testbed: Testbed): () => Promise<string[]> {
  const missing: string[] = [];
  let watching = true;
  const watch = async (): Promise<void> => {
    while (watching) {
      for (const family of FAMILIES) {
        const hops = await testbed.router.nextHops(vipOf(testbed, family));
        if (hops.length !== testbed.nodes.length) missing.push(`${family}: ${hops.length} routes`);
      }
    }
  };
  const done = watch();
  return async () => {
    watching = false;
    await done;
    return missing;
  };
}
