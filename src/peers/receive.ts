/**
 * Datagrams that came, in their order, as messages that can be believed. Bounded; nothing is looked
 * at before its turn, so that a flood costs memory for the queue and nothing else. Must never throw.
 */
import { Fifo } from './fifo.ts';
import { INBOX_DATAGRAMS_MAX } from './limits.ts';
import { REJECT_REASONS, type Envelope, type Message, type RejectReason } from './message.ts';
import type { Opened, Opener } from './seal.ts';
import type { SyncCounters } from './status.ts';
import { decodeMessage } from './wire.ts';

export interface Received {
  readonly envelope: Envelope;
  /** Undefined: what verified makes no sense to this version. */
  readonly message: Message | undefined;
  readonly receivedAtMs: number;
}

interface Waiting {
  readonly datagram: Uint8Array;
  readonly receivedAtMs: number;
}

export class Receiver {
  readonly #opener: Opener;
  readonly #counters: SyncCounters;
  readonly #rejects = Object.fromEntries(REJECT_REASONS.map((reason) => [reason, 0])) as Record<
    RejectReason,
    number
  >;
  readonly #waiting = new Fifo<Waiting>();

  constructor(opener: Opener, counters: SyncCounters) {
    this.#opener = opener;
    this.#counters = counters;
  }

  get waiting(): number {
    return this.#waiting.length;
  }

  get rejects(): Readonly<Record<RejectReason, number>> {
    return this.#rejects;
  }

  push(datagram: Uint8Array, nowMs: number): void {
    if (this.waiting >= INBOX_DATAGRAMS_MAX) this.#counters.inboxDropped += 1;
    else this.#waiting.push({ datagram, receivedAtMs: nowMs });
  }

  /** The next that verifies; undefined when none is left. At most `limit.left` are looked at. */
  next(limit: { left: number }): Received | undefined {
    while (limit.left > 0) {
      const waiting = this.#waiting.shift();
      if (waiting === undefined) return undefined;
      limit.left -= 1;
      this.#counters.datagramsReceived += 1;
      const received = this.#read(this.#opener.open(waiting.datagram), waiting.receivedAtMs);
      if (received !== undefined) return received;
    }
    return undefined;
  }

  /** A datagram from inside a resend. Those who have it already get it too, so that is no reject. */
  openResent(datagram: Uint8Array, receivedAtMs: number): Received | undefined {
    const opened = this.#opener.openResent(datagram);
    const isKnown = opened.kind === 'reject' && opened.reason === 'replayed';
    return isKnown ? undefined : this.#read(opened, receivedAtMs);
  }

  #read(opened: Opened, receivedAtMs: number): Received | undefined {
    if (opened.kind === 'reject') {
      this.#rejects[opened.reason] += 1;
      if (opened.namesake !== undefined) this.#counters.namesakes += 1;
      return undefined;
    }
    const decoded = decodeMessage(opened.payload);
    const { envelope } = opened;
    if (!decoded.ok) {
      this.#rejects[decoded.reason] += 1;
      return { envelope, message: undefined, receivedAtMs };
    }
    this.#counters.skippedRows += decoded.skippedRows;
    return { envelope, message: decoded.message, receivedAtMs };
  }
}
