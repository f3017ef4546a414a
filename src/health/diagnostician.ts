/**
 * Decides when a timeout is looked into: at the first of a row and at every tenth after it, with the
 * last finding in between. A finding only explains a failure; it never changes what counts.
 */
import type { Clock } from '../lib/clock.ts';
import type { ProbeResult } from '../model/health.ts';
import type { Diagnose, Failure } from './diagnose.ts';
import type { PairCheck } from './pairs.ts';
import type { ProbeReport, ProbeTarget } from './probe.ts';
import { TimedTasks } from './timed-tasks.ts';

const DIAGNOSIS_TIMEOUT_MS = 300;
const FAILURES_PER_DIAGNOSIS = 10;
/** When a whole rack dies, so many at once are enough: the others are asked at a later failure. */
const IN_FLIGHT_MAX = 32;

/** Unanswered timeouts in a row. */
interface Streak {
  failures: number;
  /** Value of `failures` at the last diagnosis; 0 before the first. */
  askedAt: number;
  finding: Failure | undefined;
}

export class Diagnostician {
  readonly #diagnose: Diagnose;
  readonly #amend: (check: PairCheck, finding: Failure) => void;
  readonly #tasks: TimedTasks;
  /** Weak: what is known of a check goes with the check. */
  readonly #streaks = new WeakMap<PairCheck, Streak>();

  /** `amend` is called when a finding arrives after the failure that it explains was recorded. */
  constructor(
    clock: Clock,
    diagnose: Diagnose,
    amend: (check: PairCheck, finding: Failure) => void,
  ) {
    this.#diagnose = diagnose;
    this.#amend = amend;
    this.#tasks = new TimedTasks(clock);
  }

  /** The result to record for a report, at once. A diagnosis that it asks for comes later. */
  interpret(check: PairCheck, target: ProbeTarget, report: ProbeReport): ProbeResult {
    if (report.kind === 'pass' || report.unanswered !== true) {
      this.#streaks.delete(check);
      return report;
    }
    const streak = this.#streaks.get(check) ?? { failures: 0, askedAt: 0, finding: undefined };
    this.#streaks.set(check, streak);
    streak.failures++;
    if (isDue(streak) && this.#tasks.size < IN_FLIGHT_MAX) this.#ask(check, target, streak);
    return streak.finding ?? { kind: 'fail', reason: report.reason, detail: report.detail };
  }

  /** Ends what is under way; resolves when it has ended. */
  async stop(): Promise<void> {
    await this.#tasks.cancelAll();
  }

  #ask(check: PairCheck, target: ProbeTarget, streak: Streak): void {
    streak.askedAt = streak.failures;
    this.#tasks.start(
      DIAGNOSIS_TIMEOUT_MS,
      (signal) => this.#diagnose(target, check.spec.port, signal),
      (finding) => {
        if (finding === undefined) return;
        streak.finding = finding;
        if (this.#streaks.get(check) === streak) this.#amend(check, finding);
      },
    );
  }
}

function isDue({ failures, askedAt }: Streak): boolean {
  return askedAt === 0 || failures - askedAt >= FAILURES_PER_DIAGNOSIS;
}
