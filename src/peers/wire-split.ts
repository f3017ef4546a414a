/** What is too long for one datagram, as several payloads that each fit one and stand alone. */
import type { Address } from '../model/address.ts';
import type { FlowBatch } from '../model/flow-batch.ts';
import { addressBook } from './address-book.ts';
import { entryOf } from './batch.ts';
import type { TableDigest } from './flow-table.ts';
import type { Hello, Resend } from './message.ts';
import { DESTINATION_TAIL_BYTES, Neighbours, WIRE_DICTIONARY_MAX } from './wire-dictionary.ts';
import { HEARD_MAX, RANGES_MAX, RESEND_DATAGRAMS_MAX } from './wire-fields.ts';
import { strideOf, type Selection } from './wire-flows.ts';
import { encodeFlows, encodeMessage } from './wire.ts';

/** Everything of a flows payload but entries and rows, at its longest. */
const FLOWS_FIXED_BYTES = 15;
/** Everything of a digest payload but the buckets, at its longest. */
const DIGEST_FIXED_BYTES = 20;
const BUCKET_BYTES = 8;

export interface FlowsPayload {
  /** How many rows it has: the next of the batch, in their order. */
  readonly rows: number;
  readonly payload: Uint8Array;
}

/** A batch as payloads of at most `payloadBytesMax`, with a dictionary each. */
export function* splitFlows(batch: FlowBatch, payloadBytesMax: number): Generator<FlowsPayload> {
  const selector = new Selector(batch);
  let from = 0;
  while (from < batch.count) {
    const selection = selector.select(from, payloadBytesMax);
    const rows = selection.to - from;
    if (rows === 0) throw new RangeError(`${payloadBytesMax} bytes are too few for a flow`);
    yield { rows, payload: encodeFlows(batch, selection) };
    from = selection.to;
  }
}

/** Finds how many rows fit. Its arrays are as long as the batch's dictionaries, and used again. */
class Selector {
  readonly #batch: FlowBatch;
  readonly #destinations: Dictionary;
  readonly #backends: Dictionary;

  constructor(batch: FlowBatch) {
    this.#batch = batch;
    const vips = batch.destinations.map(({ vip }) => vip);
    this.#destinations = new Dictionary(vips, DESTINATION_TAIL_BYTES);
    this.#backends = new Dictionary(batch.backends, 0);
  }

  select(from: number, payloadBytesMax: number): Selection {
    const { count, family, destination, backend } = this.#batch;
    const stride = strideOf(family);
    this.#destinations.clear();
    this.#backends.clear();
    let bytes = FLOWS_FIXED_BYTES;
    let to = from;
    while (to < count) {
      const toward = destination[to] ?? 0;
      const via = backend[to] ?? 0;
      bytes += stride + this.#destinations.cost(toward) + this.#backends.cost(via);
      if (bytes > payloadBytesMax) break;
      this.#destinations.add(toward);
      this.#backends.add(via);
      to += 1;
    }
    return {
      from,
      to,
      destinations: this.#destinations.chosen,
      backends: this.#backends.chosen,
      destinationPlaces: this.#destinations.places,
      backendPlaces: this.#backends.places,
    };
  }
}

/** The entries that the rows chosen so far need, and their places. */
class Dictionary {
  chosen: number[] = [];
  readonly places: Uint8Array;
  readonly #addresses: readonly Uint8Array[];
  readonly #tailBytes: number;
  readonly #isChosen: Uint8Array;
  #neighbours = new Neighbours();

  /** `tailBytes` go with each address. */
  constructor(addresses: readonly Address[], tailBytes: number) {
    this.#addresses = addresses.map((address) => addressBook.bytes(address));
    this.#tailBytes = tailBytes;
    this.places = new Uint8Array(addresses.length);
    this.#isChosen = new Uint8Array(addresses.length);
  }

  clear(): void {
    for (const index of this.chosen) this.#isChosen[index] = 0;
    this.chosen = [];
    this.#neighbours = new Neighbours();
  }

