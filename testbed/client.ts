/**
 * The client of the testbed, as tests use it: each call runs traffic.ts inside the client's
 * namespace. Must never leave a traffic process behind: they end with their standard input.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { createInterface } from 'node:readline';
import { SkeinError } from '../src/lib/errors.ts';
import { commandIn, environment, run } from './exec.ts';
import { PROJECT } from './places.ts';
import type { Site } from './topology.ts';
import type { DownloadOptions } from './traffic/download.ts';
import type {
  DownloadReady,
  DownloadReport,
  HoldReady,
  HoldReport,
  RequestsReport,
  StreamResult,
  TrafficMessage,
  TransfersReport,
  UdpReport,
} from './traffic/report.ts';
import type { HoldOptions } from './traffic/hold.ts';
import type { RequestsOptions } from './traffic/requests.ts';
import type { StreamOptions } from './traffic/stream.ts';
import type { TransfersOptions } from './traffic/transfers.ts';
import type { UdpOptions } from './traffic/udp.ts';

/** Everything but `url` and `host` has a default: see `node testbed/traffic.ts MODE --help`. */
type With<T, Key extends keyof T> = Partial<T> & Pick<T, Key>;

const DATAGRAMS = 100;
const TO_THE_END_TIMEOUT_MS = 120_000;
const REPLY_TIMEOUT_MS = 30_000;
/** Results of a stream that are kept; older ones are forgotten first. */
const RESULTS_MAX = 200_000;
const MAIN = `${PROJECT}testbed/traffic.ts`;

export class Client {
  readonly #namespace: string;

  constructor(site: Site) {
    this.#namespace = site.namespace;
  }

  /** HTTP requests, each on a new connection. Resolves after the last. */
  async requests(options: With<RequestsOptions, 'url'>): Promise<RequestsReport> {
    return this.#once('requests', options);
  }

  /** Datagrams to the UDP echo. Resolves after the last answer. */
  async datagrams(options: With<UdpOptions, 'host'>): Promise<UdpReport> {
    return this.#once('udp', { count: DATAGRAMS, ...options });
  }

  /** Downloads and uploads at once, with checksums. Resolves after the last. */
  async transfers(options: With<TransfersOptions, 'url'>): Promise<TransfersReport> {
    return this.#once('transfers', options);
  }

