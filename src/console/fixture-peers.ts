/** Test data: the peers of a node that does not exist, as a function of time. */
import type { NodeSnapshot } from '../snapshot.ts';
import type { Scenario } from './fixture-plans.ts';

type PeersStatus = NonNullable<NodeSnapshot['peers']>;
type Peer = PeersStatus['peers'][number];

const DAY_MS = 86_400_000;

export interface PeersInputs {
  readonly nowMs: number;
  readonly upSinceMs: number;
  readonly configDigest: string;
}

export function peersOf(scenario: Scenario, inputs: PeersInputs): PeersStatus | null {
  if (scenario === 'no-sync') return null;
  const joining = scenario === 'joining';
  const upS = (inputs.nowMs - inputs.upSinceMs) / 1000;
  const count = scenario === 'empty' ? () => 0 : (perS: number) => Math.round(perS * upS);
  return {
    self: {
      name: 'lb1',
      incarnation: inputs.upSinceMs,
      softwareVersion: '0.1.0',
      configDigest: inputs.configDigest,
      snapshotEndpoint: '10.20.0.11:3785',
      uptimeMs: joining ? 2_000 : inputs.nowMs - inputs.upSinceMs,
      syncedBy: joining ? null : scenario === 'empty' ? 'alone' : 'snapshot',
      flows: joining ? null : scenario === 'empty' ? 0 : 431_204,
    },
    gate: joining ? { open: false, reason: 'snapshot', percent: 42.4 } : { open: true },
    peers: peerList(scenario, inputs, count),
    queues: {
      inboxDatagrams: 0,
      outboxRows: 12,
      answerRows: 0,
      snapshotRows: joining ? 18_432 : 0,
      historyBytes: 8_123_904,
      resendsPending: 0,
      gapRanges: 1,
      tombstones: 61_204,
    },
    ...counted(count),
    rejects: {
      too_short: 0,
      too_long: 0,
      not_skein: 41,
      version: 0,
      other_cluster: count(0.9),
      unknown_key: 0,
      forged: 3,
      own: 0,
      replayed: 0,
      old_incarnation: 0,
      too_many_peers: 0,
      malformed: 0,
      unknown_kind: 0,
    },
  };
}

function peerList(
  scenario: Scenario,
  inputs: PeersInputs,
  count: (perS: number) => number,
): readonly Peer[] {
  const peer = (name: string, change: Partial<Peer> = {}): Peer => ({
    name,
    state: 'alive',
    proven: true,
    sinceMsAgo: 3.1 * DAY_MS,
    lastHeardMsAgo: 412,
    version: 1,
    softwareVersion: '0.1.0',
    configDigest: inputs.configDigest,
    drift: false,
    synced: true,
    uptimeMs: 3.1 * DAY_MS,
    incarnation: inputs.upSinceMs,
    flowsReceived: count(2_870),
    datagramsReceived: count(88),
    missing: 0,
    lost: 214,
    repaired: 214,
    abandoned: 0,
    reordered: 37,
    lagDatagrams: 2,
    malformed: 0,
    ...change,
  });
  const drifted = { drift: true, configDigest: `91e0d7c4${inputs.configDigest.slice(8)}` };
  switch (scenario) {
    case 'empty':
      return [];
    case 'joining':
      return [peer('lb2'), peer('lb3', { synced: false, sinceMsAgo: 1_000, lost: 0, repaired: 0 })];
    case 'forty':
      return Array.from({ length: 14 }, (_, index) =>
        peer(`lb${index + 2}.fra-${index % 3}.edge.example.net`, index === 11 ? drifted : {}),
      );
    default:
      return [
        peer('lb2', { lost: 0, repaired: 0, lagDatagrams: 0 }),
        peer('lb3', { ...drifted, softwareVersion: '0.2.0-rc.1', missing: 1, sinceMsAgo: 700_000 }),
        peer('lb4', {
          state: 'lost',
          sinceMsAgo: 96_000,
          lastHeardMsAgo: 99_000,
          flowsReceived: 918_204,
          lost: 31,
          repaired: 19,
          lagDatagrams: 10_212,
        }),
        peer('lb5', { state: 'left', sinceMsAgo: 310_000, flowsReceived: 61_204, lagDatagrams: 0 }),
      ];
  }
}

function counted(
  count: (perS: number) => number,
): Pick<PeersStatus, 'counters' | 'merged' | 'dropped' | 'repair' | 'icmp' | 'link'> {
  return {
    counters: {
      datagramsSent: count(92),
      bytesSent: count(91_400),
      flowsSent: count(2_930),
      datagramsReceived: count(270),
      flowsReceived: count(8_610),
      inboxDropped: 0,
      nacksSent: 31,
      nacksReceived: 12,
      resendsSent: 140,
      resendsTaken: 428,
      answeredRows: 1_204,
      lateRows: 88,
      closesRepeated: 41,
      changesLost: 0,
      skippedRows: 0,
      snapshotsGiven: 2,
      snapshotsRefused: 0,
      snapshotsTaken: 1,
      snapshotsFailed: 0,
      snapshotRows: 402_117,
      tableErrors: 0,
      namesakes: 0,
      unproven: 0,
      syncedByDeadline: 0,
    },
    merged: {
      added: count(2_820),
      replaced: 204,
      refreshed: count(2_900),
      ignored: 18_204,
      removed: count(2_810),
      unknown: count(12),
      full: 0,
    },
    dropped: { refresh: 0, close: 0, open: 0 },
    repair: {
      rounds: count(0.4),
      differing: 1_940,
      requested: 212,
      productive: 9,
      unproductive: 3,
    },
    icmp: { relayed: 611, injected: 602, malformed: 0, too_long: 0, repeated: 74, limited: 0 },
    link: { sent: count(92), sendErrors: 0, received: count(274) },
  };
}
