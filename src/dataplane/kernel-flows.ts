/**
 * The flow tables in the kernel as the peers' protocol sees them: changes come out of a ring buffer,
 * records of peers go in through a program that merges them, walks read tables out or sum them up.
 * Long walks run on a thread of the pool; nothing here waits on the main thread.
 */
import { read as readCallback } from 'node:fs';
import { promisify } from 'node:util';
import {
  DIGEST_BUCKETS as BUCKETS,
  encodeMergeRequest,
  FLOW_RECORD_BYTES,
  ICMP_EVENT_AT,
  INBOX_RECORDS,
  MergeOutcome,
} from '../abi/abi.generated.ts';
import { SkeinError } from '../lib/errors.ts';
import type { FlowBatch } from '../model/flow-batch.ts';
import type { FlowTable, MergeTally, TableDigest } from '../peers/flow-table.ts';
import { RecordBatches, writeRecords, type RecordTarget } from './flow-records.ts';
import {
  attachMapIterator,
  closeFd,
  mapArray,
  openIterator,
  testRun,
  type BpfMap,
  type BpfObject,
  type MappedMemory,
} from './libbpf.ts';
import { RingBuffer } from './ring-buffer.ts';
import type { SlotNames } from './slot-names.ts';

const read = promisify(readCallback);
/** The kernel fills at most 32 KiB for one read of an iterator. */
const READ_BYTES = 32 * 1024;
/** Rows of a batch that a walk gives. */
const READ_ROWS = 4096;
/** ICMP errors taken from the kernel at a time. */
const ICMP_EVENTS_MAX = 256;
const FAMILIES = ['4', '6'] as const;

export class KernelFlows implements FlowTable {
  readonly #object: BpfObject;
  readonly #names: () => SlotNames;
  readonly #changes: RingBuffer;
  readonly #icmpEvents: RingBuffer;
  readonly #inbox: MappedMemory;
  readonly #inboxRecords: DataView;
  readonly #tally: MappedMemory;
  /** By MergeOutcome, since the maps were made. */
  readonly #outcomes: BigUint64Array;
  readonly #digest: BpfMap;
  readonly #buckets: BpfMap;
  readonly #lostSoFar: () => number;
  #lostTold = 0;
  #isClosed = false;
  /** Walks share maps, so one runs at a time. */
  #walking: Promise<unknown> = Promise.resolve();

  /** `lostSoFar`: changes that the kernel had no room for, since the maps were made. */
  constructor(object: BpfObject, names: () => SlotNames, lostSoFar: () => number) {
    this.#object = object;
    this.#names = names;
    this.#lostSoFar = lostSoFar;
    this.#lostTold = lostSoFar();
    this.#changes = new RingBuffer(object.map('changes'));
    this.#icmpEvents = new RingBuffer(object.map('icmp_events'));
    this.#inbox = mapArray(object.map('inbox'));
    this.#inboxRecords = new DataView(this.#inbox.memory);
    this.#tally = mapArray(object.map('merge_tally'));
    this.#outcomes = new BigUint64Array(this.#tally.memory, 0, MergeOutcome.MERGE_OUTCOME_COUNT);
    this.#digest = object.map('digest');
    this.#buckets = object.map('read_buckets');
  }

  drainChanges(limit: number): { batches: readonly FlowBatch[]; lost: number } {
    this.#refuseWhenClosed();
    const records = new RecordBatches(this.#names(), limit, monotonicMs());
    let view: DataView | undefined;
    this.#changes.drain(limit, (memory, at) => {
      view ??= new DataView(memory);
      records.add(view, at);
    });
    const lostSoFar = this.#lostSoFar();
    const lost = Math.max(0, lostSoFar - this.#lostTold);
    this.#lostTold = lostSoFar;
    return { batches: records.take(), lost };
  }

  merge(batch: FlowBatch): MergeTally {
    this.#refuseWhenClosed();
    const before = this.#outcomes.slice();
    const targets = targetsOf(batch, this.#names());
    let unknown = 0;
    for (let from = 0; from < batch.count; from += INBOX_RECORDS) {
      const to = Math.min(batch.count, from + INBOX_RECORDS);
      const written = writeRecords(batch, from, to, this.#inboxRecords, targets, monotonicMs());
      unknown += written.unknown;
      this.#mergeRecords(written.records);
    }
    const grown = (outcome: number): number =>
      Number((this.#outcomes[outcome] ?? 0n) - (before[outcome] ?? 0n));
    return {
      added: grown(MergeOutcome.MERGE_ADDED),
      replaced: grown(MergeOutcome.MERGE_REPLACED),
      refreshed: grown(MergeOutcome.MERGE_REFRESHED),
      ignored: grown(MergeOutcome.MERGE_IGNORED),
      removed: grown(MergeOutcome.MERGE_REMOVED),
      full: grown(MergeOutcome.MERGE_FULL),
      unknown,
    };
  }

  /** Merges the first records of the inbox. */
  #mergeRecords(records: number): void {
    if (records === 0) return;
    testRun(this.#object.program('merge_inbox'), { context: encodeMergeRequest({ records }) });
  }

  async *read(buckets?: ReadonlySet<number>): AsyncGenerator<FlowBatch> {
    const release = await this.#exclusively();
    try {
      this.#chooseBuckets(buckets);
      for (const family of FAMILIES) yield* this.#readTable(family);
    } finally {
      release();
    }
  }

  async digest(): Promise<TableDigest> {
    const release = await this.#exclusively();
    try {
      const keys = Uint32Array.from({ length: BUCKETS + 1 }, (_, i) => i);
      const zeroes = new Uint8Array((BUCKETS + 1) * 8);
      this.#digest.updateBatch(new Uint8Array(keys.buffer), zeroes, BUCKETS + 1);
      for (const family of FAMILIES) await this.#walk(`digest_flows${family}`, family);
      this.#refuseWhenClosed();
      const sums = new BigUint64Array(BUCKETS + 1);
      this.#digest.readAll((found, values, count) => {
        for (let i = 0; i < count; i += 1) {
          sums[found.getUint32(i * 4, true)] = values.getBigUint64(i * 8, true);
        }
      });
      return { buckets: sums.slice(0, BUCKETS), flows: Number(sums[BUCKETS]) };
    } finally {
      release();
    }
  }

  /** ICMP errors of flows that are not known here, from the IP header on. */
  drainIcmpErrors(): Uint8Array[] {
    this.#refuseWhenClosed();
    const packets: Uint8Array[] = [];
    this.#icmpEvents.drain(ICMP_EVENTS_MAX, (memory, at) => {
      const length = new DataView(memory).getUint32(at + ICMP_EVENT_AT.bytes, true);
      const from = at + ICMP_EVENT_AT.packet;
      packets.push(new Uint8Array(memory.slice(from, from + length)));
    });
    return packets;
  }

