/** Drops, the other counters of the data plane, and how full its flow tables are. */
/** @import { NodeSnapshot } from '../../snapshot.ts' */
/** @import { Part } from './dom.js' */
/** @import { Rates } from './rates.js' */
import { byId, element, keyedList, setAttribute, setShown, setText } from './dom.js';
import { compact, exact, percent, plural } from './format.js';
import { fillTone } from './words.js';

/** @typedef {NodeSnapshot['counters'][number] & { perS: number | undefined }} Counter */
/** @typedef {NodeSnapshot['dataplane']['tables'][number]} FlowTable */

/** @returns {(snapshot: NodeSnapshot, rates: Rates) => void} */
export function counters() {
  const showDrops = counterList(byId('drops'), 'Nothing has been dropped.');
  const showOthers = counterList(byId('counters'), 'Nothing has been counted yet.');
  return ({ counters: all }, rates) => {
    const rows = all.map((counter) => ({ ...counter, perS: rates.ofCounter(counter) }));
    showDrops(rows.filter(({ drop }) => drop));
    showOthers(rows.filter(({ drop }) => !drop));
  };
}

/** @returns {(snapshot: NodeSnapshot) => void} */
export function flowTables() {
  const list = element('ul', { class: 'gauges' });
  byId('tables').append(list);
  const show = keyedList(list, ({ name }) => name, gauge);
  return ({ dataplane }) => {
    show(dataplane.tables);
  };
}

/**
 * Counters that have counted, and a fold with the rest: to know what can happen is worth a look,
 * but not all day.
 * @param {Element} parent
 * @param {string} emptyText
 * @returns {(counters: readonly Counter[]) => void}
 */
export function counterList(parent, emptyText) {
  const list = element('ul', { class: 'counts' });
  const zeros = element('ul', { class: 'counts' });
  const summary = element('summary', {});
  const fold = element('details', { class: 'fold' }, summary, zeros);
  const empty = element('p', { class: 'empty' }, emptyText);
  parent.append(list, empty, fold);
  const showList = keyedList(list, ({ name }) => name, counterRow);
  const showZeros = keyedList(zeros, ({ name }) => name, counterRow);
  return (all) => {
    const counted = all.filter(({ value }) => value > 0);
    const rest = all.filter(({ value }) => value === 0);
    setShown(empty, counted.length === 0);
    setShown(list, counted.length > 0);
    setShown(fold, rest.length > 0);
    setText(summary, `${plural(rest.length, 'counter')} at zero`);
    showList(counted);
    showZeros(rest);
  };
}

/** @returns {Part<Counter>} */
export function counterRow() {
  const name = element('code', {});
  const help = element('span', { class: 'help' });
  const value = element('span', { class: 'number' });
  const rate = element('span', { class: 'rate' });
  const root = element('li', {}, name, help, value, rate);
  return {
    root,
    update(counter) {
      const rising = (counter.perS ?? 0) > 0;
      setAttribute(root, 'data-tone', counter.drop && rising ? 'warn' : null);
      setText(name, counter.name);
      setText(help, counter.help);
      setText(value, exact(counter.value));
      setText(rate, rising ? `${compact(counter.perS)}/s` : '');
    },
  };
}

/** @returns {Part<FlowTable>} */
function gauge() {
  const name = element('code', {});
  const numbers = element('span', { class: 'number' });
  const share = element('span', { class: 'number share' });
  const fill = element('span', {});
  const bar = element('div', { class: 'bar', role: 'meter', 'aria-valuemin': '0' }, fill);
  return {
    root: element('li', {}, name, numbers, share, bar),
    update(flowTable) {
      const part = flowTable.capacity === 0 ? 0 : flowTable.entries / flowTable.capacity;
      setText(name, flowTable.name);
      setText(numbers, `${exact(flowTable.entries)} of ${exact(flowTable.capacity)}`);
      setText(share, percent(part));
      setAttribute(bar, 'data-tone', fillTone(part));
      setAttribute(bar, 'aria-label', `${flowTable.name} entries`);
      setAttribute(bar, 'aria-valuenow', String(flowTable.entries));
      setAttribute(bar, 'aria-valuemax', String(flowTable.capacity));
      fill.style.inlineSize = `${Math.min(100, part * 100).toFixed(1)}%`;
    },
  };
}
