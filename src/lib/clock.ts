/** Port: time. Production uses `systemClock`; tests drive a `ManualClock` by hand. */
export interface Clock {
  /** Monotonic milliseconds from an arbitrary start: for intervals. */
  nowMs(): number;
  /** Milliseconds since 1970: for people. */
  wallMs(): number;
  /** Calls back once after `delayMs`; the returned function cancels it. */
  after(delayMs: number, callback: () => void): () => void;
}

export const systemClock: Clock = {
  nowMs: () => performance.now(),
  wallMs: () => Date.now(),
  after(delayMs, callback) {
    const timer = setTimeout(callback, delayMs);
    return () => {
      clearTimeout(timer);
    };
  },
};

interface Pending {
  readonly dueMs: number;
  readonly callback: () => void;
}

/** Time that moves only when told to; callbacks run in order of their due time. */
export class ManualClock implements Clock {
  #nowMs = 0;
  readonly #pending = new Set<Pending>();

  nowMs(): number {
    return this.#nowMs;
  }

  wallMs(): number {
    return 1_700_000_000_000 + this.#nowMs;
  }

  after(delayMs: number, callback: () => void): () => void {
    const entry = { dueMs: this.#nowMs + delayMs, callback };
    this.#pending.add(entry);
    return () => {
      this.#pending.delete(entry);
    };
  }

  /** Moves time on, running what falls due on the way. */
  advance(byMs: number): void {
    const endMs = this.#nowMs + byMs;
    for (;;) {
      const next = this.#earliest();
      if (next === undefined || next.dueMs > endMs) break;
      this.#pending.delete(next);
      this.#nowMs = Math.max(this.#nowMs, next.dueMs);
      next.callback();
    }
    this.#nowMs = endMs;
  }

  #earliest(): Pending | undefined {
    let earliest: Pending | undefined;
    for (const entry of this.#pending) {
      if (earliest === undefined || entry.dueMs < earliest.dueMs) earliest = entry;
    }
    return earliest;
  }
}
