/** From the health of a service's backends to the state of the service. Pure. */
import type { Address } from '../model/address.ts';
import type { BackendHealth, HealthState } from '../model/health.ts';
import type { Service } from '../model/service.ts';

export interface ServiceState {
  readonly state: HealthState;
  /** Backends that are up and take new flows. */
  readonly up: number;
  readonly need: number;
}

/**
 * Up once `need` backends are; down once that cannot be reached any more, even if every backend
 * still unknown came up; unknown in between. A draining backend counts for nothing, however healthy:
 * it takes no new flow, and new flows are what an announcement invites.
 */
export function serviceState(
  service: Pick<Service, 'need' | 'backends'>,
  health: ReadonlyMap<Address, Pick<BackendHealth, 'state'>> | undefined,
): ServiceState {
  const { need } = service;
  let up = 0;
  let undecided = 0;
  for (const backend of service.backends) {
    if (backend.intent === 'draining') continue;
    const state = health?.get(backend.address)?.state ?? 'unknown';
    if (state === 'up') up++;
    if (state === 'unknown') undecided++;
  }
  if (up >= need) return { state: 'up', up, need };
  return { state: up + undecided >= need ? 'unknown' : 'down', up, need };
}
