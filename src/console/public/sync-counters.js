/** What flow sync counts: datagrams that were not believed, and a fold with everything else. */
/** @import { Counter } from './counters.js' */
/** @import { Part } from './dom.js' */
/** @import { Rates } from './rates.js' */
/** @import { PeersStatus } from './sync-words.js' */
import { counterRow } from './counters.js';
import { element, keyedList, setShown, setText } from './dom.js';
import {
  counterHelp,
  counterName,
  droppedHelp,
  icmpHelp,
  lossCounters,
  mergedHelp,
  queueHelp,
  rejectHelp,
  repairHelp,
} from './sync-words.js';

/** @typedef {{ title: string, counters: readonly Counter[] }} Group */
/** @typedef {{ status: PeersStatus, rates: Rates }} Item */

/**
 * Why datagrams were not believed; nothing while all were.
 * @returns {Part<Item>}
 */
export function rejects() {
  const list = element('ul', { class: 'counts' });
  const root = element('div', { class: 'rejects' }, element('h3', {}, 'Rejected datagrams'), list);
  const show = keyedList(list, ({ name }) => name, counterRow);
  return {
    root,
    update({ status, rates }) {
      const counted = rejectCounters(status, rates).filter(({ value }) => value > 0);
      setShown(root, counted.length > 0);
      show(counted);
    },
  };
}

/**
 * @param {PeersStatus} status
 * @param {Rates} rates
 */
export function rejectCounters(status, rates) {
  return countersOf(status.rejects, rejectHelp, rates, ({ rejects: before }) => before);
}

/** @returns {Part<Item>} */
export function syncCounters() {
  const groups = element('div', { class: 'groups' });
  const fold = element(
    'details',
    { class: 'fold' },
    element('summary', {}, 'Counters of flow sync'),
    groups,
  );
  const show = keyedList(groups, ({ title }) => title, group);
  /** @type {Item | undefined} */
  let last;
  // Sixty numbers that are seldom read: they are in the document while somebody does.
  const refresh = () => {
    show(fold.open && last !== undefined ? groupsOf(last.status, last.rates) : []);
  };
  fold.addEventListener('toggle', refresh);
  return {
    root: fold,
    update(item) {
      last = item;
      refresh();
    },
  };
}

/** @returns {Part<Group>} */
function group() {
  const title = element('h3', {});
  const list = element('ul', { class: 'counts' });
  const show = keyedList(list, ({ name }) => name, counterRow);
  return {
    root: element('section', {}, title, list),
    update(item) {
      setText(title, item.title);
      show(item.counters);
    },
  };
}

/**
 * @param {PeersStatus} status
 * @param {Rates} rates
 * @returns {readonly Group[]}
 */
export function groupsOf(status, rates) {
  const sendErrors = {
    name: 'send_errors',
    help: 'Datagrams that the kernel did not send',
    drop: true,
    value: status.link.sendErrors,
    perS: rates.of(({ peers }) => peers?.link.sendErrors),
  };
  const said = countersOf(status.counters, counterHelp, rates, ({ counters }) => counters);
  return [
    { title: 'Sent and received', counters: [...said, sendErrors] },
    {
      title: 'Flows told by peers, merged',
      counters: countersOf(status.merged, mergedHelp, rates, ({ merged }) => merged),
    },
    {
      title: 'Flows not told, dropped',
      counters: countersOf(status.dropped, droppedHelp, rates, ({ dropped }) => dropped).map(
        (counter) => ({ ...counter, drop: true }),
      ),
    },
    {
      title: 'Tables compared',
      counters: countersOf(status.repair, repairHelp, rates, ({ repair }) => repair),
    },
    {
      title: 'ICMP errors',
      counters: countersOf(status.icmp, icmpHelp, rates, ({ icmp }) => icmp),
    },
    // What waits now falls as well as it rises: that has no rate.
    {
      title: 'Waiting and kept',
      counters: countersOf(status.queues, queueHelp, rates, () => undefined),
    },
  ];
}

/**
 * @template {string} Key
 * @param {Readonly<Record<Key, number>>} values
 * @param {Readonly<Record<Key, string>>} help
 * @param {Rates} rates
 * @param {(status: PeersStatus) => Readonly<Record<Key, number>> | undefined} read
 *   where the values are in another snapshot
 * @returns {Counter[]}
 */
function countersOf(values, help, rates, read) {
  const keys = /** @type {Key[]} */ (Object.keys(help));
  return keys.map((key) => ({
    name: counterName(key),
    help: help[key],
    drop: lossCounters.has(key),
    value: values[key],
    perS: rates.of(({ peers }) => (peers === null ? undefined : read(peers)?.[key])),
  }));
}
