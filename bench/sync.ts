/**
 * `npm run bench:sync`: flow sync from the data plane's ring buffer of one node to the flow table of
 * another, with the real engine, seal, UDP on loopback and kernel tables; both nodes in one process,
 * on one core, but for snapshots, which come from a second process. Beside it, in the same run, the
 * bare batch update of a kernel map.
 */
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { Command } from 'commander';
import { encodeFlow, FLOW_BYTES, FLOW4_KEY_BYTES } from '../src/abi/abi.generated.ts';
import { BpfObject } from '../src/dataplane/libbpf.ts';
import type { Family } from '../src/model/address.ts';
import type { FlowBatch } from '../src/model/flow-batch.ts';
import { sliceBatch } from '../src/peers/batch.ts';
import type { FlowTable, MergeTally } from '../src/peers/flow-table.ts';
import { DATAGRAM_BYTES_MAX } from '../src/peers/seal-header.ts';
import { Opener, Sealer } from '../src/peers/seal.ts';
import { RESEND_BYTES, splitFlows } from '../src/peers/wire-split.ts';
import { decodeMessage } from '../src/peers/wire.ts';
import { whole } from '../testbed/options.ts';
import { inside, makePlace, takeCpu } from './place.ts';
import { BUILD_FOLDER } from './replay.ts';
import { NODE } from './scene.ts';
import { Giver } from './sync-orders.ts';
import {
  KEYS,
  NotingTable,
  openTable,
  ROWS_PER_BATCH,
  syncOf,
  syntheticFlows,
} from './sync-scene.ts';
import { joinWhile } from './sync-snapshot.ts';

const { flows, seconds, live } = new Command('bench:sync')
  .description('Flow sync between two nodes. README.md beside this says how to read it.')
  .option(
    '--flows <n>',
    'flows of the throughput and snapshot runs',
    whole(1000, 4_000_000),
    1_000_000,
  )
  .option('--seconds <n>', 'length of each delay run', whole(1, 60), 5)
  .option(
    '--live <n>',
    'flows that are replaced by new ones each second of a snapshot',
    whole(1, 200_000),
    20_000,
  )
  .parse()
  .opts<{ flows: number; seconds: number; live: number }>();

async function bench(): Promise<void> {
  await makePlace([NODE.ipv4, NODE.ipv6]);
  await joins();
  console.log(await takeCpu());
  console.log(`bare batch update of a map:       ${perSecond(bareUpdates(), flows)} flows/s`);
  for (const family of ['ipv4', 'ipv6'] as const) {
    const sent = sealAll(family);
    const receiver = openTable(flows);
    const applied = applyAll(sent.datagrams, receiver.table);
    console.log(
      `${family}: sealed ${perSecond(sent.ms, flows)} flows/s, ` +
        `opened and applied ${perSecond(applied, flows)} flows/s, ` +
        `${(sent.bytes / flows).toFixed(1)} bytes a flow`,
    );
    receiver.close();
  }
  for (const ratePerS of [10_000, 100_000]) await delays(ratePerS);
}

/**
 * Before this process takes a CPU for itself, ahead of everything: the kernel's own threads, which
 * carry packets from one node to the other, would have to wait for it, too.
 */
async function joins(): Promise<void> {
  const giver = new Giver();
  try {
    await giver.ask({ kind: 'fill', flows });
    for (const ratePerS of [0, live]) {
      const joining = await joinWhile(giver, flows, ratePerS);
      console.log(`joining, ${ratePerS} flows/s replaced: ${joining}; load ${loadNow()}`);
    }
  } finally {
    giver.stop();
  }
}

/** Milliseconds for the least that any sync could do: write the entries, a system call for thousands. */
function bareUpdates(): number {
  const object = new BpfObject(`${BUILD_FOLDER}/lb.bpf.o`);
  for (const map of ['flows4', 'flows6', 'embryonic4', 'embryonic6']) {
    object.setMaxEntries(map, map === 'flows4' ? 2 * flows : 1024);
  }
  object.load();
  const map = object.map('flows4');
  const keys = new Uint8Array(ROWS_PER_BATCH * FLOW4_KEY_BYTES);
  const values = new Uint8Array(ROWS_PER_BATCH * FLOW_BYTES);
  const value = { backend: 0, seenMs: 0, openedMs: 0, generation: 1, state: 3, flags: 0 };
  for (let i = 0; i < ROWS_PER_BATCH; i += 1) values.set(encodeFlow(value), i * FLOW_BYTES);
  const view = new DataView(keys.buffer);
  const startMs = performance.now();
  for (let from = 0; from < flows; from += ROWS_PER_BATCH) {
    const count = Math.min(ROWS_PER_BATCH, flows - from);
    for (let i = 0; i < count; i += 1) view.setUint32(i * FLOW4_KEY_BYTES, from + i);
    map.updateBatch(
      keys.subarray(0, count * FLOW4_KEY_BYTES),
      values.subarray(0, count * FLOW_BYTES),
      count,
    );
  }
  const elapsedMs = performance.now() - startMs;
  object.close();
  return elapsedMs;
}

