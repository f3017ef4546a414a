/** VIPs: announced or withheld, why, and since when. */
/** @import { BgpStatus } from '../../model/bgp.ts' */
/** @import { NodeSnapshot, VipSnapshot } from '../../snapshot.ts' */
/** @import { Part } from './dom.js' */
import { byId, cell, element, keyedList, pill, setShown, setText, table } from './dom.js';
import { age, exact } from './format.js';
import { vipCondition } from './words.js';

/** More VIPs than this fill the screen: the others are folded, first those that need no attention. */
const SHOWN_MAX = 8;

/** @typedef {{ vip: VipSnapshot, bgp: BgpStatus | null, nowMs: number }} Row */

/** @returns {(snapshot: NodeSnapshot) => void} */
export function vips() {
  const columns = ['VIP', 'Verdict', 'Since'];
  const shown = table('VIPs and whether they are announced', columns);
  const folded = table('More VIPs', columns);
  const summary = element('summary', {});
  const fold = element('details', { class: 'fold' }, summary, folded.root);
  const empty = element(
    'p',
    { class: 'empty' },
    'No VIP yet: add a service to the cluster document.',
  );
  byId('vips').append(shown.root, fold, empty);
  const keyOf = (/** @type {Row} */ { vip }) => vip.address;
  const showShown = keyedList(shown.body, keyOf, row);
  const showFolded = keyedList(folded.body, keyOf, row);

  return ({ vips: all, bgp, takenAtMs }) => {
    const rows = all.map((vip) => ({ vip, bgp, nowMs: takenAtMs }));
    const { open, rest, restText } = split(rows);
    setShown(shown.root, open.length > 0);
    setShown(empty, rows.length === 0);
    setShown(fold, rest.length > 0);
    setText(summary, restText);
    showShown(open);
    showFolded(fold.open ? rest : []);
    fold.ontoggle = () => {
      showFolded(fold.open ? rest : []);
    };
  };
}

/**
 * In the order of the document, as long as they fit; otherwise those first that are not announced.
 * @param {readonly Row[]} rows
 * @returns {{ open: readonly Row[], rest: readonly Row[], restText: string }}
 */
export function split(rows) {
  if (rows.length <= SHOWN_MAX) return { open: rows, rest: [], restText: '' };
  const isFine = (/** @type {Row} */ { vip, bgp }) => vipCondition(vip, bgp).tone === 'ok';
  const ordered = [...rows.filter((each) => !isFine(each)), ...rows.filter(isFine)];
  const rest = ordered.slice(SHOWN_MAX);
  const fine = rest.filter(isFine).length;
  const texts = [
    ...(fine < rest.length ? [`${exact(rest.length - fine)} more withheld`] : []),
    ...(fine > 0 ? [`${exact(fine)} more announced`] : []),
  ];
  return { open: ordered.slice(0, SHOWN_MAX), rest, restText: texts.join(', ') };
}

/** @returns {Part<Row>} */
function row() {
  const address = element('span', { class: 'address' });
  const policy = element('span', { class: 'note' });
  const state = pill();
  const reason = element('p', { class: 'reason' });
  const since = cell('for', 'since');
  return {
    root: element(
      'tr',
      { role: 'row' },
      element('th', { role: 'rowheader', scope: 'row' }, address, ' ', policy),
      cell('', 'state', state.root, reason),
      since,
    ),
    update({ vip, bgp, nowMs }) {
      const condition = vipCondition(vip, bgp);
      setText(address, vip.address);
      setText(policy, vip.policy === 'all' ? '' : `if ${vip.policy} service is up`);
      state.update(condition);
      setText(reason, condition.reason);
      setText(since, age(vip.sinceMs, nowMs));
    },
  };
}
