/**
 * A place of our own to measure in: private network and mount namespaces, which the kernel takes away
 * with the process, whatever becomes of it. Must never change an interface or a pin outside of them.
 */
import { spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { constants } from 'node:os';
import { ipBatch, ipJson, runTool } from '../src/dataplane/ip.ts';
import { errorMessage, SkeinError } from '../src/lib/errors.ts';
import type { Address } from '../src/model/address.ts';

const MARK = 'SKEIN_BENCH_INSIDE';
/** The interface that frames come from and go to; nobody listens at its other end. */
export const INTERFACE = 'bench0';
const OTHER_END = 'bench1';
const SOMEBODYS_MAC = '02:00:00:00:01:00';
const PROCESSES_TIMEOUT_MS = 60_000;
const POLL_MS = 20;
/** Between two children of one task there may be none for a moment. */
const QUIET_POLLS = 5;

/** Runs `main` in the place: the first call starts this program again inside, and waits for it. */
export async function inside(main: () => Promise<void>): Promise<void> {
  try {
    if (process.env[MARK] === undefined) process.exitCode = rerun();
    else await main();
  } catch (error) {
    console.error(errorMessage(error));
    process.exitCode = 1;
  }
}

function rerun(): number {
  if (process.geteuid?.() !== 0) {
    throw new SkeinError('NOT_ROOT', 'loading BPF programs needs root: run this with sudo');
  }
  const command = [process.execPath, ...process.execArgv, ...process.argv.slice(1)];
  const { status, signal, error } = spawnSync('unshare', ['--net', '--mount', ...command], {
    stdio: 'inherit',
    env: { ...process.env, [MARK]: '1' },
  });
  if (error !== undefined) throw error;
  return status ?? 128 + (signal === null ? 0 : constants.signals[signal]);
}

/**
 * Puts this thread on the last CPU alone, before every ordinary process where the machine allows
 * it. Node's other threads stay where they are: with them, a loop of this one that waits for one of them
 * would never end. Returns what was done, in words.
 */
export async function takeCpu(): Promise<string> {
  const cpu = lastCpu();
  const thread = String(process.pid);
  await runTool('taskset', ['--pid', '--cpu-list', String(cpu), thread]);
  if (cpu === 0) return 'CPU 0';
  try {
    await runTool('chrt', ['--fifo', '--pid', '1', thread]);
    return `CPU ${cpu} (SCHED_FIFO)`;
  } catch {
    return `CPU ${cpu}`;
  }
}

/** The last CPU that this process may use. */
function lastCpu(): number {
  const status = readFileSync('/proc/self/status', 'utf8');
  const list = /^Cpus_allowed_list:\s*(\S+)$/m.exec(status)?.[1] ?? '0';
  return lastOfList(list);
}

/** `0-3,8` -> 8: how the kernel writes sets of CPUs. */
export function lastOfList(list: string): number {
  return Number(list.split(/[,-]/).at(-1));
}

/** An interface with these addresses, and a BPF file system that nobody else sees. */
export async function makePlace(addresses: readonly string[]): Promise<void> {
  await runTool('mount', ['-t', 'bpf', 'bpf', '/sys/fs/bpf']);
  await runTool('ip', ['link', 'add', INTERFACE, 'type', 'veth', 'peer', 'name', OTHER_END]);
  // So that it never sends a packet on its own account.
  writeFileSync(`/proc/sys/net/ipv6/conf/${OTHER_END}/disable_ipv6`, '1');
  await batch([
    'link set lo up',
    ...addresses.map(
      (each) => `addr add ${each} dev ${INTERFACE}${each.includes(':') ? ' nodad' : ''}`,
    ),
    `link set ${OTHER_END} arp off up`,
    `link set ${INTERFACE} up`,
  ]);
}

/**
 * Gives the neighbours a MAC address, as if they had answered. The data plane has asked for managed
 * entries, in the background, which would wait for an answer forever: they are replaced.
 */
export async function answerFor(neighbours: readonly Address[]): Promise<void> {
  await processesEnd();
  const managed = await managedNeighbours();
  if (managed !== neighbours.length) {
    throw new SkeinError('NEIGHBOURS', `${managed} of ${neighbours.length} neighbours are managed`);
  }
  const permanent = `lladdr ${SOMEBODYS_MAC} dev ${INTERFACE} nud permanent`;
  await batch(neighbours.map((each) => `neigh replace ${each} ${permanent}`));
}

/** How many entries of the interface the kernel was asked to keep alive. */
export async function managedNeighbours(): Promise<number> {
  const entries = (await ipJson(['neigh', 'show', 'dev', INTERFACE])) as readonly object[];
  return entries.filter((entry) => 'managed' in entry).length;
}

/**
 * Waits until no child has run for a while: what the data plane does in the background is over then.
 * A child that ends while a program is under test would also interrupt that run by a signal.
 */
export async function processesEnd(): Promise<void> {
  const deadlineMs = performance.now() + PROCESSES_TIMEOUT_MS;
  for (let quietPolls = 0; quietPolls < QUIET_POLLS; quietPolls += 1) {
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    if (process.getActiveResourcesInfo().includes('ProcessWrap')) quietPolls = -1;
    if (performance.now() > deadlineMs) throw new SkeinError('BENCH', 'a child does not end');
  }
}

async function batch(commands: readonly string[]): Promise<void> {
  const { failures } = await ipBatch(commands);
  if (failures.length > 0) throw new SkeinError('TOOL_FAILED', `ip: ${failures.join('; ')}`);
}
