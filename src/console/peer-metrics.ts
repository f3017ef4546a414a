/**
 * The metrics of flow sync. `peer` is the name of a node. All are absent where flow sync is not
 * configured; counters of a peer start again from zero when it restarts.
 */
import type { NodeSnapshot } from '../snapshot.ts';
import type { Definition, Sample } from './metric-definitions.ts';
import {
  counterHelp,
  counterName,
  queueHelp,
  repairHelp,
  type PeersStatus,
} from './public/sync-words.js';

type Row = readonly [name: string, type: Definition['type'], help: string];
type Peer = PeersStatus['peers'][number];
type Counts<T> = { readonly [Key in keyof T]: number };

export const peerMetrics: readonly Definition[] = [
  ofSync(
    [
      'skein_sync_gate_open',
      'gauge',
      '1 once the flows of the other nodes are here, so that VIPs may be announced.',
    ],
    ({ gate }) => [[{}, Number(gate.open)]],
  ),
  ofSync(
    ['skein_sync_flows', 'gauge', 'Flows in the last comparison with the peers.'],
    ({ self }) => (self.flows === null ? [] : [[{}, self.flows]]),
  ),
  ofKeys('skein_sync_', 'counter', counterHelp, ({ counters }) => counters),
  ofKeys('skein_sync_repair_', 'counter', repairHelp, ({ repair }) => repair),
  ofKeys('skein_sync_queued_', 'gauge', queueHelp, ({ queues }) => queues),
  ofSync(
    ['skein_sync_link_send_errors_total', 'counter', 'Datagrams that the kernel did not send.'],
    ({ link }) => [[{}, link.sendErrors]],
  ),
  ofSync(
    [
      'skein_sync_rejected_datagrams_total',
      'counter',
      'Datagrams that were not believed, by reason.',
    ],
    ({ rejects }) => labelled('reason', rejects),
    ['reason'],
  ),
  ofSync(
    ['skein_sync_merged_flows_total', 'counter', 'What became of the flows told, by outcome.'],
    ({ merged }) => labelled('outcome', merged),
    ['outcome'],
  ),
  ofSync(
    [
      'skein_sync_dropped_flows_total',
      'counter',
      'Flows that were not told to the peers since too many waited, by kind.',
    ],
    ({ dropped }) => labelled('kind', dropped),
    ['kind'],
  ),
  ofSync(
    ['skein_sync_icmp_errors_total', 'counter', 'ICMP errors for or from peers, by outcome.'],
    ({ icmp }) => labelled('outcome', icmp),
    ['outcome'],
  ),
  ofSync(
    [
      'skein_peer_info',
      'gauge',
      'Software version of the peer and digest of its configuration; always 1.',
    ],
    ({ peers }) =>
      peers.map(({ name, softwareVersion, configDigest }) => [
        { peer: name, version: softwareVersion ?? '', digest: configDigest ?? '' },
        1,
      ]),
    ['peer', 'version', 'digest'],
  ),
  ofPeers(['skein_peer_up', 'gauge', '1 while the peer is heard.'], ({ state }) =>
    Number(state === 'alive'),
  ),
  ofPeers(
    ['skein_peer_left', 'gauge', '1 after the peer said that it stops: it is not lost.'],
    ({ state }) => Number(state === 'left'),
  ),
  ofPeers(
    ['skein_peer_synced', 'gauge', '1 once the peer says that it has the flows of the others.'],
    ({ synced }) => Number(synced),
  ),
  ofPeers(
    ['skein_peer_config_differs', 'gauge', "1 while the peer's configuration is not that of here."],
    ({ drift }) => Number(drift),
  ),
  ofPeers(
    [
      'skein_peer_flows_received_total',
      'counter',
      'Flows told by the peer, closed ones too, since its start.',
    ],
    ({ flowsReceived }) => flowsReceived,
  ),
  ofPeers(
    ['skein_peer_datagrams_received_total', 'counter', 'Datagrams of the peer since its start.'],
    ({ datagramsReceived }) => datagramsReceived,
  ),
  ofPeers(
    ['skein_peer_datagrams_missing', 'gauge', 'Datagrams of the peer that are missing now.'],
    ({ missing }) => missing,
  ),
  ofPeers(
    [
      'skein_peer_datagrams_lost_total',
      'counter',
      'Datagrams of the peer that it was asked to send again.',
    ],
    ({ lost }) => lost,
  ),
  ofPeers(
    ['skein_peer_datagrams_repaired_total', 'counter', 'Of these, datagrams that came after all.'],
    ({ repaired }) => repaired,
  ),
  ofPeers(
    [
      'skein_peer_datagrams_abandoned_total',
      'counter',
      'Datagrams of the peer given up: the comparison of tables finds what was in them.',
    ],
    ({ abandoned }) => abandoned,
  ),
  ofPeers(
    ['skein_peer_datagrams_reordered_total', 'counter', 'Datagrams of the peer out of order.'],
    ({ reordered }) => reordered,
  ),
  ofPeers(
    ['skein_peer_datagrams_malformed_total', 'counter', 'Datagrams of the peer without sense.'],
    ({ malformed }) => malformed,
  ),
  ofPeers(
    ['skein_peer_lag_datagrams', 'gauge', 'Datagrams of this node that the peer has not got.'],
    ({ lagDatagrams }) => lagDatagrams,
  ),
].flat();

function ofSync(
  [name, type, help]: Row,
  samples: (status: PeersStatus) => readonly Sample[],
  labels: readonly string[] = [],
): Definition {
  const read = ({ peers }: NodeSnapshot) => (peers === null ? [] : samples(peers));
  return { name, type, help, labels, samples: read };
}

function ofPeers([name, type, help]: Row, value: (peer: Peer) => number): Definition {
  const samples = ({ peers }: PeersStatus) =>
    peers.map((peer): Sample => [{ peer: peer.name }, value(peer)]);
  return ofSync([name, type, help], samples, ['peer']);
}

/** A metric for each key: they are of different units, so they are no labels of one. */
function ofKeys<Key extends string>(
  prefix: string,
  type: Definition['type'],
  helps: Readonly<Record<Key, string>>,
  read: (status: PeersStatus) => Readonly<Record<Key, number>>,
): Definition[] {
  const keys = Object.keys(helps) as Key[];
  return keys.map((key) => {
    const name = `${prefix}${counterName(key)}${type === 'counter' ? '_total' : ''}`;
    return ofSync([name, type, `${helps[key]}.`], (status) => [[{}, read(status)[key]]]);
  });
}

function labelled<T extends object>(label: string, values: Counts<T>): Sample[] {
  const keys = Object.keys(values) as (keyof T & string)[];
  return keys.map((key) => [{ [label]: key }, values[key]]);
}