function sealAll(family: Family): { datagrams: Uint8Array[]; bytes: number; ms: number } {
  const sealer = new Sealer({ cluster: 'bench', node: 'lb1', incarnation: 1, keys: KEYS });
  const payloadBytesMax = DATAGRAM_BYTES_MAX - 2 * sealer.overheadBytes - RESEND_BYTES;
  const all = syntheticFlows(family, 0, flows);
  const datagrams: Uint8Array[] = [];
  const startMs = performance.now();
  for (let from = 0; from < flows; from += ROWS_PER_BATCH) {
    const batch = sliceBatch(all, from, Math.min(flows, from + ROWS_PER_BATCH));
    for (const { payload } of splitFlows(batch, payloadBytesMax)) {
      datagrams.push(sealer.seal(payload).datagram);
    }
  }
  const ms = performance.now() - startMs;
  return { datagrams, bytes: datagrams.reduce((sum, { length }) => sum + length, 0), ms };
}

/** Opens, decodes and merges into the kernel's table; every flow must be new there. */
function applyAll(datagrams: readonly Uint8Array[], table: FlowTable): number {
  const opener = new Opener({ cluster: 'bench', node: 'lb2', keys: KEYS, peersMax: 4 });
  let added = 0;
  const startMs = performance.now();
  for (const datagram of datagrams) {
    const opened = opener.open(datagram);
    if (opened.kind === 'reject') throw new RangeError(`rejected: ${opened.reason}`);
    const decoded = decodeMessage(opened.payload);
    if (!decoded.ok || decoded.message.kind !== 'flows') throw new RangeError('not flows');
    added += table.merge(decoded.message.batch).added;
  }
  const elapsedMs = performance.now() - startMs;
  if (added !== flows) throw new RangeError(`${added} of ${flows} flows were added`);
  return elapsedMs;
}

/** A table that opens flows at a rate, and notes when. */
class OpeningTable implements FlowTable {
  readonly openedAtMs: number[] = [];
  readonly #ratePerS: number;
  readonly #all: FlowBatch;
  /** Infinity: not yet. */
  #startMs = Infinity;
  #running = true;

  constructor(ratePerS: number, total: number) {
    this.#ratePerS = ratePerS;
    this.#all = syntheticFlows('ipv4', 0, total);
  }

  begin(): void {
    this.#startMs = performance.now();
  }

  stop(): void {
    this.#running = false;
  }

  drainChanges(limit: number): { batches: readonly FlowBatch[]; lost: number } {
    const nowMs = performance.now();
    const from = this.openedAtMs.length;
    const elapsedMs = Math.max(0, nowMs - this.#startMs);
    const due = this.#running ? Math.floor((elapsedMs * this.#ratePerS) / 1000) : 0;
    const to = Math.min(due, from + limit, this.#all.count);
    if (to <= from) return { batches: [], lost: 0 };
    // When each became established, not when it was asked for.
    for (let row = from; row < to; row += 1) {
      this.openedAtMs.push(this.#startMs + (row * 1000) / this.#ratePerS);
    }
    return { batches: [sliceBatch(this.#all, from, to)], lost: 0 };
  }

  merge(): MergeTally {
    return { added: 0, replaced: 0, refreshed: 0, ignored: 0, removed: 0, unknown: 0, full: 0 };
  }

  async *read(): AsyncGenerator<FlowBatch> {
    // Nothing was there before the run.
  }

  digest(): Promise<{ buckets: BigUint64Array; flows: number }> {
    return Promise.resolve({ buckets: new BigUint64Array(1024), flows: 0 });
  }
}

/** Established here to known there, at so many new flows a second. */
async function delays(ratePerS: number): Promise<void> {
  const receiver = openTable(flows);
  const source = new OpeningTable(ratePerS, ratePerS * seconds);
  const delaysMs: number[] = [];
  const sink = new NotingTable(receiver.table, (row, atMs) => {
    delaysMs.push(atMs - (source.openedAtMs[row] ?? atMs));
  });
  const [one, two] = [syncOf(0, source), syncOf(1, sink)];
  await one.start();
  await two.start();
  while (!one.gate().open || !two.gate().open) await sleep(10);
  source.begin();
  await sleep(seconds * 1000);
  source.stop();
  const deadlineMs = performance.now() + 10_000;
  while (delaysMs.length < source.openedAtMs.length && performance.now() < deadlineMs) {
    await sleep(20);
  }
  await one.stop();
  await two.stop();
  receiver.close();
  delaysMs.sort((a, b) => a - b);
  const at = (share: number): string =>
    (delaysMs[Math.floor(delaysMs.length * share)] ?? NaN).toFixed(1);
  console.log(
    `${ratePerS} new flows/s: ${delaysMs.length} of ${source.openedAtMs.length} known, ` +
      `p50 ${at(0.5)} ms, p99 ${at(0.99)} ms, longest ${at(0.999_999)} ms; load ${loadNow()}`,
  );
}

function perSecond(ms: number, count: number): string {
  return Math.round(count / (ms / 1000)).toLocaleString('en');
}

function loadNow(): string {
  return readFileSync('/proc/loadavg', 'utf8').split(' ')[0] ?? '';
}

await inside(bench);
