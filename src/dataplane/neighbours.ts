/**
 * Asks the kernel to keep the MAC addresses of all backends at hand: `managed` neighbour entries
 * (Linux 5.16) are resolved again before they age, whether or not there is traffic. The data plane
 * reads them through the FIB; nothing here is on the path of a packet.
 */
import { parseAddress, type Address } from '../model/address.ts';
import { ipBatch, ipJson } from './ip.ts';

interface RouteAnswer {
  readonly dst?: string;
  readonly dev?: string;
  readonly gateway?: string;
}

interface NeighbourAnswer {
  readonly dst?: string;
  readonly dev?: string;
  /** Present, with the value null, where the entry is managed. */
  readonly managed?: null;
}

/** What could not be done, in words. */
export type Failures = readonly string[];

export class Neighbours {
  #wanted: ReadonlySet<Address> = new Set();
  /** Backend address -> the interface on which its entry is managed. */
  #managed: ReadonlyMap<Address, string> = new Map();
  #busy: Promise<Failures> = Promise.resolve([]);

  /** Makes the managed entries those of `addresses`. Takes the whole set; the same set is a no-op. */
  async set(addresses: ReadonlySet<Address>): Promise<Failures> {
    if (addresses.size === this.#wanted.size && addresses.isSubsetOf(this.#wanted)) return [];
    this.#wanted = addresses;
    return await this.#inTurn(() => this.#apply());
  }

  /**
   * Puts back what the kernel forgot: a link that goes down takes its neighbours with it, managed or
   * not. A route that changed since moves its entry.
   */
  async refresh(): Promise<Failures> {
    return await this.#inTurn(async () => {
      const present = await managedEntries();
      const all = [...this.#managed].every(([address, device]) => present.get(address) === device);
      if (all && this.#managed.size === this.#wanted.size) return [];
      this.#managed = new Map([...this.#managed].filter(([address]) => present.has(address)));
      return await this.#apply();
    });
  }

  /** One change at a time, in the order of the calls. */
  async #inTurn(change: () => Promise<Failures>): Promise<Failures> {
    const run = this.#busy.then(change);
    this.#busy = run.catch(() => []);
    return await run;
  }

  async #apply(): Promise<Failures> {
    const routes = await ipBatch([...this.#wanted].map((address) => `route get ${address}`));
    const devices = new Map<Address, string>();
    for (const { dst, dev, gateway } of routes.outputs as RouteAnswer[]) {
      const address = parseAddress(dst ?? '');
      // What is behind a gateway has no neighbour entry of its own.
      if (address === undefined || dev === undefined || gateway !== undefined) continue;
      devices.set(address, dev);
    }
    const stale = [...this.#managed].filter(([address, dev]) => devices.get(address) !== dev);
    const fresh = [...devices].filter(([address, dev]) => this.#managed.get(address) !== dev);
    const done = await ipBatch([
      ...stale.map(([address, dev]) => `neigh del ${address} dev ${dev}`),
      ...fresh.map(([address, dev]) => `neigh replace ${address} dev ${dev} managed`),
    ]);
    this.#managed = devices;
    return [...routes.failures, ...done.failures];
  }
}

async function managedEntries(): Promise<Map<Address, string>> {
  const entries = new Map<Address, string>();
  for (const entry of (await ipJson(['neigh', 'show', 'nud', 'all'])) as NeighbourAnswer[]) {
    const address = parseAddress(entry.dst ?? '');
    if (address === undefined || entry.dev === undefined || !('managed' in entry)) continue;
    entries.set(address, entry.dev);
  }
  return entries;
}
