/**
 * Asks the kernel to keep the MAC addresses of all backends, or of the gateways to them, at hand:
 * `managed` neighbour entries
 * (Linux 5.16) are resolved again before they age, whether or not there is traffic. The data plane
 * reads them through the FIB; nothing here is on the path of a packet.
 */
import { parseAddress, type Address } from '../model/address.ts';
import { ipBatch, ipJson } from './ip.ts';

interface Hop {
  readonly dev?: string;
  readonly gateway?: string;
}

interface RouteAnswer extends Hop {
  readonly dst?: string;
  readonly nexthops?: readonly Hop[];
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
  #withDefaults = false;
  /** Address of a backend or gateway -> the interface on which its entry is managed. */
  #managed: ReadonlyMap<Address, string> = new Map();
  #busy: Promise<Failures> = Promise.resolve([]);

  /**
   * Makes the managed entries those of the next hops to `addresses`, and with `withDefaults` of the
   * default gateways, by which replies go to clients. Takes the whole set; the same is a no-op.
   */
  async set(addresses: ReadonlySet<Address>, withDefaults: boolean): Promise<Failures> {
    const same = addresses.size === this.#wanted.size && addresses.isSubsetOf(this.#wanted);
    if (same && withDefaults === this.#withDefaults) return [];
    this.#wanted = addresses;
    this.#withDefaults = withDefaults;
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
      if (all && !this.#withDefaults && this.#managed.size === this.#wanted.size) return [];
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
    const hops = (routes.outputs as RouteAnswer[]).concat(
      this.#withDefaults ? await defaultGateways() : [],
    );
    for (const { dst, dev, gateway } of hops) {
      // What is behind a gateway has no neighbour entry of its own.
      const address = parseAddress(gateway ?? dst ?? '');
      if (address !== undefined && dev !== undefined) devices.set(address, dev);
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

async function defaultGateways(): Promise<RouteAnswer[]> {
  const lists = await Promise.all(
    ['-4', '-6'].map((family) => ipJson([family, 'route', 'show', 'default'])),
  );
  return (lists.flat() as RouteAnswer[])
    .flatMap((route) => [route, ...(route.nexthops ?? [])])
    .filter(({ gateway }) => gateway !== undefined);
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
