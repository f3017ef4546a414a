/** The top of the page: which node this is, how it is in one line, its totals and plain facts. */
/** @import { NodeSnapshot } from '../../snapshot.ts' */
/** @import { Part } from './dom.js' */
/** @import { Rates } from './rates.js' */
import { byId, element, keyedList, setAttribute, setText } from './dom.js';
import { age, bytes, compact, plural } from './format.js';
import { sparkline } from './sparkline.js';
import { overall } from './words.js';

/** @typedef {{ name: string, value: string, note?: string, tone?: string, title?: string }} Fact */

const DIGEST_SHOWN = 10;

/** @returns {(snapshot: NodeSnapshot, rates: Rates) => void} */
export function overview() {
  const verdict = byId('verdict');
  const details = byId('verdict-details');
  const showFigures = figures();
  const showFacts = keyedList(byId('facts'), ({ name }) => name, fact);
  return (snapshot, rates) => {
    const { tone, text, details: lines } = overall(snapshot);
    setText(byId('node'), snapshot.node);
    setText(byId('cluster'), snapshot.cluster);
    setText(verdict, text);
    setAttribute(verdict, 'data-tone', tone);
    setText(details, lines.join(' · '));
    document.title = `${tone === 'ok' ? '' : '! '}${snapshot.node}: ${text}`;
    showFigures(snapshot, rates);
    showFacts(factsOf(snapshot));
    setText(byId('layout'), `Map layout ${snapshot.dataplane.layoutDigest}`);
  };
}

/** @returns {(snapshot: NodeSnapshot, rates: Rates) => void} */
function figures() {
  const packets = figure('packets/s');
  const bytesPerS = figure('bytes/s');
  const flows = figure('active flows');
  const drops = figure('drops/s');
  const curve = sparkline('Packets per second over the last minute');
  byId('figures').append(
    packets.root,
    bytesPerS.root,
    flows.root,
    drops.root,
    element(
      'div',
      { class: 'curve' },
      element('dt', {}, 'last minute'),
      element('dd', {}, curve.root),
    ),
  );
  return ({ services, counters }, rates) => {
    const rate = rates.ofNode();
    const dropRates = counters
      .filter(({ drop }) => drop)
      .map((counter) => rates.ofCounter(counter));
    const known = dropRates.filter((each) => each !== undefined);
    const dropsPerS = known.length === 0 ? undefined : known.reduce((sum, each) => sum + each, 0);
    packets.update(compact(rate?.packetsPerS));
    bytesPerS.update(bytes(rate?.bytesPerS));
    flows.update(compact(services.reduce((sum, { traffic }) => sum + traffic.flowsActive, 0)));
    drops.update(compact(dropsPerS));
    curve.update(rates.nodeHistory());
  };
}

/**
 * @param {string} name
 * @returns {Part<string>}
 */
function figure(name) {
  const value = element('dd', {});
  return {
    root: element('div', {}, element('dt', {}, name), value),
    update: (text) => {
      setText(value, text);
    },
  };
}

/**
 * @param {NodeSnapshot} snapshot
 * @returns {Fact[]}
 */
function factsOf({ version, startedAtMs, takenAtMs, config, dataplane }) {
  return [
    { name: 'Version', value: version },
    { name: 'Up', value: age(startedAtMs, takenAtMs) },
    ...dataplane.interfaces.map(({ name, xdpMode }) => ({
      name,
      value: `${xdpMode} XDP`,
      // The kernel's fallback: correct, and several times slower.
      ...(xdpMode === 'native' ? {} : { tone: 'warn' }),
    })),
    {
      name: 'Config',
      value: config.digest.slice(0, DIGEST_SHOWN),
      note: `${age(config.loadedAtMs, takenAtMs)} old`,
      title: `SHA-256 ${config.digest}`,
    },
    { name: 'Maps', value: dataplane.adopted ? 'taken over at start' : 'made at start' },
    ...(dataplane.failures.length === 0
      ? []
      : [{ name: 'Writes', value: plural(dataplane.failures.length, 'failure'), tone: 'bad' }]),
  ];
}

/** @returns {Part<Fact>} */
function fact() {
  const name = element('dt', {});
  const value = element('span', {});
  const note = element('span', { class: 'note' });
  return {
    root: element('div', {}, name, element('dd', {}, value, ' ', note)),
    update(item) {
      setText(name, item.name);
      setText(value, item.value);
      setAttribute(value, 'data-tone', item.tone ?? null);
      setAttribute(value, 'title', item.title ?? null);
      setText(note, item.note ?? '');
    },
  };
}
