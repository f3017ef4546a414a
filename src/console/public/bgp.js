/** The BGP daemon and its peers. */
/** @import { BgpStatus, PeerStatus } from '../../model/bgp.ts' */
/** @import { NodeSnapshot } from '../../snapshot.ts' */
/** @import { Part } from './dom.js' */
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
import { NOTHING, plural, span } from './format.js';
import { bfdCondition, daemonCondition, sessionCondition } from './words.js';

/** @returns {(snapshot: NodeSnapshot) => void} */
export function bgp() {
  const none = element(
    'p',
    { class: 'empty' },
    'Not configured: the cluster document has no bgp section, so nothing is announced.',
  );
  const daemon = daemonLine();
  const peers = table('BGP peers', ['Peer', 'BGP', 'BFD', 'Routes', 'Up for']);
  const noPeers = element(
    'p',
    { class: 'empty' },
    'No peer is configured: nobody hears the routes.',
  );
  byId('bgp').append(none, daemon.root, peers.root, noPeers);
  const showPeers = keyedList(peers.body, ({ address }) => address, row);

  return ({ bgp: status }) => {
    setShown(none, status === null);
    setShown(daemon.root, status !== null);
    setShown(peers.root, (status?.peers.length ?? 0) > 0);
    setShown(noPeers, status !== null && status.peers.length === 0);
    if (status !== null) daemon.update(status);
    showPeers(status?.peers ?? []);
  };
}

/** @returns {Part<BgpStatus>} */
function daemonLine() {
  const state = pill();
  const detail = element('span', {});
  const routes = element('span', { class: 'note' });
  return {
    root: element('p', { class: 'daemon' }, state.root, ' ', detail, ' ', routes),
    update(status) {
      state.update(daemonCondition(status.daemon));
      setText(detail, status.detail);
      const resyncs = status.resyncs === 0 ? '' : `, ${plural(status.resyncs, 'resync')}`;
      setText(routes, `${plural(status.announced.length, 'route')} confirmed${resyncs}`);
      setAttribute(routes, 'title', status.announced.join('\n'));
    },
  };
}

/** @returns {Part<PeerStatus>} */
function row() {
  const address = element('span', { class: 'address' });
  const as = element('span', { class: 'note' });
  const session = pill();
  const bfd = pill();
  const advertised = cell('routes', 'number');
  const uptime = cell('up', 'since');
  return {
    root: element(
      'tr',
      { role: 'row' },
      element('th', { role: 'rowheader', scope: 'row' }, address, ' ', as),
      cell('BGP', 'state', session.root),
      cell('BFD', 'state', bfd.root),
      advertised,
      uptime,
    ),
    update(peer) {
      setText(address, peer.address);
      setText(as, `AS ${peer.as}`);
      session.update(sessionCondition(peer.session));
      bfd.update(bfdCondition(peer.bfd));
      setText(advertised, String(peer.advertised));
      setText(uptime, peer.uptimeS === undefined ? NOTHING : span(peer.uptimeS * 1000));
    },
  };
}
