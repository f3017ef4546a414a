/**
 * What peers say, message by message: each goes to the part that decides about it. Must never take
 * more in a tick than the limits allow, nor one peer's word for another's.
 */
import type { FlowBatch } from '../model/flow-batch.ts';
import {
  GREETING_SPREAD_MS,
  MERGE_ROWS_PER_TICK_MAX,
  NACK_SPREAD_MS,
  NACK_SPREAD_PER_PEER_MS,
  RECEIVED_PER_TICK_MAX,
  SNAPSHOT_ROWS_PER_TICK_MIN,
  TICK_WORK_MS_MAX,
} from './limits.ts';
import type { BucketRequest, Hello, Nack, Resend } from './message.ts';
import type { SyncState } from './parts.ts';
import type { Received } from './receive.ts';
import { olderBy } from './rows.ts';
import type { Peer, PeerNews } from './session.ts';

export class Inbound {
  readonly #state: SyncState;

  constructor(state: SyncState) {
    this.#state = state;
  }

  /** Takes what has come, live news before rows of a snapshot. Returns whether something is left. */
  receive(nowMs: number): boolean {
    const { receiver, exchange, merger, given } = this.#state;
    const limit = { left: RECEIVED_PER_TICK_MAX };
    let rowsLeft = MERGE_ROWS_PER_TICK_MAX;
    while (rowsLeft > 0 && given.clock.nowMs() - nowMs < TICK_WORK_MS_MAX) {
      const received = receiver.next(limit);
      if (received === undefined) break;
      rowsLeft -= this.#take(received, nowMs);
    }
    const rows = exchange.takeRows(Math.max(rowsLeft, SNAPSHOT_ROWS_PER_TICK_MIN), nowMs);
    if (rows !== undefined) this.#state.snapshotNews += merger.merge(rows, nowMs).news;
    return receiver.waiting > 0 || exchange.waitingRows > 0;
  }

  /** By how much a nack waits longer than it needs: others may ask before. */
  spreadMs(): number {
    const peers = this.#state.peers.count;
    return this.#state.given.random() * (NACK_SPREAD_MS + peers * NACK_SPREAD_PER_PEER_MS);
  }

  /** One message; returns how many rows it had. */
  #take({ envelope, message, receivedAtMs }: Received, nowMs: number): number {
    const { peers, repair, icmp, counters, given } = this.#state;
    const heard = peers.heard(envelope, nowMs, this.spreadMs());
    if (heard === undefined) return 0;
    const { peer, news } = heard;
    if (news !== undefined) this.#greet(peer, news, nowMs);
    if (!peer.isProven && message?.kind !== 'hello') {
      counters.unproven += 1;
      return 0;
    }
    const waitedMs = nowMs - receivedAtMs;
    switch (message?.kind) {
      case undefined:
        peer.malformed += 1;
        return 0;
      case 'flows':
        return this.#takeFlows(peer, message.batch, waitedMs, nowMs);
      case 'hello':
        this.#takeHello(peer, message, envelope.sequence, receivedAtMs);
        return 0;
      case 'nack':
        this.#takeNack(message, nowMs);
        return 0;
      case 'resend':
        return this.#takeResend(peer, message, waitedMs, nowMs);
      case 'gone':
        if (peer.gaps.gone(message.firstKept)) repair.hurry(nowMs);
        return 0;
      case 'digest':
        repair.heard(peer.name, message, nowMs);
        return 0;
      case 'bucket_request':
        this.#takeRequest(message, nowMs);
        return 0;
      case 'icmp':
        if (icmp.mayInject(message.packet, nowMs)) given.inject(message.packet);
        return 0;
      case 'goodbye':
        if (peers.goodbye(peer, envelope.sequence, nowMs)) this.lose(peer, nowMs);
        return 0;
    }
  }

  #takeFlows(peer: Peer, batch: FlowBatch, olderByMs: number, nowMs: number): number {
    const { merger, repair, counters, transmitter } = this.#state;
    const { news, closed } = merger.merge(olderBy(batch, olderByMs), nowMs);
    peer.flows += batch.count;
    counters.flowsReceived += batch.count;
    this.#state.changes += news;
    repair.learned(news + (closed?.count ?? 0));
    // Everybody has these rows, but only who asked for them says the closes again.
    if (closed !== undefined && repair.isWaitingForNews) {
      counters.closesRepeated += closed.count;
      transmitter.answers.add(closed, nowMs);
    }
    return batch.count;
  }

  #takeHello(peer: Peer, hello: Hello, sequence: number, atMs: number): void {
    const { given, transmitter, peers, opener } = this.#state;
    peer.hello = hello;
    peer.helloAtMs = atMs;
    const own = hello.heard.find(
      ([node, incarnation]) => node === given.node && incarnation === given.incarnation,
    );
    if (own === undefined) return;
    peer.lagDatagrams = Math.max(0, transmitter.sequence - own[2]);
    if (peer.isProven) return;
    // It hears this life of ours, so it spoke after we began: what it said before stays refused.
    peers.prove(peer, sequence);
    opener.refuseUpTo(peer.name, sequence);
  }

  #takeNack({ node, incarnation, ranges }: Nack, nowMs: number): void {
    const { given, peers, counters, transmitter } = this.#state;
    counters.nacksReceived += 1;
    if (node === given.node) {
      if (incarnation !== given.incarnation) return;
      transmitter.history.ask(ranges, transmitter.sequence, nowMs);
      return;
    }
    const asked = peers.find(node);
    if (asked?.incarnation === incarnation) asked.gaps.askedByOther(ranges, nowMs);
  }

  /** Only what the peer itself has sent, in this life. */
  #takeResend(peer: Peer, resend: Resend, waitedMs: number, nowMs: number): number {
    const { receiver, counters } = this.#state;
    let rows = 0;
    resend.datagrams.forEach((datagram, index) => {
      const received = receiver.openResent(datagram, nowMs);
      if (received === undefined) return;
      const { envelope, message } = received;
      if (envelope.node !== peer.name || envelope.incarnation !== peer.incarnation) return;
      peer.gaps.note(envelope.sequence, nowMs, this.spreadMs());
      counters.resendsTaken += 1;
      if (message?.kind !== 'flows') return;
      const olderByMs = waitedMs + (resend.sentAgoMs[index] ?? 0);
      rows += this.#takeFlows(peer, message.batch, olderByMs, nowMs);
    });
    for (const [first, last] of resend.empty) peer.gaps.empty(first, last);
    return rows;
  }

  #takeRequest({ node, buckets }: BucketRequest, nowMs: number): void {
    const { given, walks, repair } = this.#state;
    if (node === given.node) walks.ask(buckets, nowMs);
    else repair.requestedByOther(node, buckets);
  }

  /** A peer is gone: what is missing of it may have reached others, and they can be asked. */
  lose(peer: Peer, nowMs: number): void {
    this.#state.given.logger.warn({ peer: peer.name, state: peer.state }, 'peer gone');
    if (peer.gaps.missing > 0) this.#state.repair.hurry(nowMs);
    peer.gaps.abandonAll();
  }

  #greet(peer: Peer, news: PeerNews, nowMs: number): void {
    const { given, repair } = this.#state;
    given.logger.info({ peer: peer.name, news }, 'peer heard');
    const greetingMs = nowMs + given.random() * GREETING_SPREAD_MS;
    this.#state.helloAtMs = Math.min(this.#state.helloAtMs, greetingMs);
    // While we did not hear each other, both of us may have learned things.
    if (news === 'back') repair.hurry(nowMs);
  }
}
