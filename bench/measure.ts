/**
 * Prepares cases and takes their rounds. A round goes over all cases, so that a noisy stretch of time
 * hits every case alike. Never reports a time of frames that took another path than meant: it throws.
 */
import { SkeinError } from '../src/lib/errors.ts';
import { VERDICT, type Case } from './cases.ts';
import { complaints } from './outcome.ts';
import type { Programs, SkeinCopy, Tally } from './programs.ts';
import type { Order } from './replay-config.ts';
import { Replay, type Layouts, type ReplayResult } from './replay.ts';
import { FRAMES } from './packets.ts';

/** Flows opened at a time: an embryonic table holds them all, however it divides its entries. */
const OPENING_CHUNK = 16_384;
const WARM_EMPTY_FRAMES = 1000;

/** One round of one case, in nanoseconds per frame. */
export interface Sample {
  readonly caseNs: number;
  /** The same replay with an empty program, right before. */
  readonly emptyNs: number;
}

export class PreparedCase {
  readonly #case: Case;
  readonly #replay: Replay;
  readonly #empty: Replay;
  readonly #skein: SkeinCopy | undefined;

  /** Loads what is not loaded yet, and brings the case's flows in. */
  constructor(spec: Case, programs: Programs, layouts: Layouts) {
    this.#case = spec;
    const { subject, flows, growthBytes } = spec;
    this.#skein = subject.kind === 'skein' ? programs.skein(subject.tables) : undefined;
    const program =
      subject.kind === 'skein'
        ? programs.skein(subject.tables).program
        : programs.floor(subject.tables, subject.program);
    const ingressIfindex = programs.ifindex;
    const replay = (frame: Uint8Array, target: number, growthBytes: number): Replay =>
      new Replay({ program: target, frame, flows, ingressIfindex, growthBytes }, layouts);
    this.#replay = replay(FRAMES[spec.frame], program, growthBytes);
    this.#empty = replay(FRAMES[spec.frame], programs.empty(), 0);
    if (spec.opening !== undefined) {
      this.#open(replay(FRAMES[spec.opening], program, growthBytes));
    } else if (flows > 0) this.#run(flows, 'in_order');
    if (spec.fill > 0) this.#run(spec.fill, 'scattered');
  }

  /**
   * Brings flows in as clients do: an opening frame, then another. One after the other, although they
   * are visited scattered: tables hand out entries in order, so a walk in the order of insertion
   * would be one through memory in order, which traffic is not.
   */
  #open(opening: Replay): void {
    const { flows } = this.#case;
    for (let opened = 0; opened < flows; opened += OPENING_CHUNK) {
      const chunk = Math.min(OPENING_CHUNK, flows - opened);
      this.#expectVerdict(opening.run(chunk, 'in_order'));
      this.#run(chunk, 'in_order');
    }
  }

  round(): Sample {
    const { flows, frames } = this.#case;
    this.#empty.run(WARM_EMPTY_FRAMES, 'scattered');
    const { frameNs: emptyNs } = this.#empty.run(frames, 'scattered');
    const before = this.#skein?.tally();
    // Unmeasured, and in another order: who evicts and inserts again shall not profit from it.
    if (flows > 0) this.#run(flows, 'in_order');
    const { frameNs: caseNs } = this.#run(frames, 'scattered');
    if (before !== undefined) this.#expectOutcome(before, flows + frames);
    return { caseNs, emptyNs };
  }

  #run(frames: number, order: Order): ReplayResult {
    const result = this.#replay.run(frames, order);
    this.#expectVerdict(result);
    if (result.odd > 0) this.#fail(`${result.odd} frames came back with another length`);
    return result;
  }

  #expectVerdict({ verdict }: ReplayResult): void {
    const { verdict: wanted } = this.#case;
    if (verdict !== VERDICT[wanted]) this.#fail(`verdict ${verdict}, not ${wanted}`);
  }

  #expectOutcome(before: Tally, frames: number): void {
    const { subject } = this.#case;
    if (subject.kind !== 'skein' || this.#skein === undefined) return;
    const lines = complaints(subject.outcome, before, this.#skein.tally(), frames);
    if (lines.length > 0) this.#fail(lines.join('; '));
  }

  #fail(why: string): never {
    throw new SkeinError('WRONG_PATH', `${this.#case.name}: not what is to be measured: ${why}`);
  }
}
