/** Waiting for a condition, with a limit. Tests of the testbed never wait for a fixed time instead. */
import { setTimeout as sleep } from 'node:timers/promises';
import { errorMessage, SkeinError } from '../src/lib/errors.ts';

/** Of a machine that has much else to do: whoever waits for what comes is not kept by it. */
const TIMEOUT_MS = 30_000;

export interface UntilOptions {
  /** Completes the sentence "still waiting for ..." */
  readonly what: string;
  /** Default 30,000. */
  readonly timeoutMs?: number;
  /** Default 25. */
  readonly everyMs?: number;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Asks until the answer is neither undefined nor false, and returns it. An error that `probe` throws
 * counts as "not yet" and is quoted when time runs out, unless it has the code `hopeless`.
 */
export async function until<T>(
  probe: () => T | undefined | false | Promise<T | undefined | false>,
  options: UntilOptions,
): Promise<T> {
  const deadlineMs = performance.now() + (options.timeoutMs ?? TIMEOUT_MS);
  let lastError = '';
  for (;;) {
    options.signal?.throwIfAborted();
    try {
      const answer = await probe();
      if (answer !== undefined && answer !== false) return answer;
      lastError = '';
    } catch (error) {
      if (error instanceof SkeinError && error.code === 'hopeless') throw error;
      lastError = `: ${errorMessage(error)}`;
    }
    if (performance.now() >= deadlineMs) {
      throw new SkeinError('testbed_timeout', `still waiting for ${options.what}${lastError}`);
    }
    await sleep(options.everyMs ?? 25);
  }
}
