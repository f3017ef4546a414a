/**
 * The node's end: datagrams in, reports on the board, and a count for every other one. Whatever
 * arrives, it must not throw, and must not remember anything of what it refuses but its number.
 */
import type { Clock } from '../lib/clock.ts';
import type { Logger } from '../lib/logger.ts';
import { parseAddress, type Address } from '../model/address.ts';
import type { PeerLink } from '../peers/link.ts';
import type { ReportBoard } from './board.ts';
import { REFUSALS, type Refusal } from './report.ts';
import type { ReportOpener } from './seal.ts';
import type { ReportsStatus } from './status.ts';
import { decodeReport } from './wire.ts';

/** A reason for refusing is logged once in this time: whoever floods a node must not fill its disk. */
const LOG_EVERY_MS = 60_000;

type ReceiverStatus = Omit<ReportsStatus, 'listening' | 'problems'>;

export interface ReceiverParts {
  readonly board: ReportBoard;
  readonly clock: Pick<Clock, 'nowMs'>;
  readonly logger: Pick<Logger, 'warn'>;
}

export class ReportReceiver {
  readonly #parts: ReceiverParts;
  readonly #refused = new Map<Refusal, number>(REFUSALS.map((reason) => [reason, 0]));
  readonly #loggedAtMs = new Map<Refusal, number>();
  #opener: ReportOpener | undefined;
  #link: PeerLink | undefined;
  /** By links that are closed. */
  #receivedBefore = 0;
  #accepted = 0;

  constructor(parts: ReceiverParts) {
    this.#parts = parts;
  }

  /** Reports are opened by this from now on. To be called before `listen`. */
  openWith(opener: ReportOpener): void {
    this.#opener = opener;
  }

  /** Opens the link, and then closes the one before. Throws a SkeinError, and keeps that one. */
  async listen(link: PeerLink): Promise<void> {
    await link.start((datagram, from) => {
      this.#receive(datagram, from);
    });
    await this.#closeLink();
    this.#link = link;
  }

  /** Until `openWith` and `listen` are called again. Stopping twice is stopping once. */
  async stop(): Promise<void> {
    await this.#closeLink();
    this.#opener = undefined;
  }

  status(): ReceiverStatus {
    return {
      received: this.#receivedBefore + (this.#link?.stats().received ?? 0),
      accepted: this.#accepted,
      reporters: this.#parts.board.reporters,
      refused: Object.fromEntries(this.#refused),
    };
  }

  async #closeLink(): Promise<void> {
    const link = this.#link;
    this.#link = undefined;
    if (link === undefined) return;
    await link.stop();
    this.#receivedBefore += link.stats().received;
  }

  #receive(datagram: Uint8Array, from: string): void {
    if (this.#opener === undefined) return;
    const refusal = this.#judge(this.#opener, datagram, from);
    if (refusal === undefined) this.#accepted += 1;
    else this.#refuse(refusal, from);
  }

  #judge(opener: ReportOpener, datagram: Uint8Array, from: string): Refusal | undefined {
    const opened = opener.open(datagram);
    if (opened.kind === 'refused') return opened.reason;
    const report = decodeReport(opened.payload);
    if (report === undefined) return 'malformed';
    return this.#parts.board.take(opened.envelope, report, sourceOf(from));
  }

  #refuse(reason: Refusal, from: string): void {
    this.#refused.set(reason, (this.#refused.get(reason) ?? 0) + 1);
    const nowMs = this.#parts.clock.nowMs();
    const loggedAtMs = this.#loggedAtMs.get(reason);
    if (loggedAtMs !== undefined && nowMs - loggedAtMs < LOG_EVERY_MS) return;
    this.#loggedAtMs.set(reason, nowMs);
    this.#parts.logger.warn({ reason, from }, 'a report was refused');
  }
}

/** The address in `address:port` or `[address]:port`. */
function sourceOf(from: string): Address | undefined {
  return parseAddress(from.slice(0, from.lastIndexOf(':')).replace(/^\[|\]$/g, ''));
}
