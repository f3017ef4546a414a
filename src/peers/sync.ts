/**
 * Flow sync: what the data plane tells goes to the peers, what they tell goes into the data plane,
 * what was lost on the way is found and repaired. Runs at its own pace: callbacks only fill queues,
 * a tick empties them. Must never block the event loop for more than about ten milliseconds.
 */
import { FlowChange } from '../model/flow-batch.ts';
import { groupByDestination } from './batch.ts';
import { Inbound } from './inbound.ts';
import type { Candidate, Gate } from './join.ts';
import type { Knowledge } from './known-at.ts';
import {
  BUSY_TICK_MS,
  CHANGES_PER_TICK_MAX,
  DIGEST_INTERVAL_MS,
  DIGEST_QUIET_CHANGES,
  HELLO_INTERVAL_MS,
  HELLO_INTERVAL_NEW_MS,
  INBOX_DATAGRAMS_MAX,
  INTRODUCTION_MS,
  LISTEN_MS,
  NACK_INBOX_SHARE_MAX,
  NACK_RANGES_MAX,
  RESYNC_INTERVAL_MS,
  RESYNC_INTERVAL_MS_MAX,
  TICK_MS,
  WATCH_INTERVAL_MS,
} from './limits.ts';
import { Seals, SyncState, type FlowSyncParts } from './parts.ts';
import { countRows } from './rows.ts';
import { newCounters, statusOf, type PeersStatus } from './status.ts';
import { splitDigest, splitHello } from './wire-split.ts';

/** Times that a node which stops sends what still waits: a thousand datagrams at most. */
const LAST_FLUSHES_MAX = 4;

export class FlowSync {
  readonly #given: FlowSyncParts;
  readonly #seals: Seals;
  readonly #counters = newCounters();
  #state: SyncState;
  #inbound: Inbound;
  #started: Promise<void> | undefined;
  #cancelTick: (() => void) | undefined;
  /** The snapshot under way is the one that joining waits for. */
  #isJoining = false;
  #resyncAtMs = 0;
  #resyncEveryMs = RESYNC_INTERVAL_MS;
  #watchAtMs = 0;

  constructor(given: FlowSyncParts) {
    this.#given = given;
    this.#seals = new Seals(given);
    this.#state = new SyncState(given, this.#seals, this.#counters);
    this.#inbound = new Inbound(this.#state);
  }

  /** Rejects with what the link or the transport cannot do. Starting twice is starting once. */
  start(): Promise<void> {
    this.#started ??= this.#start().catch(async (error: unknown) => {
      this.#started = undefined;
      await Promise.allSettled([this.#given.link.stop(), this.#given.snapshots.stop()]);
      throw error;
    });
    return this.#started;
  }

