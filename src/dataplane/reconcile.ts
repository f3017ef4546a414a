/**
 * Carries plans out, in phases over all services: backends, rings, services, then what goes away.
 * Phases keep the number of system calls small with a thousand services, and the order safe.
 */
import { errorMessage } from '../lib/errors.ts';
import type { Address } from '../model/address.ts';
import type { ServiceId } from '../model/service.ts';
import type { ReconcileResult, WantedService } from './dataplane.ts';
import type { NodeMaps } from './maps.ts';
import type { NatTable } from './nat-sources.ts';
import { planService, type Allocators, type ProgrammedService, type ServicePlan } from './plan.ts';

/** What the maps are known to hold. */
export type Programmed = Map<ServiceId, ProgrammedService>;

/** The writes that a reconcile makes; see maps.ts for each. */
export type WritableMaps = Pick<
  NodeMaps,
  | 'putBackends'
  | 'clearBackends'
  | 'resetLocals'
  | 'putRings'
  | 'putService'
  | 'putSources'
  | 'removeSources'
  | 'removeService'
  | 'putVip'
  | 'removeVip'
>;

export interface ReconcileContext {
  readonly maps: WritableMaps;
  readonly programmed: Programmed;
  /** VIPs that have a record in the maps and their bit in the filter. */
  readonly vips: Set<Address>;
  readonly allocators: Allocators;
  /** What replies of nat backends come from. */
  readonly nat: NatTable;
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
  const vips = vipsOf([...plans.map(({ next }) => next), ...context.programmed.values()]);
  attempt(tally, 'VIPs', () => {
    // What goes away makes room for what comes.
    closeVips(context, vips, tally);
    openVips(context, vips, tally);
  });
  const expected = new Map(context.programmed);
  for (const { next } of plans) expected.set(next.id, next);
  const natReady = attempt(tally, 'NAT', () => {
    tally.writes += context.nat.add(expected.values());
  });
  const ready = plans.filter(
    ({ next }) => context.vips.has(next.vip) && (natReady || !needsNat(next)),
  );
  for (const plan of new Set(plans).difference(new Set(ready))) giveBack(context, plan);
  for (let from = 0; from < ready.length; from += PLANS_PER_PART) {
    carryOut(context, ready.slice(from, from + PLANS_PER_PART), tally);
  }
  attempt(tally, 'NAT', () => {
    tally.writes += context.nat.settle(context.programmed.values());
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

function needsNat({ backends }: ProgrammedService): boolean {
  return [...backends.values()].some(({ mode }) => mode === 'nat');
}

/** False when it failed. */
function attempt(tally: Tally, what: string, action: () => void): boolean {
  try {
    action();
    return true;
  } catch (error) {
    tally.failures.push(`${what}: ${errorMessage(error)}`);
    return false;
  }
}

function openVips(
  { maps, vips, writeVips }: ReconcileContext,
  wanted: ReadonlySet<Address>,
  tally: Tally,
): void {
  const fresh = wanted.difference(vips);
  if (fresh.size === 0) return;
  for (const vip of fresh) maps.putVip(vip);
  writeVips(vips.union(fresh));
  for (const vip of fresh) vips.add(vip);
  tally.writes += fresh.size + 1;
}

function closeVips(
  { maps, vips, writeVips }: ReconcileContext,
  wanted: ReadonlySet<Address>,
  tally: Tally,
): void {
  const stale = vips.difference(wanted);
  if (stale.size === 0) return;
  for (const vip of stale) {
    maps.removeVip(vip);
    vips.delete(vip);
  }
  // A bit that stays for a while makes an address look like a VIP, which a lookup then denies.
  writeVips(vips);
  tally.writes += stale.size + 1;
}

/** One part of the plans; what fails in it fails as a whole and is planned again next time. */
function carryOut(context: ReconcileContext, part: readonly ServicePlan[], tally: Tally): void {
  const { programmed } = context;
  try {
    applyPlans(context, part, tally);
  } catch (error) {
    const others = part.length === 1 ? '' : ` and ${part.length - 1} more`;
    tally.failures.push(`${part[0]?.next.id ?? ''}${others}: ${errorMessage(error)}`);
    for (const { next } of part) programmed.set(next.id, unsure(programmed.get(next.id), next));
  }
}

/**
 * A service of which some writes were made and some were not: all that it was and all that it was
 * to be, and nothing of it certain. So the next plan writes everything, into the same slots, and
 * knows all that is to be removed.
 */
function unsure(before: ProgrammedService | undefined, next: ProgrammedService): ProgrammedService {
  const backends = [...(before?.backends.values() ?? []), ...next.backends.values()];
  const rules = [...(before?.admission.sources ?? []), ...next.admission.sources];
  return {
    ...next,
    ringSlots: 0,
    ringSource: undefined,
    admission: { ...next.admission, sources: rules },
    admissionCertain: false,
    // No wanted backend has a weight of 0.
    backends: new Map(backends.map((each) => [each.address, { ...each, weight: 0 }])),
  };
}

/** Of a plan that was not begun: returns the slots that it took. */
function giveBack({ programmed, allocators }: ReconcileContext, { next }: ServicePlan): void {
  const current = programmed.get(next.id);
  if (current === undefined) allocators.services.free(next.index);
  for (const { address, slot } of next.backends.values()) {
    if (current?.backends.has(address) !== true) allocators.backends.free(slot);
  }
}

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
  // Rules come before the service that asks them, and go after: nobody is denied in between.
  for (const { next, putSources } of plans) maps.putSources(next.index, putSources);
  for (const service of services.filter(shrinks)) maps.putService(service);
  maps.putRings(rings);
  for (const service of services.filter((next) => !shrinks(next))) maps.putService(service);
  for (const { next, removeSources } of plans) maps.removeSources(next.index, removeSources);
  maps.clearBackends(removed);

  for (const { slot } of removed) allocators.backends.free(slot);
  for (const { next } of plans) programmed.set(next.id, next);
  const rules = plans.map(
    ({ putSources, removeSources }) => putSources.length + removeSources.length,
  );
  tally.writes += reused.length + backends.length + rings.length + services.length + removed.length;
  tally.writes += rules.reduce((sum, count) => sum + count, 0);
}

function removeService(
  { maps, programmed, allocators }: ReconcileContext,
  service: ProgrammedService,
  tally: Tally,
): void {
  const backends = [...service.backends.values()];
  programmed.set(service.id, unsure(undefined, service));
  // Its ring stays until the index is used again: taking it away would wait for an RCU period.
  maps.removeService(service);
  maps.removeSources(service.index, service.admission.sources);
  maps.clearBackends(backends);
  programmed.delete(service.id);
  allocators.services.free(service.index);
  for (const { slot } of backends) allocators.backends.free(slot);
  tally.writes += backends.length + 1;
}
