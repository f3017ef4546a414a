/**
 * Mode `hold`: many TCP connections to the echo port, each of which keeps sending numbered lines and
 * checks that exactly those come back from the backend that it began with.
 */
import { Socket } from 'node:net';
import { errorCode, Tally, type BrokenConnection, type HoldReport } from './report.ts';

/** Lines of one connection that may wait for their echo; no more are sent until one comes. */
const PENDING_MAX = 16;
const EXAMPLES_MAX = 20;
/** Connections being opened at once: a flood of SYNs would test the backlog and not the balancer. */
const OPENING_MAX = 128;
const TICK_MS = 10;

export interface HoldOptions {
  readonly host: string;
  readonly port: number;
  readonly count: number;
  /** Between two lines of one connection. */
  readonly intervalMs: number;
  readonly openTimeoutMs: number;
  /** A line that waits longer for its echo makes its connection count as stalled. */
  readonly stallMs: number;
  readonly sourceAddress?: string | undefined;
  /** Of the first connection; the others have the following ports. */
  readonly sourcePort?: number | undefined;
}

interface Held {
  readonly id: number;
  readonly socket: Socket;
  backend: string;
  state: 'opening' | 'open' | 'over';
  sent: number;
  echoed: number;
  /** Send times (performance.now) of the lines that wait, oldest first. */
  readonly waiting: number[];
  unfinished: string;
}

export class HeldConnections {
  readonly #options: HoldOptions;
  readonly #connections: Held[] = [];
  readonly #brokenBy = new Tally();
  readonly #examples: BrokenConnection[] = [];
  #opened = 0;
  #failed = 0;
  #broken = 0;
  #moved = 0;
  #linesEchoed = 0;
  #longestGapMs = 0;
  #longestGapAtMs = 0;
  #ticker: NodeJS.Timeout | undefined;
  #cursor = 0;
  #lastTickMs = 0;

  constructor(options: HoldOptions) {
    this.#options = options;
  }

