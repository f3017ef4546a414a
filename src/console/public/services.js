/**
 * The list of services. Each is one line that opens to its backends; only open ones are built and
 * only those that match the filter are in the document, so that a thousand services cost little.
 */
/** @import { NodeSnapshot, ServiceSnapshot } from '../../snapshot.ts' */
/** @import { Part } from './dom.js' */
/** @import { Rates } from './rates.js' */
import { backendTable, weightBar } from './backends.js';
import { byId, element, keyedList, pill, setAttribute, setShown, setText } from './dom.js';
import { bytes, compact, exact, plural } from './format.js';
import { sourceRules } from './sources.js';
import { sparkline } from './sparkline.js';
import { backendCondition, serviceCondition } from './words.js';

/** More services than this are all closed at first, and get a filter. */
const FEW = 12;
/** So few services are all open at first; of a few, only those with a backend that is not up. */
const VERY_FEW = 2;
const PAGE = 50;

/** @typedef {'all' | 'up' | 'down' | 'other'} StateFilter */
/** @typedef {{ service: ServiceSnapshot, nowMs: number, rates: Rates }} Row */

/** @type {readonly { state: StateFilter, label: string }[]} */
const choices = [
  { state: 'all', label: 'All' },
  { state: 'down', label: 'Down' },
  { state: 'other', label: 'Checking' },
  { state: 'up', label: 'Up' },
];

/** @returns {(snapshot: NodeSnapshot, rates: Rates) => void} */
export function services() {
  const parent = byId('services');
  const list = element('ul', { class: 'rows' });
  const more = element('button', { type: 'button', class: 'more' });
  const empty = element('p', { class: 'empty' });
  parent.append(columnNames(), list, more, empty);
  let limit = PAGE;
  let count = 0;
  /** @type {() => void} */
  let refresh = () => undefined;
  const filter = filterTools(() => {
    limit = PAGE;
    refresh();
  });
  more.addEventListener('click', () => {
    limit += PAGE;
    refresh();
  });
  const show = keyedList(
    list,
    ({ service }) => service.id,
    (/** @type {Row} */ { service }) =>
      serviceRow(service.id, count <= VERY_FEW || (count <= FEW && needsAttention(service))),
  );

  return (snapshot, rates) => {
    refresh = () => {
      const all = snapshot.services;
      count = all.length;
      const matching = filter.apply(all);
      const shown = matching.slice(0, limit);
      const left = matching.length - shown.length;
      setText(more, `Show ${Math.min(PAGE, left)} more of ${exact(left)}`);
      setShown(more, left > 0);
      setShown(empty, matching.length === 0);
      setText(
        empty,
        all.length === 0 ? 'No service is configured.' : 'No service matches the filter.',
      );
      setShown(parent.children[0] ?? list, shown.length > 0);
      show(shown.map((service) => ({ service, nowMs: snapshot.takenAtMs, rates })));
    };
    refresh();
  };
}

/** Names of the columns for wide screens; each value also carries its own name for the others. */
function columnNames() {
  const names = [
    '',
    'Service',
    'Backends up',
    'Weights',
    'Last minute',
    'Packets/s',
    'Bytes/s',
    'Flows',
  ];
  return element(
    'div',
    { class: 'columns', 'aria-hidden': 'true' },
    ...names.map((name) => element('span', {}, name)),
  );
}

/**
 * @param {() => void} changed
 * @returns {{ apply: (services: readonly ServiceSnapshot[]) => readonly ServiceSnapshot[] }}
 */
function filterTools(changed) {
  const tools = byId('services-tools');
  /** @type {StateFilter} */
  let wanted = 'all';
  const input = element('input', {
    type: 'search',
    placeholder: 'Filter: name, VIP, port, backend  ( / )',
    'aria-label': 'Filter services by name, VIP, port or backend',
    autocomplete: 'off',
    spellcheck: 'false',
  });
  const buttons = choices.map(({ state, label }) => {
    const amount = element('span', { class: 'amount' });
    const button = element('button', { type: 'button', 'data-state': state }, `${label} `, amount);
    button.addEventListener('click', () => {
      wanted = state;
      changed();
    });
    return { state, button, amount };
  });
  input.addEventListener('input', changed);
  document.addEventListener('keydown', (event) => {
    if (event.key !== '/' || event.target instanceof HTMLInputElement || tools.hidden) return;
    event.preventDefault();
    input.focus();
  });
  const group = element('div', { class: 'choices', role: 'group', 'aria-label': 'State' });
  group.append(...buttons.map(({ button }) => button));
  tools.append(group, input);

  return {
    apply(services) {
      setShown(tools, services.length > FEW);
      const amounts = countStates(services);
      for (const { state, button, amount } of buttons) {
        setText(amount, exact(amounts[state]));
        setAttribute(button, 'aria-pressed', String(state === wanted));
        setAttribute(button, 'data-some', amounts[state] > 0 ? '' : null);
      }
      const text = input.value.trim().toLowerCase();
      return services.filter((service) => {
        return (wanted === 'all' || stateOf(service) === wanted) && matches(service, text);
      });
    },
  };
}

