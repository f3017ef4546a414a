/**
 * Between the slots of this node's maps and the names that all nodes share. Flows of slots that were
 * given up, and names that are not configured here, have no answer.
 */
import type { Address } from '../model/address.ts';
import type { Destination } from '../model/flow-batch.ts';
import { serviceId, type ServiceId } from '../model/service.ts';
import type { ProgrammedBackend, ProgrammedService } from './plan.ts';

export class SlotNames {
  readonly #services: ReadonlyMap<ServiceId, ProgrammedService>;
  readonly #backends: (ProgrammedBackend | undefined)[] = [];

  constructor(services: ReadonlyMap<ServiceId, ProgrammedService>) {
    this.#services = services;
    for (const service of services.values()) {
      for (const backend of service.backends.values()) this.#backends[backend.slot] = backend;
    }
  }

  /** Address of the backend of a flow; undefined when the slot has another owner by now. */
  backendOf(slot: number, generation: number): Address | undefined {
    const backend = this.#backends[slot];
    return backend?.generation === generation ? backend.address : undefined;
  }

  /** The backends of the service that takes packets to this destination. */
  backendsOf({
    vip,
    protocol,
    port,
  }: Destination): ReadonlyMap<Address, ProgrammedBackend> | undefined {
    const exact = this.#services.get(serviceId({ vip, protocol, port }));
    const any = exact ?? this.#services.get(serviceId({ vip, protocol, port: 0 }));
    return any?.backends;
  }
}
