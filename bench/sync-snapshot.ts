/**
 * A node joins another one that has a full table: how long until it may announce, alone and while
 * flows are replaced all the time. Two processes; the joiner is this one.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { FlowTable } from '../src/peers/flow-table.ts';
import type { FlowSync } from '../src/peers/sync.ts';
import type { Giver } from './sync-orders.ts';
import { NotingTable, openTable, syncOf } from './sync-scene.ts';

const POLL_MS = 2;
/** Digests leave out what is younger than three seconds. */
const SETTLE_MS = 3_500;
/** Digests find what differs, in rounds of some seconds. */
const AGREE_MS = 60_000;

/** In words. Throws when the two do not come to have the same flows. */
export async function joinWhile(giver: Giver, flows: number, ratePerS: number): Promise<string> {
  while (!(await giver.ask({ kind: 'gate' })).open) await sleep(10);
  const joiner = openTable(flows);
  const { startWallMs, replaced } = await giver.ask({ kind: 'churn', ratePerS });
  const startMs = startWallMs - performance.timeOrigin;
  const delaysMs: number[] = [];
  const table = new NotingTable(joiner.table, (flow, atMs) => {
    delaysMs.push(atMs - startMs - ((flow - flows - replaced) * 1000) / ratePerS);
  });
  const sync = syncOf(1, table);
  try {
    const { snapshotMs, gateMs, cpuMs } = await join(sync, () => (delaysMs.length = 0));
    const { snapshotRows } = sync.status().counters;
    const news = saidOf(delaysMs);
    await giver.ask({ kind: 'churn', ratePerS: 0 });
    const agreed = await untilAgreed(joiner.table, giver);
    return [
      `${snapshotRows} flows in ${snapshotMs.toFixed(0)} ms`,
      `${gateMs.toFixed(0)} ms from start to gate`,
      `${cpuMs.toFixed(0)} ms of CPU here`,
      ...(delaysMs.length === 0 ? [] : [`meanwhile ${news}`]),
      `tables agree, ${agreed - flows} closed flows came back`,
    ].join(', ');
  } finally {
    await sync.stop();
    joiner.close();
  }
}

function saidOf(delaysMs: number[]): string {
  delaysMs.sort((a, b) => a - b);
  const at = (share: number): string =>
    (delaysMs[Math.floor(delaysMs.length * share)] ?? NaN).toFixed(1);
  return `${delaysMs.length} new flows known, p50 ${at(0.5)} ms, p99 ${at(0.99)} ms`;
}

interface JoinTimes {
  /** From the start to the gate; the node listens for other peers at first. */
  readonly gateMs: number;
  /** From the question for a snapshot to the gate. */
  readonly snapshotMs: number;
  /** Of this process in that time. */
  readonly cpuMs: number;
}

/** `listening` is called again and again until a snapshot is asked for. */
async function join(sync: FlowSync, listening: () => void): Promise<JoinTimes> {
  const startMs = performance.now();
  let askedMs = startMs;
  let cpuBefore = process.cpuUsage();
  await sync.start();
  for (let gate = sync.gate(); !gate.open; gate = sync.gate()) {
    if (gate.reason === 'listening') {
      listening();
      askedMs = performance.now();
      cpuBefore = process.cpuUsage();
    }
    await sleep(POLL_MS);
  }
  const endMs = performance.now();
  const { user, system } = process.cpuUsage(cpuBefore);
  const { syncedBy } = sync.status().self;
  if (syncedBy !== 'snapshot') throw new RangeError(`synced by ${syncedBy ?? 'nothing'}`);
  return {
    gateMs: endMs - startMs,
    snapshotMs: endMs - askedMs,
    cpuMs: (user + system) / 1000,
  };
}

/** Returns how many flows both have. Throws when they do not come to have the same. */
async function untilAgreed(table: FlowTable, giver: Giver): Promise<number> {
  const deadlineMs = performance.now() + AGREE_MS;
  for (;;) {
    await sleep(SETTLE_MS);
    const [own, its] = await Promise.all([table.digest(), giver.ask({ kind: 'digest' })]);
    const differing = its.buckets.filter((sum, i) => sum !== String(own.buckets[i])).length;
    if (differing === 0 && own.flows === its.flows) return own.flows;
    if (performance.now() < deadlineMs) continue;
    const counts = `${own.flows} flows here, ${its.flows} there`;
    throw new RangeError(`${counts}, ${differing} buckets differ after ${AGREE_MS} ms`);
  }
}
