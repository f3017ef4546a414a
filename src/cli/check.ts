import { loadFiles } from '../config/load.ts';
import { formatProblem } from '../config/problems.ts';

export interface ConfigPaths {
  readonly config: string;
  readonly node: string;
}

/** Prints one line for each problem, or what the documents come to. False: there are problems. */
export function checkConfig({ config, node }: ConfigPaths): boolean {
  const result = loadFiles(config, node);
  if (!result.ok) {
    for (const problem of result.problems) console.error(formatProblem(problem));
    const count = result.problems.length;
    console.error(`${count} problem${count === 1 ? '' : 's'}`);
    return false;
  }
  const { cluster } = result.config;
  const backends = cluster.services.reduce((sum, { backends }) => sum + backends.length, 0);
  console.log(
    `ok: ${cluster.vips.length} VIPs, ${cluster.services.length} services, ${backends} backends; digest ${cluster.digest.slice(0, 12)}`,
  );
  return true;
}
