/** The backends of one service: health, checks, next hop, and the share of traffic each one gets. */
/** @import { CheckHealth } from '../../model/health.ts' */
/** @import { BackendSnapshot, ServiceSnapshot } from '../../snapshot.ts' */
/** @import { Part } from './dom.js' */
/** @import { Rates, TrafficRate } from './rates.js' */
import { cell, element, keyedList, pill, setAttribute, setText, table } from './dom.js';
import { NOTHING, age, bytes, compact, latency, percent, plural } from './format.js';
import { backendCondition, dueShares } from './words.js';

/**
 * @typedef {{
 *   backend: BackendSnapshot,
 *   rate: TrafficRate | undefined,
 *   share: number | undefined,
 *   due: number,
 *   nowMs: number,
 * }} Row
 */

/**
 * Backends as slices as wide as their weights, in the colour of their state.
 * @returns {Part<readonly BackendSnapshot[]>}
 */
export function weightBar() {
  const root = element('span', { class: 'weights', role: 'img' });
  let drawn = '';
  return {
    root,
    update(backends) {
      const slices = backends.map((backend) => ({
        word: backendCondition(backend).word,
        tone: backendCondition(backend).tone,
        weight: backend.weight,
      }));
      const wanted = slices.map(({ word, weight }) => `${word} ${weight}`).join(',');
      if (wanted === drawn) return;
      drawn = wanted;
      root.replaceChildren(
        ...slices.map(({ tone, weight }) => {
          const slice = element('span', { 'data-tone': tone });
          slice.style.flexGrow = String(weight);
          return slice;
        }),
      );
      setAttribute(root, 'aria-label', `Weights: ${wanted}`);
    },
  };
}

/**
 * @param {string} name of the service
 * @returns {Part<{ service: ServiceSnapshot, rates: Rates, nowMs: number }>}
 */
export function backendTable(name) {
  const columns = [
    'Backend',
    'Health',
    'Checks',
    'Next hop, mode',
    'Packets/s',
    'Bytes/s',
    'Flows',
    'Share of traffic',
  ];
  const { root, body } = table(`Backends of ${name}`, columns);
  root.classList.add('backends');
  const show = keyedList(body, ({ backend }) => backend.address, backendRow);
  return {
    root,
    update({ service, rates, nowMs }) {
      const due = dueShares(service.backends);
      const byAddress = rates.ofBackends(service);
      const total = rates.ofService(service)?.packetsPerS ?? 0;
      show(
        service.backends.map((backend) => {
          const rate = byAddress.get(backend.address);
          const share = rate === undefined || total === 0 ? undefined : rate.packetsPerS / total;
          return { backend, rate, share, due: due(backend), nowMs };
        }),
      );
    },
  };
}

/** @returns {Part<Row>} */
function backendRow() {
  const name = element('span', { class: 'name' });
  const address = element('span', { class: 'address' });
  const health = healthCell();
  const checks = element('ul', { class: 'checks' });
  const showChecks = keyedList(checks, ({ check }) => check, checkStrip);
  const nextHop = element('span', { class: 'address' });
  const mode = element('span', { class: 'mode' });
  const packets = cell('packets/s', 'number');
  const bytesPerS = cell('bytes/s', 'number');
  const flows = cell('flows', 'number');
  const share = shareCell();
  return {
    root: element(
      'tr',
      { role: 'row' },
      element('th', { role: 'rowheader', scope: 'row' }, name, ' ', address),
      health.root,
      cell('', 'checks-cell', checks),
      cell('next hop', 'hop', nextHop, ' ', mode),
      packets,
      bytesPerS,
      flows,
      share.root,
    ),
    update(row) {
      const { backend, rate } = row;
      setText(name, backend.name);
      setText(address, backend.address);
      health.update(row);
      showChecks(backend.checks);
      setText(nextHop, backend.nextHop ?? NOTHING);
      setText(mode, backend.mode);
      setText(packets, compact(rate?.packetsPerS));
      setText(bytesPerS, bytes(rate?.bytesPerS));
      setText(flows, compact(backend.traffic.flowsActive));
      share.update(row);
    },
  };
}

/** @returns {Part<Row>} */
function healthCell() {
  const state = pill();
  const since = element('span', { class: 'note' });
  const reason = element('p', { class: 'reason' });
  return {
    root: cell('', 'state', state.root, ' ', since, reason),
    update({ backend, nowMs }) {
      state.update(backendCondition(backend));
      setText(since, age(backend.healthSinceMs, nowMs));
      setText(reason, backend.reason);
    },
  };
}

/**
 * The last results of a check, newest at the right: a pass is a full mark, a failure a low red one.
 * @returns {Part<CheckHealth>}
 */
function checkStrip() {
  const name = element('span', { class: 'check' });
  const marks = element('span', { class: 'marks', role: 'img' });
  const last = element('span', { class: 'note' });
  let drawn = '';
  return {
    root: element('li', {}, name, marks, last),
    update(check) {
      setText(name, check.check);
      setText(last, lastResult(check));
      setAttribute(last, 'title', check.last?.kind === 'fail' ? check.last.detail : null);
      const wanted = check.recent.map((pass) => (pass ? 'pass' : 'fail')).join(' ');
      if (wanted === drawn) return;
      drawn = wanted;
      marks.replaceChildren(
        ...check.recent.map((pass) => element('span', { 'data-tone': pass ? 'ok' : 'bad' })),
      );
      setAttribute(marks, 'aria-label', `Last ${plural(check.recent.length, 'result')}: ${wanted}`);
    },
  };
}

/** @param {CheckHealth} check */
function lastResult({ last }) {
  if (last === undefined) return '';
  return last.kind === 'pass' ? latency(last.latencyMs) : last.reason.replaceAll('_', ' ');
}

/**
 * The share that a backend has, with a mark where its weight says that it should be.
 * @returns {Part<Row>}
 */
function shareCell() {
  const fill = element('span', { class: 'fill' });
  const mark = element('span', { class: 'mark' });
  const value = element('span', { class: 'number' });
  const note = element('span', { class: 'note' });
  return {
    root: cell('', 'share', element('div', { class: 'bar' }, fill, mark), value, note),
    update({ backend, share, due }) {
      setText(value, percent(share));
      setText(note, `due ${Math.round(due * 100)}%, weight ${backend.weight}`);
      fill.style.inlineSize = `${(Math.min(1, share ?? 0) * 100).toFixed(1)}%`;
      mark.style.insetInlineStart = `${(due * 100).toFixed(1)}%`;
      setAttribute(mark, 'hidden', due > 0 ? null : '');
    },
  };
}
