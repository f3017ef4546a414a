/**
 * Decides when each check of each (service, backend) pair runs. One timer serves all of them; a
 * check never runs twice at once, and a slow or dead service never makes the others wait long.
 */
import { errorMessage } from '../lib/errors.ts';
import type { Clock } from '../lib/clock.ts';
import type { Address } from '../model/address.ts';
import type { CheckSpec } from '../model/check.ts';
import type { HealthState, HealthView } from '../model/health.ts';
import type { Service, ServiceId } from '../model/service.ts';
import { failure, type Diagnose } from './diagnose.ts';
import { Diagnostician } from './diagnostician.ts';
import { DueQueue } from './due-queue.ts';
import { FairQueue } from './fair-queue.ts';
import { PairTable, type PairCheck } from './pairs.ts';
import { runProbe, type ProbeReport, type Probes, type ProbeTarget } from './probe.ts';
import type { ReportProbe } from './report.ts';
import { TimedTasks } from './timed-tasks.ts';

/** Sockets are memory and file descriptors; see README for what this allows. */
const IN_FLIGHT_MAX = 512;

export interface HealthSchedulerOptions {
  readonly clock: Clock;
  readonly probes: Probes;
  /** Left out: this node takes no reports, and checks of them have no results. */
  readonly reports?: Pick<ReportProbe, 'check'> | undefined;
  /** See `Dataplane.probeAddress`; asked anew for every probe. */
  readonly path: (service: ServiceId, backend: Address) => Address | undefined;
  readonly diagnose: Diagnose;
  /** Probes in flight at a time. */
  readonly inFlightMax?: number;
  /** From 0 to 1, exclusive; spreads the checks over their intervals. */
  readonly random?: () => number;
}

export interface SchedulerStats {
  readonly checks: number;
  readonly inFlight: number;
  /** Due, and waiting for a place. */
  readonly waiting: number;
  /** Probes started so far. */
  readonly started: number;
  /** Times that a check fell due while its last run was still waiting or in flight. */
  readonly skipped: number;
}

interface Slot {
  readonly check: PairCheck;
  /** When it falls due next, whether or not it is running now. */
  dueMs: number;
  phase: 'idle' | 'waiting' | 'running';
  cancel: (() => void) | undefined;
  /** There is news since it began to run: what it finds may be outdated. */
  again: boolean;
}

export class HealthScheduler {
  readonly #clock: Clock;
  readonly #probes: Probes;
  readonly #reports: HealthSchedulerOptions['reports'];
  readonly #path: HealthSchedulerOptions['path'];
  readonly #inFlightMax: number;
  readonly #random: () => number;
  readonly #pairs: PairTable;
  readonly #diagnostician: Diagnostician;
  readonly #tasks: TimedTasks;
  readonly #slots = new Map<PairCheck, Slot>();
  readonly #due = new DueQueue<Slot>();
  readonly #waiting = new FairQueue<ServiceId, Slot>();
  /** Those that wait for reports of a backend. */
  #listening: ReadonlyMap<Address, readonly Slot[]> = new Map();
  #running = false;
  #disarm: (() => void) | undefined;
  #started = 0;
  #skipped = 0;

