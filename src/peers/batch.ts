/**
 * Flow batches by columns: made, cut, joined. Rows are copied, never turned into objects, except by
 * `add` for those who have one row to say. Must never hold more rows than it was given room for.
 */
import type { Address, Family } from '../model/address.ts';
import { DICTIONARY_ENTRIES_MAX, type Destination, type FlowBatch } from '../model/flow-batch.ts';

/** The columns of a batch, of equal length. */
export type FlowColumns = Omit<FlowBatch, 'family' | 'count' | 'destinations' | 'backends'>;

/** One flow as an object: for tests, and where a flow comes alone. */
export interface FlowRow {
  readonly destination: Destination;
  readonly backend: Address;
  /** 4 or 16 bytes, network order. */
  readonly clientAddress: Uint8Array;
  readonly clientPort: number;
  readonly change: number;
  readonly state: number;
  readonly guess: boolean;
  readonly openedAgoMs: number;
  readonly seenAgoMs: number;
}

export function addressLength(family: Family): number {
  return family === 'ipv4' ? 4 : 16;
}

/** All columns in one piece of memory, zeroed: one allocation instead of nine. */
export function allocateColumns(family: Family, rows: number): FlowColumns {
  const width = addressLength(family);
  const u8Columns = 3 + width;
  const memory = new ArrayBuffer(rows * (2 * 4 + 3 * 2 + u8Columns));
  // The widest first, so that every column is aligned.
  const u16At = rows * 8;
  const u8At = rows * 14;
  return {
    clientAddress: new Uint8Array(memory, u8At + rows * 3, rows * width),
    clientPort: new Uint16Array(memory, u16At, rows),
    destination: new Uint16Array(memory, u16At + rows * 2, rows),
    backend: new Uint16Array(memory, u16At + rows * 4, rows),
    change: new Uint8Array(memory, u8At, rows),
    state: new Uint8Array(memory, u8At + rows, rows),
    guess: new Uint8Array(memory, u8At + rows * 2, rows),
    openedAgoMs: new Uint32Array(memory, 0, rows),
    seenAgoMs: new Uint32Array(memory, rows * 4, rows),
  };
}

/** The first `rows` of the columns, as views. */
export function firstRows(columns: FlowColumns, family: Family, rows: number): FlowColumns {
  return rows === columns.clientPort.length
    ? columns
    : cutColumns(columns, addressLength(family), 0, rows);
}

/** Rows `from` to before `to`, as views of the same memory, with the same dictionaries. */
export function sliceBatch(batch: FlowBatch, from: number, to: number): FlowBatch {
  const first = Math.max(0, Math.min(from, batch.count));
  const end = Math.max(first, Math.min(to, batch.count));
  return {
    family: batch.family,
    count: end - first,
    destinations: batch.destinations,
    backends: batch.backends,
    ...cutColumns(batch, addressLength(batch.family), first, end),
  };
}

/** All rows in one batch; throws a RangeError when families differ or a dictionary overflows. */
export function concatBatches(family: Family, batches: readonly FlowBatch[]): FlowBatch {
  const rows = batches.reduce((sum, { count }) => sum + count, 0);
  const builder = new FlowBatchBuilder(family, rows);
  for (const batch of batches) {
    if (builder.append(batch) !== batch.count) {
      throw new RangeError(`more than ${DICTIONARY_ENTRIES_MAX} destinations or backends`);
    }
  }
  return builder.take();
}

/**
 * The same rows with those of each destination together, in their order: then the datagrams that a
 * batch is split into each need few dictionary entries. Changes of one flow keep their order, since
 * they have one destination.
 */
export function groupByDestination(batch: FlowBatch): FlowBatch {
  const { family, count, destinations, backends } = batch;
  if (destinations.length < 2) return batch;
  const next = new Uint32Array(destinations.length + 1);
  for (let row = 0; row < count; row += 1) increase(next, (batch.destination[row] ?? 0) + 1, 1);
  for (let index = 1; index < next.length; index += 1) increase(next, index, next[index - 1] ?? 0);
  const columns = allocateColumns(family, count);
  for (let row = 0; row < count; row += 1) {
    const destination = batch.destination[row] ?? 0;
    const at = next[destination] ?? 0;
    increase(next, destination, 1);
    copyRow(batch, row, columns, at, addressLength(family));
    columns.destination[at] = destination;
    columns.backend[at] = batch.backend[row] ?? 0;
  }
  return { family, count, destinations, backends, ...columns };
}

