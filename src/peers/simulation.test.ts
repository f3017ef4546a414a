/**
 * Many short lives of small clusters, each by its seed, and a few large ones. For more of the first:
 * SIM_RUNS=10000 SIM_SEED=1 vitest run --project unit src/peers/simulation.test.ts
 */
import { setImmediate } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { silentLogger } from '../lib/logger.ts';
import { NO_FAULTS } from './simulated.ts';
import { CONVERGED_WITHIN_MS, runSimulation } from './simulation-run.ts';
import { Cluster } from './simulation.ts';
import { VirtualTime } from './virtual-time.ts';

const RUNS = Number(process.env['SIM_RUNS'] ?? 200);
const SEED = Number(process.env['SIM_SEED'] ?? 1);
/** Of a slow machine; the runs themselves take virtual time. */
const TIMEOUT_MS = 60_000 + RUNS * 500;

/**
 * Seeds that failed once. 9464: a close by a node that missed a reopening, just after that; it refused
 * the flow, and by the rounded time of the close the others kept it.
 */
const FAILED_ONCE = [9464];

const settle = () => setImmediate();

async function agrees(seed: number): Promise<void> {
  const run = await runSimulation({ seed, logger: silentLogger, settle });
  const again = `SIM_SEED=${seed} SIM_RUNS=1, ${run.nodes} nodes\n`;
  if (run.problems.length > 0) expect.fail(`${again}${run.problems.join('\n')}`);
  if (run.convergedMs > CONVERGED_WITHIN_MS) {
    expect.fail(`${again}no agreement within ${CONVERGED_WITHIN_MS} ms\n${run.description()}`);
  }
}

describe('whatever happens to a cluster', () => {
  test(`it agrees on the truth afterwards (${RUNS} runs)`, { timeout: TIMEOUT_MS }, async () => {
    for (let seed = SEED; seed < SEED + RUNS; seed += 1) await agrees(seed);
  });

  test.each(FAILED_ONCE)('seed %i, which failed once', agrees);

  test('the same seed is the same run', async () => {
    const runs = [1, 2].map(() => runSimulation({ seed: 4, logger: silentLogger, settle }));
    const [one, other] = (await Promise.all(runs)).map((run) => [
      run.convergedMs,
      run.description(),
    ]);
    expect(other).toEqual(one);
  });
});

describe('64 nodes', () => {
  test('join, share their flows, and lose one of them', { timeout: 240_000 }, async () => {
    const time = new VirtualTime(settle);
    const faults = { ...NO_FAULTS, lossRate: 0.002, delayMaxMs: 2 };
    const cluster = new Cluster({ seed: 64, nodes: 64, time, logger: silentLogger, faults });
    const { nodes } = cluster;
    for (const node of nodes) await node.start();
    await time.run(2_000);
    expect(nodes.filter(({ sync }) => !sync.gate().open).map(({ name }) => name)).toEqual([]);

    for (let i = 0; i < 60; i += 1) cluster.open();
    await time.run(time.nowMs + 200);
    nodes[0]?.kill();
    expect(cluster.up).toHaveLength(63);
    expect(cluster.isConverged()).toBe(true);
    cluster.check();
    cluster.checkTruth();
    expect(cluster.problems).toEqual([]);
    // Sixty datagrams to 63 nodes each: some were lost, and not every loss made everybody speak.
    const resends = nodes.reduce((sum, { sync }) => sum + sync.status().counters.resendsSent, 0);
    expect(resends).toBeGreaterThan(0);
    expect(resends).toBeLessThan(60);
  });
});
