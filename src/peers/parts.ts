/** What flow sync is made of: what it is given, and what it makes for one life between start and stop. */
import type { Clock } from '../lib/clock.ts';
import type { Logger } from '../lib/logger.ts';
import { SnapshotExchange } from './exchange.ts';
import type { FlowTable } from './flow-table.ts';
import { IcmpRelay } from './icmp-relay.ts';
import { Join } from './join.ts';
import { PEERS_MAX } from './limits.ts';
import type { PeerLink, SnapshotTransport } from './link.ts';
import { Merger } from './merger.ts';
import type { Hello } from './message.ts';
import { Receiver } from './receive.ts';
import { Repair } from './repair.ts';
import { PROTOCOL_VERSION } from './seal-header.ts';
import { Opener, Sealer } from './seal.ts';
import { Peers } from './session.ts';
import type { SyncCounters } from './status.ts';
import { Transmitter } from './transmit.ts';
import { Walks } from './walks.ts';

export interface FlowSyncParts {
  readonly node: string;
  /** Greater after every start of the node: sequences begin anew with it. */
  readonly incarnation: number;
  /** The first seals, all open; 32 bytes each. */
  readonly keys: readonly Uint8Array[];
  readonly cluster: string;
  readonly softwareVersion: string;
  readonly configDigest: () => string;
  readonly table: FlowTable;
  readonly link: PeerLink;
  readonly snapshots: SnapshotTransport;
  /** Gives an ICMP error of a peer to the own data plane; from the IP header on. */
  readonly inject: (packet: Uint8Array) => void;
  readonly clock: Clock;
  readonly logger: Logger;
  /** The gate opens after this at the latest. */
  readonly joinDeadlineMs: number;
  /** From 0 to below 1. */
  readonly random: () => number;
  /** Nonces of snapshot streams: `randomNonce` of keys.ts, but for a simulation. */
  readonly nonce: () => Uint8Array;
}

/** What outlives a stop: nonces and replay windows must not begin anew in one life of the node. */
export class Seals {
  readonly sealer: Sealer;
  readonly opener: Opener;
  keys: readonly Uint8Array[];

  constructor({ cluster, node, incarnation, keys }: FlowSyncParts) {
    this.keys = keys;
    this.sealer = new Sealer({ cluster, node, incarnation, keys });
    this.opener = new Opener({ cluster, node, incarnation, keys, peersMax: PEERS_MAX });
  }

  setKeys(keys: readonly Uint8Array[]): void {
    this.sealer.setKeys(keys);
    this.opener.setKeys(keys);
    this.keys = keys;
  }
}

/** The small parts, wired. The decisions between them are in sync.ts and inbound.ts. */
export class SyncState {
  readonly given: FlowSyncParts;
  readonly counters: SyncCounters;
  readonly startedMs: number;
  readonly peers = new Peers();
  readonly icmp = new IcmpRelay();
  readonly transmitter: Transmitter;
  readonly opener: Opener;
  readonly receiver: Receiver;
  readonly merger: Merger;
  readonly walks: Walks;
  readonly exchange: SnapshotExchange;
  readonly repair: Repair;
  readonly join: Join;
  /** Flows that came, went or changed since the last digest. */
  changes = 0;
  changesSinceMs: number;
  /** Rows of the snapshot under way that were new here. */
  snapshotNews = 0;
  /** When the next hello is due. */
  helloAtMs: number;

  constructor(given: FlowSyncParts, seals: Seals, counters: SyncCounters) {
    const { cluster, node, incarnation, table, link, clock, logger, nonce } = given;
    const nowMs = clock.nowMs();
    this.given = given;
    this.counters = counters;
    this.startedMs = nowMs;
    this.changesSinceMs = nowMs;
    this.helloAtMs = nowMs;
    this.transmitter = new Transmitter(seals.sealer, link, counters);
    this.opener = seals.opener;
    this.receiver = new Receiver(seals.opener, counters);
    this.merger = new Merger(table, counters);
    this.repair = new Repair(nowMs, given.random);
    this.join = new Join(node, nowMs, given.joinDeadlineMs);
    const { answers } = this.transmitter;
    this.walks = new Walks({ table, clock, logger, counters, answers });
    this.exchange = new SnapshotExchange({
      transport: given.snapshots,
      table,
      identity: () => ({ cluster, node, incarnation, keys: seals.keys, nonce }),
      clock,
      logger,
      counters,
      hello: () => this.hello(clock.nowMs()),
      flows: () => this.repair.flows,
    });
  }

  hello(nowMs: number): Hello {
    const { softwareVersion, configDigest, snapshots } = this.given;
    return {
      kind: 'hello',
      version: PROTOCOL_VERSION,
      softwareVersion,
      configDigest: configDigest(),
      snapshotEndpoint: snapshots.endpoint,
      synced: this.join.syncedBy !== undefined,
      uptimeMs: Math.round(nowMs - this.startedMs),
      heard: this.peers
        .all()
        .map(({ name, incarnation, gaps }) => [name, incarnation, gaps.contiguous]),
    };
  }
}
