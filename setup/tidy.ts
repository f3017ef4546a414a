/**
 * The rules of this repository that no linter has: bounds on C, reasons beside suppressed rules,
 * and nothing that belongs to one machine. Looks at lines, not at syntax. Must never change a file.
 */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

const FILE_LINES_MAX = 500;
const C_FUNCTION_LINES_MAX = 70;
/** Larger files are no source of ours. */
const FILE_BYTES_MAX = 1 << 20;

const C_FILE = /\.[ch]$/;
const CODE_FILE = /\.(ts|js|c|h|sh)$/;
const TEST_FILE = '.test.ts';
const GENERATED_FILE = /\.generated\.|^package-lock\.json$/;

interface LineRule {
  readonly pattern: RegExp;
  /** Lines that match this too are as they must be. */
  readonly unless?: RegExp;
  readonly message: string;
}

const LINE_RULES: readonly LineRule[] = [
  {
    pattern: /\beslint[-]disable/,
    unless: /eslint[-]disable(-next-line|-line)? @?[a-z][\w/-]*(, @?[a-z][\w/-]*)* -- \S/,
    message: 'disables a lint rule without naming it, or without ` -- ` and a reason',
  },
  {
    pattern: /clang-format[ ]off/,
    unless: /clang-format[ ]off: \S/,
    message: 'turns the formatter off without `: ` and a reason',
  },
  {
    pattern: /\bTOD[O]\b/,
    unless: /TOD[O]\(#\d+\)/,
    message: 'leaves work open without its issue, as in (#12)',
  },
  {
    pattern: /(^|[\s'"`=(:])\/(home|Users|root|work|workspace)\/[\w.-]/,
    message: 'is a path of one machine',
  },
  {
    pattern: /\b(registry\.[a-z]+js|deb\.[a-z]+|security\.[a-z]+|pypi|proxy\.golang)\.org\b/,
    message: 'names a host of a package registry: the machine knows its own',
  },
  { pattern: /^(<{7}|>{7}) /, message: 'is left over from a merge' },
];

const LOCK_RULES: readonly LineRule[] = [
  {
    pattern: /"resolved": "https?:/,
    message: 'records a download host: keep omit-lockfile-registry-resolved=true in .npmrc',
  },
];

/** What is wrong with a file, one `path:line: what` each. */
export function tidyProblems(path: string, text: string): string[] {
  const lines = text.split('\n');
  if (lines.at(-1) === '') lines.pop();
  const rules = path === 'package-lock.json' ? LOCK_RULES : LINE_RULES;
  const found = brokenLines(path, lines, rules);
  if (GENERATED_FILE.test(path)) return found;
  if (CODE_FILE.test(path) && !path.endsWith(TEST_FILE) && lines.length > FILE_LINES_MAX) {
    found.push(`${path}:1: has ${lines.length} lines, over ${FILE_LINES_MAX}: split it by concept`);
  }
  if (C_FILE.test(path)) found.push(...longCFunctions(path, lines));
  return found;
}

function brokenLines(path: string, lines: readonly string[], rules: readonly LineRule[]): string[] {
  return lines.flatMap((line, index) =>
    rules
      .filter(({ pattern, unless }) => pattern.test(line) && unless?.test(line) !== true)
      .map(({ message }) => `${path}:${index + 1}: ${message}`),
  );
}

/** Counts from the opening brace to the closing one, which clang-format puts in column 0. */
function longCFunctions(path: string, lines: readonly string[]): string[] {
  const found: string[] = [];
  let open = -1;
  for (const [index, line] of lines.entries()) {
    if (line === '{') open = index;
    if (line !== '}' || open === -1) continue;
    const length = index - open - 1;
    if (length > C_FUNCTION_LINES_MAX) {
      found.push(
        `${path}:${open}: a function of ${length} lines, over ${C_FUNCTION_LINES_MAX}: split it`,
      );
    }
    open = -1;
  }
  return found;
}

/** Tracked files and new ones, but not what .gitignore names. */
export function repositoryFiles(root: string): string[] {
  const listed = execFileSync('git', ['ls-files', '-co', '--exclude-standard', '-z'], {
    cwd: root,
    encoding: 'utf8',
  });
  return listed.split('\0').filter(Boolean);
}

function readText(path: string): string | undefined {
  try {
    const bytes = readFileSync(path);
    return bytes.length > FILE_BYTES_MAX || bytes.includes(0) ? undefined : bytes.toString('utf8');
  } catch {
    return undefined; // deleted, and git does not know yet
  }
}

if (import.meta.main) {
  const root = join(import.meta.dirname, '..');
  const problems = repositoryFiles(root).flatMap((path) => {
    const text = readText(join(root, path));
    return text === undefined ? [] : tidyProblems(path, text);
  });
  for (const problem of problems) console.log(problem);
  if (problems.length > 0) process.exitCode = 1;
}
