/**
 * (what the maps hold, what is wanted) -> what to write, in which order. Pure but for the slot
 * allocators that it is given. Order is the whole point: a backend exists before a ring names it, a
 * ring before a service names it, and on the way out the other way round.
 */
import { formatPrefix, type Address } from '../model/address.ts';
import { ADMIT_ALL, ruleText, type Admission, type SourceRule } from '../model/admission.ts';
import type { Affinity, BackendState, ServiceId, ServiceKey } from '../model/service.ts';
import type { ForwardingMode, ForwardingOptions } from '../model/forwarding.ts';
import type { QuicRouting } from '../model/quic.ts';
import type { WantedBackend, WantedService } from './dataplane.ts';
import { maglevRing, ringSize } from './maglev.ts';
import type { Slots } from './slots.ts';

export interface ProgrammedBackend {
  readonly slot: number;
  /** 1 to 65535: tells flows of an earlier owner of the slot from those of this one. */
  readonly generation: number;
  readonly address: Address;
  readonly weight: number;
  readonly mode: ForwardingMode;
  readonly forwarding?: ForwardingOptions | undefined;
  readonly serverId?: string | undefined;
  readonly state: BackendState;
}

export interface ProgrammedService extends ServiceKey {
  readonly id: ServiceId;
  readonly index: number;
  readonly affinity: Affinity;
  readonly admission: Admission;
  readonly quic: QuicRouting | undefined;
  /** False after a failure: rules may be missing, and those of `admission` may be there. */
  readonly admissionCertain: boolean;
  readonly ringSlots: number;
  /** What the ring was made from; undefined when that is not known, as after a restart. */
  readonly ringSource: string | undefined;
  readonly backends: ReadonlyMap<Address, ProgrammedBackend>;
}

export interface ServicePlan {
  readonly next: ProgrammedService;
  /** New or changed. */
  readonly putBackends: readonly ProgrammedBackend[];
  /** Taken from slots that had another owner: their counters start anew. */
  readonly resetSlots: readonly number[];
  /** Backend slots by ring slot; undefined when the ring stays. Empty: no backend is up. */
  readonly ring: Uint32Array | undefined;
  readonly putService: boolean;
  /** Before the service is written, and after. */
  readonly putSources: readonly SourceRule[];
  readonly removeSources: readonly SourceRule[];
  readonly removeBackends: readonly ProgrammedBackend[];
}

export interface Allocators {
  readonly services: Slots;
  readonly backends: Slots;
  /** The last generation of each backend slot. */
  readonly generations: Uint16Array;
}

export type Planned =
  | { readonly kind: 'plan'; readonly plan: ServicePlan }
  | { readonly kind: 'unchanged' }
  | { readonly kind: 'no_room'; readonly message: string };

/** What one service needs; slots are taken from `allocators` only when there is room for all. */
export function planService(
  current: ProgrammedService | undefined,
  wanted: WantedService,
  allocators: Allocators,
): Planned {
  const added = wanted.backends.filter(({ address }) => !current?.backends.has(address)).length;
  const room = checkRoom(current, wanted, added, allocators);
  if (room !== undefined) return { kind: 'no_room', message: room };

  const index = current?.index ?? mustTake(allocators.services);
  const placed = placeBackends(current, wanted, allocators);
  const ringSlots = ringSize(wanted.backends.length);
  const ringSource = describeRing(wanted.backends, ringSlots);
  const next: ProgrammedService = {
    id: wanted.id,
    vip: wanted.vip,
    protocol: wanted.protocol,
    port: wanted.port,
    index,
    affinity: wanted.affinity,
    admission: wanted.admission ?? ADMIT_ALL,
    quic: wanted.quic,
    admissionCertain: true,
    ringSlots,
    ringSource,
    backends: placed.backends,
  };
  const plan: ServicePlan = {
    next,
    putBackends: placed.changed,
    resetSlots: placed.reused,
    ring: current?.ringSource === ringSource ? undefined : makeRing(next, ringSlots),
    putService:
      current?.affinity !== wanted.affinity ||
      current.ringSlots !== ringSlots ||
      admissionChanged(current, next) ||
      describeQuic(current.quic) !== describeQuic(next.quic),
    ...planSources(current, next),
    removeBackends: [...(current?.backends.values() ?? [])].filter(
      ({ address }) => !placed.backends.has(address),
    ),
  };
  return isEmpty(plan) ? { kind: 'unchanged' } : { kind: 'plan', plan };
}

function admissionChanged(current: ProgrammedService, next: ProgrammedService): boolean {
  return !current.admissionCertain || describeLimits(current) !== describeLimits(next);
}

/** All of the admission but its rules. */
function describeLimits({
  admission: { sources, newFlowsPerS, newFlowsBurst },
}: ProgrammedService) {
  return `${filterOf(sources)} ${newFlowsPerS} ${newFlowsBurst}`;
}

