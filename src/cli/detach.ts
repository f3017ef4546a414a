import { existsSync } from 'node:fs';
import { createServer } from 'node:net';
import { loadFiles } from '../config/load.ts';
import { formatProblem } from '../config/problems.ts';
import type { NodePart } from '../config/types.ts';
import { removePins } from '../dataplane/attachment.ts';
import { removeProbePath } from '../dataplane/probe-path.ts';
import { errorMessage, SkeinError } from '../lib/errors.ts';
import type { ConfigPaths } from './check.ts';

/**
 * For a node whose supervisor is gone: what it left pinned goes on forwarding until this runs. A node
 * that runs would go on announcing its VIPs without it: SkeinError `NODE_RUNS`.
 */
export async function detachNode({ config, node }: ConfigPaths): Promise<void> {
  const result = loadFiles(config, node);
  if (!result.ok) throw new SkeinError('CONFIG', result.problems.map(formatProblem).join('\n'));
  const { bpffs, console: lock } = result.config.node;
  await using held = new AsyncDisposableStack();
  held.use(await holdLock(lock));
  if (!existsSync(bpffs)) {
    console.log(`nothing is pinned in ${bpffs}`);
    return;
  }
  removePins(bpffs);
  await removeProbePath();
  console.log(`detached: nothing is pinned in ${bpffs} any more`);
}

/** The port of the console, as a running node has it: so none starts meanwhile either. */
async function holdLock({ host, port }: NodePart['console']): Promise<AsyncDisposable> {
  const server = createServer((socket) => socket.destroy());
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen({ host, port }, resolve);
  }).catch((error: unknown) => {
    const where = `${host.includes(':') ? `[${host}]` : host}:${port}`;
    const isTaken = error instanceof Error && 'code' in error && error.code === 'EADDRINUSE';
    const why = isTaken
      ? `console: ${where} is in use: stop the node first. If that is another program, change console in the node document`
      : `console: cannot tell whether the node runs, since ${where} cannot be had (${errorMessage(error)}): check console in the node document`;
    throw new SkeinError(isTaken ? 'NODE_RUNS' : 'CONSOLE_LISTEN', why, { cause: error });
  });
  return server;
}
