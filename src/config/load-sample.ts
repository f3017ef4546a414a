/** Small documents, and changes to them, for the tests of this folder. */
import { loadTexts, type ReadSecret } from './load.ts';
import { formatProblem } from './problems.ts';
import type { NodeConfig } from './types.ts';

export const SAMPLE_CLUSTER = {
  cluster: 'demo',
  bgp: { as: 65010, peers: [{ address: '10.83.1.1', as: 65000 }] },
  backends: {
    web: [{ name: 'b1', address: '10.83.1.101' }, '10.83.1.102'],
    more: ['10.83.1.103'],
  },
  services: [
    { name: 'web', vip: '10.83.100.1', port: 80, backends: 'web', checks: [{ type: 'http' }] },
    {
      name: 'dns',
      vip: ['10.83.100.53'],
      protocol: 'udp',
      port: [53],
      backends: ['web'],
      checks: [],
    },
  ],
  vips: { '10.83.100.1': {} },
};

/** For `sync`, which the sample does without. */
export const SAMPLE_SYNC = {
  peers: ['10.83.1.11:7483', '10.83.1.12:7483'],
  key_files: ['sync.key'],
};

export const SAMPLE_NODE = { node: 'lb1', interfaces: ['eth0'], ipv4: '10.83.1.11' };

/** New values by path, such as `services/0/need`; undefined takes the key away. */
export type Changes = Readonly<Record<string, unknown>>;

export interface Sample {
  readonly cluster?: Changes | string;
  readonly node?: Changes | string;
  /** Where the cluster document is. */
  readonly folder?: string;
  readonly readSecret?: ReadSecret;
}

/** Loads the two sample documents, changed or replaced. */
export function loadSample({ cluster = {}, node = {}, folder = '/etc/skein', readSecret }: Sample) {
  return loadTexts(
    { file: 'skein.yaml', text: textOf(SAMPLE_CLUSTER, cluster) },
    { file: 'node.yaml', text: textOf(SAMPLE_NODE, node) },
    readSecret ?? (() => ({ ok: false, message: 'no file in this test' })),
    folder,
  );
}

/** Every problem as it is shown; empty when there are none. */
export function problemsOf(sample: Sample): string[] {
  const result = loadSample(sample);
  return result.ok ? [] : result.problems.map(formatProblem);
}

/** For documents that are right: throws the problems otherwise. */
export function configOf(sample: Sample): NodeConfig {
  const result = loadSample(sample);
  if (!result.ok) throw new Error(result.problems.map(formatProblem).join('\n'));
  return result.config;
}

function textOf(base: object, changes: Changes | string): string {
  if (typeof changes === 'string') return changes;
  const document = structuredClone(base) as Record<string, unknown>;
  for (const [path, value] of Object.entries(changes)) change(document, path.split('/'), value);
  return JSON.stringify(document, null, 2);
}

function change(target: Record<string, unknown>, path: readonly string[], value: unknown): void {
  const [step = '', ...rest] = path;
  // A later change may go into this value, which other tests use too.
  if (rest.length === 0) target[step] = structuredClone(value);
  else change((target[step] ??= {}) as Record<string, unknown>, rest, value);
}
