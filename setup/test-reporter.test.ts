/** Runs vitest itself on small files, since what counts is its exit code. */
import { execFile } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';

// A whole vitest starts in each test, all at once, on a machine that may be busy.
vi.setConfig({ testTimeout: 240_000 });

const ROOT = join(import.meta.dirname, '..');
const run = promisify(execFile);
let folder = '';

const FILES = {
  passing: `test('passes', () => {});`,
  skipping: `test('passes', () => {});\ntest.skip('left out', () => {});`,
  undone: `test('passes', () => {});\ntest.todo('not written');`,
  failing: `test('passes', () => {});\ntest('fails', () => { throw new Error('as it should'); });`,
  hook: `import { beforeAll } from 'vitest';\nbeforeAll(() => { throw new Error('hook'); });\ntest('never runs', () => {});`,
};

beforeAll(() => {
  // Within the repository, so that the files find vitest.
  mkdirSync(join(ROOT, 'build'), { recursive: true });
  folder = mkdtempSync(join(ROOT, 'build/reporter-'));
  for (const [name, body] of Object.entries(FILES)) {
    const text = `import { test } from 'vitest';\n${body}\n`;
    writeFileSync(join(folder, `${name}.test.ts`), text);
  }
  const reporter = JSON.stringify(join(ROOT, 'setup/test-reporter.ts'));
  writeFileSync(
    join(folder, 'vitest.config.ts'),
    `import { TestReporter } from ${reporter};
    const { CI, SKEIN_TALLY } = process.env;
    const reporter = new TestReporter({ ci: CI === 'true', tallyFile: SKEIN_TALLY });
    export default { test: { name: 'small', pool: 'threads', reporters: ['default', reporter] } };`,
  );
});

afterAll(() => {
  rmSync(folder, { recursive: true, force: true });
});

interface Outcome {
  readonly code: number;
  readonly output: string;
  readonly tally: unknown;
}

let runs = 0;

async function vitest(
  file: keyof typeof FILES,
  ci: boolean,
  ...options: string[]
): Promise<Outcome> {
  runs += 1;
  const tallyFile = join(folder, `${runs}.tally`);
  const env = { ...process.env, CI: ci ? 'true' : '', SKEIN_TALLY: tallyFile };
  const cli = join(ROOT, 'node_modules/vitest/vitest.mjs');
  const ended = await run(process.execPath, [cli, 'run', '--root', folder, ...options, file], {
    env,
    timeout: 200_000,
  }).then(
    ({ stdout, stderr }) => ({ code: 0, output: stdout + stderr }),
    (error: unknown) => {
      const { code, stdout, stderr } = error as { code: number; stdout: string; stderr: string };
      return { code, output: stdout + stderr };
    },
  );
  return { ...ended, tally: JSON.parse(readFileSync(tallyFile, 'utf8')) as unknown };
}

test.concurrent.each([
  ['skipping', 0, { passed: 1, failed: 0, skipped: 1 }],
  ['failing', 1, { passed: 1, failed: 1, skipped: 0 }],
  // Its test is only skipped, but a hook that throws is no less a failure.
  ['hook', 1, { passed: 0, failed: 1, skipped: 1 }],
] as const)('without CI, the file "%s" ends with %i and is counted', async (file, code, counts) => {
  const outcome = await vitest(file, false);
  expect(outcome.code).toBe(code);
  expect(outcome.tally).toEqual({ project: 'small', ...counts });
});

test.concurrent('with CI, a run without skips passes', async () => {
  const { code, tally } = await vitest('passing', true);
  expect(code).toBe(0);
  expect(tally).toEqual({ project: 'small', passed: 1, failed: 0, skipped: 0 });
});

test.concurrent.each([
  ['skipping', 'left out'],
  ['undone', 'not written'],
] as const)('with CI, the file "%s" fails the run and is named', async (file, name) => {
  const { code, output } = await vitest(file, true);
  expect(code).toBe(1);
  expect(output).toContain(`small: ${file}.test.ts > ${name}`);
});

test.concurrent('with CI, tests left out by a name filter are not skips', async () => {
  expect((await vitest('skipping', true, '-t', 'passes')).code).toBe(0);
});