function increase(numbers: Uint32Array, index: number, by: number): void {
  numbers[index] = (numbers[index] ?? 0) + by;
}

/** Where the entries of one batch's dictionaries are in the builder's. */
interface Translation {
  readonly destinations: readonly Destination[];
  readonly backends: readonly Address[];
  readonly destination: Int32Array;
  readonly backend: Int32Array;
}

const UNKNOWN = -1;
const ROWS_AT_FIRST = 256;

/** Collects rows up to `rowsMax`; its columns grow by doubling and shrink when they are taken. */
export class FlowBatchBuilder {
  readonly #family: Family;
  readonly #addressBytes: number;
  readonly #rowsMax: number;
  #columns: FlowColumns;
  #count = 0;
  #destinations: Destination[] = [];
  #backends: Address[] = [];
  readonly #destinationIndex = new Map<string, number>();
  readonly #backendIndex = new Map<Address, number>();
  /** Of the batch appended last: rows of one batch mostly come one after the other. */
  #translation: Translation | undefined;

  constructor(family: Family, rowsMax: number) {
    this.#family = family;
    this.#addressBytes = addressLength(family);
    this.#rowsMax = rowsMax;
    this.#columns = allocateColumns(family, Math.min(ROWS_AT_FIRST, rowsMax));
  }

  get count(): number {
    return this.#count;
  }

  /** Copies rows; returns how many: fewer than asked for when the room or a dictionary is full. */
  append(batch: FlowBatch, from = 0, to = batch.count): number {
    const end = Math.min(to, batch.count);
    let row = from;
    while (row < end && this.appendRow(batch, row)) row += 1;
    return row - from;
  }

