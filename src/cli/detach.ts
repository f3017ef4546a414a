import { existsSync } from 'node:fs';
import { loadFiles } from '../config/load.ts';
import { formatProblem } from '../config/problems.ts';
import { removePins } from '../dataplane/attachment.ts';
import { removeProbePath } from '../dataplane/probe-path.ts';
import { SkeinError } from '../lib/errors.ts';
import type { ConfigPaths } from './check.ts';

/** For a node whose supervisor is gone: what it left pinned goes on forwarding until this runs. */
export async function detachNode({ config, node }: ConfigPaths): Promise<void> {
  const result = loadFiles(config, node);
  if (!result.ok) throw new SkeinError('CONFIG', result.problems.map(formatProblem).join('\n'));
  const { bpffs } = result.config.node;
  if (!existsSync(bpffs)) {
    console.log(`nothing is pinned in ${bpffs}`);
    return;
  }
  removePins(bpffs);
  await removeProbePath();
  console.log(`detached: nothing is pinned in ${bpffs} any more`);
}
