/** What flow sync tells about itself: plain JSON, for the console, metrics and `skein status`. */
import type { MergeTally } from './flow-table.ts';
import type { IcmpCounters } from './icmp-relay.ts';
import type { Gate, SyncedBy } from './join.ts';
import type { RejectReason } from './message.ts';
import type { OutboxDrops } from './outbox.ts';
import type { SyncState } from './parts.ts';
import type { RepairCounters } from './repair.ts';
import type { Peer, PeerState } from './session.ts';

/** Everything that is counted since the start; none ever falls. */
export interface SyncCounters {
  datagramsSent: number;
  bytesSent: number;
  flowsSent: number;
  datagramsReceived: number;
  flowsReceived: number;
  /** The inbox was full: this node does not keep up. */
  inboxDropped: number;
  /** Messages of peers that had not proven yet that they are live. */
  unproven: number;
  nacksSent: number;
  nacksReceived: number;
  /** Our datagrams sent again, and those of others that filled a gap here. */
  resendsSent: number;
  resendsTaken: number;
  /** Rows sent because a peer asked for their buckets. */
  answeredRows: number;
  /** Late rows of flows that had been closed, and closes said again for them. */
  lateRows: number;
  closesRepeated: number;
  /** Changes that the data plane had no room to keep. */
  changesLost: number;
  /** Rows that only a later version understands. */
  skippedRows: number;
  snapshotsGiven: number;
  snapshotsRefused: number;
  snapshotsTaken: number;
  snapshotsFailed: number;
  snapshotRows: number;
  /** Walks over the table that failed. */
  tableErrors: number;
  /** Another node has our name and the cluster's key. */
  namesakes: number;
  syncedByDeadline: number;
}

export interface PeerSyncStatus {
  readonly name: string;
  readonly state: PeerState;
  /** It hears this node, so it is no recording: only then its flows are taken. */
  readonly proven: boolean;
  /** Since it is in this state, or in this life. */
  readonly sinceMsAgo: number;
  readonly lastHeardMsAgo: number;
  /** Protocol version, and that of the software; null before the first hello. */
  readonly version: number | null;
  readonly softwareVersion: string | null;
  readonly configDigest: string | null;
  /** Its configuration is not ours. */
  readonly drift: boolean;
  readonly synced: boolean;
  readonly uptimeMs: number;
  readonly incarnation: number;
  readonly flowsReceived: number;
  readonly datagramsReceived: number;
  /** Datagrams of it: missing now, asked for so far, came after all, given up. */
  readonly missing: number;
  readonly lost: number;
  readonly repaired: number;
  readonly abandoned: number;
  readonly reordered: number;
  /** Of ours that it had not got when it last said. */
  readonly lagDatagrams: number;
  readonly malformed: number;
}

/** Queues that have a limit, as they are now. */
export interface SyncQueues {
  readonly inboxDatagrams: number;
  readonly outboxRows: number;
  readonly answerRows: number;
  readonly snapshotRows: number;
  readonly historyBytes: number;
  readonly resendsPending: number;
  readonly gapRanges: number;
  readonly tombstones: number;
}

export interface PeersStatus {
  readonly self: {
    readonly name: string;
    readonly incarnation: number;
    readonly softwareVersion: string;
    readonly configDigest: string;
    readonly snapshotEndpoint: string;
    readonly uptimeMs: number;
    readonly syncedBy: SyncedBy | null;
    /** Flows in the last digest; null before the first. */
    readonly flows: number | null;
  };
  readonly gate: Gate;
  readonly peers: readonly PeerSyncStatus[];
  readonly queues: SyncQueues;
  readonly counters: Readonly<SyncCounters>;
  readonly merged: MergeTally;
  /** Rows dropped from the outbox because it was full. */
  readonly dropped: Readonly<OutboxDrops>;
  readonly repair: Readonly<RepairCounters>;
  readonly icmp: Readonly<IcmpCounters>;
  readonly link: { readonly sent: number; readonly sendErrors: number; readonly received: number };
  readonly rejects: Readonly<Record<RejectReason, number>>;
}

export function newCounters(): SyncCounters {
  return {
    datagramsSent: 0,
    bytesSent: 0,
    flowsSent: 0,
    datagramsReceived: 0,
    flowsReceived: 0,
    inboxDropped: 0,
    unproven: 0,
    nacksSent: 0,
    nacksReceived: 0,
    resendsSent: 0,
    resendsTaken: 0,
    answeredRows: 0,
    lateRows: 0,
    closesRepeated: 0,
    changesLost: 0,
    skippedRows: 0,
    snapshotsGiven: 0,
    snapshotsRefused: 0,
    snapshotsTaken: 0,
    snapshotsFailed: 0,
    snapshotRows: 0,
    tableErrors: 0,
    namesakes: 0,
    syncedByDeadline: 0,
  };
}

function peerStatus(peer: Peer, nowMs: number, ownDigest: string): PeerSyncStatus {
  const { hello, gaps } = peer;
  return {
    name: peer.name,
    state: peer.state,
    proven: peer.isProven,
    sinceMsAgo: nowMs - peer.sinceMs,
    lastHeardMsAgo: nowMs - peer.lastHeardMs,
    version: hello?.version ?? null,
    softwareVersion: hello?.softwareVersion ?? null,
    configDigest: hello?.configDigest ?? null,
    drift: hello !== undefined && hello.configDigest !== ownDigest,
    synced: hello?.synced ?? false,
    uptimeMs: hello === undefined ? 0 : hello.uptimeMs + nowMs - peer.helloAtMs,
    incarnation: peer.incarnation,
    flowsReceived: peer.flows,
    datagramsReceived: peer.datagrams,
    missing: gaps.missing,
    lost: gaps.counters.lost,
    repaired: gaps.counters.repaired,
    abandoned: gaps.counters.abandoned,
    reordered: gaps.counters.reordered,
    lagDatagrams: peer.lagDatagrams,
    malformed: peer.malformed,
  };
}

/** The whole of it at one moment. */
export function statusOf(state: SyncState): PeersStatus {
  const { given, peers, transmitter, receiver, exchange, merger, repair, join, icmp } = state;
  const nowMs = given.clock.nowMs();
  const configDigest = given.configDigest();
  const { outbox, answers, history } = transmitter;
  const all = peers.all();
  return {
    self: {
      name: given.node,
      incarnation: given.incarnation,
      softwareVersion: given.softwareVersion,
      configDigest,
      snapshotEndpoint: given.snapshots.endpoint,
      uptimeMs: nowMs - state.startedMs,
      syncedBy: join.syncedBy ?? null,
      flows: repair.flows ?? null,
    },
    gate: join.gate(),
    peers: all.map((peer) => peerStatus(peer, nowMs, configDigest)),
    queues: {
      inboxDatagrams: receiver.waiting,
      outboxRows: outbox.rows,
      answerRows: answers.rows,
      snapshotRows: exchange.waitingRows,
      historyBytes: history.bytes,
      resendsPending: history.pending,
      gapRanges: all.reduce((sum, { gaps }) => sum + gaps.ranges, 0),
      tombstones: merger.tombstones.places,
    },
    counters: { ...state.counters },
    merged: merger.tally,
    dropped: { ...outbox.drops },
    repair: { ...repair.counters },
    icmp: { ...icmp.counters },
    link: given.link.stats(),
    rejects: { ...receiver.rejects },
  };
}
