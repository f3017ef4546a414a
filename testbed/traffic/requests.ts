/** Mode `requests`: so many requests, each on a new TCP connection, as fast as `concurrency` lets them. */
import { latencyOf, Tally, type RequestsReport } from './report.ts';
import { requestOnce, type RequestOptions } from './request.ts';

/** `sourcePort` is that of the first request; the others have the following ports. */
export interface RequestsOptions extends RequestOptions {
  readonly count: number;
  readonly concurrency: number;
}

export async function sendRequests(options: RequestsOptions): Promise<RequestsReport> {
  const perBackend = new Tally();
  const errors = new Tally();
  const latenciesMs: number[] = [];
  const startedMs = performance.now();
  let left = options.count;

  const worker = async (): Promise<void> => {
    while (left > 0) {
      const number = options.count - left;
      left -= 1;
      const sourcePort = options.sourcePort === undefined ? undefined : options.sourcePort + number;
      const result = await requestOnce({ ...options, sourcePort });
      if (result.error !== undefined) errors.add(result.error);
      else {
        perBackend.add(result.backend ?? '');
        latenciesMs.push(result.latencyMs);
      }
    }
  };
  const workers = Math.min(options.concurrency, options.count);
  await Promise.all(Array.from({ length: workers }, worker));

  return {
    kind: 'requests',
    sent: options.count,
    ok: perBackend.total(),
    perBackend: perBackend.toJSON(),
    errors: errors.toJSON(),
    latency: latencyOf(latenciesMs),
    durationMs: Math.round(performance.now() - startedMs),
  };
}
