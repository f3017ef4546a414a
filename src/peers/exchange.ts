/**
 * Snapshots under way: those that this node gives, the one that it takes, and the rows of that one
 * that wait to be merged. Bounded: while one batch is merged the next is made ready, and no more.
 */
import type { Clock } from '../lib/clock.ts';
import { errorMessage } from '../lib/errors.ts';
import type { Logger } from '../lib/logger.ts';
import type { FlowBatch } from '../model/flow-batch.ts';
import { sliceBatch } from './batch.ts';
import type { FlowTable } from './flow-table.ts';
import type { Candidate } from './join.ts';
import { SNAPSHOT_BATCHES_WAITING_MAX, SNAPSHOTS_SERVED_MAX } from './limits.ts';
import type { FrameStream, SnapshotTransport } from './link.ts';
import type { Hello } from './message.ts';
import { olderBy } from './rows.ts';
import type { StreamIdentity } from './seal-stream.ts';
import { giveSnapshot, takeSnapshot } from './snapshot.ts';
import type { SyncCounters } from './status.ts';

export interface ExchangeParts {
  readonly transport: SnapshotTransport;
  readonly table: FlowTable;
  readonly identity: () => StreamIdentity;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly counters: SyncCounters;
  readonly hello: () => Hello;
  /** Flows of this node, about; undefined: not known. */
  readonly flows: () => number | undefined;
}

export interface TakeOutcome {
  readonly giver: string;
  readonly ok: boolean;
}

interface WaitingRows {
  batch: FlowBatch;
  readonly receivedAtMs: number;
}

export class SnapshotExchange {
  readonly #parts: ExchangeParts;
  /** Whoever has connected; the transport bounds how many say nothing, and for how long. */
  readonly #connected = new Set<FrameStream>();
  /** Those of them that have shown the key: a place is nothing that a stranger could take. */
  readonly #serving = new Set<FrameStream>();
  #taking: AbortController | undefined;
  #outcome: TakeOutcome | undefined;
  /** The oldest first. */
  readonly #waiting: WaitingRows[] = [];
  /** Lets the stream be read on, when it waits for that. */
  #makeRoom: (() => void) | undefined;
  #percent: number | undefined;

  constructor(parts: ExchangeParts) {
    this.#parts = parts;
  }

  get isTaking(): boolean {
    return this.#taking !== undefined || this.#outcome !== undefined;
  }

  /** Of the snapshot that is being taken; undefined: not known. */
  get percent(): number | undefined {
    return this.#percent;
  }

  get waitingRows(): number {
    return this.#waiting.reduce((sum, { batch }) => sum + batch.count, 0);
  }

  listen(): Promise<void> {
    return this.#parts.transport.listen((stream) => this.#serve(stream));
  }

  /** Must not be called while one is being taken. */
  take({ name: giver, endpoint, startedAtMs }: Candidate): void {
    const taking = new AbortController();
    this.#taking = taking;
    this.#percent = undefined;
    const { transport, identity, clock } = this.#parts;
    const taken = takeSnapshot({
      transport,
      endpoint,
      giver,
      giverStartedAtMs: startedAtMs,
      identity: identity(),
      clock,
      signal: taking.signal,
      accept: (batch) => this.#accept(batch),
      progress: (rows, expected) => {
        // Not 100: it is complete when the giver says so.
        if (expected !== undefined) this.#percent = Math.min(99, percentOf(rows, expected));
      },
    });
    taken.then(
      () => {
        this.#finish(taking, { giver, ok: true });
      },
      (error: unknown) => {
        this.#finish(taking, { giver, ok: false }, errorMessage(error));
      },
    );
  }

  /** How the last one ended, once: when its last rows have been taken, too. */
  takeOutcome(): TakeOutcome | undefined {
    if (this.#waiting.length > 0) return undefined;
    const outcome = this.#outcome;
    this.#outcome = undefined;
    return outcome;
  }

  /** Rows to be merged now, with their ages as of now; at most so many. */
  takeRows(rowsMax: number, nowMs: number): FlowBatch | undefined {
    const [waiting] = this.#waiting;
    if (waiting === undefined) return undefined;
    const { batch, receivedAtMs } = waiting;
    this.#parts.counters.snapshotRows += Math.min(rowsMax, batch.count);
    if (batch.count > rowsMax) {
      waiting.batch = sliceBatch(batch, rowsMax, batch.count);
    } else {
      this.#waiting.shift();
      this.#makeRoom?.();
    }
    return olderBy(sliceBatch(batch, 0, rowsMax), nowMs - receivedAtMs);
  }

  /** Breaks off everything that is under way. */
  stop(): void {
    this.#taking?.abort(new Error('this node stops'));
    this.#taking = undefined;
    this.#outcome = undefined;
    this.#waiting.length = 0;
    this.#makeRoom?.();
    for (const stream of this.#connected) stream.close();
  }

  async #accept(batch: FlowBatch): Promise<void> {
    this.#waiting.push({ batch, receivedAtMs: this.#parts.clock.nowMs() });
    if (this.#waiting.length < SNAPSHOT_BATCHES_WAITING_MAX) return;
    const { promise, resolve } = Promise.withResolvers<undefined>();
    this.#makeRoom = () => {
      resolve(undefined);
    };
    await promise;
    this.#makeRoom = undefined;
  }

  #finish(taking: AbortController, outcome: TakeOutcome, problem?: string): void {
    if (this.#taking !== taking) return;
    const { giver } = outcome;
    if (problem !== undefined) this.#parts.logger.warn({ giver, problem }, 'snapshot failed');
    this.#parts.counters[outcome.ok ? 'snapshotsTaken' : 'snapshotsFailed'] += 1;
    this.#taking = undefined;
    this.#outcome = outcome;
  }

  async #serve(stream: FrameStream): Promise<void> {
    const { table, identity, clock, hello, flows, counters, logger } = this.#parts;
    const admits = (): boolean => {
      if (this.#serving.size >= SNAPSHOTS_SERVED_MAX) return false;
      this.#serving.add(stream);
      return true;
    };
    this.#connected.add(stream);
    try {
      const parts = { table, identity: identity(), hello, flows, clock, admits };
      const given = await giveSnapshot(stream, parts);
      counters[given ? 'snapshotsGiven' : 'snapshotsRefused'] += 1;
    } catch (error) {
      counters.snapshotsRefused += 1;
      // Anyone can connect and break off: that is counted, and fills no log.
      if (this.#serving.has(stream))
        logger.warn({ problem: errorMessage(error) }, 'could not give a snapshot');
    } finally {
      this.#connected.delete(stream);
      this.#serving.delete(stream);
    }
  }
}

function percentOf(part: number, whole: number): number {
  return whole === 0 ? 100 : Math.floor((part * 100) / whole);
}
