/** What the node's states are called on the page, and how serious each one is. Pure. */
/** @import { BackendSnapshot, NodeSnapshot, ServiceSnapshot, VipSnapshot } from '../../snapshot.ts' */
/** @import { BfdState, BgpStatus, SessionState } from '../../model/bgp.ts' */
/** @import { Tone } from './dom.js' */
import { plural } from './format.js';

/** @typedef {NonNullable<NodeSnapshot['peers']>} PeersStatus */
/** @typedef {PeersStatus['peers'][number]} Peer */
/** @typedef {{ tone: Tone, word: string }} Condition */
/** @typedef {{ tone: Tone, text: string, details: readonly string[] }} Overall */

/** Withheld for now, and on the way to be announced (or on purpose): no reason for alarm. */
const passingReasons = new Set(['checks_pending', 'not_programmed', 'not_synced', 'stopping']);

/**
 * The one line that says how the node is.
 * @param {NodeSnapshot} snapshot
 * @returns {Overall}
 */
export function overall(snapshot) {
  const told = announcing(snapshot);
  if (snapshot.stopping || snapshot.peers === null) return told;
  const trouble = peerTrouble(snapshot.peers);
  if (trouble.length === 0) return told;
  const tone = told.tone === 'ok' ? 'warn' : told.tone;
  return { ...told, tone, details: [...told.details, ...trouble] };
}

/**
 * What is wrong among the peers; nothing of those that left in order.
 * @param {PeersStatus} status
 */
function peerTrouble({ peers }) {
  const lost = peers.filter(({ state }) => state === 'lost').length;
  const drifted = peers.filter(({ state, drift }) => state === 'alive' && drift).length;
  return [
    ...(lost > 0 ? [`${lost} of ${plural(peers.length, 'peer')} lost`] : []),
    ...(drifted > 0 ? [`${plural(drifted, 'peer')} with another configuration`] : []),
  ];
}

/**
 * @param {NodeSnapshot} snapshot
 * @returns {Overall}
 */
function announcing({ vips, bgp, stopping }) {
  const announced = vips.filter(({ announce }) => announce);
  const withheld = vips.filter(({ announce }) => !announce);
  if (stopping) {
    return {
      tone: 'warn',
      text: 'Stopping: every VIP is withdrawn',
      details: ['its flows move to the other nodes'],
    };
  }
  if (vips.length === 0) return { tone: 'idle', text: 'No VIP is configured', details: [] };

  const details = withheld.length === 0 ? [] : [`withheld: ${some(withheld)}`];
  if (bgp === null) {
    return {
      tone: toneOf(announced.length, vips.length),
      text: `${announced.length} of ${plural(vips.length, 'VIP')} ready`,
      details: [...details, 'BGP is not configured: static routes lead here'],
    };
  }
  const unconfirmed = announced.filter(({ confirmed }) => !confirmed).length;
  const unheard = announced.length > 0 ? unheardBecause(bgp) : undefined;
  const silent = bgp.peers.filter(({ session }) => session !== 'established').length;
  if (unconfirmed > 0) details.push(`${plural(unconfirmed, 'route')} not confirmed yet`);
  if (unheard !== undefined) details.push(unheard);
  else if (silent > 0) details.push(`${silent} of ${plural(bgp.peers.length, 'BGP session')} down`);
  const tone = toneOf(announced.length - unconfirmed, vips.length);
  return {
    tone: unheard !== undefined ? 'bad' : tone === 'ok' && silent > 0 ? 'warn' : tone,
    text: `Announcing ${announced.length} of ${plural(vips.length, 'VIP')}`,
    details,
  };
}

/**
 * Two names at most, and how many more there are.
 * @param {readonly VipSnapshot[]} vips
 */
function some(vips) {
  const names = vips.slice(0, 2).map(({ address }) => address);
  const more = vips.length - names.length;
  return more === 0 ? names.join(', ') : `${names.join(', ')} and ${more} more`;
}

/**
 * Announcements that reach no router are worth nothing, whatever the verdicts say.
 * @param {BgpStatus} bgp
 */
function unheardBecause(bgp) {
  if (bgp.daemon !== 'connected') return `the BGP daemon is not driven: ${bgp.detail}`;
  if (bgp.peers.some(({ session }) => session === 'established')) return undefined;
  return 'no BGP session is established';
}

/**
 * @param {number} good
 * @param {number} all
 * @returns {Tone}
 */
function toneOf(good, all) {
  if (good === all) return 'ok';
  return good === 0 ? 'bad' : 'warn';
}

/**
 * @param {VipSnapshot} vip
 * @param {BgpStatus | null} bgp
 * @returns {Condition & { reason: string }}
 */
export function vipCondition(vip, bgp) {
  if (!vip.announce) {
    const tone = vip.reason === null || passingReasons.has(vip.reason) ? 'warn' : 'bad';
    return { tone, word: 'withheld', reason: vip.explanation ?? 'not decided yet' };
  }
  if (bgp === null) return { tone: 'ok', word: 'ready', reason: '' };
  if (vip.confirmed) return { tone: 'ok', word: 'announced', reason: '' };
  const reason = 'waiting for the BGP daemon to confirm the route';
  return { tone: 'warn', word: 'announcing', reason };
}

