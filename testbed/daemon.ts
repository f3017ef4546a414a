/**
 * One long-running process of the testbed: started detached, so that it outlives the command that
 * made it, recorded, so that it never outlives the testbed, and logged to a file.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { closeSync, writeFileSync } from 'node:fs';
import { SkeinError } from '../src/lib/errors.ts';
import { commandIn, environment } from './exec.ts';
import { hasSaid, lastLines, logPath, logSize, openLog } from './logs.ts';
import { PROJECT } from './places.ts';
import { isListening, record } from './processes.ts';
import { until } from './until.ts';

const READY_TIMEOUT_MS = 60_000;
/** Ended by force it would not have withdrawn its routes, for one. */
const STOP_TIMEOUT_MS = 30_000;
const URGENT_NICE = '-15';

export interface DaemonSpec {
  /** Also the name of its log. */
  readonly name: string;
  readonly namespace: string;
  readonly command: readonly string[];
  /** It is ready once all of these listen. */
  readonly listens: readonly { readonly protocol: 'tcp' | 'udp'; readonly port: number }[];
  /** And once this is in its log. */
  readonly says?: string;
  /**
   * Ahead of all ordinary work on this machine. For what answers every few milliseconds, as dedicated
   * hardware would, and must not seem dead because the tests are busy.
   */
  readonly urgent?: boolean;
}

export class Daemon {
  readonly spec: DaemonSpec;
  #child: ChildProcess | undefined;
  #ending = '';
  /** What earlier processes of this name have said. */
  #logBytesBefore = 0;

  constructor(spec: DaemonSpec) {
    this.spec = spec;
  }

  get running(): boolean {
    return this.#child !== undefined && this.#ending === '';
  }

  /** Undefined while it does not run. */
  get pid(): number | undefined {
    return this.running ? this.#child?.pid : undefined;
  }

  /** Idempotent. Does not wait: see `untilReady`. */
  start(): void {
    if (this.running) return;
    const nice = this.spec.urgent === true ? ['nice', '-n', URGENT_NICE] : [];
    const [program, args] = commandIn(this.spec.namespace, [...nice, ...this.spec.command]);
    this.#logBytesBefore = logSize(this.spec.name);
    const log = openLog(this.spec.name);
    try {
      const child = spawn(program, args, {
        cwd: PROJECT,
        detached: true,
        stdio: ['ignore', log, log],
        env: environment(),
      });
      this.#adopt(child);
    } finally {
      closeSync(log);
    }
  }

  /** Rejects at once when it ends instead of becoming ready. */
  async untilReady(signal?: AbortSignal): Promise<void> {
    await until(() => this.#ready(), {
      what: `${this.spec.name} to listen (see ${logPath(this.spec.name)})`,
      timeoutMs: READY_TIMEOUT_MS,
      everyMs: 10,
      signal,
    });
  }

  /** Throws a SkeinError with the end of its log: whoever waits for it need not go on. */
  assertRunning(): void {
    if (this.running) return;
    const { name } = this.spec;
    const said = lastLines(name, 5).map((line) => `\n  ${line}`);
    const ending = this.#ending === '' ? 'has not been started' : `ended with ${this.#ending}`;
    throw new SkeinError('hopeless', `${name} ${ending}${said.join('')}`);
  }

  /** Asks it to end, and ends it when it does not. Idempotent. */
  async stop(signal: NodeJS.Signals = 'SIGTERM', timeoutMs = STOP_TIMEOUT_MS): Promise<void> {
    this.signal(signal);
    try {
      await this.#untilEnded(timeoutMs);
    } catch {
      await this.kill();
    }
  }

  /** SIGKILL: it gets no chance to say goodbye. Idempotent. */
  async kill(): Promise<void> {
    this.signal('SIGKILL');
    await this.#untilEnded(STOP_TIMEOUT_MS);
  }

  /** Sends a signal to the running process; does nothing when there is none. */
  signal(signal: NodeJS.Signals): void {
    if (this.running) this.#child?.kill(signal);
  }

  #adopt(child: ChildProcess): void {
    this.#child = child;
    this.#ending = '';
    child.once('exit', (code, signal) => {
      if (this.#child === child) this.#ending = signal ?? `exit code ${String(code)}`;
    });
    child.once('error', (error) => {
      if (this.#child === child) this.#ending = error.message;
    });
    child.unref();
    if (child.pid === undefined) return;
    record(child.pid, this.spec.name);
    if (this.spec.urgent === true) hurry(child.pid);
  }

  #ready(): boolean {
    this.assertRunning();
    const pid = this.pid;
    if (pid === undefined) return false;
    const { name, listens, says } = this.spec;
    return (
      listens.every(({ protocol, port }) => isListening(pid, protocol, port)) &&
      (says === undefined || hasSaid(name, says, this.#logBytesBefore))
    );
  }

  async #untilEnded(timeoutMs: number): Promise<void> {
    const what = `${this.spec.name} to end`;
    await until(() => !this.running, { what, timeoutMs, everyMs: 5 });
  }
}

/** Where the kernel shares time among sessions first (sched(7), autogroup), nice alone is for nothing. */
function hurry(pid: number): void {
  try {
    writeFileSync(`/proc/${pid}/autogroup`, URGENT_NICE);
  } catch {
    // Without autogroups nice is enough.
  }
}