  /** Bytes that it takes to name this entry; infinite when there is no place left for it. */
  cost(index: number): number {
    if (this.#isChosen[index] === 1) return 0;
    if (this.chosen.length >= WIRE_DICTIONARY_MAX) return Infinity;
    return this.#neighbours.cost(entryOf(this.#addresses, index)) + this.#tailBytes;
  }

  add(index: number): void {
    if (this.#isChosen[index] === 1) return;
    this.#isChosen[index] = 1;
    this.#neighbours.follow(entryOf(this.#addresses, index));
    this.places[index] = this.chosen.length;
    this.chosen.push(index);
  }
}

/** A table digest as payloads of some buckets each. */
export function* splitDigest(
  { flows, buckets }: TableDigest,
  payloadBytesMax: number,
): Generator<Uint8Array> {
  const step = Math.floor((payloadBytesMax - DIGEST_FIXED_BYTES) / BUCKET_BYTES);
  if (step < 1) throw new RangeError(`${payloadBytesMax} bytes are too few for a digest`);
  for (let firstBucket = 0; firstBucket < buckets.length; firstBucket += step) {
    const part = buckets.subarray(firstBucket, firstBucket + step);
    yield encodeMessage({ kind: 'digest', flows, firstBucket, buckets: part });
  }
}

/** Everything of a resend payload but datagrams and ranges, at its longest. */
const RESEND_FIXED_BYTES = 11;
/** Beside the datagram itself: its age, and the header of the binary. */
const RESENT_BYTES = 9 + 3;
const RANGE_BYTES = 1 + 9 + 9;

/** What a resend needs around one datagram. */
export const RESEND_BYTES = RESEND_FIXED_BYTES + RESENT_BYTES;

/** A resend as payloads of as many datagrams as fit each, and of the ranges that were empty. */
export function* splitResend(resend: Resend, payloadBytesMax: number): Generator<Uint8Array> {
  const room = payloadBytesMax - RESEND_FIXED_BYTES;
  const resent = resend.datagrams.map((datagram, index) => ({
    datagram,
    agoMs: resend.sentAgoMs[index] ?? 0,
  }));
  const bytesOf = ({ datagram }: (typeof resent)[number]) => RESENT_BYTES + datagram.length;
  for (const part of groups(resent, bytesOf, room, RESEND_DATAGRAMS_MAX)) {
    yield encodeMessage({
      kind: 'resend',
      datagrams: part.map(({ datagram }) => datagram),
      sentAgoMs: part.map(({ agoMs }) => agoMs),
      empty: [],
    });
  }
  for (const empty of groups(resend.empty, () => RANGE_BYTES, room, RANGES_MAX)) {
    yield encodeMessage({ kind: 'resend', datagrams: [], sentAgoMs: [], empty });
  }
}

/** Everything of a hello payload but the texts and what was heard, at its longest. */
const HELLO_FIXED_BYTES = 40;

/** A hello as one payload or more, each with some of what was heard. */
export function* splitHello(hello: Hello, payloadBytesMax: number): Generator<Uint8Array> {
  const { softwareVersion, configDigest, snapshotEndpoint } = hello;
  const room =
    payloadBytesMax -
    HELLO_FIXED_BYTES -
    Buffer.byteLength(softwareVersion + configDigest + snapshotEndpoint);
  const bytesOf = ([node]: (typeof hello.heard)[number]) => 1 + 2 + Buffer.byteLength(node) + 9 + 9;
  if (hello.heard.length === 0) yield encodeMessage(hello);
  for (const heard of groups(hello.heard, bytesOf, room, HEARD_MAX)) {
    yield encodeMessage({ ...hello, heard });
  }
}

/** Items in their order, as many together as fit; throws a RangeError when one alone does not. */
function* groups<Item>(
  items: readonly Item[],
  bytesOf: (item: Item) => number,
  room: number,
  itemsMax: number,
): Generator<Item[]> {
  let group: Item[] = [];
  let bytes = 0;
  for (const item of items) {
    const itemBytes = bytesOf(item);
    if (itemBytes > room) throw new RangeError(`${itemBytes} bytes do not fit into ${room}`);
    if (group.length === itemsMax || bytes + itemBytes > room) {
      yield group;
      group = [];
      bytes = 0;
    }
    group.push(item);
    bytes += itemBytes;
  }
  if (group.length > 0) yield group;
}
