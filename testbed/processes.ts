/**
 * Remembers the processes that the testbed started, and ends them even when whoever started them is
 * gone. Must never signal a process that is not ours: a process id counts only together with its
 * start time, or when the process lives in one of our namespaces.
 */
import { appendFileSync, readdirSync, readFileSync, readlinkSync, rmSync, statSync } from 'node:fs';
import { STATE } from './places.ts';
import { until } from './until.ts';

const RECORDS = `${STATE}/processes.jsonl`;
const DEATH_TIMEOUT_MS = 30_000;

export interface ProcessRecord {
  readonly pid: number;
  /** Field 22 of /proc/PID/stat: clock ticks since boot. */
  readonly startedTicks: string;
  readonly name: string;
}

interface ProcessStat {
  readonly state: string;
  readonly startedTicks: string;
}

/** Call at once after spawning. One appended line, so that no other writer's record is lost. */
export function record(pid: number, name: string): void {
  const stat = statOf(pid);
  if (stat === undefined) return;
  const entry: ProcessRecord = { pid, startedTicks: stat.startedTicks, name };
  appendFileSync(RECORDS, `${JSON.stringify(entry)}\n`);
}

/** Those on record that still run. */
export function runningRecords(): readonly ProcessRecord[] {
  return parseRecords(readText(RECORDS) ?? '').filter(isRunning);
}

/** Ends every recorded process and everything else inside the namespaces; returns how many. */
export async function endAll(namespaces: readonly string[]): Promise<number> {
  const known = runningRecords();
  const strays = processesInside(namespaces).filter(
    (stray) => !known.some((entry) => entry.pid === stray.pid),
  );
  const all = [...known, ...strays];
  for (const entry of all) signalProcess(entry, 'SIGKILL');
  await until(() => all.every((entry) => !isRunning(entry)), {
    what: `the end of ${all.map((entry) => `${entry.name} (${entry.pid})`).join(', ')}`,
    timeoutMs: DEATH_TIMEOUT_MS,
    everyMs: 5,
  });
  rmSync(RECORDS, { force: true });
  return all.length;
}

/** What a shell or a tool left open inside a namespace is ours to end, with or without a record. */
export function processesInside(namespaces: readonly string[]): readonly ProcessRecord[] {
  const inodes = new Set(namespaces.map(namespaceInode).filter((inode) => inode !== undefined));
  if (inodes.size === 0) return [];
  return processIds().flatMap((pid) => {
    const stat = inodes.has(networkOf(pid)) && pid !== process.pid ? statOf(pid) : undefined;
    if (stat === undefined || stat.state === 'Z') return [];
    return [{ pid, startedTicks: stat.startedTicks, name: 'process' }];
  });
}

/** False once it has ended, even if its parent has not yet reaped it or its id is used again. */
export function isRunning(entry: ProcessRecord): boolean {
  const stat = statOf(entry.pid);
  return stat !== undefined && stat.state !== 'Z' && stat.startedTicks === entry.startedTicks;
}

/** This process, as a record. */
export function ownRecord(name: string): ProcessRecord {
  return { pid: process.pid, startedTicks: statOf(process.pid)?.startedTicks ?? '', name };
}

/** Whether a socket of the process's network namespace listens on the port. */
export function isListening(pid: number, protocol: 'tcp' | 'udp', port: number): boolean {
  return [protocol, `${protocol}6`].some((table) =>
    hasListener(readText(`/proc/${pid}/net/${table}`) ?? '', protocol, port),
  );
}

/** Reads a table of /proc/net: local address in hex in column 2, state in column 4. */
export function hasListener(table: string, protocol: 'tcp' | 'udp', port: number): boolean {
  const listening = protocol === 'tcp' ? '0A' : '07';
  const portHex = port.toString(16).toUpperCase().padStart(4, '0');
  return table
    .split('\n')
    .map((line) => line.trim().split(/\s+/))
    .some(([, local, , state]) => state === listening && local?.endsWith(`:${portHex}`) === true);
}

/** proc(5): the command's name is in parentheses and may hold spaces and parentheses itself. */
export function parseStat(text: string): ProcessStat | undefined {
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  const [state, startedTicks] = [fields[0], fields[19]];
  if (state === undefined || startedTicks === undefined) return undefined;
  return { state, startedTicks };
}

/** Lines that were cut short by a crash are skipped. */
export function parseRecords(text: string): readonly ProcessRecord[] {
  return text.split('\n').flatMap((line) => {
    const match = /^\{"pid":(\d+),"startedTicks":"(\d+)","name":"([^"]*)"\}$/.exec(line);
    const [, pid, startedTicks, name] = match ?? [];
    if (pid === undefined || startedTicks === undefined || name === undefined) return [];
    return [{ pid: Number(pid), startedTicks, name }];
  });
}

function signalProcess(entry: ProcessRecord, signal: NodeJS.Signals): void {
  if (!isRunning(entry)) return;
  try {
    process.kill(entry.pid, signal);
  } catch {
    // It ended between the look and the signal, which is what was wanted.
  }
}

function statOf(pid: number): ProcessStat | undefined {
  const text = readText(`/proc/${pid}/stat`);
  return text === undefined ? undefined : parseStat(text);
}

function processIds(): readonly number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number);
}

function networkOf(pid: number): number {
  try {
    return Number(/\d+/.exec(readlinkSync(`/proc/${pid}/ns/net`))?.[0]);
  } catch {
    return Number.NaN;
  }
}

function namespaceInode(name: string): number | undefined {
  return statSync(`/run/netns/${name}`, { throwIfNoEntry: false })?.ino;
}

function readText(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
}