/**
 * @param {readonly ServiceSnapshot[]} services
 * @returns {Record<StateFilter, number>}
 */
function countStates(services) {
  const amounts = { all: services.length, up: 0, down: 0, other: 0 };
  for (const service of services) amounts[stateOf(service)] += 1;
  return amounts;
}

/**
 * @param {ServiceSnapshot} service
 * @returns {'up' | 'down' | 'other'}
 */
function stateOf(service) {
  const { tone } = serviceCondition(service);
  if (tone === 'ok') return 'up';
  return tone === 'bad' ? 'down' : 'other';
}

/** @param {ServiceSnapshot} service */
function needsAttention(service) {
  return service.backends.some((backend) =>
    ['warn', 'bad'].includes(backendCondition(backend).tone),
  );
}

/**
 * @param {ServiceSnapshot} service
 * @param {string} text lower case
 */
export function matches({ id, name, backends }, text) {
  if (text === '' || id.includes(text) || name.toLowerCase().includes(text)) return true;
  return backends.some(({ name: backend, address }) => {
    return address.includes(text) || backend.toLowerCase().includes(text);
  });
}

/**
 * @param {string} id
 * @param {boolean} open
 * @returns {Part<Row>}
 */
function serviceRow(id, open) {
  const line = summaryLine(id);
  const body = element('div', { class: 'body' });
  const details = element('details', {}, line.root, body);
  details.open = open;
  /** @type {Part<Row> | undefined} */
  let inside;
  /** @type {Row | undefined} */
  let last;
  const showInside = () => {
    if (!details.open) {
      inside?.root.remove();
      inside = undefined;
    } else if (last !== undefined) {
      inside ??= serviceBody(last.service.name);
      if (!inside.root.isConnected) body.append(inside.root);
      inside.update(last);
    }
  };
  details.addEventListener('toggle', showInside);
  return {
    root: element('li', {}, details),
    update(row) {
      last = row;
      line.update(row);
      showInside();
    },
  };
}

/**
 * @param {string} name of the service
 * @returns {Part<Row>}
 */
function serviceBody(name) {
  const sources = sourceRules();
  const backends = backendTable(name);
  return {
    root: element('div', {}, sources.root, backends.root),
    update(row) {
      sources.update(row.service.sources);
      backends.update(row);
    },
  };
}

/**
 * @param {string} id
 * @returns {Part<Row>}
 */
function summaryLine(id) {
  const state = pill();
  const name = element('span', { class: 'name' });
  const up = element('span', { class: 'up' });
  const weights = weightBar();
  const curve = sparkline('Packets per second over the last minute');
  const packets = figure('packets/s');
  const bytesPerS = figure('bytes/s');
  const flows = figure('flows');
  const root = element(
    'summary',
    {},
    state.root,
    element('span', { class: 'title' }, name, ' ', element('span', { class: 'address' }, id)),
    up,
    weights.root,
    curve.root,
    packets.root,
    bytesPerS.root,
    flows.root,
  );
  return {
    root,
    update({ service, rates }) {
      const rate = rates.ofService(service);
      const condition = serviceCondition(service);
      state.update(condition);
      setText(name, service.name);
      setText(up, `${service.up} of ${service.backends.length}, needs ${service.need}`);
      setAttribute(up, 'title', `${plural(service.up, 'backend')} up`);
      setAttribute(up, 'data-tone', condition.tone === 'bad' ? 'bad' : null);
      weights.update(service.backends);
      curve.update(rates.history(service.id));
      packets.update(compact(rate?.packetsPerS));
      bytesPerS.update(bytes(rate?.bytesPerS));
      flows.update(compact(service.traffic.flowsActive));
    },
  };
}

/**
 * @param {string} unit
 * @returns {Part<string>}
 */
function figure(unit) {
  const value = element('span', { class: 'value' });
  return {
    root: element(
      'span',
      { class: 'figure' },
      value,
      ' ',
      element('span', { class: 'unit' }, unit),
    ),
    update: (text) => {
      setText(value, text);
    },
  };
}
