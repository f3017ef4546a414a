/**
 * The closing line of a CI run, from what `test-reporter.ts` wrote down, and the run's exit code.
 * Usage: tally.ts FILE EXIT_CODE PROJECT... Must never make a run look better than it was.
 */
import { readFileSync } from 'node:fs';

export interface ProjectTally {
  /** Empty: errors outside any test. */
  readonly project: string;
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
}

export interface Closing {
  /** Such as `120 passed, 0 failed`. */
  readonly line: string;
  readonly exitCode: number;
  /** What the counts alone do not say. */
  readonly notes: readonly string[];
}

export function closing(
  tallies: readonly ProjectTally[],
  exitCode: number,
  expected: readonly string[],
): Closing {
  const notes: string[] = [];
  const passed = sum(tallies, 'passed');
  const skipped = sum(tallies, 'skipped');
  let failed = sum(tallies, 'failed');

  const absent = expected.filter(
    (name) => !tallies.some(({ project, passed }) => project === name && passed > 0),
  );
  if (absent.length > 0) notes.push(`no test passed in: ${absent.join(', ')}`);
  const honestCode = exitCode !== 0 ? exitCode : absent.length > 0 || failed > 0 ? 1 : 0;
  if (honestCode !== 0 && failed === 0) {
    failed = 1;
    notes.push(`something other than a test failed (exit code ${honestCode}): counted as one`);
  }
  const line = `${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`;
  return { line, exitCode: honestCode, notes };
}

function sum(tallies: readonly ProjectTally[], key: 'passed' | 'failed' | 'skipped'): number {
  return tallies.reduce((total, tally) => total + tally[key], 0);
}

if (import.meta.main) {
  const [file = '', exitCode = '1', ...expected] = process.argv.slice(2);
  const lines = readFileSync(file, 'utf8').split('\n').filter(Boolean);
  const tallies = lines.map((line) => JSON.parse(line) as ProjectTally);
  const end = closing(tallies, Number(exitCode), expected);
  for (const note of end.notes) console.error(note);
  console.log(end.line);
  process.exitCode = end.exitCode;
}
