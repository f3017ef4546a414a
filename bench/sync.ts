/**
 * `npm run bench:sync`: flow sync from the data plane's ring buffer of one node to the flow table of
 * another, with the real engine, seal, UDP on loopback and kernel tables; both nodes in one process,
 * on one core. Beside it, in the same run, the bare batch update of a kernel map.
 */
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { Command } from 'commander';
import { encodeFlow, FLOW_BYTES, FLOW4_KEY_BYTES } from '../src/abi/abi.generated.ts';
import { KernelFlows } from '../src/dataplane/kernel-flows.ts';
import { BpfObject } from '../src/dataplane/libbpf.ts';
import { NatTable } from '../src/dataplane/nat-sources.ts';
import { NodeMaps } from '../src/dataplane/maps.ts';
import { reconcileServices, type Programmed } from '../src/dataplane/reconcile.ts';
import { SlotNames } from '../src/dataplane/slot-names.ts';
import { Slots } from '../src/dataplane/slots.ts';
import { systemClock } from '../src/lib/clock.ts';
import { silentLogger } from '../src/lib/logger.ts';
import { address, type Address, type Family } from '../src/model/address.ts';
import { FlowChange, SharedFlowState, type FlowBatch } from '../src/model/flow-batch.ts';
import { allocateColumns, addressLength, sliceBatch } from '../src/peers/batch.ts';
import type { FlowTable, MergeTally } from '../src/peers/flow-table.ts';
import { randomNonce } from '../src/peers/keys.ts';
import { DATAGRAM_BYTES_MAX } from '../src/peers/seal-header.ts';
import { Opener, Sealer } from '../src/peers/seal.ts';
import { TcpSnapshotTransport } from '../src/peers/snapshot-tcp.ts';
import { FlowSync } from '../src/peers/sync.ts';
import { UnicastLink } from '../src/peers/unicast.ts';
import { RESEND_BYTES, splitFlows } from '../src/peers/wire-split.ts';
import { decodeMessage } from '../src/peers/wire.ts';
import { whole } from '../testbed/options.ts';
import { inside, makePlace, takeCpu } from './place.ts';
import { BUILD_FOLDER } from './replay.ts';
import { NODE, SERVICES } from './scene.ts';

const KEYS = [new Uint8Array(32).map((_, i) => i)];
const LOOPBACK = address('127.0.0.1');
const PORTS = [7483, 7484] as const;
const ROWS_PER_BATCH = 8192;

const { flows, seconds } = new Command('bench:sync')
  .description(
    'Flow sync between two nodes on one core. README.md beside this says how to read it.',
  )
  .option(
    '--flows <n>',
    'flows of the throughput and snapshot runs',
    whole(1000, 4_000_000),
    1_000_000,
  )
  .option('--seconds <n>', 'length of each delay run', whole(1, 60), 5)
  .parse()
  .opts<{ flows: number; seconds: number }>();

async function bench(): Promise<void> {
  await makePlace([NODE.ipv4, NODE.ipv6]);
  console.log(await takeCpu());
  console.log(`bare batch update of a map:       ${perSecond(bareUpdates(), flows)} flows/s`);
  for (const family of ['ipv4', 'ipv6'] as const) {
    const sent = sealAll(family);
    const receiver = openTable();
    const applied = applyAll(sent.datagrams, receiver.table);
    console.log(
      `${family}: sealed ${perSecond(sent.ms, flows)} flows/s, ` +
        `opened and applied ${perSecond(applied, flows)} flows/s, ` +
        `${(sent.bytes / flows).toFixed(1)} bytes a flow`,
    );
    if (family === 'ipv4') console.log(`snapshot to a joiner: ${await snapshotMs(receiver)}`);
    receiver.close();
  }
  for (const ratePerS of [10_000, 100_000]) await delays(ratePerS);
}

interface OpenTable {
  readonly table: KernelFlows;
  close(): void;
}

/** A node's flow tables in the kernel, with the scene's services; nothing is attached. */
function openTable(): OpenTable {
  const object = new BpfObject(`${BUILD_FOLDER}/lb.bpf.o`);
  const sizes = { services: 128, rings: 64, relay_buckets: 64, backends: 1024 };
  const flowSizes = { flows4: 2 * flows, flows6: 2 * flows, embryonic4: 1024, embryonic6: 1024 };
  const all = { ...sizes, ...flowSizes, backends_local: 1024 };
  for (const [map, entries] of Object.entries(all)) object.setMaxEntries(map, entries);
  object.load();
  const programmed: Programmed = new Map();
  const allocators = {
    services: new Slots(64),
    backends: new Slots(1024),
    generations: new Uint16Array(1024),
  };
  const maps = new NodeMaps(object, { ipv4: undefined, ipv6: undefined });
  const vips = new Set<Address>();
  const nat = new NatTable(maps);
  const writeVips = (): undefined => undefined;
  reconcileServices({ maps, programmed, allocators, vips, nat, writeVips }, SERVICES);
  const table = new KernelFlows(
    object,
    () => new SlotNames(programmed),
    () => 0,
  );
  return {
    table,
    close() {
      table.close();
      object.close();
    },
  };
}

