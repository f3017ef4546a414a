/** The command line as its users meet it: a process, its exit code, and what it says. */
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';

const MAIN = join(import.meta.dirname, 'main.ts');

const cache = mkdtempSync(join(tmpdir(), 'skein-main-'));
afterAll(() => {
  rmSync(cache, { recursive: true });
});

function skein(line: string): Promise<{ readonly code: unknown; readonly said: string }> {
  const options = { env: { ...process.env, NODE_COMPILE_CACHE: cache } };
  return new Promise((resolve) => {
    execFile(process.execPath, [MAIN, ...line.split(' ')], options, (error, stdout, stderr) => {
      resolve({ code: error === null ? 0 : error.code, said: stdout + stderr });
    });
  });
}

test.each([
  ['check', "'-c, --config <file>' not specified", 'skein check --help'],
  ['backend doctr', 'did you mean "doctor"?', 'skein backend --help'],
  ['backend nothing', 'there are status, report, key, doctor', 'skein backend --help'],
  ['backend report -l loud', 'Allowed choices are debug,', 'skein backend report --help'],
])('skein %s ends with 2, and points to the help of what was meant', async (line, words, help) => {
  const { code, said } = await skein(line);
  expect(said).toContain(words);
  expect(said).toContain(`(${help} shows what there is)`);
  expect(code).toBe(2);
});

test('skein backend help is the help of skein backend', async () => {
  const { code, said } = await skein('backend help');
  expect(said).toMatch(/^Usage: skein backend \[options\] \[command\]/);
  expect(code).toBe(0);
});

test('who asks where no node is hears how to ask another', async () => {
  const { code, said } = await skein('status --url http://127.0.0.1:1/');
  expect(said).toMatch(/no node answers at .*--url names another console/);
  expect(code).toBe(1);
});
