/**
 * A running node takes the documents over again: all of them or nothing. What is fixed for the life of
 * the process, its node part above all, stays as it is, and what is new must fit that.
 */
import { readFileSync } from 'node:fs';
import { loadFiles } from '../config/load.ts';
import { formatProblem } from '../config/problems.ts';
import type { ConfigResult, NodeConfig, SyncConfig } from '../config/types.ts';
import { errorMessage } from '../lib/errors.ts';
import type { Logger } from '../lib/logger.ts';
import { readKeys } from '../peers/keys.ts';
import type { FlowSync } from '../peers/sync.ts';
import type { Supervisor } from '../supervisor.ts';
import type { ConfigPaths } from './check.ts';
import type { NodeReports } from './reports.ts';

/** What takes a new document over. */
export interface Reloaded {
  readonly supervisor: Pick<Supervisor, 'reload' | 'refuse'>;
  readonly peers: Pick<FlowSync, 'setKeys'> | undefined;
  readonly reports: Pick<NodeReports, 'set'>;
}

/** Reads both documents again. By file event only a text that differs counts as a change. */
export function reloader(
  paths: ConfigPaths,
  running: NodeConfig,
  { supervisor, peers, reports }: Reloaded,
  logger: Logger,
): (cause: 'signal' | 'file') => void {
  const nodeAtStart = { file: paths.node, text: textOf(paths.node) };
  let lastText = documentsText(paths);
  return (cause) => {
    const text = documentsText(paths);
    if (cause === 'file' && text === lastText) return;
    lastText = text;
    const result = loadBeside(paths, running, nodeAtStart, logger);
    if (!result.ok) {
      supervisor.refuse(result.problems);
      const problems = result.problems.map(formatProblem);
      logger.error({ problems }, 'reload refused: nothing was changed');
      return;
    }
    // Keys are derived from the name, here and on the other nodes.
    const { name } = running.cluster;
    if (result.config.cluster.name !== name)
      logger.warn('the name of the cluster has changed: that takes effect at the next start');
    const cluster = { ...result.config.cluster, name };
    if (JSON.stringify(networkOf(cluster.sync)) !== JSON.stringify(networkOf(running.cluster.sync)))
      logger.warn('the network of flow sync has changed: that takes effect at the next start');
    if (peers !== undefined && cluster.sync !== undefined)
      renewKeys(peers, cluster.sync.keyFiles, logger);
    reports.set(cluster);
    supervisor.reload({ ...result.config, cluster });
  };
}

/** Both documents as they are now, and then the cluster document beside the node part that runs. */
function loadBeside(
  paths: ConfigPaths,
  running: NodeConfig,
  nodeAtStart: { readonly file: string; readonly text: string },
  logger: Logger,
): ConfigResult {
  const result = loadFiles(paths.config, paths.node);
  if (!result.ok || JSON.stringify(result.config.node) === JSON.stringify(running.node))
    return result;
  logger.warn('the node part has changed: that takes effect at the next start');
  return loadFiles(paths.config, nodeAtStart);
}

/** What a running flow sync cannot change. */
function networkOf(sync: SyncConfig | undefined): unknown {
  return sync && { group: sync.group, peers: sync.peers };
}

/** Keys are replaced while nodes run: by a reload on each, with both keys in between. */
function renewKeys(
  peers: Pick<FlowSync, 'setKeys'>,
  keyFiles: readonly string[],
  logger: Logger,
): void {
  readKeys(keyFiles).then(
    ({ keys, warnings }) => {
      for (const warning of warnings) logger.warn(warning);
      peers.setKeys(keys);
    },
    (error: unknown) => {
      logger.error({ keyFiles, reason: errorMessage(error) }, 'the keys stay as they were');
    },
  );
}

function documentsText({ config, node }: ConfigPaths): string {
  return `${textOf(config)}\0${textOf(node)}`;
}

/** Of a file that cannot be read, why. */
function textOf(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    return errorMessage(error);
  }
}
