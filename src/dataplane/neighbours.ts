/**
 * Asks the kernel to keep the MAC addresses of all backends at hand: `managed` neighbour entries
 * (Linux 5.16) are resolved again before they age, whether or not there is traffic. The data plane
 * reads them through the FIB; nothing here is on the path of a packet.
 */
import type { Address } from '../model/address.ts';
import { ipBatch } from './ip.ts';

interface RouteAnswer {
  readonly dst?: string;
  readonly dev?: string;
  readonly gateway?: string;
}

export class Neighbours {
  /** Backend address -> the interface on which its entry is managed. */
  readonly #managed = new Map<Address, string>();
  #busy: Promise<readonly string[]> = Promise.resolve([]);

  /**
   * Makes the managed entries those of `addresses`. Takes the whole set; one change runs at a
   * time. Resolves with what could not be done, in words. A route that changes moves the entry
   * at the next call.
   */
  async set(addresses: ReadonlySet<Address>): Promise<readonly string[]> {
    const run = this.#busy.then(() => this.#apply(addresses));
    this.#busy = run.catch(() => []);
    return await run;
  }

  async #apply(addresses: ReadonlySet<Address>): Promise<readonly string[]> {
    const routes = await ipBatch([...addresses].map((address) => `route get ${address}`));
    const devices = new Map<Address, string>();
    for (const answer of routes.outputs as RouteAnswer[]) {
      const { dst, dev, gateway } = answer;
      if (dst === undefined || dev === undefined || gateway !== undefined) continue;
      devices.set(dst as Address, dev);
    }
    const commands: string[] = [];
    for (const [address, device] of this.#managed) {
      if (devices.get(address) === device) continue;
      commands.push(`neigh del ${address} dev ${device}`);
    }
    for (const [address, device] of devices) {
      if (this.#managed.get(address) === device) continue;
      commands.push(`neigh replace ${address} dev ${device} managed`);
    }
    const done = await ipBatch(commands);
    this.#managed.clear();
    for (const [address, device] of devices) this.#managed.set(address, device);
    return [...routes.failures, ...done.failures];
  }
}
