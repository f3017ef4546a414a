/** What the traffic process says on standard output: one JSON object a line. */

/** Milliseconds. */
export interface Latency {
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly maxMs: number;
}

/** Name -> how often. */
export type Counts = Readonly<Record<string, number>>;

export interface RequestsReport {
  readonly kind: 'requests';
  readonly sent: number;
  readonly ok: number;
  readonly perBackend: Counts;
  /** By code, such as `ECONNREFUSED`, `timeout`, `status 503`. */
  readonly errors: Counts;
  readonly latency: Latency;
  readonly durationMs: number;
}

/** Every connection has been opened or has failed to. */
export interface HoldReady {
  readonly kind: 'ready';
  readonly opened: number;
  readonly failed: number;
}

export interface BrokenConnection {
  readonly id: number;
  readonly backend: string;
  /** `ECONNRESET`, `closed`, `moved to b2`, `wrong echo`... */
  readonly reason: string;
  /** Wall clock. */
  readonly atMs: number;
}

export interface HoldReport {
  readonly kind: 'hold';
  readonly opened: number;
  /** Could never be opened. */
  readonly failed: number;
  readonly open: number;
  readonly broken: number;
  readonly brokenBy: Counts;
  /** Open, but a line has waited for its echo for longer than the limit. */
  readonly stalled: number;
  /** Broken because another backend answered. */
  readonly moved: number;
  readonly linesEchoed: number;
  /** The longest that a line waited for its echo, those still waiting included. */
  readonly longestGapMs: number;
  /** Wall clock of that line's sending; 0 before the first echo. */
  readonly longestGapAtMs: number;
  readonly perBackend: Counts;
  /** The first few. */
  readonly examples: readonly BrokenConnection[];
}

/** One request of a stream. */
export interface StreamResult {
  readonly kind: 'result';
  /** Wall clock of its sending. */
  readonly atMs: number;
  readonly url: string;
  /** Null when it failed. */
  readonly backend: string | null;
  /** Of the client; null when there was no connection. */
  readonly port: number | null;
  readonly error: string | null;
  readonly latencyMs: number;
}

export interface UdpReport {
  readonly kind: 'udp';
  readonly sent: number;
  readonly answered: number;
  readonly lost: number;
  /** Wall clock of the sending of the last datagram that was never answered; null: all were. */
  readonly lastLostAtMs: number | null;
  /** Of the largest answer. */
  readonly bytesMax: number;
  /** Flows whose backend changed between two answers. */
  readonly moved: number;
  readonly perBackend: Counts;
  readonly errors: Counts;
  readonly latency: Latency;
}

/** The connection of a download is open, and has brought a small page. */
export interface DownloadReady {
  readonly kind: 'opened';
  readonly backend: string;
  /** Of the client. */
  readonly port: number;
}

export interface DownloadReport {
  readonly kind: 'download';
  /** `done`: all bytes came, and were the right ones. */
  readonly state: 'idle' | 'running' | 'done' | 'failed';
  readonly bytes: number;
  /** Null unless it failed. */
  readonly error: string | null;
  /** From its start to its end, or till now. */
  readonly durationMs: number;
}

export interface TransfersReport {
  readonly kind: 'transfers';
  /** Whole, and with the right hash. */
  readonly downloaded: number;
  readonly uploaded: number;
  readonly downloadsFrom: Counts;
  readonly uploadsTo: Counts;
  /** Of each. */
  readonly bytes: number;
  readonly errors: Counts;
  /** Until the last one was over. */
  readonly durationMs: number;
}

export type TrafficMessage =
  | RequestsReport
  | HoldReady
  | HoldReport
  | StreamResult
  | UdpReport
  | DownloadReady
  | DownloadReport
  | TransfersReport;

export function latencyOf(samplesMs: readonly number[]): Latency {
  const sorted = [...samplesMs].sort((a, b) => a - b);
  const at = (share: number): number =>
    round(sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0);
  return { p50Ms: at(0.5), p99Ms: at(0.99), maxMs: round(sorted.at(-1) ?? 0) };
}

/** Counts as they grow. */
export class Tally {
  readonly #counts = new Map<string, number>();

  add(name: string): void {
    this.#counts.set(name, (this.#counts.get(name) ?? 0) + 1);
  }

  total(): number {
    return [...this.#counts.values()].reduce((sum, count) => sum + count, 0);
  }

  toJSON(): Counts {
    return Object.fromEntries([...this.#counts].sort(([a], [b]) => a.localeCompare(b, 'en')));
  }
}

/** Writes one message. */
export function say(message: TrafficMessage): void {
  process.stdout.write(`${JSON.stringify(message)}\n`);
}

/** What went wrong, as one short word to count by. */
export function errorCode(error: unknown): string {
  if (error instanceof Error && 'code' in error && typeof error.code === 'string') {
    return error.code;
  }
  return error instanceof Error ? error.message : String(error);
}

function round(valueMs: number): number {
  return Math.round(valueMs * 1000) / 1000;
}