  /** Says goodbye. Stopping twice, or before the start, is no harm. */
  async stop(): Promise<void> {
    await this.#started?.catch(() => undefined);
    if (this.#cancelTick === undefined) return;
    this.#cancelTick();
    this.#cancelTick = undefined;
    this.#started = undefined;
    this.#state.exchange.stop();
    this.#state.walks.stop();
    this.#sayLastWords();
    await this.#given.link.stop();
    await this.#given.snapshots.stop();
  }

  /** May VIPs be announced, as far as flows are concerned? */
  gate(): Gate {
    return this.#state.join.gate();
  }

  status(): PeersStatus {
    return statusOf(this.#state);
  }

  /** What the digests said last of the peers that are alive: views, which change with every round. */
  knowledge(): Knowledge {
    const { peers, repair } = this.#state;
    const known = peers.alive().map(({ name, sinceMs }) => {
      const last = repair.comparisons(name) ?? { atMs: [], isEqual: [] };
      return { peer: name, aliveSinceMs: sinceMs, ...last };
    });
    return { nowMs: this.#given.clock.nowMs(), peers: known };
  }

  /** An ICMP error from the own data plane, whose flow is not known here; from the IP header on. */
  relayIcmp(packet: Uint8Array): void {
    const { icmp, transmitter } = this.#state;
    const mayGo = this.#cancelTick !== undefined && icmp.maySend(packet, this.#given.clock.nowMs());
    if (mayGo) transmitter.say({ kind: 'icmp', packet });
  }

  /** One key, or two while a key is replaced: the first seals. */
  setKeys(keys: readonly Uint8Array[]): void {
    this.#seals.setKeys(keys);
  }

  async #start(): Promise<void> {
    const { link, clock } = this.#given;
    const state = new SyncState(this.#given, this.#seals, this.#counters);
    await link.start((datagram) => {
      state.receiver.push(datagram, clock.nowMs());
    });
    await state.exchange.listen();
    this.#state = state;
    this.#inbound = new Inbound(state);
    this.#isJoining = false;
    this.#resyncAtMs = 0;
    this.#resyncEveryMs = RESYNC_INTERVAL_MS;
    this.#watchAtMs = 0;
    this.#tick();
  }

  #tick(): void {
    const { clock } = this.#given;
    const nowMs = clock.nowMs();
    // First, so that a flow closed here is not brought back by what peers said before they knew.
    this.#drain(nowMs);
    const isBehind = this.#inbound.receive(nowMs);
    this.#watchPeers(nowMs);
    this.#nack(nowMs);
    this.#stepJoin(nowMs);
    this.#stepRepair(nowMs);
    if (nowMs >= this.#state.helloAtMs) this.#sayHello(nowMs);
    const hasMore = this.#flush(nowMs);
    this.#cancelTick = clock.after(isBehind || hasMore ? BUSY_TICK_MS : TICK_MS, () => {
      this.#tick();
    });
  }

  /** Peers do not believe a node that they have only just heard, so its news waits for that. */
  #flush(nowMs: number): boolean {
    const { startedMs, transmitter } = this.#state;
    return nowMs - startedMs >= INTRODUCTION_MS && transmitter.flush(nowMs);
  }

