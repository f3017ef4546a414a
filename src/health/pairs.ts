/**
 * What is known of every (service, backend) pair: the windows of its checks and what they add up to.
 * It starts nothing, waits for nothing and opens nothing; the scheduler tells it what was found.
 */
import { isDeepStrictEqual } from 'node:util';
import type { Address } from '../model/address.ts';
import type { CheckSpec } from '../model/check.ts';
import type { BackendHealth, HealthState, HealthView, ProbeResult } from '../model/health.ts';
import type { Service, ServiceId } from '../model/service.ts';
import { backendReason, backendState, type CheckFacts } from './backend-health.ts';
import { emptyWindow, observe, type Window } from './window.ts';

const ADOPTED = 'as the previous supervisor left it';
const RECONFIGURED = 'as it was before its checks were changed';

/** One check of one pair. Its identity lasts as long as its spec does not change. */
export interface PairCheck extends CheckFacts {
  readonly spec: CheckSpec;
  readonly pair: Pair;
  readonly window: Window;
}

export interface Pair {
  readonly service: ServiceId;
  readonly vip: Address;
  readonly backend: Address;
}

interface CheckRecord extends PairCheck {
  readonly pair: PairRecord;
  window: Window;
  last: ProbeResult | undefined;
  inherited: string | undefined;
}

interface PairRecord extends Pair {
  readonly owner: ServiceRecord;
  checks: readonly CheckRecord[];
  state: HealthState;
  sinceMs: number;
  /** What the view shows; undefined once outdated. */
  shown: BackendHealth | undefined;
}

interface ServiceRecord {
  specs: readonly CheckSpec[];
  pairs: Map<Address, PairRecord>;
  shown: ReadonlyMap<Address, BackendHealth> | undefined;
}

export class PairTable {
  readonly #wallMs: () => number;
  #services = new Map<ServiceId, ServiceRecord>();
  readonly #checks = new Map<PairCheck, CheckRecord>();
  #shown: HealthView | undefined;
  #version = 0;

  constructor(wallMs: () => number) {
    this.#wallMs = wallMs;
  }

  /** Grows with every change of a backend's state and of the set of pairs. */
  get version(): number {
    return this.#version;
  }

  /** Every check of every pair. */
  checks(): Iterable<PairCheck> {
    return this.#checks.keys();
  }

  has(check: PairCheck): boolean {
    return this.#checks.has(check);
  }

