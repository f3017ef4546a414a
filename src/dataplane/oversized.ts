/**
 * Packets that the data plane handed over since they do not fit the way to their backend and may be
 * cut: each is cut and its fragments given back. Takes no more at a time than it says.
 */
import { OVERSIZED_EVENT_AT } from '../abi/abi.generated.ts';
import { cutPacket } from './ipv4-fragments.ts';
import type { BpfMap } from './libbpf.ts';
import { RingBuffer } from './ring-buffer.ts';

/** Packets cut at a time; the rest waits in the ring buffer, which is bounded. */
const PACKETS_MAX = 8;

export class Oversized {
  readonly #ring: RingBuffer;
  readonly #send: (packet: Uint8Array) => void;

  /** `send` gives a packet, from its IP header on, to the program that forwards. */
  constructor(map: BpfMap, send: (packet: Uint8Array) => void) {
    this.#ring = new RingBuffer(map);
    this.#send = send;
    // Whoever was to cut these is gone, and their senders have sent them again.
    this.#ring.drain(Infinity, () => undefined);
  }

  /** Cuts what waits, and returns how many packets that were. */
  cut(): number {
    const fragments: Uint8Array[] = [];
    const packets = this.#ring.drain(PACKETS_MAX, (memory, at) => {
      const view = new DataView(memory);
      const bytesMax = view.getUint32(at + OVERSIZED_EVENT_AT.bytesMax, true);
      const bytes = view.getUint32(at + OVERSIZED_EVENT_AT.bytes, true);
      const packet = new Uint8Array(memory, at + OVERSIZED_EVENT_AT.packet, bytes);
      fragments.push(...cutPacket(packet, bytesMax));
    });
    for (const fragment of fragments) this.#send(fragment);
    return packets;
  }

  close(): void {
    this.#ring.close();
  }
}
