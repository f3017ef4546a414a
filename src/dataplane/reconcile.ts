/**
 * Carries plans out, in phases over all services: backends, rings, services, then what goes away.
 * Phases keep the number of system calls small with a thousand services, and the order safe.
 */
import { errorMessage } from '../lib/errors.ts';
import type { Address } from '../model/address.ts';
import type { ServiceId } from '../model/service.ts';
import type { ReconcileResult, WantedService } from './dataplane.ts';
import type { NodeMaps } from './maps.ts';
import { planService, type Allocators, type ProgrammedService, type ServicePlan } from './plan.ts';

/** What the maps are known to hold. */
export type Programmed = Map<ServiceId, ProgrammedService>;

export interface ReconcileContext {
  readonly maps: NodeMaps;
  readonly programmed: Programmed;
  readonly allocators: Allocators;
  /** Writes the settings with a filter for exactly these VIPs. */
  readonly writeVips: (vips: ReadonlySet<Address>) => void;
}

/** Each ring is a map, and so a file descriptor, until the part is done. */
const PLANS_PER_PART = 256;

interface Tally {
  writes: number;
  readonly failures: string[];
}

/** Makes the maps hold exactly `wanted`. What fails is reported and planned again next time. */
export function reconcileServices(
  context: ReconcileContext,
  wanted: readonly WantedService[],
): ReconcileResult {
  const tally: Tally = { writes: 0, failures: [] };
  const wantedIds = new Set(wanted.map(({ id }) => id));
  const gone = [...context.programmed.values()].filter(({ id }) => !wantedIds.has(id));
  const vipsBefore = vipsOf(context.programmed.values());

  // First, so that the slots of what goes away can be used by what comes.
  for (const service of gone)
    attempt(tally, service.id, () => removeService(context, service, tally));

  const plans: ServicePlan[] = [];
  const refused = new Set<ServiceId>();
  for (const service of wanted) {
    const planned = planService(context.programmed.get(service.id), service, context.allocators);
    if (planned.kind === 'no_room') {
      tally.failures.push(planned.message);
      refused.add(service.id);
    }
    if (planned.kind === 'plan') plans.push(planned.plan);
  }
  const vipsAfter = vipsOf([...plans.map(({ next }) => next), ...context.programmed.values()]);
  attempt(tally, 'VIPs', () => {
    openVips(context, vipsBefore, vipsAfter, tally);
    for (let from = 0; from < plans.length; from += PLANS_PER_PART) {
      const part = plans.slice(from, from + PLANS_PER_PART);
      attempt(tally, part.map(({ next }) => next.id).join(', '), () => {
        applyPlans(context, part, tally);
      });
    }
    closeVips(context, vipsBefore, vipsAfter, tally);
  });

  // A plan that was carried out is what the service is programmed as.
  for (const { next } of plans) {
    if (context.programmed.get(next.id) !== next) refused.add(next.id);
  }
  return {
    programmed: wantedIds.difference(refused),
    writes: tally.writes,
    failures: tally.failures,
  };
}

function vipsOf(services: Iterable<ProgrammedService>): Set<Address> {
  return new Set(Array.from(services, ({ vip }) => vip));
}

function attempt(tally: Tally, what: string, action: () => void): void {
  try {
    action();
  } catch (error) {
    tally.failures.push(`${what}: ${errorMessage(error)}`);
  }
}

function openVips(
  { maps, writeVips }: ReconcileContext,
  before: ReadonlySet<Address>,
  after: ReadonlySet<Address>,
  tally: Tally,
): void {
  const fresh = [...after].filter((vip) => !before.has(vip));
  if (fresh.length === 0) return;
  for (const vip of fresh) maps.putVip(vip);
  writeVips(new Set([...before, ...after]));
  tally.writes += fresh.length + 1;
}

function closeVips(
  { maps, writeVips }: ReconcileContext,
  before: ReadonlySet<Address>,
  after: ReadonlySet<Address>,
  tally: Tally,
): void {
  const stale = [...before].filter((vip) => !after.has(vip));
  if (stale.length === 0) return;
  writeVips(after);
  for (const vip of stale) maps.removeVip(vip);
  tally.writes += stale.length + 1;
}

/** One part of the plans; what fails in it fails as a whole and is planned again next time. */
function applyPlans(
  { maps, programmed, allocators }: ReconcileContext,
  plans: readonly ServicePlan[],
  tally: Tally,
): void {
  const reused = plans.flatMap(({ resetSlots }) => resetSlots);
  const backends = plans.flatMap(({ next, putBackends }) =>
    putBackends.map((backend) => ({ service: next, backend })),
  );
  const rings = plans.flatMap(({ next, ring }) =>
    ring === undefined ? [] : [{ index: next.index, ring }],
  );
  const services = plans.filter(({ putService }) => putService).map(({ next }) => next);
  const removed = plans.flatMap(({ removeBackends }) => removeBackends);
  // A service must never count more slots than its ring has: shrink it first, grow it last.
  const shrinks = (next: ProgrammedService): boolean =>
    (programmed.get(next.id)?.ringSlots ?? 0) > next.ringSlots;

  maps.resetLocals(reused);
  maps.putBackends(backends);
  for (const service of services.filter(shrinks)) maps.putService(service);
  maps.putRings(rings);
  for (const service of services.filter((next) => !shrinks(next))) maps.putService(service);
  maps.clearBackends(removed);

  for (const { slot } of removed) allocators.backends.free(slot);
  for (const { next } of plans) programmed.set(next.id, next);
  tally.writes += reused.length + backends.length + rings.length + services.length + removed.length;
}

function removeService(
  { maps, programmed, allocators }: ReconcileContext,
  service: ProgrammedService,
  tally: Tally,
): void {
  const backends = [...service.backends.values()];
  // Its ring stays until the index is used again: taking it away would wait for an RCU period.
  maps.removeService(service);
  maps.clearBackends(backends);
  programmed.delete(service.id);
  allocators.services.free(service.index);
  for (const { slot } of backends) allocators.backends.free(slot);
  tally.writes += backends.length + 1;
}