/** Flows that differ in the client's address and port, to the scene's first service of the family. */
function syntheticFlows(family: Family, from: number, count: number): FlowBatch {
  const service = SERVICES.find((each) => each.vip.includes(':') === (family === 'ipv6'));
  if (service === undefined) throw new RangeError(`the scene has no service of ${family}`);
  const backends = service.backends.map((backend) => backend.address);
  const columns = allocateColumns(family, count);
  const width = addressLength(family);
  const clients = new DataView(columns.clientAddress.buffer, columns.clientAddress.byteOffset);
  for (let row = 0; row < count; row += 1) {
    if (width === 16) clients.setUint32(row * width, 0x20010db8);
    clients.setUint32(row * width + width - 4, 0x0b000000 + ((from + row) >>> 10));
    columns.clientPort[row] = 1024 + ((from + row) & 1023);
    columns.backend[row] = row % backends.length;
    columns.change[row] = FlowChange.open;
    columns.state[row] = SharedFlowState.tcpEstablished;
  }
  const { vip, protocol, port } = service;
  const destinations = [{ vip, protocol, port }];
  return { family, count, destinations, backends, ...columns };
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

function syncOf(index: 0 | 1, table: FlowTable): FlowSync {
  const peers = PORTS.map((port) => ({ address: LOOPBACK, port }));
  return new FlowSync({
    node: `lb${index + 1}`,
    incarnation: Date.now(),
    keys: KEYS,
    cluster: 'bench',
    softwareVersion: 'bench',
    configDigest: () => 'bench',
    table,
    link: new UnicastLink({ local: { address: LOOPBACK, port: PORTS[index] }, peers }),
    snapshots: new TcpSnapshotTransport({ address: LOOPBACK, port: PORTS[index] }),
    inject: () => undefined,
    clock: systemClock,
    logger: silentLogger,
    joinDeadlineMs: 60_000,
    random: Math.random,
    nonce: randomNonce,
  });
}

/** From the joiner's start to its gate, the time in which it listens for peers among it. */
async function snapshotMs(giver: OpenTable): Promise<string> {
  const joiner = openTable();
  const [one, two] = [syncOf(0, giver.table), syncOf(1, joiner.table)];
  await one.start();
  while (!one.gate().open) await sleep(10);
  const startMs = performance.now();
  await two.start();
  while (!two.gate().open) await sleep(5);
  const elapsedMs = performance.now() - startMs;
  const { flows: found } = await joiner.table.digest();
  await two.stop();
  await one.stop();
  joiner.close();
  const by = two.status().self.syncedBy ?? 'nothing';
  return `${found} flows in ${elapsedMs.toFixed(0)} ms, synced by ${by}`;
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

/** Notes when each flow has been merged into the kernel's table. */
class NotingTable implements FlowTable {
  readonly #table: FlowTable;
  readonly #noted: (row: number, atMs: number) => void;

  constructor(table: FlowTable, noted: (row: number, atMs: number) => void) {
    this.#table = table;
    this.#noted = noted;
  }

  drainChanges(limit: number): { batches: readonly FlowBatch[]; lost: number } {
    return this.#table.drainChanges(limit);
  }

  merge(batch: FlowBatch): MergeTally {
    const tally = this.#table.merge(batch);
    const atMs = performance.now();
    const clients = new DataView(batch.clientAddress.buffer, batch.clientAddress.byteOffset);
    for (let row = 0; row < batch.count; row += 1) {
      const high = clients.getUint32(row * 4) - 0x0b000000;
      this.#noted(high * 1024 + ((batch.clientPort[row] ?? 0) - 1024), atMs);
    }
    return tally;
  }

  read(buckets?: ReadonlySet<number>): AsyncIterable<FlowBatch> {
    return this.#table.read(buckets);
  }

  digest(): ReturnType<FlowTable['digest']> {
    return this.#table.digest();
  }
}

/** Established here to known there, at so many new flows a second. */
async function delays(ratePerS: number): Promise<void> {
  const receiver = openTable();
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
