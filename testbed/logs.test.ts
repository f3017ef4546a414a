import {
  appendFileSync,
  closeSync,
  mkdtempSync,
  openSync,
  readFileSync,
  statSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { trimLogs } from './logs.ts';

test('a log that outgrows its bound keeps its newest part, and its writer notices nothing', () => {
  const folder = mkdtempSync(join(tmpdir(), 'skein-logs-'));
  const path = join(folder, 'lb1.log');
  const file = openSync(path, 'a');
  for (let mebibyte = 0; mebibyte < 9; mebibyte += 1) writeSync(file, 'x'.repeat(1 << 20));
  trimLogs(folder);
  writeSync(file, 'the newest line');
  closeSync(file);
  expect(statSync(path).size).toBe((1 << 20) + 'the newest line'.length);
  expect(readFileSync(path, 'utf8').endsWith('xthe newest line')).toBe(true);
});

test('a log within its bound is left alone', () => {
  const folder = mkdtempSync(join(tmpdir(), 'skein-logs-'));
  appendFileSync(join(folder, 'lb1.log'), 'a line\n');
  trimLogs(folder);
  expect(readFileSync(join(folder, 'lb1.log'), 'utf8')).toBe('a line\n');
});
