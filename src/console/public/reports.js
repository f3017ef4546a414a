/** What backends report of themselves: how many reports counted, and why the others did not. */
/** @import { NodeSnapshot } from '../../snapshot.ts' */
/** @import { Counter } from './counters.js' */
/** @import { Rates } from './rates.js' */
import { counterList } from './counters.js';
import { byId, setShown } from './dom.js';

/** @typedef {NonNullable<NodeSnapshot['reports']>} ReportsStatus */

/**
 * By the reasons of src/reports/REPORTS.md.
 * @type {Readonly<Record<string, string>>}
 */
export const refusalHelp = {
  not_a_report: 'Something else that was sent to this port',
  too_long: 'Longer than any report',
  version: 'Of a version that is not understood here',
  other_cluster: 'Of a backend of another cluster on the same group',
  other_key: 'Signed with a key that is not in the key files of this node',
  malformed: 'With content that makes no sense',
  unsigned: 'Without a signature',
  forged: 'Names a key of the cluster, but was not signed with the one of its backend',
  too_old: 'Sent too long ago: late, replayed, or by a clock that is behind',
  too_new: 'Sent in the future: by a clock that is ahead',
  unknown_backend: 'About no backend in the configuration of this node',
  foreign_source: 'Sent from an address that it is not about',
  replayed: 'Heard before, or overtaken by a later one',
  old_incarnation: 'Of a reporter as it was before its restart',
  address_taken: 'About a backend for which another reporter speaks',
  too_many_reporters: 'Of one reporter more than can be remembered',
  too_often: 'More of one reporter than are taken in a second',
};

/** @returns {(snapshot: NodeSnapshot, rates: Rates) => void} */
export function reports() {
  const panel = byId('reports-panel');
  const show = counterList(byId('reports'), 'No report has arrived yet.');
  return ({ reports: status }, rates) => {
    setShown(panel, status !== null);
    if (status !== null) show(reportCounters(status, rates));
  };
}

/**
 * @param {ReportsStatus} status
 * @param {Rates} rates
 * @returns {Counter[]}
 */
export function reportCounters(status, rates) {
  const counter = (
    /** @type {string} */ name,
    /** @type {number} */ value,
    /** @type {string} */ help,
    /** @type {(status: ReportsStatus) => number | undefined} */ read,
  ) => {
    const perS = rates.of(({ reports: each }) => (each === null ? undefined : read(each)));
    return { name, value, help, drop: false, perS };
  };
  return [
    counter('reporters', status.reporters, 'Backends that have reported', () => undefined),
    counter('received', status.received, 'Datagrams that arrived', (each) => each.received),
    counter('accepted', status.accepted, 'Reports that counted', (each) => each.accepted),
    ...Object.entries(status.refused).map(([reason, count]) => ({
      ...counter(reason, count, refusalHelp[reason] ?? '', ({ refused }) => refused[reason]),
      drop: true,
    })),
  ];
}