  /** Copies one row; false when there is no room for it. */
  appendRow(batch: FlowBatch, row: number): boolean {
    if (batch.family !== this.#family) {
      throw new RangeError(`${batch.family} rows do not fit a batch of ${this.#family}`);
    }
    const { destination, backend } = this.#translate(batch, row);
    if (destination === UNKNOWN || backend === UNKNOWN || !this.#makeRoom()) return false;
    const at = this.#count;
    copyRow(batch, row, this.#columns, at, this.#addressBytes);
    this.#columns.destination[at] = destination;
    this.#columns.backend[at] = backend;
    this.#count += 1;
    return true;
  }

  /** One row from an object; false when there is no room for it. */
  add(row: FlowRow): boolean {
    const destination = this.#destinationOf(row.destination);
    const backend = this.#backendOf(row.backend);
    if (destination === UNKNOWN || backend === UNKNOWN || !this.#makeRoom()) return false;
    const at = this.#count;
    const columns = this.#columns;
    columns.clientAddress.set(
      row.clientAddress.subarray(0, this.#addressBytes),
      at * this.#addressBytes,
    );
    columns.clientPort[at] = row.clientPort;
    columns.destination[at] = destination;
    columns.backend[at] = backend;
    columns.change[at] = row.change;
    columns.state[at] = row.state;
    columns.guess[at] = row.guess ? 1 : 0;
    columns.openedAgoMs[at] = row.openedAgoMs;
    columns.seenAgoMs[at] = row.seenAgoMs;
    this.#count += 1;
    return true;
  }

  /** The rows so far as a batch of its own; the builder begins again. */
  take(): FlowBatch {
    const batch = {
      family: this.#family,
      count: this.#count,
      destinations: this.#destinations,
      backends: this.#backends,
      ...cutColumns(this.#columns, this.#addressBytes, 0, this.#count),
    };
    this.#columns = allocateColumns(this.#family, Math.min(ROWS_AT_FIRST, this.#rowsMax));
    this.#count = 0;
    this.#destinations = [];
    this.#backends = [];
    this.#destinationIndex.clear();
    this.#backendIndex.clear();
    this.#translation = undefined;
    return batch;
  }

  #translate(batch: FlowBatch, row: number): { destination: number; backend: number } {
    const known = this.#translation;
    const translation =
      known?.destinations === batch.destinations && known.backends === batch.backends
        ? known
        : (this.#translation = newTranslation(batch));
    const from = batch.destination[row] ?? 0;
    const via = batch.backend[row] ?? 0;
    let destination = translation.destination[from] ?? UNKNOWN;
    if (destination === UNKNOWN) {
      destination = this.#destinationOf(entryOf(batch.destinations, from));
      translation.destination[from] = destination;
    }
    let backend = translation.backend[via] ?? UNKNOWN;
    if (backend === UNKNOWN) {
      backend = this.#backendOf(entryOf(batch.backends, via));
      translation.backend[via] = backend;
    }
    return { destination, backend };
  }

  #destinationOf(destination: Destination): number {
    const key = `${destination.protocol} ${destination.port} ${destination.vip}`;
    return indexOf(this.#destinationIndex, this.#destinations, key, destination);
  }

  #backendOf(backend: Address): number {
    return indexOf(this.#backendIndex, this.#backends, backend, backend);
  }

  #makeRoom(): boolean {
    if (this.#count >= this.#rowsMax) return false;
    const capacity = this.#columns.clientPort.length;
    if (this.#count < capacity) return true;
    const larger = allocateColumns(this.#family, Math.min(capacity * 2, this.#rowsMax));
    copyColumns(this.#columns, larger);
    this.#columns = larger;
    return true;
  }
}

function newTranslation({ destinations, backends }: FlowBatch): Translation {
  return {
    destinations,
    backends,
    destination: new Int32Array(destinations.length).fill(UNKNOWN),
    backend: new Int32Array(backends.length).fill(UNKNOWN),
  };
}

/** An entry that a row names: the maker of a batch sees to it that it is there. */
export function entryOf<Value>(dictionary: readonly Value[], index: number): Value {
  const value = dictionary[index];
  if (value === undefined) throw new RangeError(`a row names entry ${index}, which is not there`);
  return value;
}

/** Place of a value in a dictionary, put there if it is new; UNKNOWN when the dictionary is full. */
function indexOf<Key, Value>(
  index: Map<Key, number>,
  values: Value[],
  key: Key,
  value: Value,
): number {
  const known = index.get(key);
  if (known !== undefined) return known;
  if (values.length >= DICTIONARY_ENTRIES_MAX) return UNKNOWN;
  index.set(key, values.length);
  return values.push(value) - 1;
}

function cutColumns(columns: FlowColumns, width: number, from: number, to: number): FlowColumns {
  return {
    clientAddress: columns.clientAddress.subarray(from * width, to * width),
    clientPort: columns.clientPort.subarray(from, to),
    destination: columns.destination.subarray(from, to),
    backend: columns.backend.subarray(from, to),
    change: columns.change.subarray(from, to),
    state: columns.state.subarray(from, to),
    guess: columns.guess.subarray(from, to),
    openedAgoMs: columns.openedAgoMs.subarray(from, to),
    seenAgoMs: columns.seenAgoMs.subarray(from, to),
  };
}

/** All but what is an index into a dictionary. */
function copyRow(from: FlowColumns, row: number, to: FlowColumns, at: number, width: number): void {
  for (let i = 0; i < width; i += 1) {
    to.clientAddress[at * width + i] = from.clientAddress[row * width + i] ?? 0;
  }
  to.clientPort[at] = from.clientPort[row] ?? 0;
  to.change[at] = from.change[row] ?? 0;
  to.state[at] = from.state[row] ?? 0;
  to.guess[at] = from.guess[row] ?? 0;
  to.openedAgoMs[at] = from.openedAgoMs[row] ?? 0;
  to.seenAgoMs[at] = from.seenAgoMs[row] ?? 0;
}

function copyColumns(from: FlowColumns, to: FlowColumns): void {
  to.clientAddress.set(from.clientAddress);
  to.clientPort.set(from.clientPort);
  to.destination.set(from.destination);
  to.backend.set(from.backend);
  to.change.set(from.change);
  to.state.set(from.state);
  to.guess.set(from.guess);
  to.openedAgoMs.set(from.openedAgoMs);
  to.seenAgoMs.set(from.seenAgoMs);
}
