/**
 * What flow sync counts, and what each count means: for the page and for the metrics. Pure. The
 * types make sure that nothing is counted that has no words here.
 */
/** @import { NodeSnapshot } from '../../snapshot.ts' */

/** @typedef {NonNullable<NodeSnapshot['peers']>} PeersStatus */
/**
 * @template T
 * @typedef {Readonly<Record<keyof T, string>>} Help
 */

/** @type {Help<PeersStatus['counters']>} */
export const counterHelp = {
  datagramsSent: 'Datagrams sent to the peers',
  bytesSent: 'Bytes of these datagrams',
  flowsSent: 'Flows told to the peers, closed ones too',
  datagramsReceived: 'Datagrams of peers that were believed',
  flowsReceived: 'Flows told by peers, closed ones too',
  inboxDropped: 'Datagrams not read since their queue was full: this node does not keep up',
  nacksSent: 'Times that peers were asked to send datagrams again',
  nacksReceived: 'Times that peers asked this node to',
  resendsSent: 'Datagrams of this node that were sent again',
  resendsTaken: 'Datagrams sent again by peers that filled a gap here',
  answeredRows: 'Flows sent since a peer found that its table differs',
  lateRows: 'Late news of flows that had been closed',
  closesRepeated: 'Closes said again for such flows',
  changesLost: 'Changes that the data plane had no room to keep',
  skippedRows: 'Flows told in a way that only a later version understands',
  snapshotsGiven: 'Snapshots given to peers that joined',
  snapshotsRefused: 'Snapshots refused since others were being given',
  snapshotsTaken: 'Snapshots taken from peers',
  snapshotsFailed: 'Snapshots that broke off, and were asked for again',
  snapshotRows: 'Flows in the snapshots taken',
  tableErrors: 'Walks over the flow table that failed',
  namesakes: 'Datagrams of another node that has the name of this one: two nodes may not',
  unproven: 'Messages of peers that had not proven yet that they are live, and no recording',
  syncedByDeadline: 'Times that the wait for the flows of the others was given up',
};

/** Counters of losses that no operator wants to see rising. */
export const lossCounters = new Set([
  'inboxDropped',
  'changesLost',
  'snapshotsFailed',
  'tableErrors',
  'namesakes',
  'syncedByDeadline',
]);

/** @type {Help<PeersStatus['rejects']>} */
export const rejectHelp = {
  too_short: 'Shorter than any datagram of a node',
  too_long: 'Longer than any datagram of a node',
  not_skein: 'Something else that was sent to this port',
  version: 'Of a version of the protocol that is not understood here',
  other_cluster: 'Of a node of another cluster on the same group',
  unknown_key: 'Sealed with a key that is not in the key files of this node',
  forged: 'Names a key of the cluster, but was not sealed with it',
  own: 'With the name of this node: its own, come back, or of a node of the same name',
  replayed: 'Heard before, or from before this node listened',
  old_incarnation: 'Of a node as it was before its restart',
  too_many_peers: 'Of one node more than can be remembered',
  malformed: 'Sealed as it should be, with content that makes no sense',
  unknown_kind: 'Of a kind that only a later version knows',
};

/** @type {Help<PeersStatus['merged']>} */
export const mergedHelp = {
  added: 'Were not known here',
  replaced: 'Known otherwise, and corrected',
  refreshed: 'Known, and brought up to date',
  ignored: 'What is known here is newer or better',
  removed: 'Closed',
  unknown: 'Their VIP or backend is not in the configuration of this node',
  full: 'There was no room left in the flow table',
};

/** @type {Help<PeersStatus['dropped']>} */
export const droppedHelp = {
  refresh: 'Signs of life that were not told since too many flows waited',
  close: 'Closed flows that were not told since too many flows waited',
  open: 'New flows that were not told since too many flows waited',
};

/** @type {Help<PeersStatus['repair']>} */
export const repairHelp = {
  rounds: 'Comparisons of the table with those of the peers',
  differing: 'Parts of the table that differed in a comparison',
  requested: 'Parts of the table asked for again',
  productive: 'Comparisons after which the answers of peers brought news',
  unproductive: 'Comparisons after which they brought none',
};

/** @type {Help<PeersStatus['icmp']>} */
export const icmpHelp = {
  relayed: 'ICMP errors passed on to the peers, since their flow is not known here',
  injected: 'ICMP errors of peers given to the data plane',
  malformed: 'Not an ICMP error about something that a VIP has sent',
  too_long: 'ICMP errors too long to be passed on',
  repeated: 'ICMP errors said a second time',
  limited: 'ICMP errors beyond the limit for each service or for all',
};

/** @type {Help<PeersStatus['queues']>} */
export const queueHelp = {
  inboxDatagrams: 'Datagrams received that wait to be read',
  outboxRows: 'Flows that wait to be told',
  answerRows: 'Flows that wait to be told to peers whose table differs',
  snapshotRows: 'Flows of a snapshot that wait to be merged',
  historyBytes: 'Bytes of sent datagrams that are kept to be sent again',
  resendsPending: 'Datagrams that wait to be sent again',
  gapRanges: 'Gaps in what was heard of the peers',
  tombstones: 'Closed flows that are remembered, so that late news does not bring them back',
};

/**
 * `datagramsSent` as `datagrams_sent`, the way in which counters are written everywhere else.
 * @param {string} name
 */
export function counterName(name) {
  return name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}
