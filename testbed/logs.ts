/**
 * Log files of the testbed's processes, in build/testbed. Each is bounded: the processes append
 * without knowing of the bound, so whoever watches the testbed cuts the file back to its newest part.
 */
import {
  closeSync,
  existsSync,
  fstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { FILES } from './places.ts';

const LOG_BYTES_MAX = 8 << 20;
const LOG_BYTES_KEPT = 1 << 20;

export function logPath(name: string): string {
  return `${FILES}/${name}.log`;
}

/** A descriptor for a child's output. Append mode, so that a cut from outside does no harm. */
export function openLog(name: string): number {
  mkdirSync(FILES, { recursive: true });
  return openSync(logPath(name), 'a');
}

/** At the start of a testbed: the last one's logs are of no more use. */
export function removeLogs(): void {
  for (const path of logsIn(FILES)) rmSync(path, { force: true });
}

/** Cuts every log that has outgrown the bound. */
export function trimLogs(folder: string = FILES): void {
  for (const path of logsIn(folder)) {
    const { size } = statSync(path);
    if (size > LOG_BYTES_MAX) writeFileSync(path, tailOf(path, LOG_BYTES_KEPT));
  }
}

/** Bytes in the log; 0 when there is none. */
export function logSize(name: string): number {
  return statSync(logPath(name), { throwIfNoEntry: false })?.size ?? 0;
}

/** Whether the words are in what has been written after the first `from` bytes. */
export function hasSaid(name: string, words: string, from: number): boolean {
  const path = logPath(name);
  return existsSync(path) && readFileSync(path).subarray(from).includes(words);
}

/** The newest lines, for error messages; empty when there is no log. */
export function lastLines(name: string, count: number): readonly string[] {
  const path = logPath(name);
  if (!existsSync(path)) return [];
  const lines = tailOf(path, 64 << 10)
    .toString('utf8')
    .split('\n');
  return lines.filter((line) => line.trim() !== '').slice(-count);
}

function tailOf(path: string, bytesMax: number): Buffer {
  const file = openSync(path, 'r');
  try {
    const { size } = fstatSync(file);
    const buffer = Buffer.alloc(Math.min(size, bytesMax));
    const length = readSync(file, buffer, 0, buffer.length, size - buffer.length);
    return buffer.subarray(0, length);
  } finally {
    closeSync(file);
  }
}

function logsIn(folder: string): readonly string[] {
  if (!existsSync(folder)) return [];
  return readdirSync(folder)
    .filter((file) => file.endsWith('.log'))
    .map((file) => `${folder}/${file}`);
}
