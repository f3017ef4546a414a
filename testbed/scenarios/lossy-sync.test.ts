/**
 * Goal: a network that loses one in five of flow sync's datagrams, and doubles some, costs no
 * connection, and leaves no trace in the tables once it is mended. Method: nftables at every node;
 * the tables are read from the kernel. Reordering is left to the simulation in src/peers.
 *
 * LOSSY_MS (default 8000) makes it longer.
 */
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Hold } from '../client.ts';
import { SYNC_PORT, type ConfigOptions, type Document } from '../config.ts';
import { filterIngress, filterInput, type Filter } from '../filter.ts';
import { differences, flowsOf } from '../flows.ts';
import { Testbed } from '../testbed.ts';
import { switchPort } from '../topology.ts';
import { until } from '../until.ts';
import { drain, FAMILIES, scenario, untilEchoed, urlOf, vipOf } from './support.ts';

const LOSSY_MS = Number(process.env['LOSSY_MS'] ?? 8000);
const LOSS_PERCENT = 20;
const DOUBLED_PERCENT = 10;
const AGREE_MS = 5000;
const HELD = 200;
const PASSING = 50;
const REQUESTS_PER_S = 80;

scenario('a sync network that loses datagrams', () => {
  // Nothing expires before the tables have been compared.
  const patch = (document: Document): Document => ({
    ...document,
    flow_timeouts_s: { tcp_fin: 3600 },
  });
  const config: ConfigOptions = { patch };
  let testbed: Testbed;

  beforeAll(async () => {
    testbed = await Testbed.up({ config });
    await testbed.untilAnnouncing();
  });

  afterAll(async () => {
    await testbed.down();
  });

  test('costs no connection, and leaves tables that agree', async () => {
    const filters = await spoil(testbed);
    const holds = await Promise.all(FAMILIES.map((family) => hold(testbed, family, HELD)));
    const urls = FAMILIES.map((family) => urlOf(vipOf(testbed, family)));
    const stream = testbed.client.stream({ urls, ratePerS: REQUESTS_PER_S, timeoutMs: 10_000 });
    const rounds = await churn(testbed, config);
    const results = await stream.stop();
    console.log(`${results.length} requests, ${rounds} rounds of ${PASSING} connections`);
    console.log(`when the loss ends: ${(await disagreements(testbed)).length} flows differ`);

    await Promise.all(filters.map((filter) => filter.lift()));
    const liftedMs = performance.now();
    await until(async () => (await disagreements(testbed)).length === 0, {
      what: 'the tables to agree',
      timeoutMs: AGREE_MS,
      everyMs: 100,
    }).finally(() => report(testbed));
    const flows = await flowsOf(testbed.node(1).site);
    const tookMs = Math.round(performance.now() - liftedMs);
    console.log(`${flows.size} flows: the tables agree after ${tookMs} ms`);

    expect(flows.size).toBeGreaterThanOrEqual(results.length + 2 * HELD);
    expect(results.filter(({ error }) => error !== null)).toEqual([]);
    const { lost, replayed } = await suffered(testbed);
    console.log(`lost ${lost} datagrams, refused ${replayed} that came twice`);
    expect(Math.min(lost, replayed)).toBeGreaterThan(0);
    await untilEchoed(holds, 2);
    for (const each of holds) expect(await each.report()).toMatchObject(unharmed(HELD));

    // What the tables are for.
    await testbed.node(1).kill();
    await untilEchoed(holds, 10);
    for (const each of holds) expect(await each.stop()).toMatchObject(unharmed(HELD));
  });
});

/** Loses and doubles datagrams of flow sync at every node. */
async function spoil({ topology: { nodes } }: Testbed): Promise<readonly Filter[]> {
  const share = (percent: number): string => `numgen random mod 100 < ${percent}`;
  const losses = nodes.map((node) =>
    filterInput(node, [`udp dport ${SYNC_PORT} ${share(LOSS_PERCENT)} drop`]),
  );
  const doubles = nodes.map((node, index) => {
    const other = nodes[(index + 1) % nodes.length] ?? node;
    const rule = `udp dport ${SYNC_PORT} ${share(DOUBLED_PERCENT)} dup to "${other.name}"`;
    return filterIngress(switchPort(node), [rule]);
  });
  return Promise.all([...losses, ...doubles]);
}

/** Connections come and go, and the backends change; returns how often. */
async function churn(testbed: Testbed, config: ConfigOptions): Promise<number> {
  const untilMs = performance.now() + LOSSY_MS;
  let rounds = 0;
  for (; performance.now() < untilMs; rounds += 1) {
    const drained = rounds % 3;
    await drain(testbed, config, drained === 0 ? [] : [`b${drained}`]);
    const passing = await Promise.all(FAMILIES.map((family) => hold(testbed, family, PASSING)));
    await untilEchoed(passing, 1);
    for (const each of passing) expect(await each.stop()).toMatchObject(unharmed(PASSING));
  }
  await drain(testbed, config, ['b3']);
  return rounds;
}

async function hold(
  testbed: Testbed,
  family: (typeof FAMILIES)[number],
  count: number,
): Promise<Hold> {
  return testbed.client.hold({ host: vipOf(testbed, family), count });
}

function unharmed(count: number) {
  return { opened: count, open: count, broken: 0, moved: 0, stalled: 0 };
}

/** Between the first node's table and those of the others: a line each. */
async function disagreements(testbed: Testbed): Promise<readonly string[]> {
  const [first, ...others] = await Promise.all(testbed.topology.nodes.map(flowsOf));
  return others.flatMap((other) => (first === undefined ? [] : differences(first, other)));
}

async function suffered(testbed: Testbed): Promise<{ lost: number; replayed: number }> {
  const sum = { lost: 0, replayed: 0 };
  for (const node of testbed.nodes) {
    const { peers } = await node.snapshot();
    for (const { lost } of peers?.peers ?? []) sum.lost += lost;
    sum.replayed += peers?.rejects.replayed ?? 0;
  }
  return sum;
}

async function report(testbed: Testbed): Promise<void> {
  for (const node of testbed.nodes) {
    const { peers } = await node.snapshot();
    const gaps = peers?.peers.map(
      ({ name, lost, repaired, abandoned }) => `${name} ${lost}/${repaired}/${abandoned}`,
    );
    const { rounds, differing, requested } = peers?.repair ?? {};
    console.log(
      `${node.site.name}: lost/repaired/abandoned of ${gaps?.join(', ')}; ` +
        `digests ${rounds}, differing ${differing}, buckets asked for ${requested}`,
    );
  }
  for (const line of (await disagreements(testbed)).slice(0, 10)) console.log(line);
}
