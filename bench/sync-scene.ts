/** What the runs of `bench:sync` share: kernel tables, made-up flows, two nodes on loopback. */
import { KernelFlows } from '../src/dataplane/kernel-flows.ts';
import { BpfObject } from '../src/dataplane/libbpf.ts';
import { NodeMaps } from '../src/dataplane/maps.ts';
import { NatTable } from '../src/dataplane/nat-sources.ts';
import { reconcileServices, type Programmed } from '../src/dataplane/reconcile.ts';
import { SlotNames } from '../src/dataplane/slot-names.ts';
import { Slots } from '../src/dataplane/slots.ts';
import { systemClock } from '../src/lib/clock.ts';
import { SkeinError } from '../src/lib/errors.ts';
import { silentLogger } from '../src/lib/logger.ts';
import { address, type Address, type Family } from '../src/model/address.ts';
import { FlowChange, SharedFlowState, type FlowBatch } from '../src/model/flow-batch.ts';
import { addressLength, allocateColumns } from '../src/peers/batch.ts';
import type { FlowTable, MergeTally, TableDigest } from '../src/peers/flow-table.ts';
import { randomNonce } from '../src/peers/keys.ts';
import { TcpSnapshotTransport } from '../src/peers/snapshot-tcp.ts';
import { FlowSync } from '../src/peers/sync.ts';
import { UnicastLink } from '../src/peers/unicast.ts';
import { BUILD_FOLDER } from './replay.ts';
import { SERVICES } from './scene.ts';

export const KEYS = [new Uint8Array(32).map((_, i) => i)];
export const ROWS_PER_BATCH = 8192;
const LOOPBACK = address('127.0.0.1');
const PORTS = [7483, 7484] as const;
const FIRST_CLIENT = 0x0b000000;
const FIRST_PORT = 1024;
const PORTS_PER_CLIENT = 1024;

export interface OpenTable {
  readonly table: KernelFlows;
  close(): void;
}

/** A node's flow tables in the kernel, with the scene's services; nothing is attached. */
export function openTable(flows: number): OpenTable {
  const object = new BpfObject(`${BUILD_FOLDER}/lb.bpf.o`);
  const sizes = { services: 256, rings: 128, relay_buckets: 128, admissions: 128 };
  const slots = { backends: 1024, tunnel_sources: 1024, quic_servers: 1024, nat_sources: 1024 };
  const flowSizes = { flows4: 2 * flows, flows6: 2 * flows, embryonic4: 1024, embryonic6: 1024 };
  const all = { ...sizes, ...slots, ...flowSizes, backends_local: 1024 };
  for (const [map, entries] of Object.entries(all)) object.setMaxEntries(map, entries);
  object.load();
  const programmed: Programmed = new Map();
  const allocators = {
    services: new Slots(128),
    backends: new Slots(1024),
    generations: new Uint16Array(1024),
  };
  const maps = new NodeMaps(object, { ipv4: undefined, ipv6: undefined });
  const vips = new Set<Address>();
  const nat = new NatTable(maps);
  const writeVips = (): undefined => undefined;
  const context = { maps, programmed, allocators, vips, nat, writeVips };
  const { failures } = reconcileServices(context, SERVICES);
  if (failures.length > 0) throw new SkeinError('BENCH', failures.join('; '));
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

/**
 * Flows that differ in the client's address and port, to the scene's first service of the family, as
 * opened now. The columns are the caller's to change.
 */
export function syntheticFlows(family: Family, from: number, count: number): FlowBatch {
  const service = SERVICES.find((each) => each.vip.includes(':') === (family === 'ipv6'));
  if (service === undefined) throw new RangeError(`the scene has no service of ${family}`);
  const backends = service.backends.map((backend) => backend.address);
  const columns = allocateColumns(family, count);
  const width = addressLength(family);
  const clients = new DataView(columns.clientAddress.buffer, columns.clientAddress.byteOffset);
  for (let row = 0; row < count; row += 1) {
    const flow = from + row;
    if (width === 16) clients.setUint32(row * width, 0x20010db8);
    const client = FIRST_CLIENT + Math.floor(flow / PORTS_PER_CLIENT);
    clients.setUint32(row * width + width - 4, client);
    columns.clientPort[row] = FIRST_PORT + (flow % PORTS_PER_CLIENT);
    columns.backend[row] = flow % backends.length;
    columns.change[row] = FlowChange.open;
    columns.state[row] = SharedFlowState.tcpEstablished;
  }
  const { vip, protocol, port } = service;
  const destinations = [{ vip, protocol, port }];
  return { family, count, destinations, backends, ...columns };
}

/** The number that `syntheticFlows` gave the IPv4 flow of each row. */
function* numbersOf(batch: FlowBatch): Generator<number> {
  const { buffer, byteOffset, byteLength } = batch.clientAddress;
  const clients = new DataView(buffer, byteOffset, byteLength);
  for (let row = 0; row < batch.count; row += 1) {
    const client = clients.getUint32(row * 4) - FIRST_CLIENT;
    yield client * PORTS_PER_CLIENT + (batch.clientPort[row] ?? 0) - FIRST_PORT;
  }
}

/** Notes when each synthetic IPv4 flow that was told as new has been merged into the table. */
export class NotingTable implements FlowTable {
  readonly #table: FlowTable;
  readonly #noted: (flow: number, atMs: number) => void;

  constructor(table: FlowTable, noted: (flow: number, atMs: number) => void) {
    this.#table = table;
    this.#noted = noted;
  }

  drainChanges(limit: number): { batches: readonly FlowBatch[]; lost: number } {
    return this.#table.drainChanges(limit);
  }

  merge(batch: FlowBatch): MergeTally {
    const tally = this.#table.merge(batch);
    const atMs = performance.now();
    // The batches of the benchmark are of one kind each; snapshots are all `refresh`.
    if (batch.change[0] !== FlowChange.open) return tally;
    for (const flow of numbersOf(batch)) this.#noted(flow, atMs);
    return tally;
  }

  read(buckets?: ReadonlySet<number>): AsyncIterable<FlowBatch> {
    return this.#table.read(buckets);
  }

  digest(): Promise<TableDigest> {
    return this.#table.digest();
  }
}

/** One of two nodes, lb1 and lb2, that know of each other by unicast. */
export function syncOf(index: 0 | 1, table: FlowTable): FlowSync {
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
