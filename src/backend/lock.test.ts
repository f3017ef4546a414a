import { writeFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { askBackend, takeLock } from './lock.ts';

let folder: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'skein-lock-'));
});
afterEach(async () => {
  await rm(folder, { recursive: true });
});

test('the second comer is told who has it', async () => {
  const lock = await takeLock(folder, () => ({ pid: 4711 }));
  await expect(takeLock(folder, () => ({}))).rejects.toMatchObject({
    code: 'BACKEND_RUNNING',
    message: expect.stringContaining('process 4711') as string,
  });
  await lock.release();
  await (await takeLock(folder, () => ({}))).release();
});

test('whoever asks is answered', async () => {
  expect(await askBackend(folder)).toBeUndefined();
  const lock = await takeLock(folder, () => ({ vips: ['192.0.2.1'] }));
  expect(await askBackend(folder)).toEqual({ vips: ['192.0.2.1'] });
  await lock.release();
  expect(await askBackend(folder)).toBeUndefined();
});

test('what a killed process left is no lock', async () => {
  writeFileSync(join(folder, 'socket'), '');
  await (await takeLock(folder, () => ({}))).release();
});

test('somebody who says nothing of himself has it too', async () => {
  const other = createServer((socket) => socket.end()).listen(join(folder, 'socket'));
  await expect(takeLock(folder, () => ({}))).rejects.toThrow(/runs already \(a process/);
  other.close();
});

test('a folder whose socket would have too long a name is refused', async () => {
  await expect(takeLock(join(folder, 'x'.repeat(100)), () => ({}))).rejects.toMatchObject({
    code: 'CONFIG',
  });
});
