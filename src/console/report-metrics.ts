/** Metrics of the reports that backends send of themselves; absent where they are not configured. */
import type { Definition } from './metric-definitions.ts';

export const reportMetrics: readonly Definition[] = [
  {
    name: 'skein_reports_problems',
    type: 'gauge',
    help: 'What of the section reports could not be done: keys, or the socket.',
    labels: [],
    samples: ({ reports }) => (reports === null ? [] : [[{}, reports.problems.length]]),
  },
  {
    name: 'skein_reports_received_total',
    type: 'counter',
    help: 'Datagrams that arrived where reports of backends do.',
    labels: [],
    samples: ({ reports }) => (reports === null ? [] : [[{}, reports.received]]),
  },
  {
    name: 'skein_reports_accepted_total',
    type: 'counter',
    help: 'Reports of backends that counted.',
    labels: [],
    samples: ({ reports }) => (reports === null ? [] : [[{}, reports.accepted]]),
  },
  {
    name: 'skein_reports_refused_total',
    type: 'counter',
    help: 'Reports of backends that changed nothing, by reason.',
    labels: ['reason'],
    samples: ({ reports }) =>
      Object.entries(reports?.refused ?? {}).map(([reason, count]) => [{ reason }, count]),
  },
  {
    name: 'skein_reporters',
    type: 'gauge',
    help: 'Reporters that are remembered, whether or not they still report.',
    labels: [],
    samples: ({ reports }) => (reports === null ? [] : [[{}, reports.reporters]]),
  },
];
