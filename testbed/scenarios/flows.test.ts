/**
 * Goal: `skein flows` tells of every established flow, on every node, where it is and which peers
 * know it. Method: held connections of both families; the command is asked of each node until it says
 * that all would survive; then a node dies, and it says so of those that are left. Without flow sync
 * flows are listed all the same.
 */
import { afterEach, expect, test } from 'vitest';
import type { FlowList } from '../../src/model/flow-query.ts';
import type { Hold } from '../client.ts';
import type { BalancerNode } from '../daemons.ts';
import { run } from '../exec.ts';
import { Testbed } from '../testbed.ts';
import { ECHO_PORT } from '../topology.ts';
import { until } from '../until.ts';
import { FAMILIES, scenario, vipOf } from './support.ts';

const COUNT = 50;
const INTERVAL_MS = 500;
/** A peer is heard every third round of digests by chance, a round every two seconds. */
const KNOWN_TIMEOUT_MS = 60_000;

scenario('the flows of a node', () => {
  let testbed: Testbed | undefined;

  afterEach(async () => {
    await testbed?.down();
  });

  test('are known to be known at the peers', async () => {
    testbed = await Testbed.up({ config: { sync: 'multicast' } });
    await testbed.untilAnnouncing();
    const holds = await holdConnections(testbed);
    const all = { matched: 2 * COUNT, survival: { survive: 2 * COUNT, mayNot: 0, unsettled: 0 } };
    for (const node of testbed.nodes)
      await untilList(node, (list) => expect(list).toMatchObject(all));

    await untilList(testbed.node(1), (list) => {
      expect(list).toMatchObject(all);
      const peers = list.flows.map(({ knownAt }) => knownAt.map(({ peer }) => peer).sort());
      expect(new Set(peers.map(String))).toEqual(new Set(['lb2,lb3']));
    });
    const [hold] = holds;
    const perBackend = (await hold?.report())?.perBackend ?? {};
    const vip = vipOf(testbed, 'ipv4');
    for (const { site } of testbed.backends) {
      const list = await flowsOf(testbed.node(2), '--vip', vip, '--backend', site.ipv4);
      expect(list.matched, site.name).toBe(perBackend[site.name] ?? 0);
    }

    await testbed.node(3).kill();
    await untilList(testbed.node(1), (list) => {
      expect(list).toMatchObject(all);
      for (const { knownAt } of list.flows) {
        expect(knownAt).toEqual([{ peer: 'lb2', knowledge: 'known' }]);
      }
    });
    for (const each of holds) await each.stop();
  });

  test('are listed without flow sync, and nothing is promised', async () => {
    testbed = await Testbed.up({ nodes: 1, config: { sync: 'off' } });
    await testbed.untilAnnouncing();
    const holds = await holdConnections(testbed);
    await untilList(testbed.node(1), (list) => {
      expect(list).toMatchObject({ matched: 2 * COUNT, survival: null, complete: true });
    });
    const { flows } = await flowsOf(testbed.node(1));
    expect(flows.every(({ knownAt, survives }) => knownAt.length === 0 && survives === null)).toBe(
      true,
    );
    for (const each of holds) await each.stop();
    await testbed.node(1).supervisor.stop();
  });
});

function holdConnections(testbed: Testbed): Promise<Hold[]> {
  return Promise.all(
    FAMILIES.map((family) =>
      testbed.client.hold({
        host: vipOf(testbed, family),
        count: COUNT,
        intervalMs: INTERVAL_MS,
        stallMs: 5_000,
      }),
    ),
  );
}

/** Those on the echo port, as the command line has them. */
async function flowsOf(node: BalancerNode, ...filters: string[]): Promise<FlowList> {
  const asked = ['--json', '--url', node.consoleUrl, '--port', String(ECHO_PORT), ...filters];
  const text = await run([process.execPath, 'src/main.ts', 'flows', ...asked]);
  return JSON.parse(text) as FlowList;
}

async function untilList(node: BalancerNode, fits: (list: FlowList) => void): Promise<void> {
  await until(
    async () => {
      fits(await flowsOf(node));
      return true;
    },
    { what: `${node.site.name}: flows`, timeoutMs: KNOWN_TIMEOUT_MS, everyMs: 1_000 },
  );
}