  /** Own changes go to the peers; closed flows are remembered against late news of them. */
  #drain(nowMs: number): void {
    const { merger, transmitter, repair } = this.#state;
    const { batches, lost } = this.#given.table.drainChanges(CHANGES_PER_TICK_MAX);
    for (const batch of batches) {
      if (countRows(batch, FlowChange.close) > 0) merger.tombstones.bury(batch, nowMs);
      this.#state.changes += batch.count - countRows(batch, FlowChange.refresh);
      transmitter.outbox.add(groupByDestination(batch), nowMs);
    }
    if (lost === 0) return;
    this.#counters.changesLost += lost;
    repair.hurry(nowMs);
  }

  #watchPeers(nowMs: number): void {
    if (nowMs < this.#watchAtMs) return;
    this.#watchAtMs = nowMs + WATCH_INTERVAL_MS;
    const { peers, repair } = this.#state;
    for (const peer of peers.sweep(nowMs)) this.#inbound.lose(peer, nowMs);
    for (const name of peers.forget(nowMs)) {
      this.#seals.opener.forget(name);
      repair.forget(name);
    }
  }

  #nack(nowMs: number): void {
    const { peers, repair, receiver, transmitter } = this.#state;
    // What is missing may be in there, or was dropped: asking for it would bring still more.
    if (receiver.waiting > INBOX_DATAGRAMS_MAX * NACK_INBOX_SHARE_MAX) return;
    for (const { name, incarnation, gaps, isProven } of peers.all()) {
      if (gaps.ranges === 0 || !isProven) continue;
      const { abandoned } = gaps.counters;
      const ranges = gaps.due(nowMs, this.#inbound.spreadMs(), NACK_RANGES_MAX);
      if (gaps.counters.abandoned > abandoned) repair.hurry(nowMs);
      if (ranges.length === 0) continue;
      this.#counters.nacksSent += 1;
      transmitter.say({ kind: 'nack', node: name, incarnation, ranges });
    }
  }

  #stepJoin(nowMs: number): void {
    const { join, exchange } = this.#state;
    this.#endSnapshot(nowMs);
    join.progress(exchange.percent);
    const step = join.step(nowMs, () => this.#candidates(nowMs), !exchange.isTaking);
    switch (step.kind) {
      case 'wait':
        return;
      case 'fetch':
        this.#isJoining = true;
        exchange.take(step.from);
        return;
      case 'synced':
        this.#given.logger.info({ by: step.by }, 'flows are synced');
        if (step.by === 'deadline') this.#counters.syncedByDeadline += 1;
        this.#state.helloAtMs = nowMs;
    }
  }

  #endSnapshot(nowMs: number): void {
    const { join, exchange, repair } = this.#state;
    const outcome = exchange.takeOutcome();
    if (outcome === undefined) return;
    const { giver, ok } = outcome;
    const news = this.#state.snapshotNews;
    this.#state.snapshotNews = 0;
    if (ok) this.#given.logger.info({ giver, news }, 'snapshot taken');
    if (!this.#isJoining) {
      const longerMs = Math.min(this.#resyncEveryMs * 2, RESYNC_INTERVAL_MS_MAX);
      this.#resyncEveryMs = news > 0 ? RESYNC_INTERVAL_MS : longerMs;
      this.#resyncAtMs = nowMs + this.#resyncEveryMs;
    } else if (ok) join.fetched();
    else join.failed(giver, nowMs);
    this.#isJoining = false;
    if (!ok) return;
    // Others may wait for a node that is synced.
    this.#state.helloAtMs = nowMs;
    repair.hurry(nowMs);
  }

  #stepRepair(nowMs: number): void {
    const { repair, walks, peers, transmitter } = this.#state;
    const taken = walks.takeDigest();
    if (taken?.digest !== undefined) repair.took(taken.digest, taken.atMs, this.#isBusy(nowMs));
    else if (taken !== undefined) repair.gaveUp(nowMs);
    if (repair.isDue(nowMs)) walks.digest();
    const digest = repair.takeDigestToSay(nowMs);
    if (digest !== undefined) {
      for (const payload of splitDigest(digest, transmitter.payloadBytesMax)) {
        transmitter.sayPayload(payload);
      }
    }
    this.#resync(nowMs);
    if (repair.hasRequests(nowMs)) {
      const alive = new Set(peers.alive().map(({ name }) => name));
      for (const { node, buckets } of repair.takeRequests(alive)) {
        transmitter.say({ kind: 'bucket_request', node, buckets });
      }
    }
    walks.step(nowMs);
  }

  /** Bucket after bucket would take long: a snapshot of one who is far apart. */
  #resync(nowMs: number): void {
    const { repair, exchange } = this.#state;
    if (nowMs < this.#resyncAtMs || exchange.isTaking || !this.gate().open) return;
    if (!repair.hasRequests(nowMs)) return;
    const far = repair.farApart();
    const giver = this.#candidates(nowMs).find(
      ({ name, synced, endpoint }) => far.includes(name) && synced === true && endpoint !== '',
    );
    if (giver === undefined) return;
    exchange.take(giver);
  }

  #isBusy(nowMs: number): boolean {
    const { repair, changes, changesSinceMs } = this.#state;
    const intervals = Math.max(1, (nowMs - changesSinceMs) / DIGEST_INTERVAL_MS);
    const quiet = Math.max(DIGEST_QUIET_CHANGES, (repair.flows ?? 0) / 100);
    this.#state.changes = 0;
    this.#state.changesSinceMs = nowMs;
    return changes > quiet * intervals;
  }

  #candidates(nowMs: number): Candidate[] {
    return this.#state.peers.alive().map(({ name, hello, helloAtMs, isProven }) => ({
      name,
      synced: isProven ? hello?.synced : undefined,
      endpoint: hello?.snapshotEndpoint ?? '',
      startedAtMs: hello === undefined ? nowMs : helloAtMs - hello.uptimeMs,
    }));
  }

  #sayHello(nowMs: number): void {
    const { transmitter } = this.#state;
    const isNew = nowMs - this.#state.startedMs < LISTEN_MS;
    this.#state.helloAtMs = nowMs + (isNew ? HELLO_INTERVAL_NEW_MS : HELLO_INTERVAL_MS);
    for (const payload of splitHello(this.#state.hello(nowMs), transmitter.payloadBytesMax)) {
      transmitter.sayPayload(payload);
    }
  }

  /** What the data plane told last, and that this is the end: twice, since nobody could ask again. */
  #sayLastWords(): void {
    const { transmitter } = this.#state;
    const nowMs = this.#given.clock.nowMs();
    this.#drain(nowMs);
    for (let i = 0; i < LAST_FLUSHES_MAX && transmitter.flush(nowMs); i += 1);
    transmitter.say({ kind: 'goodbye' });
    transmitter.say({ kind: 'goodbye' });
  }
}
