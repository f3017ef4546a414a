/** Who may open flows of a service: the rules of its source filter, and how often each one decided. */
/** @import { ServiceSnapshot } from '../../snapshot.ts' */
/** @import { Part } from './dom.js' */
import { element, keyedList, setAttribute, setShown, setText } from './dom.js';
import { compact, exact, plural } from './format.js';

/** @typedef {ServiceSnapshot['sources'][number]} Rule */

/** More rules than this are folded. A service can have 8,192 of them: the page never shows all. */
const SHOWN_MAX = 9;
export const FOLDED_MAX = 300;

/** @returns {Part<readonly Rule[]>} */
export function sourceRules() {
  const others = element('span', { class: 'note' });
  const shown = element('ul', {});
  const summary = element('summary', {});
  const folded = element('ul', {});
  const rest = element('p', { class: 'note' });
  const fold = element('details', { class: 'fold' }, summary, folded, rest);
  const title = element('h3', {}, 'Sources');
  const root = element('div', { class: 'sources' }, title, others, shown, fold);
  const showShown = keyedList(shown, keyOf, ruleRow);
  const showFolded = keyedList(folded, keyOf, ruleRow);
  /** @type {readonly Rule[]} */
  let more = [];
  const refold = () => {
    showFolded(fold.open ? more.slice(0, FOLDED_MAX) : []);
  };
  fold.addEventListener('toggle', refold);
  return {
    root,
    update(rules) {
      more = rules.slice(SHOWN_MAX);
      const unseen = Math.max(0, more.length - FOLDED_MAX);
      setShown(root, rules.length > 0);
      setText(others, verdictOnOthers(rules));
      showShown(rules.slice(0, SHOWN_MAX));
      setShown(fold, more.length > 0);
      setText(summary, `${exact(more.length)} more`);
      setShown(rest, unseen > 0);
      setText(rest, `${plural(unseen, 'other rule')}: see the snapshot`);
      refold();
    },
  };
}

/**
 * What becomes of clients that are in no prefix: an allow makes the list one of those let in.
 * @param {readonly Rule[]} rules
 */
export function verdictOnOthers(rules) {
  return rules.some(({ verdict }) => verdict === 'allow')
    ? 'all others are denied'
    : 'all others are allowed';
}

/** @param {Rule} rule */
function keyOf({ verdict, prefix }) {
  return `${verdict} ${prefix}`;
}

/** @returns {Part<Rule>} */
function ruleRow() {
  const verdict = element('span', {});
  const prefix = element('span', { class: 'address' });
  const hits = element('span', { class: 'number' });
  return {
    root: element('li', {}, verdict, prefix, hits, element('span', { class: 'unit' }, 'flows')),
    update(rule) {
      setText(verdict, rule.verdict);
      setText(prefix, rule.prefix);
      setText(hits, compact(rule.hits));
      setAttribute(hits, 'title', `decided on ${plural(rule.hits, 'new flow')}`);
    },
  };
}