  /** Resolves when every connection is open or has failed. */
  async open(): Promise<{ readonly opened: number; readonly failed: number }> {
    this.#lastTickMs = performance.now();
    this.#ticker = setInterval(() => {
      this.#tick();
    }, TICK_MS);
    let next = 0;
    const opener = async (): Promise<void> => {
      while (next < this.#options.count) {
        next += 1;
        await this.#openOne(next);
      }
    };
    await Promise.all(Array.from({ length: OPENING_MAX }, opener));
    return { opened: this.#opened, failed: this.#failed };
  }

  report(): HoldReport {
    const nowMs = performance.now();
    const open = this.#connections.filter((held) => held.state === 'open');
    const perBackend = new Tally();
    let stalled = 0;
    for (const held of open) {
      perBackend.add(held.backend);
      const waitedMs = this.#noteGap(held, nowMs);
      if (waitedMs > this.#options.stallMs) stalled += 1;
    }
    return {
      kind: 'hold',
      opened: this.#opened,
      failed: this.#failed,
      open: open.length,
      broken: this.#broken,
      brokenBy: this.#brokenBy.toJSON(),
      stalled,
      moved: this.#moved,
      linesEchoed: this.#linesEchoed,
      longestGapMs: Math.round(this.#longestGapMs),
      longestGapAtMs: Math.round(this.#longestGapAtMs),
      perBackend: perBackend.toJSON(),
      examples: this.#examples,
    };
  }

  /** Forgets the longest gap so far: the next report has the longest one since. */
  mark(): void {
    this.#longestGapMs = 0;
    this.#longestGapAtMs = 0;
  }

  close(): void {
    clearInterval(this.#ticker);
    for (const held of this.#connections) {
      held.state = 'over';
      held.socket.destroy();
    }
  }

  async #openOne(id: number): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<undefined>();
    const socket = new Socket();
    const held: Held = {
      id,
      socket,
      backend: '',
      state: 'opening',
      sent: 0,
      echoed: 0,
      waiting: [],
      unfinished: '',
    };
    this.#connections.push(held);
    const timer = setTimeout(() => {
      this.#end(held, 'timeout');
      resolve(undefined);
    }, this.#options.openTimeoutMs);
    const settle = (): void => {
      clearTimeout(timer);
      resolve(undefined);
    };

    socket.setNoDelay(true);
    socket.setEncoding('latin1');
    socket.on('data', (chunk: string) => {
      this.#receive(held, chunk);
      settle();
    });
    socket.on('error', (error) => {
      this.#end(held, errorCode(error));
      settle();
    });
    socket.on('close', () => {
      this.#end(held, 'closed');
      settle();
    });
    const { host, port, sourceAddress, sourcePort } = this.#options;
    socket.connect({
      host,
      port,
      ...(sourceAddress === undefined ? {} : { localAddress: sourceAddress }),
      ...(sourcePort === undefined ? {} : { localPort: sourcePort + id - 1 }),
    });
    await promise;
  }

  #receive(held: Held, chunk: string): void {
    const lines = (held.unfinished + chunk).split('\n');
    held.unfinished = lines.pop() ?? '';
    for (const line of lines) {
      if (held.state === 'opening') this.#greet(held, line);
      else if (held.state === 'open') this.#checkEcho(held, line);
    }
  }

  #greet(held: Held, backend: string): void {
    held.backend = backend;
    held.state = 'open';
    this.#opened += 1;
  }

  #checkEcho(held: Held, line: string): void {
    const expected = `${held.backend} ${held.id} ${held.echoed}`;
    if (line !== expected) {
      const [backend = ''] = line.split(' ');
      if (backend !== held.backend) this.#moved += 1;
      this.#end(held, backend === held.backend ? 'wrong echo' : `moved to ${backend}`);
      return;
    }
    this.#noteGap(held, performance.now());
    held.waiting.shift();
    held.echoed += 1;
    this.#linesEchoed += 1;
  }

  /** How long the oldest waiting line has waited; 0 when none waits. */
  #noteGap(held: Held, nowMs: number): number {
    const [sentMs] = held.waiting;
    if (sentMs === undefined) return 0;
    const gapMs = nowMs - sentMs;
    if (gapMs > this.#longestGapMs) {
      this.#longestGapMs = gapMs;
      this.#longestGapAtMs = performance.timeOrigin + sentMs;
    }
    return gapMs;
  }

  #end(held: Held, reason: string): void {
    if (held.state === 'over') return;
    const wasOpen = held.state === 'open';
    held.state = 'over';
    held.socket.destroy();
    if (wasOpen) this.#broken += 1;
    else this.#failed += 1;
    this.#brokenBy.add(reason);
    if (this.#examples.length < EXAMPLES_MAX) {
      this.#examples.push({ id: held.id, backend: held.backend, reason, atMs: Date.now() });
    }
  }

  /** One timer for all: each tick sends for the share of the connections that is due. */
  #tick(): void {
    const nowMs = performance.now();
    const total = this.#connections.length;
    const elapsedMs = Math.min(nowMs - this.#lastTickMs, this.#options.intervalMs);
    const due = Math.min(total, Math.floor((total * elapsedMs) / this.#options.intervalMs));
    if (due === 0) return;
    // Only the time that these sends account for: the rest counts towards the next tick.
    this.#lastTickMs = Math.max(
      this.#lastTickMs + (due * this.#options.intervalMs) / total,
      nowMs - this.#options.intervalMs,
    );
    for (let step = 0; step < due; step += 1) {
      this.#cursor = (this.#cursor + 1) % total;
      const held = this.#connections[this.#cursor];
      if (held !== undefined) sendLine(held, nowMs);
    }
  }
}

function sendLine(held: Held, nowMs: number): void {
  if (held.state !== 'open' || held.waiting.length >= PENDING_MAX) return;
  held.socket.write(`${held.id} ${held.sent}\n`, 'latin1');
  held.sent += 1;
  held.waiting.push(nowMs);
}
