/**
 * struct flow_record <-> columns of a FlowBatch. Records are read where the kernel left them, without
 * an object for each: this runs for every flow that begins, here and on every peer.
 */
import { FLOW_RECORD_AT as AT, FLOW_RECORD_BYTES, FlowFlag } from '../abi/abi.generated.ts';
import { addressBytes, addressFromBytes, type Address, type Family } from '../model/address.ts';
import type { Destination, FlowBatch } from '../model/flow-batch.ts';
import { allocateColumns, firstRows, type FlowColumns } from '../peers/batch.ts';
import type { SlotNames } from './slot-names.ts';

const IPV4_MAPPED_OFFSET = 12;
const UDP = 17;
const TCP = 6;

/** Collects records of one family into a batch. */
class FamilyRecords {
  readonly #family: Family;
  readonly #names: SlotNames;
  readonly #columns: FlowColumns;
  readonly #destinations: Destination[] = [];
  readonly #backends: Address[] = [];
  readonly #destinationIndex = new Map<string, number>();
  readonly #backendIndex = new Map<Address, number>();
  readonly #addressOffset: number;
  readonly #addressBytes: number;
  /** Records mostly come in runs of one destination: where the last one lies in the same memory. */
  #lastDestination: { readonly at: number; readonly index: number } | undefined;
  #count = 0;

  constructor(family: Family, names: SlotNames, rowsMax: number) {
    this.#family = family;
    this.#names = names;
    this.#columns = allocateColumns(family, rowsMax);
    this.#addressOffset = family === 'ipv4' ? IPV4_MAPPED_OFFSET : 0;
    this.#addressBytes = family === 'ipv4' ? 4 : 16;
  }

  get count(): number {
    return this.#count;
  }

  /** The memory that `at` points into changes: positions in the old one mean nothing in it. */
  forgetMemory(): void {
    this.#lastDestination = undefined;
  }

  /** Leaves out a flow whose backend is not known here any more: its next packet is placed anew. */
  add(view: DataView, at: number, nowMs: number): void {
    const slot = view.getUint32(at + AT.flowBackend, true);
    const backend = this.#names.backendOf(slot, view.getUint16(at + AT.flowGeneration, true));
    if (backend === undefined) return;
    const row = this.#count;
    const columns = this.#columns;
    const width = this.#addressBytes;
    const client = at + AT.keySaddr + this.#addressOffset;
    for (let i = 0; i < width; i += 1) {
      columns.clientAddress[row * width + i] = view.getUint8(client + i);
    }
    columns.clientPort[row] = view.getUint16(at + AT.keySport);
    columns.destination[row] = this.#destinationAt(view, at);
    columns.backend[row] = this.#backendAt(backend);
    columns.change[row] = view.getUint8(at + AT.change);
    columns.state[row] = view.getUint8(at + AT.flowState);
    columns.guess[row] = view.getUint8(at + AT.flowFlags) & FlowFlag.FLOW_GUESS;
    columns.openedAgoMs[row] = ageMs(nowMs, view.getUint32(at + AT.flowOpenedMs, true));
    columns.seenAgoMs[row] = ageMs(nowMs, view.getUint32(at + AT.flowSeenMs, true));
    this.#count += 1;
  }

  take(): FlowBatch {
    return {
      family: this.#family,
      count: this.#count,
      destinations: this.#destinations,
      backends: this.#backends,
      ...firstRows(this.#columns, this.#family, this.#count),
    };
  }

  #destinationAt(view: DataView, at: number): number {
    const last = this.#lastDestination;
    if (last !== undefined && sameDestination(view, last.at, at)) return last.index;
    const bytes = new Uint8Array(view.buffer, view.byteOffset + at + AT.keyDaddr, 16);
    const destination: Destination = {
      vip: addressFromBytes(bytes),
      protocol: view.getUint8(at + AT.keyL4Proto) === UDP ? 'udp' : 'tcp',
      port: view.getUint16(at + AT.keyDport),
    };
    const key = `${destination.protocol} ${destination.vip} ${destination.port}`;
    let index = this.#destinationIndex.get(key);
    if (index === undefined) {
      index = this.#destinations.length;
      this.#destinations.push(destination);
      this.#destinationIndex.set(key, index);
    }
    this.#lastDestination = { at, index };
    return index;
  }

  #backendAt(backend: Address): number {
    let index = this.#backendIndex.get(backend);
    if (index === undefined) {
      index = this.#backends.length;
      this.#backends.push(backend);
      this.#backendIndex.set(backend, index);
    }
    return index;
  }
}