  constructor(options: HealthSchedulerOptions) {
    const { clock } = options;
    this.#clock = clock;
    this.#probes = options.probes;
    this.#reports = options.reports;
    this.#path = options.path;
    this.#inFlightMax = options.inFlightMax ?? IN_FLIGHT_MAX;
    this.#random = options.random ?? Math.random;
    this.#tasks = new TimedTasks(clock);
    this.#pairs = new PairTable(() => clock.wallMs());
    this.#diagnostician = new Diagnostician(clock, options.diagnose, (check, finding) => {
      this.#pairs.amend(check, finding);
    });
  }

  /** Grows whenever the state of a backend, or the set of backends, has changed. */
  get version(): number {
    return this.#pairs.version;
  }

  /** The whole desired state. What is known of checks that do not change is kept. */
  set(services: readonly Service[]): void {
    this.#pairs.set(services);
    let changed = false;
    for (const [check, slot] of this.#slots) {
      if (this.#pairs.has(check)) continue;
      this.#slots.delete(check);
      slot.cancel?.();
      changed = true;
    }
    for (const check of this.#pairs.checks()) {
      if (this.#slots.has(check)) continue;
      this.#slots.set(check, this.#newSlot(check));
      changed = true;
    }
    if (!changed) return;
    this.#waiting.retain((slot) => this.#slots.has(slot.check));
    this.#due.rebuild(this.#slots.values());
    const reported = [...this.#slots.values()].filter(({ check }) => check.spec.type === 'report');
    this.#listening = Map.groupBy(reported, ({ check }) => check.pair.backend);
    this.#arm();
  }

  /**
   * For a restart: the pair starts in the state that the kernel maps still hold, and changes it only
   * by thresholds. To be called after `set`. Returns false where it has no effect: an unknown pair,
   * one without checks, or one that has results of its own.
   */
  adopt(service: ServiceId, backend: Address, state: HealthState): boolean {
    return this.#pairs.adopt(service, backend, state);
  }

  /**
   * A backend has reported, or is silent for too long: checks of its reports need not wait for their
   * interval. Unless it says something new, a check that is up learns nothing by that.
   */
  hear(backend: Address, changed: boolean): void {
    if (!this.#running) return;
    for (const slot of this.#listening.get(backend) ?? []) {
      if (!changed && slot.check.window.state === 'up') continue;
      if (slot.phase === 'running') slot.again = true;
      if (slot.phase === 'idle') this.#queue(slot);
    }
    this.#fill();
  }

  start(): void {
    if (this.#running) return;
    this.#running = true;
    for (const slot of this.#slots.values()) slot.dueMs = this.#firstDueMs(slot.check.spec);
    this.#due.rebuild(this.#slots.values());
    this.#arm();
  }

  /** Ends every probe under way and drops its result; what is known stays. Resolves when all ended. */
  async stop(): Promise<void> {
    this.#running = false;
    this.#disarm?.();
    this.#waiting.retain((slot) => {
      slot.phase = 'idle';
      return false;
    });
    await Promise.all([this.#tasks.cancelAll(), this.#diagnostician.stop()]);
  }

  /** An immutable picture of everything known; cheap while nothing has changed. */
  view(): HealthView {
    return this.#pairs.view();
  }

  stats(): SchedulerStats {
    return {
      checks: this.#slots.size,
      inFlight: this.#tasks.size,
      waiting: this.#waiting.size,
      started: this.#started,
      skipped: this.#skipped,
    };
  }

  #newSlot(check: PairCheck): Slot {
    return {
      check,
      dueMs: this.#firstDueMs(check.spec),
      phase: 'idle',
      cancel: undefined,
      again: false,
    };
  }

  #firstDueMs({ intervalMs }: CheckSpec): number {
    return this.#clock.nowMs() + this.#random() * intervalMs;
  }

  #arm(): void {
    this.#disarm?.();
    const first = this.#due.first();
    if (!this.#running || first === undefined) return;
    // Rounded up: a timer that fires a fraction early would only have to be set again.
    const delayMs = Math.max(0, Math.ceil(first.dueMs - this.#clock.nowMs()));
    this.#disarm = this.#clock.after(delayMs, () => {
      this.#wake();
    });
  }

  #wake(): void {
    const nowMs = this.#clock.nowMs();
    for (let slot = this.#due.first(); slot !== undefined; slot = this.#due.first()) {
      if (slot.dueMs > nowMs) break;
      this.#fallDue(slot, nowMs);
    }
    this.#fill();
    this.#arm();
  }

  /** Keeps the check's place in its interval: what was missed is counted, never made up for. */
  #fallDue(slot: Slot, nowMs: number): void {
    const { intervalMs } = slot.check.spec;
    const missed = Math.floor((nowMs - slot.dueMs) / intervalMs);
    this.#due.postponeFirst(slot.dueMs + (missed + 1) * intervalMs);
    this.#skipped += missed;
    if (slot.phase === 'idle') this.#queue(slot);
    else this.#skipped++;
  }

  #queue(slot: Slot): void {
    slot.phase = 'waiting';
    slot.again = false;
    this.#waiting.push(slot.check.pair.service, slot);
  }

  #fill(): void {
    while (this.#running && this.#tasks.size < this.#inFlightMax) {
      const slot = this.#waiting.shift();
      if (slot === undefined) return;
      this.#run(slot);
    }
  }

  #run(slot: Slot): void {
    const { check } = slot;
    const { service, vip, backend } = check.pair;
    const target = { vip, backend, via: this.#path(service, backend) };
    slot.phase = 'running';
    this.#started++;
    slot.cancel = this.#tasks.start(
      check.spec.timeoutMs,
      (signal) => this.#probe(check, target, signal),
      (report) => {
        slot.phase = 'idle';
        slot.cancel = undefined;
        if (report !== undefined) {
          this.#pairs.record(check, this.#diagnostician.interpret(check, target, report));
        }
        if (slot.again && this.#running && this.#slots.has(check)) this.#queue(slot);
        this.#fill();
      },
    );
  }

  /** A probe must not throw. Should one do so, its check fails; the others go on. */
  async #probe(
    { spec, pair }: PairCheck,
    target: ProbeTarget,
    signal: AbortSignal,
  ): Promise<ProbeReport | undefined> {
    try {
      if (spec.type === 'report') {
        return this.#reports?.check(spec, pair.service, pair.backend);
      }
      return await runProbe(this.#probes, spec, target, signal);
    } catch (error) {
      return failure('protocol_error', `the check itself broke: ${errorMessage(error)}`);
    }
  }
}
