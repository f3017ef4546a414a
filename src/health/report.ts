/**
 * A check that asks nobody: it passes while the backend's own reports say that it is healthy, and
 * the last of them is recent. Must say nothing as long as it cannot know: a supervisor that has just
 * started has heard nobody yet, and would take out every backend.
 */
import type { Clock } from '../lib/clock.ts';
import type { Address } from '../model/address.ts';
import type { ReportCheck } from '../model/check.ts';
import type { ServiceId } from '../model/service.ts';
import { failure } from './diagnose.ts';
import type { ProbeReport } from './probe.ts';

/** What a backend has last said, as reports/board.ts knows it. */
export type ReportedHealth =
  | { readonly kind: 'nothing'; readonly waitedMs: number }
  | {
      readonly kind: 'report';
      readonly healthy: boolean;
      readonly detail: string;
      readonly ageMs: number;
    };

export interface ReportProbeOptions {
  readonly clock: Pick<Clock, 'after'>;
  /** Undefined for a backend whose reports are not taken. */
  readonly said: (backend: Address, service: ServiceId) => ReportedHealth | undefined;
  /** Called when the silence of a backend becomes too long between two checks. */
  readonly silent: (backend: Address) => void;
}

export class ReportProbe {
  readonly #options: ReportProbeOptions;
  /** One for each check whose silence ends before its interval; each is gone when it has fired. */
  readonly #deadlines = new Map<string, () => void>();

  constructor(options: ReportProbeOptions) {
    this.#options = options;
  }

  /** Undefined: there is no telling yet. */
  check(spec: ReportCheck, service: ServiceId, backend: Address): ProbeReport | undefined {
    const said = this.#options.said(backend, service);
    const quietMs = said?.kind === 'nothing' ? said.waitedMs : said?.ageMs;
    if (said === undefined || quietMs === undefined) return undefined;
    if (quietMs >= spec.silenceMs) {
      const what = said.kind === 'nothing' ? 'has not reported yet' : 'has stopped reporting';
      const detail = `${backend} ${what}: silent for ${Math.floor(quietMs)} ms`;
      return failure('report_silent', detail);
    }
    this.#watch(spec, service, backend, spec.silenceMs - quietMs);
    if (said.kind === 'nothing') return undefined;
    if (said.healthy) return { kind: 'pass', latencyMs: 0 };
    const why = said.detail === '' ? 'it does not say why' : said.detail;
    return failure('report_unhealthy', `${backend} reports that it is not healthy: ${why}`);
  }

  /** Checks again when the silence gets too long, instead of up to an interval later. */
  #watch(spec: ReportCheck, service: ServiceId, backend: Address, restMs: number): void {
    if (restMs >= spec.intervalMs) return;
    const key = `${service} ${backend} ${spec.name}`;
    this.#deadlines.get(key)?.();
    const disarm = this.#options.clock.after(Math.ceil(restMs), () => {
      this.#deadlines.delete(key);
      this.#options.silent(backend);
    });
    this.#deadlines.set(key, disarm);
  }

  stop(): void {
    for (const disarm of this.#deadlines.values()) disarm();
    this.#deadlines.clear();
  }
}