/** What becomes of sources that no rule names. */
export function filterOf(sources: readonly SourceRule[]): 'any' | 'unless_denied' | 'if_allowed' {
  if (sources.length === 0) return 'any';
  return sources.some(({ admits }) => admits) ? 'if_allowed' : 'unless_denied';
}

function planSources(current: ProgrammedService | undefined, next: ProgrammedService) {
  const before = current?.admission.sources ?? [];
  const after = next.admission.sources;
  const known = new Set(current?.admissionCertain === true ? before.map(ruleText) : []);
  // One prefix has one record: a rule that turned around is written, not removed.
  const kept = new Set(after.map(({ prefix }) => formatPrefix(prefix)));
  return {
    putSources: after.filter((rule) => !known.has(ruleText(rule))),
    removeSources: before.filter(({ prefix }) => !kept.has(formatPrefix(prefix))),
  };
}

function isEmpty(plan: ServicePlan): boolean {
  return (
    plan.putBackends.length === 0 &&
    plan.ring === undefined &&
    !plan.putService &&
    plan.putSources.length === 0 &&
    plan.removeSources.length === 0 &&
    plan.removeBackends.length === 0
  );
}

function checkRoom(
  current: ProgrammedService | undefined,
  wanted: WantedService,
  added: number,
  { services, backends }: Allocators,
): string | undefined {
  if (current === undefined && services.available < 1) {
    return `${wanted.id}: no room, the limit is ${services.capacity} services`;
  }
  if (backends.available < added) {
    return `${wanted.id}: no room, the limit is ${backends.capacity} backends`;
  }
  return undefined;
}

function mustTake(slots: Slots): number {
  const slot = slots.take();
  if (slot === undefined) throw new RangeError('no free slot in spite of the check before');
  return slot;
}

interface Placement {
  readonly backends: ReadonlyMap<Address, ProgrammedBackend>;
  readonly changed: readonly ProgrammedBackend[];
  readonly reused: readonly number[];
}

function placeBackends(
  current: ProgrammedService | undefined,
  wanted: WantedService,
  allocators: Allocators,
): Placement {
  const backends = new Map<Address, ProgrammedBackend>();
  const changed: ProgrammedBackend[] = [];
  const reused: number[] = [];
  // Each record says how the service reads connection IDs.
  const sameQuic = describeQuic(current?.quic) === describeQuic(wanted.quic);
  for (const wantedBackend of wanted.backends) {
    const { address, weight, mode, state, forwarding, serverId } = wantedBackend;
    const before = current?.backends.get(address);
    if (before !== undefined && sameQuic && describe(before) === describe(wantedBackend)) {
      backends.set(address, before);
      continue;
    }
    const place = before ?? newPlace(allocators, reused);
    const { slot, generation } = place;
    const backend = { slot, generation, address, weight, mode, state, forwarding, serverId };
    backends.set(address, backend);
    changed.push(backend);
  }
  return { backends, changed, reused };
}

/** Equal texts mean equal records, but for the slot. */
function describe({ weight, mode, state, forwarding, serverId = '' }: WantedBackend): string {
  const common = `${state} ${mode} ${weight} ${serverId}`;
  if (forwarding === undefined) return common;
  const { port, tunnelSource, tunnelTtl, dscp, vlan, mtuBytes, mssBytes } = forwarding;
  const source = tunnelSource && formatPrefix(tunnelSource);
  return [common, port, source, tunnelTtl, dscp, vlan, mtuBytes, mssBytes].join(' ');
}

function describeQuic(quic: QuicRouting | undefined): string {
  return quic === undefined ? '' : `${quic.layout} ${quic.idBytes} ${quic.configId}`;
}

function newPlace(allocators: Allocators, reused: number[]): { slot: number; generation: number } {
  const slot = mustTake(allocators.backends);
  const last = allocators.generations[slot] ?? 0;
  if (last !== 0) reused.push(slot);
  const generation = last === 0xffff ? 1 : last + 1;
  allocators.generations[slot] = generation;
  return { slot, generation };
}

function takesNewFlows({ state }: { readonly state: BackendState }): boolean {
  return state === 'up';
}

/** Equal texts mean equal rings: the members that are up, by address and weight, and the size. */
function describeRing(backends: readonly WantedBackend[], slots: number): string {
  const members = backends
    .filter(takesNewFlows)
    .map(({ address, weight }) => `${address}*${weight}`);
  return `${slots}:${members.sort().join(',')}`;
}

function makeRing(service: ProgrammedService, slots: number): Uint32Array {
  const members = [...service.backends.values()].filter(takesNewFlows);
  return maglevRing(members, slots).map((member) => members[member]?.slot ?? 0);
}
