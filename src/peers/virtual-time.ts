/** Time and chance for simulations: both move only when told to, and alike for the same seed. */
import type { Clock } from '../lib/clock.ts';

/** From 0 to below 1, the same sequence for the same seed (mulberry32). */
export function seededRandom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 0x1_0000_0000;
  };
}

interface Event {
  readonly dueMs: number;
  readonly order: number;
  readonly run: () => void;
}

/** Events in order of time; those of one moment in the order in which they were asked for. */
export class VirtualTime {
  #nowMs = 0;
  #orders = 0;
  /** A binary heap, the earliest first. */
  readonly #heap: Event[] = [];
  readonly #settle: () => Promise<unknown>;

  /** `settle` resolves when every promise that can go on has done so: `setImmediate` does. */
  constructor(settle: () => Promise<unknown>) {
    this.#settle = settle;
  }

  get nowMs(): number {
    return this.#nowMs;
  }

  at(dueMs: number, run: () => void): void {
    this.#orders += 1;
    this.#heap.push({ dueMs: Math.max(dueMs, this.#nowMs), order: this.#orders, run });
    this.#up(this.#heap.length - 1);
  }

  /** Runs what falls due until then. Promises get their turn every `stepMs`. */
  async run(untilMs: number, stepMs = 5): Promise<void> {
    while (this.#nowMs < untilMs) {
      const endMs = Math.min(untilMs, this.#nowMs + stepMs);
      for (
        let next = this.#heap[0];
        next !== undefined && next.dueMs <= endMs;
        next = this.#heap[0]
      ) {
        this.#pop();
        this.#nowMs = next.dueMs;
        next.run();
      }
      this.#nowMs = endMs;
      await this.#settle();
    }
  }

  #pop(): void {
    const last = this.#heap.pop();
    if (last === undefined || this.#heap.length === 0) return;
    this.#heap[0] = last;
    this.#down(0);
  }

  #up(from: number): void {
    let child = from;
    while (child > 0) {
      const parent = (child - 1) >> 1;
      if (!this.#swapIfEarlier(child, parent)) return;
      child = parent;
    }
  }

  #down(from: number): void {
    let parent = from;
    for (;;) {
      const left = parent * 2 + 1;
      const child = this.#isEarlier(left + 1, left) ? left + 1 : left;
      if (!this.#swapIfEarlier(child, parent)) return;
      parent = child;
    }
  }

  #isEarlier(one: number, other: number): boolean {
    const a = this.#heap[one];
    const b = this.#heap[other];
    if (a === undefined || b === undefined) return false;
    return a.dueMs < b.dueMs || (a.dueMs === b.dueMs && a.order < b.order);
  }

  #swapIfEarlier(one: number, other: number): boolean {
    const a = this.#heap[one];
    const b = this.#heap[other];
    if (a === undefined || b === undefined || !this.#isEarlier(one, other)) return false;
    this.#heap[one] = b;
    this.#heap[other] = a;
    return true;
  }
}

/** A machine's clocks: the monotonic one starts anywhere, the wall clock can jump. */
export class SimulatedClock implements Clock {
  readonly #time: VirtualTime;
  readonly #monotonicMs: number;
  #wallMs: number;
  #life = 0;

  constructor(time: VirtualTime, monotonicMs: number, wallMs: number) {
    this.#time = time;
    this.#monotonicMs = monotonicMs - time.nowMs;
    this.#wallMs = wallMs - time.nowMs;
  }

  nowMs(): number {
    return this.#monotonicMs + this.#time.nowMs;
  }

  wallMs(): number {
    return this.#wallMs + this.#time.nowMs;
  }

  jumpWall(byMs: number): void {
    this.#wallMs += byMs;
  }

  after(delayMs: number, callback: () => void): () => void {
    const life = this.#life;
    let isCancelled = false;
    this.#time.at(this.#time.nowMs + delayMs, () => {
      if (!isCancelled && life === this.#life) callback();
    });
    return () => {
      isCancelled = true;
    };
  }

  /** The program dies: nothing that it wanted to do later happens. */
  killTimers(): void {
    this.#life += 1;
  }
}
