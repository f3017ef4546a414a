import { expect, test } from 'vitest';
import { closing, type ProjectTally } from './tally.ts';

const EXPECTED = ['unit', 'kernel'];

function tally(project: string, passed: number, failed = 0, skipped = 0): ProjectTally {
  return { project, passed, failed, skipped };
}

test.each<[string, ProjectTally[], number, string, number]>([
  ['all passed', [tally('unit', 5), tally('kernel', 2)], 0, '7 passed, 0 failed', 0],
  ['a test failed', [tally('unit', 5, 2), tally('kernel', 1)], 1, '6 passed, 2 failed', 1],
  ['skipped', [tally('unit', 5), tally('kernel', 1, 0, 3)], 1, '6 passed, 1 failed, 3 skipped', 1],
  ['a step other than a test failed', [tally('unit', 5)], 2, '5 passed, 1 failed', 2],
  ['timeout before any test', [], 124, '0 passed, 1 failed', 124],
  ['an error outside any test', [tally('unit', 5), tally('', 0, 1)], 1, '5 passed, 1 failed', 1],
  ['a project did not run, exit 0 all the same', [tally('unit', 5)], 0, '5 passed, 1 failed', 1],
  [
    'failures, exit 0 all the same',
    [tally('unit', 5, 1), tally('kernel', 1)],
    0,
    '6 passed, 1 failed',
    1,
  ],
])('closing line: %s', (_name, tallies, exitCode, line, endCode) => {
  const end = closing(tallies, exitCode, EXPECTED);
  expect(end.line).toBe(line);
  expect(end.exitCode).toBe(endCode);
});

test('a failure that no test accounts for is explained', () => {
  expect(closing([tally('unit', 1), tally('kernel', 1)], 3, EXPECTED).notes).toEqual([
    'something other than a test failed (exit code 3): counted as one',
  ]);
});
