/**
 * One process, run for a check. It ends by the time that the signal fires, with everything that it
 * has started in its process group; what it writes is bounded. Must never see this process's own
 * environment, which may hold secrets.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { performance } from 'node:perf_hooks';
import type { Readable } from 'node:stream';

/** Of standard output and of standard error, each: one that writes more is ended. */
const OUTPUT_BYTES_MAX = 64 * 1024;
const ENVIRONMENT = {
  PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
  LC_ALL: 'C',
};

export interface ProcessSpec {
  /** A path, or a name to be looked for in the usual folders. */
  readonly command: string;
  readonly args: readonly string[];
  /** Beside the PATH, and LC_ALL=C. */
  readonly environment?: Readonly<Record<string, string>>;
}

export interface ProcessEnd {
  readonly kind: 'ended';
  /** Null when a signal ended it. */
  readonly status: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
  readonly latencyMs: number;
}

export type ProcessOutcome =
  | ProcessEnd
  | { readonly kind: 'aborted' }
  | { readonly kind: 'too_much_output' }
  | { readonly kind: 'not_started'; readonly error: NodeJS.ErrnoException };

/** Resolves when the process and its pipes are gone. Never rejects. */
export function runProcess(spec: ProcessSpec, signal: AbortSignal): Promise<ProcessOutcome> {
  if (signal.aborted) return Promise.resolve({ kind: 'aborted' });
  const startMs = performance.now();
  let child: ChildProcess;
  try {
    child = spawn(spec.command, spec.args, {
      cwd: '/',
      env: { ...ENVIRONMENT, ...spec.environment },
      stdio: ['ignore', 'pipe', 'pipe'],
      // A process group of its own, so that its children can be ended with it.
      detached: true,
    });
  } catch (error) {
    return Promise.resolve({ kind: 'not_started', error: error as NodeJS.ErrnoException });
  }
  return watch(child, startMs, signal);
}

function watch(child: ChildProcess, startMs: number, signal: AbortSignal): Promise<ProcessOutcome> {
  const { promise, resolve } = Promise.withResolvers<ProcessOutcome>();
  let outcome: ProcessOutcome | undefined;
  const end = (why: ProcessOutcome) => {
    outcome ??= why;
    killGroup(child);
    // One that left the group may hold the pipes for as long as it likes.
    child.stdout?.destroy();
    child.stderr?.destroy();
  };
  const tooMuch = () => {
    end({ kind: 'too_much_output' });
  };
  const stdout = collect(child.stdout, tooMuch);
  const stderr = collect(child.stderr, tooMuch);
  const onAbort = () => {
    const { exitCode: status, signalCode } = child;
    const ended = status !== null || signalCode !== null;
    end(ended ? endOf(status, signalCode) : { kind: 'aborted' });
  };
  const endOf = (status: number | null, by: NodeJS.Signals | null): ProcessEnd => {
    const latencyMs = performance.now() - startMs;
    return { kind: 'ended', status, signal: by, stdout: stdout(), stderr: stderr(), latencyMs };
  };
  signal.addEventListener('abort', onAbort, { once: true });
  child.once('error', (error) => {
    if (child.pid === undefined) end({ kind: 'not_started', error });
  });
  child.once('exit', () => {
    killGroup(child);
  });
  child.once('close', (status: number | null, by: NodeJS.Signals | null) => {
    signal.removeEventListener('abort', onAbort);
    resolve(outcome ?? endOf(status, by));
  });
  return promise;
}

/** Reads up to the limit; returns what has come so far. */
function collect(stream: Readable | null, onTooMuch: () => void): () => string {
  const chunks: Buffer[] = [];
  let bytes = 0;
  stream?.on('data', (chunk: Buffer) => {
    bytes += chunk.length;
    if (bytes > OUTPUT_BYTES_MAX) onTooMuch();
    else chunks.push(chunk);
  });
  stream?.on('error', () => undefined);
  return () => Buffer.concat(chunks).toString('utf8');
}

/** Also what the process has left behind. */
function killGroup({ pid }: ChildProcess): void {
  if (pid === undefined) return;
  try {
    process.kill(-pid, 'SIGKILL');
  } catch {
    // Nobody is left, which is what was wanted.
  }
}
