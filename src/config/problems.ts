/** Problems of a document: found by path, placed in the text later, and shown one to a line. */
import type { ConfigProblem } from './types.ts';

/** Keys and indices from the root of a document. */
export type Path = readonly (string | number)[];

/** A problem that has not been placed in the text yet. */
export interface Finding {
  readonly path: Path;
  readonly message: string;
  /** `key`: the name of the last key is wrong, not its value. */
  readonly at?: 'key';
}

/** Which of the two documents a finding belongs to. */
export type DocumentKind = 'cluster' | 'node';

export type Report = (document: DocumentKind, finding: Finding) => void;

/** More than anyone reads: what lies beyond is counted and not kept. */
export const PROBLEMS_MAX = 1000;

const PLAIN_KEY = /^[A-Za-z_][A-Za-z0-9_-]*$/;

/** `services[0].vip`, and `vips["192.0.2.1"].med` for keys that are no plain words. */
export function formatPath(path: Path): string {
  let text = '';
  for (const step of path) {
    if (typeof step === 'number') text += `[${step}]`;
    else if (PLAIN_KEY.test(step)) text += text === '' ? step : `.${step}`;
    else text += `[${JSON.stringify(step)}]`;
  }
  return text;
}

/** `skein.yaml:12:5: services[0].need: must be at most 2, the number of its backends`. */
export function formatProblem(problem: ConfigProblem): string {
  const place = problem.line === 0 ? '' : `:${problem.line}:${problem.column}`;
  const path = problem.path === '' ? '' : `${problem.path}: `;
  return `${problem.file}${place}: ${path}${problem.message}`;
}

/** In the order of the text, each once, at most PROBLEMS_MAX and a last one that counts the rest. */
export function orderProblems(problems: readonly ConfigProblem[]): ConfigProblem[] {
  const unique = new Map<string, ConfigProblem>();
  for (const problem of problems) {
    // What an alias repeats has one place in the text and many paths, of which the first will do.
    const key = problem.path.slice(problem.path.lastIndexOf('.') + 1);
    const text = formatProblem({ ...problem, path: key });
    if (!unique.has(text)) unique.set(text, problem);
  }
  const ordered = [...unique.values()].sort((a, b) => a.line - b.line || a.column - b.column);
  const last = ordered[PROBLEMS_MAX];
  if (last === undefined) return ordered;
  const more = `and ${ordered.length - PROBLEMS_MAX} more problems from here on`;
  return [...ordered.slice(0, PROBLEMS_MAX), { ...last, path: '', message: more }];
}
