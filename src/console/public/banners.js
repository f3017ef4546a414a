/** What an operator must not miss, above everything else; nothing is shown while all is well. */
/** @import { NodeSnapshot } from '../../snapshot.ts' */
/** @import { Part, Tone } from './dom.js' */
import { byId, element, keyedList, setAttribute, setShown, setText } from './dom.js';
import { plural, span } from './format.js';

/**
 * @typedef {{
 *   key: string,
 *   tone: Tone,
 *   title: string,
 *   text: string,
 *   lines: readonly string[],
 *   action?: () => void,
 * }} Banner
 */
/**
 * @typedef {{
 *   dataAgeMs: number | undefined,
 *   stillMs: number,
 *   failure: string | undefined,
 *   retryInMs: number,
 * }} Connection
 *   `stillMs`: how long the node has answered with one and the same snapshot.
 */

/** A node makes a snapshot a second; an older one means that its supervisor does not get to it. */
const STUCK_MS = 10_000;
const LINES_MAX = 10;

/**
 * @param {() => void} askNow
 * @returns {(snapshot: NodeSnapshot | undefined, connection: Connection) => void}
 */
export function banners(askNow) {
  const show = keyedList(
    byId('banners'),
    ({ key }) => key,
    () => banner(),
  );
  return (snapshot, connection) => {
    show([...connectionBanners(snapshot, connection, askNow), ...snapshotBanners(snapshot)]);
  };
}

/**
 * @param {NodeSnapshot | undefined} snapshot
 * @param {Connection} connection
 * @param {() => void} askNow
 * @returns {Banner[]}
 */
export function connectionBanners(snapshot, { dataAgeMs, stillMs, failure, retryInMs }, askNow) {
  const old =
    dataAgeMs === undefined
      ? 'Nothing is known of it yet'
      : `What is shown is ${span(dataAgeMs)} old`;
  if (failure !== undefined) {
    return [
      {
        key: 'unreachable',
        tone: 'bad',
        title: `Cannot reach ${snapshot?.node ?? 'the node'}:`,
        text: `${failure}. ${old}; asking again ${retryInMs < 1000 ? 'now' : `in ${span(retryInMs)}`}.`,
        lines: [],
        action: askNow,
      },
    ];
  }
  if (stillMs < STUCK_MS) return [];
  return [
    {
      key: 'stuck',
      tone: 'bad',
      title: 'The node answers, but its state stands still.',
      text: `${old}: its supervisor may be stuck. Forwarding does not depend on it.`,
      lines: [],
    },
  ];
}

/**
 * @param {NodeSnapshot | undefined} snapshot
 * @returns {Banner[]}
 */
export function snapshotBanners(snapshot) {
  if (snapshot === undefined) return [];
  const { config, dataplane, reports, takenAtMs } = snapshot;
  /** @type {Banner[]} */
  const found = [];
  if (config.refusedAtMs !== null) {
    found.push({
      key: 'refused',
      tone: 'warn',
      title: 'The last reload was refused.',
      text: `${plural(config.refused.length, 'problem')} found ${span(takenAtMs - config.refusedAtMs)} ago; the configuration before it is still running.`,
      lines: config.refused.map(
        ({ line, column, path, message }) => `${line}:${column}  ${path}: ${message}`,
      ),
    });
  }
  if (dataplane.failures.length > 0) {
    found.push({
      key: 'failures',
      tone: 'bad',
      title: 'Writes to the forwarding maps fail.',
      text: 'They are tried again; services concerned are not announced.',
      lines: dataplane.failures,
    });
  }
  if (reports !== null && reports.problems.length > 0) {
    found.push({
      key: 'reports',
      tone: 'warn',
      title: 'Reports of backends are not taken as the document says.',
      text: `It is tried again. ${reports.listening === null ? 'Nobody is heard' : `Still listening at ${reports.listening}`}.`,
      lines: reports.problems,
    });
  }
  if (dataplane.interfaces.length === 0) {
    found.push({
      key: 'detached',
      tone: 'bad',
      title: 'Nothing is forwarded.',
      text: 'The XDP program is attached to no interface.',
      lines: [],
    });
  }
  return found;
}

/** @returns {Part<Banner>} */
function banner() {
  // Read out when it appears; the ages in the text behind it change every second.
  const title = element('strong', { role: 'alert' });
  const text = element('span', {});
  const list = element('ul', {});
  const button = element('button', { type: 'button' }, 'Ask now');
  const root = element(
    'div',
    { class: 'banner' },
    element('p', {}, title, ' ', text),
    button,
    list,
  );
  const showLines = keyedList(
    list,
    (_, index) => String(index),
    () => line(),
  );
  /** @type {(() => void) | undefined} */
  let action;
  button.addEventListener('click', () => action?.());
  return {
    root,
    update(item) {
      action = item.action;
      setAttribute(root, 'data-tone', item.tone);
      setAttribute(root, 'data-key', item.key);
      setText(title, item.title);
      setText(text, item.text);
      setShown(button, item.action !== undefined);
      setShown(list, item.lines.length > 0);
      showLines(bounded(item.lines));
    },
  };
}

/** @param {readonly string[]} lines */
function bounded(lines) {
  const more = lines.length - LINES_MAX;
  return more <= 0 ? lines : [...lines.slice(0, LINES_MAX), `and ${more} more, see api/v1/node`];
}

/** @returns {Part<string>} */
function line() {
  const root = element('li', {});
  return {
    root,
    update: (text) => {
      setText(root, text);
    },
  };
}