  /** Starts a steady stream of datagrams to the UDP echo, over many flows. */
  datagramStream(options: Omit<With<UdpOptions, 'host'>, 'count'>): DatagramStream {
    return new DatagramStream(this.#start('udp', options));
  }

  /** Opens connections that stay, and resolves when each is open or has failed. */
  async hold(options: With<HoldOptions, 'host'>): Promise<Hold> {
    const hold = new Hold(this.#start('hold', options));
    await hold.untilReady();
    return hold;
  }

  /** Opens the connection of a download, which then waits for its start. */
  async download(options: With<DownloadOptions, 'url'>): Promise<Download> {
    const download = new Download(this.#start('download', options));
    await download.untilOpened();
    return download;
  }

  /** Starts a steady stream of requests. */
  stream(options: With<StreamOptions, 'urls'>): Stream {
    const { urls, ...rest } = options;
    return new Stream(this.#start('stream', rest, ['--url', ...urls]));
  }

  async #once<T>(mode: string, options: object): Promise<T> {
    const output = await run(trafficCommand(mode, options), {
      namespace: this.#namespace,
      timeoutMs: TO_THE_END_TIMEOUT_MS,
    });
    return JSON.parse(output) as T;
  }

  #start(mode: string, options: object, more: readonly string[] = []): ChildProcess {
    const command = [...trafficCommand(mode, options), ...more];
    const [program, args] = commandIn(this.#namespace, command);
    return spawn(program, args, { stdio: ['pipe', 'pipe', 'inherit'], env: environment() });
  }
}

/** Connections being held. */
export class Hold {
  readonly #replies: Replies;
  #opened: HoldReady = { kind: 'ready', opened: 0, failed: 0 };

  constructor(child: ChildProcess) {
    this.#replies = new Replies(child);
  }

  /** How many could be opened. */
  get ready(): HoldReady {
    return this.#opened;
  }

  async untilReady(): Promise<void> {
    this.#opened = await this.#replies.next('ready');
  }

  async report(): Promise<HoldReport> {
    this.#replies.send('report');
    return this.#replies.next('hold');
  }

  /** From now on `longestGapMs` counts anew. */
  mark(): void {
    this.#replies.send('mark');
  }

  /** Closes the connections and returns the last report. */
  async stop(): Promise<HoldReport> {
    this.#replies.send('stop');
    const last = await this.#replies.next<HoldReport>('hold');
    await this.#replies.end();
    return last;
  }
}

/** A stream of requests under way. */
export class Stream {
  readonly #replies: Replies;
  readonly #results: StreamResult[] = [];

  constructor(child: ChildProcess) {
    this.#replies = new Replies(child, (message) => {
      if (message.kind !== 'result') return;
      this.#results.push(message);
      if (this.#results.length > RESULTS_MAX) this.#results.shift();
    });
  }

  /** So far, in the order in which they ended. */
  get results(): readonly StreamResult[] {
    return this.#results;
  }

  /** Resolves when every request sent so far has its result. */
  async stop(): Promise<readonly StreamResult[]> {
    this.#replies.send('stop');
    await this.#replies.end();
    return this.#results;
  }
}

/** A stream of datagrams under way. */
export class DatagramStream {
  readonly #replies: Replies;

  constructor(child: ChildProcess) {
    this.#replies = new Replies(child);
  }

  /** Resolves when the last answers have come, or have had their time. */
  async stop(): Promise<UdpReport> {
    const report = this.#replies.next<UdpReport>('udp');
    this.#replies.send('stop');
    try {
      return await report;
    } finally {
      await this.#replies.end();
    }
  }
}

/** A download: its connection is open, and it starts when it is told to. */
export class Download {
  readonly #replies: Replies;
  #opened: DownloadReady = { kind: 'opened', backend: '', port: 0 };

  constructor(child: ChildProcess) {
    this.#replies = new Replies(child);
  }

  /** Who serves it, and from which port of the client. */
  get opened(): DownloadReady {
    return this.#opened;
  }

  async untilOpened(): Promise<void> {
    this.#opened = await this.#replies.next('opened');
  }

  start(): void {
    this.#replies.send('start');
  }

  async report(): Promise<DownloadReport> {
    this.#replies.send('report');
    return this.#replies.next('download');
  }

  /** Closes the connection. */
  async stop(): Promise<void> {
    this.#replies.send('stop');
    await this.#replies.end();
  }
}

/** The conversation with a traffic process: command lines in, JSON lines out. */
class Replies {
  readonly #child: ChildProcess;
  readonly #ended = Promise.withResolvers<undefined>();
  /** One reply is awaited at a time; what nobody awaits goes to `each` only. */
  #awaited: { readonly kind: string; readonly give: (message: TrafficMessage) => void } | undefined;

  constructor(child: ChildProcess, each: (message: TrafficMessage) => void = () => undefined) {
    this.#child = child;
    child.stdin?.on('error', () => undefined);
    child.once('error', () => {
      this.#ended.resolve(undefined);
    });
    child.once('close', () => {
      this.#ended.resolve(undefined);
    });
    if (child.stdout === null) return;
    createInterface({ input: child.stdout }).on('line', (line) => {
      const message = JSON.parse(line) as TrafficMessage;
      each(message);
      if (this.#awaited?.kind === message.kind) this.#awaited.give(message);
    });
  }

  send(command: string): void {
    this.#child.stdin?.write(`${command}\n`);
  }

  async next<T extends TrafficMessage>(kind: T['kind']): Promise<T> {
    const { promise, resolve, reject } = Promise.withResolvers<T>();
    const fail = (why: string): void => {
      reject(new SkeinError('traffic_failed', `the traffic process ${why}`));
    };
    this.#awaited = {
      kind,
      give: (message) => {
        resolve(message as T);
      },
    };
    const timer = setTimeout(() => {
      fail(`has sent no ${kind} for ${REPLY_TIMEOUT_MS} ms`);
    }, REPLY_TIMEOUT_MS);
    void this.#ended.promise.then(() => {
      fail(`ended before its ${kind}`);
    });
    try {
      return await promise;
    } finally {
      clearTimeout(timer);
      this.#awaited = undefined;
    }
  }

  async end(): Promise<void> {
    this.#child.stdin?.end();
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), REPLY_TIMEOUT_MS);
    await this.#ended.promise;
    clearTimeout(timer);
  }
}

/** Options become `--kebab-case value`; undefined ones are left to their defaults. */
export function trafficCommand(mode: string, options: object): readonly string[] {
  const flags = Object.entries(options)
    .filter(([, value]) => value !== undefined)
    .flatMap(([name, value]) => [`--${kebab(name)}`, String(value)]);
  return [process.execPath, MAIN, mode, ...flags];
}

function kebab(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
}
