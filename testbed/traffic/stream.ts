/** Mode `stream`: a steady number of requests a second, each with a result line of its own. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { StreamResult } from './report.ts';
import { requestOnce } from './request.ts';

/** Requests under way at once. Beyond it a request is not sent, and its result says `overrun`. */
const PENDING_MAX = 512;

export interface StreamOptions {
  /** Taken in turn. */
  readonly urls: readonly string[];
  readonly ratePerS: number;
  readonly timeoutMs: number;
}

/** Resolves after `signal` and the last result. */
export async function streamRequests(
  options: StreamOptions,
  signal: AbortSignal,
  tell: (result: StreamResult) => void,
): Promise<void> {
  const pending = new Set<Promise<void>>();
  const startedMs = performance.now();
  for (let sent = 0; !signal.aborted; sent += 1) {
    const url = options.urls[sent % options.urls.length] ?? '';
    if (pending.size >= PENDING_MAX) tell(overrun(url));
    else {
      const one = sendOne(url, options.timeoutMs, tell).finally(() => pending.delete(one));
      pending.add(one);
    }
    // Against the start and not the last request, so that delays do not add up.
    const dueMs = startedMs + ((sent + 1) * 1000) / options.ratePerS;
    await sleep(Math.max(0, dueMs - performance.now()), undefined, { signal }).catch(
      () => undefined,
    );
  }
  await Promise.all(pending);
}

async function sendOne(
  url: string,
  timeoutMs: number,
  tell: (result: StreamResult) => void,
): Promise<void> {
  const atMs = Date.now();
  const { backend, port, error, latencyMs } = await requestOnce({ url, timeoutMs });
  tell({
    kind: 'result',
    atMs,
    url,
    backend: backend ?? null,
    port: port ?? null,
    error: error ?? null,
    latencyMs: Math.round(latencyMs * 100) / 100,
  });
}

function overrun(url: string): StreamResult {
  const nothing = { backend: null, port: null, latencyMs: 0 };
  return { kind: 'result', atMs: Date.now(), url, error: 'overrun', ...nothing };
}