function sameDestination(view: DataView, one: number, other: number): boolean {
  return (
    view.getUint32(one + AT.keyDaddr + 12) === view.getUint32(other + AT.keyDaddr + 12) &&
    view.getUint16(one + AT.keyDport) === view.getUint16(other + AT.keyDport) &&
    view.getUint8(one + AT.keyL4Proto) === view.getUint8(other + AT.keyL4Proto) &&
    view.getUint32(one + AT.keyDaddr) === view.getUint32(other + AT.keyDaddr) &&
    view.getUint32(one + AT.keyDaddr + 4) === view.getUint32(other + AT.keyDaddr + 4) &&
    view.getUint32(one + AT.keyDaddr + 8) === view.getUint32(other + AT.keyDaddr + 8)
  );
}

/** The kernel's milliseconds wrap after 49 days; a time a little ahead of ours counts as now. */
function ageMs(nowMs: number, thenMs: number): number {
  const age = (nowMs - thenMs) >>> 0;
  return age > 0xf000_0000 ? 0 : age;
}

/** Collects records of both families. */
export class RecordBatches {
  readonly #families: readonly [FamilyRecords, FamilyRecords];
  readonly #nowMs: number;

  constructor(names: SlotNames, rowsMax: number, nowMs: number) {
    this.#families = [
      new FamilyRecords('ipv4', names, rowsMax),
      new FamilyRecords('ipv6', names, rowsMax),
    ];
    this.#nowMs = nowMs;
  }

  add(view: DataView, at: number): void {
    const family = this.#families[view.getUint8(at + AT.isIpv6) === 0 ? 0 : 1];
    family.add(view, at, this.#nowMs);
  }

  /** To be called whenever what `view` shows is replaced. */
  forgetMemory(): void {
    for (const family of this.#families) family.forgetMemory();
  }

  take(): FlowBatch[] {
    return this.#families.filter(({ count }) => count > 0).map((family) => family.take());
  }
}

/** How rows of a batch are turned into records of this node. */
export interface RecordTarget {
  readonly slot: number;
  readonly generation: number;
}

/**
 * Writes rows `from` to `to` as records; `targets` gives the slot for a pair of dictionary entries.
 * Returns how many records were written and how many rows name something that is not known here.
 */
export function writeRecords(
  batch: FlowBatch,
  from: number,
  to: number,
  into: DataView,
  targets: (destination: number, backend: number) => RecordTarget | undefined,
  nowMs: number,
): { records: number; unknown: number } {
  const vips = batch.destinations.map(({ vip }) => addressBytes(vip));
  const bytes = new Uint8Array(into.buffer, into.byteOffset, into.byteLength);
  const isIpv6 = batch.family === 'ipv6';
  const width = isIpv6 ? 16 : 4;
  let records = 0;
  for (let row = from; row < to; row += 1) {
    const destination = batch.destination[row] ?? 0;
    const target = targets(destination, batch.backend[row] ?? 0);
    const named = batch.destinations[destination];
    const vip = vips[destination];
    if (target === undefined || named === undefined || vip === undefined) continue;
    const at = records * FLOW_RECORD_BYTES;
    const client = at + AT.keySaddr + (isIpv6 ? 0 : IPV4_MAPPED_OFFSET);
    if (!isIpv6) {
      into.setBigUint64(at + AT.keySaddr, 0n);
      into.setUint32(at + AT.keySaddr + 8, 0xffff);
    }
    for (let i = 0; i < width; i += 1) {
      bytes[client + i] = batch.clientAddress[row * width + i] ?? 0;
    }
    bytes.set(vip, at + AT.keyDaddr);
    into.setUint16(at + AT.keySport, batch.clientPort[row] ?? 0);
    into.setUint16(at + AT.keyDport, named.port);
    into.setUint32(at + AT.keyL4Proto, (named.protocol === 'udp' ? UDP : TCP) << 24);
    into.setUint32(at + AT.flowBackend, target.slot, true);
    into.setUint32(at + AT.flowSeenMs, nowMs - (batch.seenAgoMs[row] ?? 0), true);
    into.setUint32(at + AT.flowOpenedMs, nowMs - (batch.openedAgoMs[row] ?? 0), true);
    into.setUint16(at + AT.flowGeneration, target.generation, true);
    into.setUint8(at + AT.flowState, batch.state[row] ?? 0);
    into.setUint8(at + AT.flowFlags, batch.guess[row] === 1 ? FlowFlag.FLOW_GUESS : 0);
    into.setUint8(at + AT.isIpv6, isIpv6 ? 1 : 0);
    into.setUint8(at + AT.change, batch.change[row] ?? 0);
    records += 1;
  }
  return { records, unknown: to - from - records };
}