  /** A walk that is under way ends with an error. Idempotent. */
  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#changes.close();
    this.#icmpEvents.close();
    this.#inbox.unmap();
    this.#tally.unmap();
  }

  /** The maps are gone, and so is the memory that they shared. */
  #refuseWhenClosed(): void {
    if (this.#isClosed) throw new SkeinError('TABLE_CLOSED', 'the flow tables are closed');
  }

  #chooseBuckets(buckets: ReadonlySet<number> | undefined): void {
    const words = new BigUint64Array(BUCKETS / 64);
    if (buckets === undefined) words.fill(~0n);
    for (const bucket of buckets ?? []) {
      words[bucket >> 6] = (words[bucket >> 6] ?? 0n) | (1n << BigInt(bucket & 63));
    }
    const keys = Uint32Array.from(words, (_, i) => i);
    const values = new Uint8Array(words.buffer);
    this.#buckets.updateBatch(new Uint8Array(keys.buffer), values, words.length);
  }

  async *#readTable(family: string): AsyncGenerator<FlowBatch> {
    const buffer = Buffer.alloc(READ_BYTES);
    const view = new DataView(buffer.buffer, buffer.byteOffset, buffer.byteLength);
    let records = new RecordBatches(this.#names(), READ_ROWS, monotonicMs());
    let rows = 0;
    for await (const bytes of this.#chunks(`read_flows${family}`, family, buffer)) {
      const count = bytes / FLOW_RECORD_BYTES;
      if (rows + count > READ_ROWS) {
        yield* records.take();
        records = new RecordBatches(this.#names(), READ_ROWS, monotonicMs());
        rows = 0;
      }
      records.forgetMemory();
      for (let i = 0; i < count; i += 1) records.add(view, i * FLOW_RECORD_BYTES);
      rows += count;
    }
    yield* records.take();
  }

  async #walk(program: string, family: string): Promise<void> {
    const nothing = Buffer.alloc(FLOW_RECORD_BYTES);
    for await (const bytes of this.#chunks(program, family, nothing)) {
      if (bytes > 0) throw new RangeError(`${program} is not to write anything`);
    }
  }

  /** Runs an iterator over one table; gives the number of bytes that lie in `buffer`, again and again. */
  async *#chunks(program: string, family: string, buffer: Buffer): AsyncGenerator<number> {
    this.#refuseWhenClosed();
    const table = this.#object.map(`flows${family}`);
    const link = attachMapIterator(this.#object.program(program), table.fd);
    const iterator = openIterator(link);
    try {
      for (;;) {
        const bytes = await readSome(iterator, buffer);
        if (bytes === 0) return;
        if (bytes !== undefined) yield bytes;
      }
    } finally {
      closeFd(iterator);
      closeFd(link);
    }
  }

  async #exclusively(): Promise<() => void> {
    const { promise, resolve } = Promise.withResolvers<undefined>();
    const before = this.#walking;
    this.#walking = promise;
    await before;
    const release = (): void => {
      resolve(undefined);
    };
    if (this.#isClosed) release();
    this.#refuseWhenClosed();
    return release;
  }
}

/** Undefined: the kernel paused the walk after a million entries, and goes on at the next read. */
export async function readSome(fd: number, buffer: Buffer): Promise<number | undefined> {
  try {
    return (await read(fd, buffer, 0, buffer.length, null)).bytesRead;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EAGAIN') return undefined;
    throw error;
  }
}

/** CLOCK_MONOTONIC in milliseconds modulo 2^32, as the data plane has it. */
export function monotonicMs(): number {
  return Number((process.hrtime.bigint() / 1_000_000n) & 0xffff_ffffn);
}

/** Slots for pairs of dictionary entries, each looked up once. */
function targetsOf(
  batch: FlowBatch,
  names: SlotNames,
): (destination: number, backend: number) => RecordTarget | undefined {
  const rows = batch.destinations.map((destination) => {
    const backends = names.backendsOf(destination);
    return batch.backends.map((address) => backends?.get(address));
  });
  return (destination, backend) => rows[destination]?.[backend];
}
