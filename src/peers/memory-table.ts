/**
 * A flow table in memory, with the behaviour that the kernel's has towards the peers, and what its
 * data plane would do to it (`syn`, `packet`, `end`, `expire`). For simulation and tests: nothing
 * here is fast, and it must never be more lenient than a real table.
 */
import type { Clock } from '../lib/clock.ts';
import type { Address, Family } from '../model/address.ts';
import {
  FlowChange,
  SharedFlowState,
  type Destination,
  type FlowBatch,
} from '../model/flow-batch.ts';
import { bucketOf, FlowHasher } from '../model/flow-hash.ts';
import { mergeFlow, type KnownFlow } from '../model/merge.ts';
import { addressBook } from './address-book.ts';
import { FlowBatchBuilder, type FlowRow } from './batch.ts';
import { DIGEST_BUCKETS, type FlowTable, type MergeTally, type TableDigest } from './flow-table.ts';

export interface FlowName {
  readonly destination: Destination;
  readonly client: Address;
  readonly clientPort: number;
}

export interface MemoryTableOptions {
  readonly clock: Clock;
  readonly capacity?: number;
  readonly changesMax?: number;
  /** Rows of a batch that `read` gives. */
  readonly readRows?: number;
  /** Flows younger than this are not in the digest: their news may still be on the way. */
  readonly settledMs?: number;
  /** A flow that lives on is said again after this long. */
  readonly refreshMs?: number;
  readonly knows?: (destination: Destination, backend: Address) => boolean;
}

const DEFAULTS = {
  capacity: 65_536,
  changesMax: 65_536,
  readRows: 1_024,
  settledMs: 3_000,
  refreshMs: 10_000,
  knows: () => true,
};

interface Entry {
  readonly destination: Destination;
  readonly clientAddress: Uint8Array;
  readonly clientPort: number;
  backend: Address;
  guess: boolean;
  state: number;
  openedAtMs: number;
  seenAtMs: number;
  /** When a peer or this node last spoke of it. */
  saidAtMs: number;
  hash: { readonly bucket: number; readonly term: bigint } | undefined;
}

interface Change {
  readonly change: number;
  readonly entry: Entry;
}

type Tally = { -readonly [Key in keyof MergeTally]: MergeTally[Key] };

const MAX_AGE_MS = 0xffffffff;

export class MemoryTable implements FlowTable {
  readonly #clock: Clock;
  readonly #options: Required<Omit<MemoryTableOptions, 'clock'>>;
  readonly #entries = new Map<string, Entry>();
  #changes: Change[] = [];
  #lost = 0;

  constructor({ clock, ...options }: MemoryTableOptions) {
    this.#clock = clock;
    this.#options = { ...DEFAULTS, ...options };
  }

  get size(): number {
    return this.#entries.size;
  }

