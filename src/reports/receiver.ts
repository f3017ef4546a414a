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

export interface ReceiverParts {
  readonly link: PeerLink;
  readonly opener: ReportOpener;
  readonly board: ReportBoard;
  readonly clock: Pick<Clock, 'nowMs'>;
  readonly logger: Pick<Logger, 'warn'>;
}

export class ReportReceiver {
  readonly #parts: ReceiverParts;
  readonly #refused = new Map<Refusal, number>(REFUSALS.map((reason) => [reason, 0]));
  readonly #loggedAtMs = new Map<Refusal, number>();
  #accepted = 0;

  constructor(parts: ReceiverParts) {
    this.#parts = parts;
  }

  /** Throws a SkeinError when there is no listening where it should. */
  async start(): Promise<void> {
    await this.#parts.link.start((datagram, from) => {
      this.#receive(datagram, from);
    });
  }

  stop(): Promise<void> {
    return this.#parts.link.stop();
  }

  status(): ReportsStatus {
    const { link, board } = this.#parts;
    return {
      received: link.stats().received,
      accepted: this.#accepted,
      reporters: board.reporters,
      refused: Object.fromEntries(this.#refused),
    };
  }

  #receive(datagram: Uint8Array, from: string): void {
    const refusal = this.#judge(datagram, from);
    if (refusal === undefined) this.#accepted += 1;
    else this.#refuse(refusal, from);
  }

  #judge(datagram: Uint8Array, from: string): Refusal | undefined {
    const { opener, board } = this.#parts;
    const opened = opener.open(datagram);
    if (opened.kind === 'refused') return opened.reason;
    const report = decodeReport(opened.payload);
    if (report === undefined) return 'malformed';
    return board.take(opened.envelope, report, sourceOf(from));
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
