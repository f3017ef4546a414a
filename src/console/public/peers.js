/** The other nodes, what they have told of their flows, and whether this node may announce. */
/** @import { NodeSnapshot } from '../../snapshot.ts' */
/** @import { Part } from './dom.js' */
/** @import { Rates } from './rates.js' */
/** @import { Peer, PeersStatus } from './words.js' */
import {
  byId,
  cell,
  element,
  keyedList,
  pill,
  setAttribute,
  setShown,
  setText,
  table,
} from './dom.js';
import { NOTHING, bytes, compact, exact, plural, span } from './format.js';
import { rejects, syncCounters } from './sync-counters.js';
import { configCondition, gateCondition, peerCondition, syncedCondition } from './words.js';

/** More peers than this fill the screen: the others are folded, first those that need no attention. */
const SHOWN_MAX = 8;
const DIGEST_SHOWN = 10;
const COLUMNS = [
  'Peer',
  'State',
  'Flows',
  'Software',
  'Configuration',
  'Flows received',
  'Flows/s',
  'Missing',
  'Lost',
  'Repaired',
  'Lag',
];

/** @typedef {{ peer: Peer, flowsPerS: number | undefined }} Row */
/** @typedef {{ status: PeersStatus, rates: Rates, adopted: boolean }} Item */

/** @returns {(snapshot: NodeSnapshot, rates: Rates) => void} */
export function peers() {
  const off = element('p', { class: 'empty' }, 'Flow sync is not configured.');
  const parts = [gateLine(), peerTables(), rejects(), syncCounters()];
  const content = element('div', {}, ...parts.map(({ root }) => root));
  byId('peers').append(off, content);
  return ({ peers: status, dataplane }, rates) => {
    setShown(off, status === null);
    setShown(content, status !== null);
    if (status === null) return;
    for (const part of parts) part.update({ status, rates, adopted: dataplane.adopted });
  };
}

/**
 * Whether the flows of the others are here, and how many are told each second.
 * @returns {Part<Item>}
 */
function gateLine() {
  const state = pill();
  const reason = element('span', {});
  const facts = ['Sent', 'Received', 'Shared'].map((name) => {
    const value = element('dd', {});
    return { root: element('div', {}, element('dt', {}, name), value), value };
  });
  const fill = element('span', {});
  const bar = element(
    'div',
    {
      class: 'bar',
      role: 'progressbar',
      'aria-label': 'Flows taken over',
      'aria-valuemin': '0',
      'aria-valuemax': '100',
    },
    fill,
  );
  return {
    root: element(
      'div',
      { class: 'gate' },
      element('p', {}, state.root, ' ', reason),
      element('dl', { class: 'facts' }, ...facts.map(({ root }) => root)),
      bar,
    ),
    update({ status, rates, adopted }) {
      const condition = gateCondition(status, adopted);
      state.update(condition);
      setText(reason, condition.reason);
      const texts = [
        told(
          rates.of(({ peers: each }) => each?.counters.flowsSent),
          rates.of(({ peers: each }) => each?.counters.bytesSent),
        ),
        told(rates.of(({ peers: each }) => each?.counters.flowsReceived)),
        status.self.flows === null ? NOTHING : plural(status.self.flows, 'flow'),
      ];
      facts.forEach(({ value }, index) => {
        setText(value, texts[index] ?? '');
      });
      const { gate } = status;
      const percent = gate.open || gate.reason === 'listening' ? undefined : gate.percent;
      setShown(bar, percent !== undefined);
      setAttribute(bar, 'aria-valuenow', String(Math.floor(percent ?? 0)));
      fill.style.inlineSize = `${(percent ?? 0).toFixed(1)}%`;
    },
  };
}

/**
 * @param {number | undefined} flowsPerS
 * @param {number} [bytesPerS]
 */
function told(flowsPerS, bytesPerS) {
  const flows = `${compact(flowsPerS)} flows/s`;
  return bytesPerS === undefined ? flows : `${flows}, ${bytes(bytesPerS)}/s`;
}

