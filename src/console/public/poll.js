/**
 * Asks the node for its snapshot again and again: one request at a time, slower while it fails or
 * costs much, and not at all while nobody looks.
 */
/** @import { NodeSnapshot } from '../../snapshot.ts' */

const PERIOD_MS = 1_000;
/** One request may fail for no reason of the node's: it is asked once more before anyone is told. */
const SECOND_TRY_MS = 300;
const FAILURES_TOLD = 2;
const FAILED_PERIOD_MAX_MS = 15_000;
const TIMEOUT_MS = 10_000;
/** A node with tens of thousands of backends has large snapshots: asking takes a part of the time only. */
const COST_FACTOR = 4;

/**
 * How long to wait for the next request.
 * @param {number} failures in a row; 0 after a success
 * @param {number} costMs what the last answer took to arrive and to be shown
 */
export function delayMs(failures, costMs) {
  if (failures >= FAILURES_TOLD) {
    return Math.min(FAILED_PERIOD_MAX_MS, PERIOD_MS * 2 ** (failures - 1));
  }
  if (failures > 0) return SECOND_TRY_MS;
  return Math.max(PERIOD_MS - costMs, costMs * COST_FACTOR);
}

/**
 * @param {{
 *   url: string,
 *   show: (snapshot: NodeSnapshot) => void,
 *   failed: (message: string, retryInMs: number) => void,
 * }} options
 * @returns {{ now: () => void }} `now` asks without waiting
 */
export function startPolling({ url, show, failed }) {
  let failures = 0;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;
  /** @type {AbortController | undefined} */
  let asking;

  const ask = async () => {
    clearTimeout(timer);
    asking?.abort();
    const mine = new AbortController();
    asking = mine;
    const startMs = performance.now();
    const answer = await load(url, mine.signal).catch(messageOf);
    if (mine.signal.aborted) return;
    failures = typeof answer === 'string' ? failures + 1 : 0;
    if (typeof answer !== 'string') show(answer);
    else if (failures >= FAILURES_TOLD) failed(answer, delayMs(failures, 0));
    timer = setTimeout(() => void ask(), delayMs(failures, performance.now() - startMs));
  };

  document.addEventListener('visibilitychange', () => {
    if (!document.hidden) void ask();
    else {
      clearTimeout(timer);
      asking?.abort();
    }
  });
  if (!document.hidden) void ask();
  return { now: () => void ask() };
}

/**
 * @param {string} url
 * @param {AbortSignal} signal
 * @returns {Promise<NodeSnapshot>}
 */
async function load(url, signal) {
  const response = await fetch(url, {
    cache: 'no-store',
    signal: AbortSignal.any([signal, AbortSignal.timeout(TIMEOUT_MS)]),
  });
  if (!response.ok) throw new Error(await refusal(response));
  /** @type {NodeSnapshot} */
  const snapshot = await response.json();
  return snapshot;
}

/**
 * The node says why in words; whatever stands before it may not.
 * @param {Response} response
 */
async function refusal(response) {
  /** @type {{ error?: { message?: string } } | undefined} */
  const body = await response.json().catch(() => undefined);
  return body?.error?.message ?? `it answers with HTTP status ${response.status}`;
}

/** @param {unknown} error */
function messageOf(error) {
  if (!(error instanceof Error)) return String(error);
  if (error.name === 'TimeoutError') return `no answer within ${TIMEOUT_MS / 1000} s`;
  // Browsers say «Failed to fetch» and the like when nobody answers.
  return error instanceof TypeError ? 'it does not answer' : error.message;
}
