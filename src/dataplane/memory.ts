/**
 * A data plane that forwards nothing: it holds what it was told, so that everything above it can
 * run without a kernel. Writes can be made to fail, as the kernel's can.
 */
import { address, type Address } from '../model/address.ts';
import type { ServiceId } from '../model/service.ts';
import type {
  Counters,
  Dataplane,
  DataplaneStatus,
  ReconcileResult,
  WantedService,
} from './dataplane.ts';

export class MemoryDataplane implements Dataplane {
  /** What a kernel would hold now. */
  services: readonly WantedService[] = [];
  /** Service ids whose writes fail. */
  readonly broken = new Set<ServiceId>();
  reconciles = 0;
  closed: 'keep' | 'detach' | undefined;
  /** What the next supervisor would find. */
  inService = false;
  readonly #adopted: readonly WantedService[];
  readonly #wasInService: boolean;

  constructor(adopted: readonly WantedService[] = [], wasInService = adopted.length > 0) {
    this.#adopted = adopted;
    this.#wasInService = wasInService;
    this.services = adopted;
  }

  reconcile(services: readonly WantedService[]): ReconcileResult {
    this.reconciles += 1;
    const before = JSON.stringify(this.services);
    this.services = services.filter(({ id }) => !this.broken.has(id));
    const failed = services.filter(({ id }) => this.broken.has(id));
    return {
      programmed: new Set(this.services.map(({ id }) => id)),
      writes: JSON.stringify(this.services) === before ? 0 : this.services.length,
      failures: failed.map(({ id }) => `${id}: no room`),
    };
  }

  adoptedServices(): readonly WantedService[] {
    return this.#adopted;
  }

  setInService(inService: boolean): void {
    this.inService = inService;
  }

  probeAddress(service: ServiceId, backend: Address): Address | undefined {
    const found = this.services.find(({ id }) => id === service);
    const slot = found?.backends.findIndex((each) => each.address === backend) ?? -1;
    return slot < 0 ? undefined : address(`240.0.0.${slot}`);
  }

  counters(): Counters {
    const none = { packets: 0, bytes: 0, flowsOpened: 0, flowsActive: 0, nextHop: undefined };
    return {
      global: [],
      backends: this.services.flatMap(({ id, backends }) =>
        backends.map((backend) => ({ service: id, backend: backend.address, ...none })),
      ),
      tables: [],
      sources: [],
    };
  }

  status(): DataplaneStatus {
    return {
      interfaces: [],
      adopted: this.#adopted.length > 0,
      wasInService: this.#wasInService,
      layoutDigest: 'memory',
    };
  }

  maintain(): Promise<{ scanned: number; expired: number }> {
    return Promise.resolve({ scanned: 0, expired: 0 });
  }

  close(how: 'keep' | 'detach'): Promise<void> {
    this.closed = how;
    return Promise.resolve();
  }
}
