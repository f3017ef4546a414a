/**
 * The backend's end: says every few seconds how the backend is, for as long as it runs. Silence is
 * what tells of its death, so it must never send while it does not know that its checks ran.
 */
import type { Clock } from '../lib/clock.ts';
import { errorMessage } from '../lib/errors.ts';
import type { Logger } from '../lib/logger.ts';
import type { Address } from '../model/address.ts';
import type { ServiceKey } from '../model/service.ts';
import type { PeerLink } from '../peers/link.ts';
import type { Report, ReportedState, ServiceReport } from './report.ts';
import type { ReportSigner } from './seal.ts';
import { encodeReport } from './wire.ts';

/** Local checks run on loopback: one that takes longer does not work. */
const CHECK_TIMEOUT_MS = 1_000;
/** The last word may get lost like any other, and is not said again in three seconds. */
const GOODBYES = 3;
const GOODBYE_GAP_MS = 20;

/** Looks at something on this host. */
export interface LocalCheck {
  /** Undefined: the check is about the whole backend. At most one check is about a service. */
  readonly service: ServiceKey | undefined;
  /** Resolves to why it fails, or to undefined. `signal` fires at its timeout. */
  readonly run: (signal: AbortSignal) => Promise<string | undefined>;
}

export interface ReporterParts {
  readonly clock: Clock;
  readonly link: PeerLink;
  readonly signer: ReportSigner;
  readonly addresses: readonly Address[];
  readonly checks: readonly LocalCheck[];
  readonly intervalMs: number;
  readonly logger: Pick<Logger, 'info' | 'warn'>;
}

export class Reporter {
  readonly #parts: ReporterParts;
  #running = false;
  #disarm: (() => void) | undefined;
  #round: Promise<void> = Promise.resolve();
  #said: string | undefined;
  #sendErrors = 0;

  constructor(parts: ReporterParts) {
    this.#parts = parts;
  }

  /** Sends nothing yet. Throws a SkeinError when there is no sending from the backend's address. */
  async open(): Promise<void> {
    await this.#parts.link.start(() => undefined);
  }

  /** Sends the first report once the local checks have run. To be called after `open`. */
  begin(): void {
    this.#running = true;
    this.#nextRound();
  }

  /** Says that the backend is going away, so that it leaves at once, if it ever said anything. */
  async stop(): Promise<void> {
    if (this.#running) await this.#leave();
    await this.#parts.link.stop();
  }

  /** Says nothing more, because another reporter of the backend goes on. */
  async fallSilent(): Promise<void> {
    this.#running = false;
    this.#disarm?.();
    await this.#round;
    await this.#parts.link.stop();
  }

  async #leave(): Promise<void> {
    const { clock, addresses } = this.#parts;
    this.#running = false;
    this.#disarm?.();
    await this.#round;
    for (let count = 0; count < GOODBYES; count += 1) {
      this.#send({ addresses, state: 'leaving', detail: '', services: [] });
      await new Promise<void>((resolve) => clock.after(GOODBYE_GAP_MS, resolve));
    }
  }

  #nextRound(): void {
    const { clock, intervalMs } = this.#parts;
    const startedMs = clock.nowMs();
    this.#round = this.#report().then(() => {
      if (!this.#running) return;
      const restMs = Math.max(0, intervalMs - (clock.nowMs() - startedMs));
      this.#disarm = clock.after(restMs, () => {
        this.#nextRound();
      });
    });
  }

  async #report(): Promise<void> {
    const { addresses, checks } = this.#parts;
    const outcomes = await this.#runChecks();
    if (!this.#running) return;
    const failing = checks.flatMap(({ service }, index) => {
      const why = outcomes[index];
      return service === undefined && why !== undefined ? [why] : [];
    });
    const state = failing.length === 0 ? 'healthy' : 'unhealthy';
    const services = checks.flatMap(({ service }, index): ServiceReport[] => {
      const why = outcomes[index];
      return service === undefined
        ? []
        : [{ service, healthy: why === undefined, detail: why ?? '' }];
    });
    this.#tell(state, outcomes);
    this.#send({ addresses, state, detail: failing.join('; '), services });
  }

  /** For each check, why it fails, or undefined. */
  async #runChecks(): Promise<readonly (string | undefined)[]> {
    const { checks, clock, intervalMs } = this.#parts;
    const abort = new AbortController();
    const disarm = clock.after(Math.min(CHECK_TIMEOUT_MS, intervalMs), () => {
      abort.abort();
    });
    const running = checks.map(({ run }) => {
      return run(abort.signal).catch((error: unknown) => `the check broke: ${errorMessage(error)}`);
    });
    const outcomes = await Promise.all(running);
    disarm();
    return outcomes;
  }

  #tell(state: ReportedState, outcomes: readonly (string | undefined)[]): void {
    const failures = outcomes.filter((why) => why !== undefined);
    const said = `${state} ${failures.length}`;
    if (said === this.#said) return;
    this.#said = said;
    this.#parts.logger.info({ state, failures }, 'reporting');
  }

  #send(report: Report): void {
    const { clock, link, signer, logger } = this.#parts;
    link.send(signer.sign(encodeReport(report), Math.floor(clock.wallMs())));
    const { sendErrors } = link.stats();
    const more = sendErrors - this.#sendErrors;
    this.#sendErrors = sendErrors;
    // An error is known only after the datagram before: one line for each report that is lost.
    if (more > 0) logger.warn({ errors: more }, 'reports could not be sent');
  }
}
