/** Asynchronous work with a deadline each, and one way to end it all. Its users bound the number. */
import type { Clock } from '../lib/clock.ts';

/** A deadline noticed this late was missed by this process, not by whoever it was waiting for. */
const STALL_MS = 50;
/** Given once after a stall, so that answers that lie unread in the kernel still count. */
const STALL_GRACE_MS = 100;

interface Running {
  readonly cancel: () => void;
  readonly ended: Promise<void>;
}

export class TimedTasks {
  readonly #clock: Clock;
  readonly #running = new Set<Running>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  get size(): number {
    return this.#running.size;
  }

  /**
   * Runs `task`, whose signal fires after `timeoutMs`. `onEnd` gets its value, or undefined if it
   * was cancelled, and is called once the task has ended. The returned function cancels it.
   */
  start<Value>(
    timeoutMs: number,
    task: (signal: AbortSignal) => Promise<Value>,
    onEnd: (value: Value | undefined) => void,
  ): () => void {
    const abort = new AbortController();
    let cancelled = false;
    const disarm = this.#deadline(timeoutMs, abort);
    const running: Running = {
      cancel: () => {
        cancelled = true;
        abort.abort();
      },
      ended: task(abort.signal).then((value) => {
        disarm();
        this.#running.delete(running);
        onEnd(cancelled ? undefined : value);
      }),
    };
    this.#running.add(running);
    return running.cancel;
  }

  /** Resolves when every task has ended. */
  async cancelAll(): Promise<void> {
    const all = [...this.#running];
    for (const { cancel } of all) cancel();
    await Promise.all(all.map(({ ended }) => ended));
  }

  #deadline(timeoutMs: number, abort: AbortController): () => void {
    const dueMs = this.#clock.nowMs() + timeoutMs;
    let disarm = this.#clock.after(timeoutMs, () => {
      if (this.#clock.nowMs() - dueMs < STALL_MS) {
        abort.abort();
        return;
      }
      disarm = this.#clock.after(STALL_GRACE_MS, () => {
        abort.abort();
      });
    });
    return () => {
      disarm();
    };
  }
}
