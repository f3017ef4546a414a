/**
 * The hash of a flow's key, and of key and backend, equal on every node and in every version: what
 * table digests are made of. Two lanes of MurmurHash3_x86_32 with fixed seeds, over 32-bit words:
 *
 *   VIP (4), VIP port << 16 | IP protocol, client (4), client port     -> key hash
 *   and then backend (4)                                               -> term of the digest
 *
 * Addresses are 16 bytes as in `addressBytes`, each word in network order. The first lane is the
 * high half of the 64 bits; the bucket of a flow is the top ten bits of its key hash.
 */
import { addressBytes, type Address } from './address.ts';
import type { Destination, FlowBatch } from './flow-batch.ts';

const HIGH_SEED = 0x736b6569;
const LOW_SEED = 0x6e2e6c62;
const KEY_BYTES = 40;
const TERM_BYTES = 56;
const BUCKET_BITS = 10;
const IP_PROTOCOL = { tcp: 6, udp: 17 } as const;
const IPV4_MAPPED_WORD = 0xffff;

/** Both halves as unsigned 32-bit numbers. */
export interface Hash64 {
  readonly high: number;
  readonly low: number;
}

/** The lanes after some words, before the final mix. */
interface Lanes {
  readonly high: number;
  readonly low: number;
}

/** Hashes rows of one batch; what depends on the dictionaries only is worked out once. */
export class FlowHasher {
  readonly #batch: FlowBatch;
  readonly #destinations: (Lanes | undefined)[] = [];
  readonly #backends: (readonly number[] | undefined)[] = [];
  readonly #clients: DataView;

  constructor(batch: FlowBatch) {
    this.#batch = batch;
    const { buffer, byteOffset, byteLength } = batch.clientAddress;
    this.#clients = new DataView(buffer, byteOffset, byteLength);
  }

  key(row: number): Hash64 {
    return finish(this.#lanes(row), KEY_BYTES);
  }

  /** What the flow adds to the digest of its bucket. */
  term(row: number): Hash64 {
    let { high, low } = this.#lanes(row);
    for (const word of this.#backendWords(row)) {
      high = mix(high, word);
      low = mix(low, word);
    }
    return finish({ high, low }, TERM_BYTES);
  }

  #lanes(row: number): Lanes {
    const { family, clientPort, destination } = this.#batch;
    let { high, low } = this.#destinationLanes(destination[row] ?? 0);
    const width = family === 'ipv4' ? 4 : 16;
    for (let word = 0; word < 4; word += 1) {
      const value =
        width === 16 ? this.#clients.getUint32(row * 16 + word * 4) : this.#v4(row, word);
      high = mix(high, value);
      low = mix(low, value);
    }
    const port = clientPort[row] ?? 0;
    return { high: mix(high, port), low: mix(low, port) };
  }

  #v4(row: number, word: number): number {
    if (word === 3) return this.#clients.getUint32(row * 4);
    return word === 2 ? IPV4_MAPPED_WORD : 0;
  }

  #destinationLanes(index: number): Lanes {
    return (this.#destinations[index] ??= destinationLanes(this.#batch.destinations[index]));
  }

  #backendWords(row: number): readonly number[] {
    const index = this.#batch.backend[row] ?? 0;
    return (this.#backends[index] ??= addressWords(this.#batch.backends[index]));
  }
}

export function bucketOf(key: Hash64): number {
  return key.high >>> (32 - BUCKET_BITS);
}

function destinationLanes(destination: Destination | undefined): Lanes {
  let high = HIGH_SEED;
  let low = LOW_SEED;
  if (destination === undefined) return { high, low };
  const { vip, port, protocol } = destination;
  const portAndProtocol = port * 0x10000 + IP_PROTOCOL[protocol];
  for (const word of [...addressWords(vip), portAndProtocol]) {
    high = mix(high, word);
    low = mix(low, word);
  }
  return { high, low };
}

/** VIPs and backends: a few hundred, asked for with every batch. Starts over when it is full. */
const wordsOf = new Map<Address, readonly number[]>();
const WORDS_REMEMBERED_MAX = 4_096;

function addressWords(address: Address | undefined): readonly number[] {
  if (address === undefined) return [];
  const known = wordsOf.get(address);
  if (known !== undefined) return known;
  const view = new DataView(addressBytes(address).buffer);
  const words = [0, 4, 8, 12].map((offset) => view.getUint32(offset));
  if (wordsOf.size >= WORDS_REMEMBERED_MAX) wordsOf.clear();
  wordsOf.set(address, words);
  return words;
}

function mix(lane: number, word: number): number {
  let k = Math.imul(word, 0xcc9e2d51);
  k = (k << 15) | (k >>> 17);
  k = Math.imul(k, 0x1b873593);
  const h = lane ^ k;
  return (Math.imul((h << 13) | (h >>> 19), 5) + 0xe6546b64) | 0;
}

function finish({ high, low }: Lanes, bytes: number): Hash64 {
  return { high: avalanche(high ^ bytes), low: avalanche(low ^ bytes) };
}

function avalanche(value: number): number {
  let h = value;
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}
