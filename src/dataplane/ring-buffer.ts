/**
 * Reads a BPF ring buffer without a system call. The kernel's rules (Documentation/bpf/ringbuf.rst,
 * kernel/bpf/ringbuf.c): a record is eight bytes of header and its data; its length has a busy bit
 * until it is committed, and what is behind a busy record must wait, or order would be lost.
 */
import { mapRingBuffer, type BpfMap } from './libbpf.ts';

const BUSY_BIT = 0x8000_0000;
const DISCARD_BIT = 0x4000_0000;
const HEADER_BYTES = 8;

export class RingBuffer {
  readonly #shared: ReturnType<typeof mapRingBuffer>;
  readonly #consumed: BigUint64Array;
  readonly #produced: BigUint64Array;
  readonly #words: Int32Array;
  readonly #mask: number;
  #position: number;

  constructor(map: BpfMap) {
    this.#shared = mapRingBuffer(map);
    const { consumer, producer } = this.#shared;
    this.#consumed = new BigUint64Array(consumer.memory, 0, 1);
    this.#produced = new BigUint64Array(producer.memory, 0, 1);
    this.#words = new Int32Array(producer.memory);
    this.#mask = map.maxEntries - 1;
    this.#position = Number(Atomics.load(this.#consumed, 0));
  }

  /**
   * Calls back for at most `limit` records, oldest first. `memory` is the kernel's: what is wanted
   * must be copied before the callback returns.
   */
  drain(limit: number, each: (memory: ArrayBuffer, at: number, bytes: number) => void): number {
    const { producer, dataOffset } = this.#shared;
    // Positions are below 2^53 for longer than any machine runs.
    const end = Number(Atomics.load(this.#produced, 0));
    let count = 0;
    while (this.#position < end && count < limit) {
      const at = dataOffset + (this.#position % (this.#mask + 1));
      const length = Atomics.load(this.#words, at / 4) >>> 0;
      if (length >= BUSY_BIT) break;
      const bytes = length & ~DISCARD_BIT;
      if ((length & DISCARD_BIT) === 0) {
        each(producer.memory, at + HEADER_BYTES, bytes);
        count += 1;
      }
      this.#position += (HEADER_BYTES + bytes + 7) & ~7;
    }
    Atomics.store(this.#consumed, 0, BigInt(this.#position));
    return count;
  }

  close(): void {
    this.#shared.consumer.unmap();
    this.#shared.producer.unmap();
  }
}
