/**
 * Follows the `reports` of the document while the node runs: opens, moves and closes the socket, and
 * takes over keys and limits. What cannot be had must leave at work what there is, and is tried again.
 */
import type { ReportsConfig } from '../config/types.ts';
import type { Clock } from '../lib/clock.ts';
import { errorMessage, SkeinError } from '../lib/errors.ts';
import type { Logger } from '../lib/logger.ts';
import type { Address } from '../model/address.ts';
import type { KeyRing } from '../peers/keys.ts';
import type { PeerLink } from '../peers/link.ts';
import type { ReportBoard } from './board.ts';
import { formatPlace, isSamePlace, type Place } from './place.ts';
import { ReportReceiver } from './receiver.ts';
import { ReportOpener } from './seal.ts';
import type { ReportsStatus } from './status.ts';

/** What failed is tried again after this time, doubling up to the bound. */
export const RETRY_MIN_MS = 1_000;
export const RETRY_MAX_MS = 30_000;

/** What a document says of reports. */
export interface WantedReports {
  readonly cluster: string;
  readonly reports: ReportsConfig;
  /** Those of all services. */
  readonly backends: readonly Address[];
}

export interface IntakeParts {
  readonly board: ReportBoard;
  readonly clock: Pick<Clock, 'nowMs' | 'after'>;
  readonly logger: Pick<Logger, 'info' | 'warn' | 'error'>;
  /** Rejects with a SkeinError. */
  readonly readKeys: (files: readonly string[]) => Promise<KeyRing>;
  /** As the machine is now. Throws a SkeinError. */
  readonly locate: (reports: ReportsConfig) => Place;
  /** A link that is not open yet. */
  readonly linkAt: (place: Place) => PeerLink;
}

export class ReportIntake {
  readonly #parts: IntakeParts;
  readonly #receiver: ReportReceiver;
  #wanted: WantedReports | undefined;
  #keys: readonly Uint8Array[] | undefined;
  #place: Place | undefined;
  #problems: readonly SkeinError[] = [];
  #warnings: readonly string[] = [];
  #work: Promise<void> | undefined;
  #again = false;
  #stopped = false;
  #retryMs = RETRY_MIN_MS;
  #disarm: (() => void) | undefined;

  constructor(parts: IntakeParts) {
    this.#parts = parts;
    const { board, clock, logger } = parts;
    this.#receiver = new ReportReceiver({ board, clock, logger });
  }

  /** Opens nothing. Throws a SkeinError when there are no keys to start with. */
  async prepare(wanted: WantedReports | undefined): Promise<void> {
    this.#wanted = wanted;
    if (wanted !== undefined) await this.#readKeys(wanted.reports);
  }

  /** Takes what `prepare` was given, or throws a SkeinError: a node starts with all or not at all. */
  async start(): Promise<void> {
    this.#stir();
    await this.#work;
    const [problem] = this.#problems;
    if (problem !== undefined) throw problem;
  }

  /** The whole desired state; undefined: no reports are taken. A later one goes before an earlier. */
  set(wanted: WantedReports | undefined): void {
    this.#wanted = wanted;
    this.#retryMs = RETRY_MIN_MS;
    this.#stir();
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    this.#disarm?.();
    await this.#work;
    await this.#receiver.stop();
  }

  /** Undefined where the document has no reports. */
  status(): ReportsStatus | undefined {
    if (this.#wanted === undefined) return undefined;
    return {
      listening: this.#place === undefined ? null : formatPlace(this.#place),
      problems: this.#problems.map(({ message }) => message),
      ...this.#receiver.status(),
    };
  }

  #stir(): void {
    if (this.#stopped) return;
    this.#disarm?.();
    this.#again = true;
    this.#work ??= this.#catchUp();
  }

  async #catchUp(): Promise<void> {
    while (this.#again && !this.#stopped) {
      this.#again = false;
      this.#tell(await this.#follow(this.#wanted));
    }
    this.#work = undefined;
    if (this.#problems.length === 0 || this.#stopped) return;
    this.#disarm = this.#parts.clock.after(this.#retryMs, () => {
      this.#stir();
    });
    this.#retryMs = Math.min(this.#retryMs * 2, RETRY_MAX_MS);
  }

  /** Each part by itself, so that a port that is taken does not keep a new key out. */
  async #follow(wanted: WantedReports | undefined): Promise<readonly SkeinError[]> {
    const { board } = this.#parts;
    if (wanted === undefined) {
      await this.#close();
      return [];
    }
    const { cluster, reports, backends } = wanted;
    const unread = await problemOf(() => this.#readKeys(reports));
    if (this.#keys !== undefined) this.#receiver.openWith(new ReportOpener(cluster, this.#keys));
    board.setMaxSkew(reports.maxSkewMs);
    const unheard = this.#keys && (await problemOf(() => this.#listen(reports)));
    // Silence means something only where there is listening.
    if (this.#place !== undefined) board.setBackends(backends);
    return [unread, unheard].filter((each) => each !== undefined);
  }

  async #readKeys({ keyFiles }: ReportsConfig): Promise<void> {
    const { keys, warnings } = await this.#parts.readKeys(keyFiles);
    const known = new Set(this.#warnings);
    for (const warning of warnings) if (!known.has(warning)) this.#parts.logger.warn(warning);
    this.#warnings = warnings;
    this.#keys = keys;
  }

  async #listen(reports: ReportsConfig): Promise<void> {
    const { locate, linkAt, logger } = this.#parts;
    const place = locate(reports);
    if (this.#place !== undefined && isSamePlace(this.#place, place)) return;
    await this.#receiver.listen(linkAt(place));
    this.#place = place;
    logger.info({ at: formatPlace(place) }, 'listening for reports of backends');
  }

  /** What reporters have said stays remembered, or it could be said again if reports come back. */
  async #close(): Promise<void> {
    const { board, logger } = this.#parts;
    const wasListening = this.#place !== undefined;
    this.#keys = undefined;
    this.#place = undefined;
    board.setBackends([]);
    await this.#receiver.stop();
    if (wasListening) logger.info('reports of backends are no longer taken');
  }

  #tell(problems: readonly SkeinError[]): void {
    const { logger } = this.#parts;
    const known = new Set(this.#problems.map(({ message }) => message));
    for (const { code, message } of problems) {
      if (known.has(message)) continue;
      logger.error(
        { code, reason: message },
        'reports: not as the document says, what was there stays',
      );
    }
    if (problems.length === 0 && known.size > 0) logger.info('reports: as the document says again');
    this.#problems = problems;
  }
}

async function problemOf(work: () => Promise<void>): Promise<SkeinError | undefined> {
  try {
    await work();
    return undefined;
  } catch (error) {
    if (error instanceof SkeinError) return error;
    return new SkeinError('REPORTS', errorMessage(error), { cause: error });
  }
}
