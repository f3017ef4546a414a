/**
 * Runs commands, inside a namespace where one is named. By nsenter, never by `ip netns exec`: that
 * one mounts a /sys of its own, and bpffs with the pinned maps would be hidden from the command.
 */
import { execFile, spawn } from 'node:child_process';
import { accessSync, constants } from 'node:fs';
import { constants as osConstants } from 'node:os';
import { join } from 'node:path';
import { errorMessage, SkeinError } from '../src/lib/errors.ts';

/** A table of some ten thousand flows, as bpftool prints it. */
const OUTPUT_BYTES_MAX = 64 << 20;
const RUN_TIMEOUT_MS = 30_000;

/** What the testbed needs, and the Debian package that has it. */
const PROGRAMS = {
  ip: 'iproute2',
  bridge: 'iproute2',
  ss: 'iproute2',
  nsenter: 'util-linux',
  ethtool: 'ethtool',
  bird: 'bird2',
  birdc: 'bird2',
  nft: 'nftables',
  bpftool: 'bpftool',
} as const;

export interface RunOptions {
  /** Undefined: where we are. */
  readonly namespace?: string;
  readonly input?: string;
  readonly timeoutMs?: number;
}

/** A command's environment: root's own PATH may lack the sbin folders, where ip and bird are. */
export function environment(): NodeJS.ProcessEnv {
  const path = [process.env['PATH'] ?? '', '/usr/sbin', '/sbin', '/usr/bin', '/bin'];
  return { ...process.env, PATH: path.filter((part) => part !== '').join(':') };
}

/** Why no testbed can be made here, in one line; undefined when it can. */
export function missingRequirement(): string | undefined {
  if (process.geteuid?.() !== 0) {
    return 'making network namespaces needs root: run this with sudo';
  }
  const missing = Object.entries(PROGRAMS).filter(([program]) => !isInstalled(program));
  if (missing.length === 0) return undefined;
  const packages = [...new Set(missing.map(([, name]) => name))].join(' ');
  const names = missing.map(([program]) => program).join(', ');
  return `${names} not found: apt-get install ${packages}`;
}

/** The command as it is started: nsenter becomes the command, so its process id is the command's. */
export function commandIn(
  namespace: string | undefined,
  command: readonly string[],
): readonly [string, readonly string[]] {
  const [program, ...args] = command;
  if (program === undefined) throw new TypeError('an empty command');
  if (namespace === undefined) return [program, args];
  return ['nsenter', [`--net=/run/netns/${namespace}`, '--', program, ...args]];
}

/** Runs to the end and returns standard output. Throws a SkeinError that quotes standard error. */
export async function run(command: readonly string[], options: RunOptions = {}): Promise<string> {
  const [program, args] = commandIn(options.namespace, command);
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  const limits = { timeout: options.timeoutMs ?? RUN_TIMEOUT_MS, maxBuffer: OUTPUT_BYTES_MAX };
  const child = execFile(
    program,
    args,
    { ...limits, env: environment(), killSignal: 'SIGKILL' },
    (error, stdout, stderr) => {
      if (error === null) resolve(stdout);
      else reject(commandFailed(command, options.namespace, error, stderr));
    },
  );
  // A command that ends without reading its input is judged by its exit code alone.
  child.stdin?.on('error', () => undefined);
  child.stdin?.end(options.input ?? '');
  return promise;
}

/** Runs with our own terminal; resolves with the exit code, 128 + n for a death by signal n. */
export async function runAttached(
  namespace: string | undefined,
  command: readonly string[],
): Promise<number> {
  const [program, args] = commandIn(namespace, command);
  const { promise, resolve, reject } = Promise.withResolvers<number>();
  const child = spawn(program, args, { stdio: 'inherit', env: environment() });
  // The terminal sends Ctrl-C to both of us: the command decides what to make of it.
  const ignore = (): void => undefined;
  process.on('SIGINT', ignore);
  child.once('error', (error) => {
    reject(new SkeinError('command_failed', `${program}: ${error.message}`, { cause: error }));
  });
  child.once('exit', (code, signal) => {
    process.off('SIGINT', ignore);
    resolve(code ?? 128 + (signal === null ? 0 : osConstants.signals[signal]));
  });
  return promise;
}

function isInstalled(program: string): boolean {
  return (environment()['PATH'] ?? '').split(':').some((folder) => {
    try {
      accessSync(join(folder, program), constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

function commandFailed(
  command: readonly string[],
  namespace: string | undefined,
  error: Error,
  stderr: string,
): SkeinError {
  const where = namespace === undefined ? '' : ` in ${namespace}`;
  const said = stderr.trim() === '' ? errorMessage(error) : stderr.trim();
  const text = `${command.slice(0, 4).join(' ')}${where}: ${said}`;
  return new SkeinError('command_failed', text, { cause: error });
}
