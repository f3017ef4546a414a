import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { nextIncarnation } from './incarnation.ts';

let folder = '';
let path = '';
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'skein-incarnation-'));
  path = join(folder, 'incarnation');
});
afterEach(async () => {
  await rm(folder, { recursive: true });
});

const at = (wallMs: number) => ({ wallMs: () => wallMs });

test('the first life is named by the clock', async () => {
  expect(await nextIncarnation(path, at(1_700_000_000_000.7))).toBe(1_700_000_000_000);
});

test.each([
  ['goes on', 2_000],
  ['stands still', 1_000],
  ['goes back', 10],
])('a later life has a greater number when the clock %s', async (_, wallMs) => {
  const first = await nextIncarnation(path, at(1_000));
  const second = await nextIncarnation(path, at(wallMs));
  const third = await nextIncarnation(path, at(wallMs));
  expect(second).toBe(Math.max(wallMs, first + 1));
  expect(third).toBe(second + 1);
});

test('the number is in the file before it is used, and nothing else is left', async () => {
  const life = await nextIncarnation(path, at(1_000));
  expect(await readFile(path, 'utf8')).toBe(`${life}\n`);
  expect(await readdir(folder)).toEqual(['incarnation']);
});

test('what a start that was cut off left behind does no harm', async () => {
  await writeFile(`${path}.new`, '99');
  expect(await nextIncarnation(path, at(1_000))).toBe(1_000);
});

test.each(['', 'x', '-1', '1.5', '1\n2\n', '9007199254740991', '99999999999999999999', ' 7'])(
  'a file that holds %j is refused: what was used before is not known',
  async (text) => {
    await writeFile(path, text);
    const next = nextIncarnation(path, at(1_000));
    await expect(next).rejects.toMatchObject({ code: 'INCARNATION_DAMAGED' });
    await expect(next).rejects.toThrow(path);
    expect(await readFile(path, 'utf8')).toBe(text);
  },
);

test('a path that cannot be read or written is named', async () => {
  await expect(nextIncarnation(folder, at(1))).rejects.toMatchObject({
    code: 'INCARNATION_UNREADABLE',
  });
  await expect(nextIncarnation(join(folder, 'none', 'x'), at(1))).rejects.toMatchObject({
    code: 'INCARNATION_UNWRITABLE',
  });
});