/** @returns {Part<Item>} */
function peerTables() {
  const shown = table('The other nodes of the cluster', COLUMNS);
  const folded = table('More nodes', COLUMNS);
  const summary = element('summary', {});
  const fold = element('details', { class: 'fold' }, summary, folded.root);
  const none = element('p', { class: 'empty' }, 'No other node is heard.');
  const showShown = keyedList(shown.body, keyOf, row);
  const showFolded = keyedList(folded.body, keyOf, row);
  return {
    root: element('div', {}, shown.root, none, fold),
    update({ status, rates }) {
      const { open, rest } = split(status.peers);
      const rowOf = (/** @type {Peer} */ peer) => ({ peer, flowsPerS: flowRate(peer, rates) });
      const refold = () => {
        showFolded(fold.open ? rest.map(rowOf) : []);
      };
      setShown(shown.root, open.length > 0);
      setShown(none, status.peers.length === 0);
      setShown(fold, rest.length > 0);
      setText(summary, `${exact(rest.length)} more`);
      showShown(open.map(rowOf));
      refold();
      fold.ontoggle = refold;
    },
  };
}

/** @param {Row} row */
function keyOf({ peer }) {
  return peer.name;
}

/**
 * By name, as long as they fit; otherwise those first that need attention.
 * @param {readonly Peer[]} all
 * @returns {{ open: readonly Peer[], rest: readonly Peer[] }}
 */
export function split(all) {
  const byName = [...all].sort((a, b) => (a.name < b.name ? -1 : 1));
  if (all.length <= SHOWN_MAX) return { open: byName, rest: [] };
  const ordered = [...byName.filter((peer) => !isFine(peer)), ...byName.filter(isFine)];
  return { open: ordered.slice(0, SHOWN_MAX), rest: ordered.slice(SHOWN_MAX) };
}

/** @param {Peer} peer */
function isFine(peer) {
  return [peerCondition(peer), syncedCondition(peer), configCondition(peer)].every(
    ({ tone }) => tone === 'ok',
  );
}

/**
 * @param {Peer} peer
 * @param {Rates} rates
 */
function flowRate({ name }, rates) {
  return rates.of(
    ({ peers: status }) => status?.peers.find((peer) => peer.name === name)?.flowsReceived,
  );
}

/** @returns {Part<Row>} */
function row() {
  const name = element('span', { class: 'name' });
  const state = pill();
  const since = element('span', { class: 'note' });
  const synced = pill();
  const software = cell('software', 'software');
  const config = pill();
  const digest = element('code', { class: 'note' });
  const numbers = {
    received: cell('flows', 'number'),
    perS: cell('flows/s', 'number'),
    missing: cell('missing', 'number'),
    lost: cell('lost', 'number'),
    repaired: cell('repaired', 'number'),
    lag: cell('lag', 'number'),
  };
  return {
    root: element(
      'tr',
      { role: 'row' },
      element('th', { role: 'rowheader', scope: 'row' }, name),
      cell('', 'state', state.root, ' ', since),
      cell('flows', 'synced', synced.root),
      software,
      cell('configuration', 'config', config.root, ' ', digest),
      ...Object.values(numbers),
    ),
    update({ peer, flowsPerS }) {
      setText(name, peer.name);
      state.update(peerCondition(peer));
      setText(since, span(peer.sinceMsAgo));
      synced.update(syncedCondition(peer));
      setText(software, peer.softwareVersion ?? NOTHING);
      config.update(configCondition(peer));
      setText(digest, peer.drift ? (peer.configDigest ?? '').slice(0, DIGEST_SHOWN) : '');
      setText(numbers.received, compact(peer.flowsReceived));
      setText(numbers.perS, compact(flowsPerS));
      count(numbers.missing, peer.missing);
      count(numbers.lost, peer.lost);
      count(numbers.repaired, peer.repaired);
      count(numbers.lag, peer.lagDatagrams);
    },
  };
}

/**
 * Zeros are quiet, so that what is not zero is seen.
 * @param {Element} node
 * @param {number} value
 */
function count(node, value) {
  setText(node, exact(value));
  setAttribute(node, 'data-zero', value === 0 ? '' : null);
}