  /**
   * Takes the whole desired state. A check whose spec did not change keeps its window. A changed
   * check starts from the state that it had, and a check that is new on a backend that is up starts
   * up: the reload of a document must not by itself take a backend out on all nodes at once.
   */
  set(services: readonly Service[]): void {
    const before = this.#services;
    this.#services = new Map();
    let changed = services.length !== before.size;
    for (const service of services) {
      const record = before.get(service.id) ?? { specs: [], pairs: new Map(), shown: undefined };
      changed = !before.has(service.id) || changed;
      changed = this.#update(record, service) || changed;
      this.#services.set(service.id, record);
    }
    for (const [id, record] of before) {
      if (!this.#services.has(id)) for (const pair of record.pairs.values()) this.#forget(pair);
    }
    if (!changed) return;
    this.#shown = undefined;
    this.#version++;
  }

  /**
   * Seeds the state of a pair that has no result yet; only thresholds change it from there.
   * Returns false where there is nothing to seed: no such pair, no check, or results already.
   */
  adopt(service: ServiceId, backend: Address, state: HealthState): boolean {
    const pair = this.#services.get(service)?.pairs.get(backend);
    if (pair === undefined || pair.checks.length === 0) return false;
    if (pair.checks.some((check) => check.window.recent.length > 0)) return false;
    for (const check of pair.checks) {
      check.window = emptyWindow(state);
      check.inherited = state === 'unknown' ? undefined : ADOPTED;
    }
    this.#refold(pair);
    return true;
  }

  /** Adds a result. Does nothing once the check is no longer wanted. */
  record(check: PairCheck, result: ProbeResult): void {
    const record = this.#checks.get(check);
    if (record === undefined) return;
    record.window = observe(record.window, result.kind === 'pass', record.spec);
    record.last = result;
    this.#refold(record.pair);
  }

  /** Replaces the explanation of the last result; its window stays as it is. */
  amend(check: PairCheck, result: ProbeResult): void {
    const record = this.#checks.get(check);
    if (record === undefined) return;
    record.last = result;
    outdate(record.pair);
    this.#shown = undefined;
  }

  /** An immutable picture; what has not changed since the last one is shared with it. */
  view(): HealthView {
    this.#shown ??= new Map(
      Array.from(this.#services, ([id, record]) => [id, (record.shown ??= showService(record))]),
    );
    return this.#shown;
  }

  #update(record: ServiceRecord, service: Service): boolean {
    const specs = service.checks.map(
      (spec) => record.specs.find((old) => isDeepStrictEqual(old, spec)) ?? spec,
    );
    const specsChanged =
      specs.length !== record.specs.length || specs.some((spec, i) => spec !== record.specs[i]);
    const pairs = new Map<Address, PairRecord>();
    let changed = specsChanged || record.pairs.size !== service.backends.length;
    for (const { address } of service.backends) {
      const known = record.pairs.get(address);
      const pair = known ?? this.#newPair(record, service, address);
      if (known === undefined || specsChanged) this.#fitChecks(pair, specs, known !== undefined);
      if (known === undefined) changed = true;
      pairs.set(address, pair);
    }
    for (const [address, pair] of record.pairs) if (!pairs.has(address)) this.#forget(pair);
    record.specs = specs;
    record.pairs = pairs;
    if (changed) record.shown = undefined;
    return changed;
  }

  #newPair(owner: ServiceRecord, service: Service, backend: Address): PairRecord {
    const sinceMs = this.#wallMs();
    const { id, vip } = service;
    return {
      owner,
      service: id,
      vip,
      backend,
      checks: [],
      state: 'unknown',
      sinceMs,
      shown: undefined,
    };
  }

  /** Gives the pair the checks of `specs`, with what it knows of them. */
  #fitChecks(pair: PairRecord, specs: readonly CheckSpec[], known: boolean): void {
    const old = pair.checks;
    const newState = known && pair.state === 'up' ? 'up' : 'unknown';
    pair.checks = specs.map((spec) => {
      const kept = old.find((check) => check.spec === spec);
      if (kept !== undefined) return kept;
      const state = old.find((check) => check.spec.name === spec.name)?.window.state ?? newState;
      const inherited = state === 'unknown' ? undefined : RECONFIGURED;
      return { spec, pair, window: emptyWindow(state), last: undefined, inherited };
    });
    for (const check of old) if (!pair.checks.includes(check)) this.#checks.delete(check);
    for (const check of pair.checks) this.#checks.set(check, check);
    this.#refold(pair);
  }

  #forget(pair: PairRecord): void {
    for (const check of pair.checks) this.#checks.delete(check);
  }

  #refold(pair: PairRecord): void {
    outdate(pair);
    this.#shown = undefined;
    const state = backendState(pair.checks);
    if (state === pair.state) return;
    pair.state = state;
    pair.sinceMs = this.#wallMs();
    this.#version++;
  }
}

function outdate(pair: PairRecord): void {
  pair.shown = undefined;
  pair.owner.shown = undefined;
}

function showService({ pairs }: ServiceRecord): ReadonlyMap<Address, BackendHealth> {
  return new Map(Array.from(pairs, ([address, pair]) => [address, (pair.shown ??= show(pair))]));
}

function show({ state, sinceMs, checks }: PairRecord): BackendHealth {
  return {
    state,
    sinceMs,
    reason: backendReason(checks),
    checks: checks.map(({ spec, window, last }) => ({
      check: spec.name,
      state: window.state,
      recent: window.recent,
      last,
    })),
  };
}
