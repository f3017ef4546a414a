/** Changes of a document: by file and by signal, also before anyone listens. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { systemClock } from '../lib/clock.ts';
import { silentLogger } from '../lib/logger.ts';
import { watchDocuments, type Watching } from './watch.ts';

let folder: string;
let watching: Watching;
const told: string[] = [];
const tell = (cause: string): void => {
  told.push(cause);
};

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'skein-watch-'));
  watching = watchDocuments([join(folder, 'skein.yaml')], systemClock, silentLogger);
});
afterEach(() => {
  watching.stop();
  rmSync(folder, { recursive: true });
  told.length = 0;
});

test('a SIGHUP that comes before anyone listens is told once, and does not end the process', () => {
  process.emit('SIGHUP', 'SIGHUP');
  process.emit('SIGHUP', 'SIGHUP');
  expect(told).toEqual([]);
  watching.tell(tell);
  expect(told).toEqual(['signal']);
  process.emit('SIGHUP', 'SIGHUP');
  expect(told).toEqual(['signal', 'signal']);
});

test('what is written in several steps is one change', async () => {
  watching.tell(tell);
  for (const text of ['a', 'ab', 'abc']) writeFileSync(join(folder, 'skein.yaml'), text);
  await vi.waitFor(
    () => {
      expect(told).toEqual(['file']);
    },
    { timeout: 20_000 },
  );
});

test('nothing is told after the end', () => {
  watching.tell(tell);
  watching.stop();
  expect(process.listenerCount('SIGHUP')).toBe(0);
});
