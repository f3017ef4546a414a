/** What QUIC connection IDs call the backends, in the map: one record for each backend slot at most. */
import type { BpfMap, BpfObject } from './libbpf.ts';

export interface QuicServer {
  readonly slot: number;
  /** The key of `quic_servers`; undefined: connection IDs do not name this backend. */
  readonly key: Uint8Array | undefined;
}

export class QuicServers {
  readonly #map: BpfMap;
  readonly #keys = new Map<number, Uint8Array>();

  /** Goes on with what an earlier supervisor left. */
  constructor(object: BpfObject) {
    this.#map = object.map('quic_servers');
    const { keyBytes } = this.#map;
    this.#map.readAll((keys, values, count) => {
      for (let i = 0; i < count; i += 1) {
        const key = new Uint8Array(keys.buffer, i * keyBytes, keyBytes).slice();
        this.#keys.set(values.getUint32(i * 4, true), key);
      }
    });
  }

  /** Of the slot's owner, undefined where it has none. */
  keyOf(slot: number): Uint8Array | undefined {
    return this.#keys.get(slot);
  }

  /** A backend may take over the ID of another, so what goes away goes first. */
  put(servers: readonly QuicServer[]): void {
    const changed = servers.filter(({ slot, key }) => !isSame(this.#keys.get(slot), key));
    this.remove(changed.map(({ slot }) => slot));
    for (const { slot, key } of changed) {
      if (key === undefined) continue;
      this.#map.update(key, new Uint8Array(Uint32Array.of(slot).buffer));
      this.#keys.set(slot, key);
    }
  }

  remove(slots: readonly number[]): void {
    for (const slot of slots) {
      const key = this.#keys.get(slot);
      if (key === undefined) continue;
      const owner = this.#map.lookup(key);
      // The ID may belong to another slot by now.
      if (owner !== undefined && new DataView(owner.buffer).getUint32(0, true) === slot) {
        this.#map.delete(key);
      }
      this.#keys.delete(slot);
    }
  }
}

function isSame(a: Uint8Array | undefined, b: Uint8Array | undefined): boolean {
  return a === b || (a !== undefined && b !== undefined && Buffer.compare(a, b) === 0);
}
