/** `skein peers`: the other nodes as the one that is asked knows them, as a table or as JSON. */
import type { PeersStatus } from '../peers/status.ts';
import { askNode, type AskOptions } from './ask.ts';
import { columns, printable, span } from './text.ts';

type Peer = PeersStatus['peers'][number];

const DIGEST_SHOWN = 12;
const COLUMNS = [
  'PEER',
  'STATE',
  'FOR',
  'SYNCED',
  'SOFTWARE',
  'CONFIG',
  'FLOWS',
  'MISSING',
  'LOST',
  'REPAIRED',
  'LAG',
];
/** From here on columns are numbers. */
const NUMBERS_FROM = 6;

export async function showPeers({ url, json }: AskOptions): Promise<void> {
  const status = (await askNode(url, 'api/v1/peers')) as PeersStatus;
  console.log(json ? JSON.stringify(status, undefined, 2) : describePeers(status).join('\n'));
}

/** Pure. What flow sync does in a line or two, a line for each peer, and what was rejected. */
export function describePeers(status: PeersStatus): string[] {
  const { self, counters } = status;
  const flows = self.flows === null ? 'flows not counted yet' : `${self.flows} flows`;
  return [
    `${self.name}: ${describeGate(status)}; ${flows}; software ${self.softwareVersion}, configuration ${self.configDigest.slice(0, DIGEST_SHOWN)}`,
    `told ${counters.flowsSent} flows in ${counters.datagramsSent} datagrams, was told ${counters.flowsReceived} in ${counters.datagramsReceived}`,
    '',
    ...(status.peers.length === 0
      ? ['no other node is heard']
      : columns([COLUMNS, ...status.peers.map(cells)], NUMBERS_FROM)),
    ...described('rejected datagrams', status.rejects),
    ...described('flows not told for want of room', status.dropped),
  ];
}

/** Pure. Flow sync in one line, for `skein status`. */
export function summarizePeers(status: PeersStatus | null): string {
  if (status === null) return 'peers: flow sync is not configured';
  const { peers } = status;
  const named = (what: string, some: readonly Peer[]) =>
    some.length === 0 ? [] : [`${what}: ${some.map(({ name }) => printable(name)).join(', ')}`];
  const alive = peers.filter(({ state }) => state === 'alive');
  const parts = [
    `${alive.length} of ${peers.length} alive`,
    describeGate(status),
    ...named(
      'LOST',
      peers.filter(({ state }) => state === 'lost'),
    ),
    ...named(
      'OTHER CONFIGURATION',
      alive.filter(({ drift }) => drift),
    ),
  ];
  return `peers: ${parts.join('; ')}`;
}

function describeGate({ gate, self }: PeersStatus): string {
  if (gate.open) {
    if (self.syncedBy !== 'deadline') return `synced (${self.syncedBy ?? 'open'})`;
    return 'NOT synced: the flows of the other nodes did not come in time';
  }
  const percent = gate.reason === 'listening' ? undefined : gate.percent;
  const how = percent === undefined ? gate.reason : `${gate.reason}, ${Math.floor(percent)} %`;
  return `waiting for the flows of the other nodes (${how})`;
}

function cells(peer: Peer): string[] {
  const digest = printable(peer.configDigest ?? '').slice(0, DIGEST_SHOWN);
  return [
    printable(peer.name),
    peer.state === 'lost' ? 'LOST' : peer.state,
    span(peer.sinceMsAgo),
    // Nothing is known of a peer that is not there.
    peer.state !== 'alive' || peer.softwareVersion === null ? '-' : peer.synced ? 'yes' : 'no',
    printable(peer.softwareVersion ?? '-'),
    peer.configDigest === null ? '-' : peer.drift ? `DIFFERS ${digest}` : 'same',
    ...[peer.flowsReceived, peer.missing, peer.lost, peer.repaired, peer.lagDatagrams].map(String),
  ];
}

/** One line with those that are not zero, or none. */
function described(what: string, values: object): string[] {
  const counted = (Object.entries(values) as [string, number][]).filter(([, value]) => value > 0);
  if (counted.length === 0) return [];
  return ['', `${what}: ${counted.map(([name, value]) => `${value} ${name}`).join(', ')}`];
}
