/** One run of the simulation: a cluster starts, suffers, is left in peace, and must agree in the end. */
import type { Logger } from '../lib/logger.ts';
import { NO_FAULTS } from './simulated.ts';
import { Cluster } from './simulation.ts';
import { VirtualTime } from './virtual-time.ts';

export interface RunOptions {
  readonly seed: number;
  readonly logger: Logger;
  /** Lets promises go on: `setImmediate` of node:timers/promises. */
  readonly settle: () => Promise<unknown>;
}

export interface RunResult {
  readonly nodes: number;
  /** From the end of all faults until all tables were equal; Infinity: they never were. */
  readonly convergedMs: number;
  readonly problems: readonly string[];
  readonly description: () => string;
}

/** Few, so that many runs can be had; other tests have more. */
const NODES = [3, 2, 4, 3, 5];
const DISTURBED_MS = 5_000;
/** Two digest rounds, requests and answers, and a flow must be settled to be in a digest at all. */
export const CONVERGED_WITHIN_MS = 20_000;
const CHECK_EVERY_MS = 500;

export async function runSimulation({ seed, logger, settle }: RunOptions): Promise<RunResult> {
  const time = new VirtualTime(settle);
  const cluster = new Cluster({ seed, nodes: NODES[seed % NODES.length] ?? 3, time, logger });
  chooseFaults(cluster);
  for (const node of cluster.nodes) {
    await node.start();
    await time.run(time.nowMs + cluster.random() * 600);
  }
  await disturb(cluster, time);
  await calm(cluster);
  const calmMs = time.nowMs;
  const endMs = calmMs + CONVERGED_WITHIN_MS;
  while (!cluster.isConverged() && time.nowMs < endMs) await time.run(time.nowMs + CHECK_EVERY_MS);
  const isConverged = cluster.isConverged();
  cluster.check();
  if (isConverged) cluster.checkTruth();
  return {
    nodes: cluster.nodes.length,
    convergedMs: isConverged ? time.nowMs - calmMs : Infinity,
    problems: cluster.problems,
    description: () => cluster.describe(),
  };
}

function chooseFaults({ random, network }: Cluster): void {
  Object.assign(network.faults, {
    lossRate: random() < 0.3 ? 0 : random() * 0.2,
    duplicateRate: random() < 0.5 ? 0 : random() * 0.1,
    delayMaxMs: random() < 0.3 ? NO_FAULTS.delayMaxMs : random() * 40,
    breakRate: random() < 0.5 ? 0 : random() * 0.3,
  });
}

/** Some seconds of traffic while nodes die, start again and lose sight of each other. */
async function disturb(cluster: Cluster, time: VirtualTime): Promise<void> {
  const { random } = cluster;
  const endMs = time.nowMs + DISTURBED_MS;
  while (time.nowMs < endMs) {
    for (let i = 0; i < 6; i += 1) cluster.traffic();
    await time.run(time.nowMs + 30 + random() * 90);
    if (random() < 0.1) cluster.keepAlive();
    if (random() < 0.08) divide(cluster);
    if (random() < 0.15) cluster.network.heal();
    await afflict(cluster);
    if (random() < 0.3) cluster.check();
  }
}

function divide({ nodes, network, random }: Cluster): void {
  const names = nodes.map(({ name }) => name);
  const left = names.filter(() => random() < 0.5);
  network.partition([left, names.filter((name) => !left.includes(name))]);
}

async function afflict({ nodes, random, pick }: Cluster): Promise<void> {
  const node = pick(nodes);
  if (random() < 0.05) node.clock.jumpWall((random() - 0.5) * WALL_JUMP_MS);
  if (!node.isUp) {
    if (random() < 0.3) await node.start();
    return;
  }
  if (random() >= 0.06) return;
  if (random() < 0.3) await node.stop();
  else node.kill();
  if (random() < 0.5) node.reboot((random() - 0.5) * WALL_JUMP_MS);
}

const WALL_JUMP_MS = 7_200_000;

/** Everybody is up, and the network does what it should. */
async function calm({ nodes, network }: Cluster): Promise<void> {
  network.heal();
  Object.assign(network.faults, NO_FAULTS);
  for (const node of nodes) if (!node.isUp) await node.start();
}