  /** Every flow by a text that is equal on all nodes. */
  *flows(): Generator<[key: string, flow: KnownFlow]> {
    for (const [key, entry] of this.#entries) yield [key, this.#known(entry)];
  }

  find(name: FlowName): KnownFlow | undefined {
    const entry = this.#entries.get(keyOf(name));
    return entry && this.#known(entry);
  }

  /** A flow is opened here, to the backend that this node chose. */
  syn(name: FlowName, backend: Address): void {
    this.#put(name, backend, false);
  }

  /** A packet of a flow that is under way; without a record it is a guess. */
  packet(name: FlowName, hashed: Address): Address {
    const entry = this.#entries.get(keyOf(name));
    if (entry === undefined) {
      this.#put(name, hashed, true);
      return hashed;
    }
    entry.seenAtMs = this.#clock.nowMs();
    if (entry.seenAtMs - entry.saidAtMs >= this.#options.refreshMs) {
      entry.saidAtMs = entry.seenAtMs;
      this.#say(FlowChange.refresh, entry);
    }
    return entry.backend;
  }

  /** The end of a flow passes here (RST, or the last FIN). */
  end(name: FlowName): void {
    const key = keyOf(name);
    const entry = this.#entries.get(key);
    if (entry === undefined) return;
    entry.seenAtMs = this.#clock.nowMs();
    this.#entries.delete(key);
    this.#say(FlowChange.close, entry);
  }

  /** Forgets flows that have been idle for longer than this. */
  expire(idleMs: number): void {
    const beforeMs = this.#clock.nowMs() - idleMs;
    for (const [key, entry] of this.#entries) {
      if (entry.seenAtMs >= beforeMs) continue;
      this.#entries.delete(key);
      this.#say(FlowChange.close, entry);
    }
  }

  drainChanges(limit: number): { batches: readonly FlowBatch[]; lost: number } {
    const lost = this.#lost;
    this.#lost = 0;
    if (this.#changes.length === 0) return { batches: [], lost };
    const taken = this.#changes.splice(0, limit);
    const rows = taken.map(({ change, entry }) => this.#row(entry, change));
    return { batches: [...batchesOf(rows, limit)], lost };
  }

  merge(batch: FlowBatch): MergeTally {
    const tally: Tally = {
      added: 0,
      replaced: 0,
      refreshed: 0,
      ignored: 0,
      removed: 0,
      unknown: 0,
      full: 0,
    };
    const nowMs = this.#clock.nowMs();
    for (let row = 0; row < batch.count; row += 1) tally[this.#mergeRow(batch, row, nowMs)] += 1;
    return tally;
  }

  async *read(buckets?: ReadonlySet<number>): AsyncGenerator<FlowBatch> {
    this.#hashAll();
    let rows: FlowRow[] = [];
    for (const entry of this.#entries.values()) {
      // A flow that came during the walk has no hash yet, and its news is on its own way.
      if (buckets !== undefined && !buckets.has(entry.hash?.bucket ?? -1)) continue;
      rows.push(this.#row(entry, FlowChange.refresh));
      if (rows.length < this.#options.readRows) continue;
      yield* batchesOf(rows, rows.length);
      rows = [];
      await Promise.resolve();
    }
    yield* batchesOf(rows, rows.length);
  }

  digest(): Promise<TableDigest> {
    this.#hashAll();
    const buckets = new BigUint64Array(DIGEST_BUCKETS);
    const settledAtMs = this.#clock.nowMs() - this.#options.settledMs;
    let flows = 0;
    for (const { hash, state, openedAtMs } of this.#entries.values()) {
      if (hash === undefined || state === SharedFlowState.tcpFin || openedAtMs > settledAtMs)
        continue;
      buckets[hash.bucket] = (buckets[hash.bucket] ?? 0n) + hash.term;
      flows += 1;
    }
    return Promise.resolve({ buckets, flows });
  }

  #put(name: FlowName, backend: Address, guess: boolean): void {
    const key = keyOf(name);
    if (!this.#entries.has(key) && this.#entries.size >= this.#options.capacity) return;
    const nowMs = this.#clock.nowMs();
    const { protocol } = name.destination;
    const entry: Entry = {
      destination: name.destination,
      clientAddress: addressBook.bytes(name.client),
      clientPort: name.clientPort,
      backend,
      guess,
      state: protocol === 'udp' ? SharedFlowState.udp : SharedFlowState.tcpEstablished,
      openedAtMs: nowMs,
      seenAtMs: nowMs,
      saidAtMs: nowMs,
      hash: undefined,
    };
    this.#entries.set(key, entry);
    this.#say(FlowChange.open, entry);
  }

  #say(change: number, entry: Entry): void {
    if (this.#changes.length >= this.#options.changesMax) this.#lost += 1;
    else this.#changes.push({ change, entry: { ...entry } });
  }

  #mergeRow(batch: FlowBatch, row: number, nowMs: number): keyof Tally {
    const destination = batch.destinations[batch.destination[row] ?? -1];
    const backend = batch.backends[batch.backend[row] ?? -1];
    if (destination === undefined || backend === undefined) return 'unknown';
    if (!this.#options.knows(destination, backend)) return 'unknown';

    const clientAddress = clientOf(batch, row);
    const clientPort = batch.clientPort[row] ?? 0;
    const key = textOf(destination, clientAddress, clientPort);
    const entry = this.#entries.get(key);
    const merged = mergeFlow(entry && this.#known(entry), {
      backend,
      change: batch.change[row] ?? 0,
      guess: batch.guess[row] === 1,
      state: batch.state[row] ?? 0,
      openedAgoMs: batch.openedAgoMs[row] ?? 0,
      seenAgoMs: batch.seenAgoMs[row] ?? 0,
    });
    if (merged.outcome === 'removed') this.#entries.delete(key);
    if (!('flow' in merged)) return merged.outcome;
    if (entry === undefined && this.#entries.size >= this.#options.capacity) return 'full';
    const { openedAgoMs, seenAgoMs, ...rest } = merged.flow;
    this.#entries.set(key, {
      ...rest,
      destination,
      clientAddress,
      clientPort,
      openedAtMs: nowMs - openedAgoMs,
      seenAtMs: nowMs - seenAgoMs,
      saidAtMs: nowMs,
      hash: entry?.backend === rest.backend ? entry.hash : undefined,
    });
    return merged.outcome;
  }

  #known({ backend, guess, state, openedAtMs, seenAtMs }: Entry): KnownFlow {
    const nowMs = this.#clock.nowMs();
    return {
      backend,
      guess,
      state,
      openedAgoMs: ageMs(nowMs, openedAtMs),
      seenAgoMs: ageMs(nowMs, seenAtMs),
    };
  }

  #row(entry: Entry, change: number): FlowRow {
    const { destination, clientAddress, clientPort } = entry;
    return { destination, clientAddress, clientPort, change, ...this.#known(entry) };
  }

  #hashAll(): void {
    const entries = [...this.#entries.values()].filter(({ hash }) => hash === undefined);
    for (const family of ['ipv4', 'ipv6'] as const) {
      const members = entries.filter(({ clientAddress }) => isOf(family, clientAddress));
      const builder = new FlowBatchBuilder(family, members.length);
      for (const entry of members) builder.add(this.#row(entry, FlowChange.refresh));
      const hasher = new FlowHasher(builder.take());
      members.forEach((entry, row) => {
        const { high, low } = hasher.term(row);
        const term = (BigInt(high) << 32n) | BigInt(low);
        entry.hash = { bucket: bucketOf(hasher.key(row)), term };
      });
    }
  }
}

/** The text by which `flows` names a flow. */
export function keyOf({ destination, client, clientPort }: FlowName): string {
  return textOf(destination, addressBook.bytes(client), clientPort);
}

function* batchesOf(rows: readonly FlowRow[], rowsMax: number): Generator<FlowBatch> {
  for (const family of ['ipv4', 'ipv6'] as const) {
    const builder = new FlowBatchBuilder(family, rowsMax);
    for (const row of rows) if (isOf(family, row.clientAddress)) builder.add(row);
    if (builder.count > 0) yield builder.take();
  }
}

function isOf(family: Family, clientAddress: Uint8Array): boolean {
  return (clientAddress.length === 4) === (family === 'ipv4');
}

function clientOf(batch: FlowBatch, row: number): Uint8Array {
  const width = batch.family === 'ipv4' ? 4 : 16;
  return batch.clientAddress.slice(row * width, (row + 1) * width);
}

function textOf(destination: Destination, client: Uint8Array, clientPort: number): string {
  const { protocol, vip, port } = destination;
  const hex = Buffer.from(client.buffer, client.byteOffset, client.length).toString('hex');
  return `${protocol} ${hex}:${clientPort} ${vip}:${port}`;
}

function ageMs(nowMs: number, atMs: number): number {
  return Math.max(0, Math.min(MAX_AGE_MS, Math.round(nowMs - atMs)));
}
