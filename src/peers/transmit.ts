/**
 * What leaves this node: new flows first, then what peers missed, then answers to bucket requests,
 * all within the datagrams of a tick. Seals everything; must never send a payload of flows that
 * would not fit into a resend.
 */
import { History } from './history.ts';
import {
  ANSWER_ROWS_MAX,
  ANSWERS_PER_TICK_MAX,
  DATAGRAMS_PER_TICK_MAX,
  OUTBOX_ROWS_MAX,
  RESENDS_PER_TICK_MAX,
  TRAILER_MS,
} from './limits.ts';
import type { PeerLink } from './link.ts';
import type { Message } from './message.ts';
import { Outbox } from './outbox.ts';
import { DATAGRAM_BYTES_MAX } from './seal-header.ts';
import type { Sealer } from './seal.ts';
import type { SyncCounters } from './status.ts';
import { RESEND_BYTES, splitFlows, splitResend } from './wire-split.ts';
import { encodeMessage } from './wire.ts';

export class Transmitter {
  readonly outbox = new Outbox(OUTBOX_ROWS_MAX);
  readonly answers = new Outbox(ANSWER_ROWS_MAX);
  readonly history = new History();
  readonly #sealer: Sealer;
  readonly #link: PeerLink;
  readonly #counters: SyncCounters;
  /** When the end of a burst is said; Infinity: it has been. */
  #trailerAtMs = Infinity;

  constructor(sealer: Sealer, link: PeerLink, counters: SyncCounters) {
    this.#sealer = sealer;
    this.#link = link;
    this.#counters = counters;
  }

  /** Of the datagram sent last. */
  get sequence(): number {
    return this.#sealer.sequence;
  }

  /** Longest payload that fits a datagram. */
  get payloadBytesMax(): number {
    return DATAGRAM_BYTES_MAX - this.#sealer.overheadBytes;
  }

  /** At once: for what is small, and bounded where it is made. */
  say(message: Message): void {
    this.sayPayload(encodeMessage(message));
  }

  sayPayload(payload: Uint8Array): number {
    const { sequence, datagram } = this.#sealer.seal(payload);
    this.#send(datagram);
    return sequence;
  }

  /** Sends what waits, and returns whether something still does. */
  flush(nowMs: number): boolean {
    const fresh = this.#sendRows(this.outbox, nowMs, DATAGRAMS_PER_TICK_MAX);
    this.#sendResends(nowMs, Math.min(RESENDS_PER_TICK_MAX, DATAGRAMS_PER_TICK_MAX - fresh));
    const answerRows = this.answers.rows;
    const room = Math.min(ANSWERS_PER_TICK_MAX, DATAGRAMS_PER_TICK_MAX - fresh);
    const answered = this.#sendRows(this.answers, nowMs, room);
    this.#counters.answeredRows += answerRows - this.answers.rows;
    if (fresh + answered > 0) this.#trailerAtMs = nowMs + TRAILER_MS;
    else if (nowMs >= this.#trailerAtMs) this.#sayTrailer();
    return this.outbox.rows > 0;
  }

  /** Sends rows in order until none wait or so many datagrams have gone; returns how many. */
  #sendRows(outbox: Outbox, nowMs: number, datagramsMax: number): number {
    // A datagram of flows must fit into another one that sends it again.
    const payloadBytesMax = this.payloadBytesMax - this.#sealer.overheadBytes - RESEND_BYTES;
    let datagrams = 0;
    for (;;) {
      const batch = datagrams < datagramsMax ? outbox.head(nowMs) : undefined;
      if (batch === undefined) return datagrams;
      for (const { rows, payload } of splitFlows(batch, payloadBytesMax)) {
        const { sequence, datagram } = this.#sealer.seal(payload);
        this.history.add(sequence, datagram, nowMs);
        this.#send(datagram);
        this.#counters.flowsSent += rows;
        outbox.sent(rows);
        datagrams += 1;
        if (datagrams >= datagramsMax) break;
      }
    }
  }

  #sendResends(nowMs: number, datagramsMax: number): void {
    const resends = this.history.take(nowMs, datagramsMax);
    if (resends !== undefined) {
      this.#counters.resendsSent += resends.datagrams.length;
      const message = { kind: 'resend' as const, ...resends };
      for (const payload of splitResend(message, this.payloadBytesMax)) this.sayPayload(payload);
    }
    if (this.history.takeGone()) this.say({ kind: 'gone', firstKept: this.history.firstKept });
  }

  /** The sequence of this datagram tells of the one before it, if that was lost. */
  #sayTrailer(): void {
    this.#trailerAtMs = Infinity;
    this.say({ kind: 'gone', firstKept: this.history.firstKept });
  }

  #send(datagram: Uint8Array): void {
    this.#counters.datagramsSent += 1;
    this.#counters.bytesSent += datagram.length;
    this.#link.send(datagram);
  }
}