/**
 * @param {ServiceSnapshot} service
 * @returns {Condition}
 */
export function serviceCondition({ state, programmed }) {
  if (!programmed) return { tone: 'warn', word: 'not in maps' };
  if (state === 'unknown') return { tone: 'warn', word: 'checking' };
  return state === 'up' ? { tone: 'ok', word: 'up' } : { tone: 'bad', word: 'down' };
}

/**
 * Health and what the data plane does with it, in one word.
 * @param {BackendSnapshot} backend
 * @returns {Condition}
 */
export function backendCondition({ state, health }) {
  if (health === 'down') return { tone: 'bad', word: 'down' };
  if (health === 'unknown') return { tone: 'warn', word: 'checking' };
  if (state === 'draining') return { tone: 'idle', word: 'draining' };
  return state === 'up' ? { tone: 'ok', word: 'up' } : { tone: 'warn', word: 'not in maps' };
}

/**
 * @param {SessionState} session
 * @returns {Condition}
 */
export function sessionCondition(session) {
  if (session === 'established') return { tone: 'ok', word: session };
  const opening = session === 'opensent' || session === 'openconfirm';
  return { tone: opening ? 'warn' : 'bad', word: session };
}

/**
 * @param {BfdState} bfd
 * @returns {Condition}
 */
export function bfdCondition(bfd) {
  switch (bfd) {
    case 'up':
      return { tone: 'ok', word: 'up' };
    case 'init':
      return { tone: 'warn', word: 'init' };
    case 'down':
      return { tone: 'bad', word: 'down' };
    case 'admin_down':
      return { tone: 'idle', word: 'admin down' };
    case 'off':
      return { tone: 'idle', word: 'off' };
  }
}

/**
 * @param {BgpStatus['daemon']} daemon
 * @returns {Condition}
 */
export function daemonCondition(daemon) {
  if (daemon === 'connected') return { tone: 'ok', word: 'connected' };
  return { tone: daemon === 'connecting' ? 'warn' : 'bad', word: daemon };
}

/**
 * @param {Peer} peer
 * @returns {Condition}
 */
export function peerCondition({ state }) {
  switch (state) {
    case 'alive':
      return { tone: 'ok', word: 'alive' };
    case 'lost':
      return { tone: 'bad', word: 'lost' };
    case 'left':
      return { tone: 'idle', word: 'left' };
  }
}

/**
 * Whether a peer has the flows of the others; nothing is known of one that is not there.
 * @param {Peer} peer
 * @returns {Condition}
 */
export function syncedCondition({ state, softwareVersion, synced }) {
  if (state !== 'alive' || softwareVersion === null) return { tone: 'idle', word: 'unknown' };
  return synced ? { tone: 'ok', word: 'synced' } : { tone: 'warn', word: 'joining' };
}

/**
 * Whether a peer runs the configuration of this node; the last that was heard of it counts.
 * @param {Peer} peer
 * @returns {Condition}
 */
export function configCondition({ configDigest, drift }) {
  if (configDigest === null) return { tone: 'idle', word: 'unknown' };
  return drift ? { tone: 'warn', word: 'differs' } : { tone: 'ok', word: 'same' };
}

/**
 * Whether this node has the flows of its peers, and what that means for its VIPs. A node that took
 * over its own maps has flows, and announces while those of the others come.
 * @param {PeersStatus} status
 * @param {boolean} adopted
 * @returns {Condition & { reason: string }}
 */
export function gateCondition({ gate, self }, adopted) {
  if (!gate.open) {
    const how =
      gate.reason === 'listening'
        ? 'listening for them'
        : `a snapshot is on its way${gate.percent === undefined ? '' : `, ${Math.floor(gate.percent)}%`}`;
    const meanwhile = adopted ? '; it announces meanwhile with the flows that it kept' : '';
    return {
      tone: 'warn',
      word: 'joining',
      reason: `waiting for the flows of the other nodes: ${how}${meanwhile}`,
    };
  }
  switch (self.syncedBy) {
    case 'snapshot':
      return { tone: 'ok', word: 'synced', reason: 'took over the flows of a peer at its start' };
    case 'alone':
      return { tone: 'ok', word: 'synced', reason: 'no other node was there at its start' };
    case 'first':
      return { tone: 'ok', word: 'synced', reason: 'all nodes started together, without flows' };
    case 'deadline':
    case null:
      return {
        tone: 'warn',
        word: 'not synced',
        reason: 'the flows of the other nodes did not come in time: it announces without them',
      };
  }
}

/**
 * How full a table is: near its limit new flows no longer find a place.
 * @param {number} share 0 to 1
 * @returns {Tone}
 */
export function fillTone(share) {
  if (share >= 0.9) return 'bad';
  return share >= 0.75 ? 'warn' : 'ok';
}

/**
 * The share of new flows that the schedule gives each backend: weight / sum of weights over those
 * that get new flows.
 * @param {readonly BackendSnapshot[]} backends
 * @returns {(backend: BackendSnapshot) => number}
 */
export function dueShares(backends) {
  const total = backends.reduce((sum, { state, weight }) => sum + (state === 'up' ? weight : 0), 0);
  return ({ state, weight }) => (state === 'up' && total > 0 ? weight / total : 0);
}
