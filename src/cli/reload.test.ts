/** Reloads: which documents are taken over, and that what is fixed holds for the new ones. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { loadFiles } from '../config/load.ts';
import { SAMPLE_CLUSTER, SAMPLE_NODE } from '../config/load-sample.ts';
import { formatProblem } from '../config/problems.ts';
import { silentLogger } from '../lib/logger.ts';
import { reloader, type Reloaded } from './reload.ts';

let folder: string;
const done: string[] = [];
const warnings: string[] = [];
const logger = {
  ...silentLogger,
  warn: (text: unknown) => {
    warnings.push(String(text));
  },
  error: () => undefined,
};

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'skein-reload-'));
});
afterEach(() => {
  rmSync(folder, { recursive: true });
  done.length = 0;
  warnings.length = 0;
});

const paths = () => ({ config: join(folder, 'skein.json'), node: join(folder, 'node.json') });
function write(cluster: object, node: object = SAMPLE_NODE): void {
  writeFileSync(paths().config, JSON.stringify(cluster));
  writeFileSync(paths().node, JSON.stringify(node));
}

/** As a node that has started with the samples; `done` says what became of its reloads. */
function start(): ReturnType<typeof reloader> {
  write(SAMPLE_CLUSTER);
  const loaded = loadFiles(paths().config, paths().node);
  if (!loaded.ok) throw new Error(loaded.problems.map(formatProblem).join('\n'));
  const supervisor: Reloaded['supervisor'] = {
    reload: ({ cluster, node }) => {
      done.push(
        `${cluster.services.length} services of ${cluster.name} at ${node.ipv4 ?? ''} ${node.ipv6 ?? ''}`,
      );
    },
    refuse: (problems) => {
      done.push(...problems.map(formatProblem));
    },
  };
  const reports = { set: () => undefined };
  return reloader(paths(), loaded.config, { supervisor, peers: undefined, reports }, logger);
}

const [web, dns] = SAMPLE_CLUSTER.services;
const WEB_ALONE = { ...SAMPLE_CLUSTER, services: [web] };
const web6 = { name: 'web6', vip: '2001:db8::1', port: 80, backends: 'six', checks: [] };
const WITH_IPV6 = {
  ...SAMPLE_CLUSTER,
  backends: { ...SAMPLE_CLUSTER.backends, six: ['fd00::101'] },
  services: [web, dns, web6],
};
const NODE_WITH_IPV6 = { ...SAMPLE_NODE, ipv6: 'fd00::11' };

test('a file that says the same as before is no reload, a signal always is', () => {
  const reload = start();
  reload('file');
  expect(done).toEqual([]);
  reload('signal');
  expect(done).toEqual(['2 services of demo at 10.83.1.11 ']);
  write(WEB_ALONE);
  reload('file');
  reload('file');
  expect(done.slice(1)).toEqual(['1 services of demo at 10.83.1.11 ']);
});

test('a mistake in either document changes nothing, and is told', () => {
  const reload = start();
  write({ ...SAMPLE_CLUSTER, cluster: 7 });
  reload('file');
  write(WEB_ALONE, { ...SAMPLE_NODE, interfaces: [] });
  reload('file');
  expect(done).toEqual([
    expect.stringContaining('skein.json:1:'),
    expect.stringContaining('node.json:1:'),
  ]);
});

test('a node part that has changed waits for the next start', () => {
  const reload = start();
  write(WEB_ALONE, NODE_WITH_IPV6);
  reload('file');
  expect(done).toEqual(['1 services of demo at 10.83.1.11 ']);
  expect(warnings.join()).toContain('the node part has changed');
});

test('another name of the cluster waits for the next start', () => {
  const reload = start();
  write({ ...WEB_ALONE, cluster: 'other' });
  reload('file');
  expect(done).toEqual(['1 services of demo at 10.83.1.11 ']);
  expect(warnings.join()).toContain('the name of the cluster has changed');
});

test('what only the next node part could do is refused until then', () => {
  const reload = start();
  write(WITH_IPV6, NODE_WITH_IPV6);
  expect(loadFiles(paths().config, paths().node).ok).toBe(true);
  reload('file');
  expect(done).toEqual([expect.stringContaining('ipv6')]);
});
