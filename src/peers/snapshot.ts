/**
 * A whole table from one node to another: giving and taking, over a sealed stream. The payloads are
 * messages as in datagrams: a digest without buckets says how many flows to expect, and a hello
 * before the flows of each batch says when it was read. Must never hold more than one batch.
 */
import type { Clock } from '../lib/clock.ts';
import type { FlowBatch } from '../model/flow-batch.ts';
import type { FlowTable } from './flow-table.ts';
import { SNAPSHOT_IDLE_MS, SNAPSHOT_PAYLOAD_BYTES_MAX } from './limits.ts';
import type { FrameStream, SnapshotTransport } from './link.ts';
import type { Hello } from './message.ts';
import { olderBy } from './rows.ts';
import { answerSealed, askSealed, type StreamIdentity } from './seal-stream.ts';
import { splitFlows } from './wire-split.ts';
import { decodeMessage, encodeMessage } from './wire.ts';

export interface GiveParts {
  readonly table: FlowTable;
  readonly identity: StreamIdentity;
  readonly clock: Clock;
  readonly hello: () => Hello;
  /** About how many flows there are; undefined: not known. */
  readonly flows: () => number | undefined;
  /** Asked once who asks has shown the cluster's key; false: too many snapshots are under way. */
  readonly admits: () => boolean;
}

/** Answers one asker. False: it had no right to ask, or comes too soon. Rejects when the stream breaks. */
export async function giveSnapshot(stream: FrameStream, parts: GiveParts): Promise<boolean> {
  const watch = new IdleWatch(parts.clock, () => {
    stream.close();
  });
  try {
    const asked = await answerSealed(stream, parts.identity);
    if (asked.kind === 'reject' || !parts.admits()) return false;
    const flows = parts.flows();
    if (flows !== undefined) {
      const buckets = new BigUint64Array(0);
      await asked.write(encodeMessage({ kind: 'digest', flows, firstBucket: 0, buckets }));
    }
    for await (const batch of parts.table.read()) {
      await asked.write(encodeMessage({ ...parts.hello(), heard: [] }));
      for (const { payload } of splitFlows(batch, SNAPSHOT_PAYLOAD_BYTES_MAX)) {
        watch.touch();
        await asked.write(payload);
      }
    }
    watch.touch();
    await asked.end();
    return true;
  } finally {
    watch.stop();
    stream.close();
  }
}

export interface TakeParts {
  readonly transport: SnapshotTransport;
  readonly endpoint: string;
  readonly giver: string;
  /** By this node's clock, as the giver's datagrams told: what is later was under way. */
  readonly giverStartedAtMs: number;
  readonly identity: StreamIdentity;
  readonly clock: Clock;
  /** Aborted when the snapshot is not wanted any more. */
  readonly signal: AbortSignal;
  /** Resolves when there is room for more. */
  readonly accept: (batch: FlowBatch) => Promise<void>;
  /** Rows so far, and how many are expected. */
  readonly progress: (rows: number, expected: number | undefined) => void;
}

/** Rejects when the peer cannot be reached, is not to be believed, or did not come to its end. */
export async function takeSnapshot(parts: TakeParts): Promise<void> {
  const { clock, giver } = parts;
  const givenUp = new AbortController();
  const watch = new IdleWatch(clock, () => {
    givenUp.abort(new Error(`${giver} was silent for ${SNAPSHOT_IDLE_MS} ms`));
  });
  const signal = AbortSignal.any([parts.signal, givenUp.signal]);
  try {
    const stream = await parts.transport.connect(parts.endpoint, signal);
    const close = () => {
      stream.close();
    };
    signal.addEventListener('abort', close);
    try {
      signal.throwIfAborted();
      const payloads = await askSealed(stream, parts.identity, giver);
      await takePayloads(payloads, parts, watch);
    } finally {
      signal.removeEventListener('abort', close);
      stream.close();
    }
  } catch (error) {
    // Why it was given up says more than how the stream broke for it.
    throw givenUp.signal.aborted ? givenUp.signal.reason : error;
  } finally {
    watch.stop();
  }
}

async function takePayloads(
  payloads: AsyncIterable<Uint8Array>,
  { giver, giverStartedAtMs, clock, accept, progress }: TakeParts,
  watch: IdleWatch,
): Promise<void> {
  const delay = new Delay(giverStartedAtMs);
  let rows = 0;
  let expected: number | undefined;
  for await (const payload of payloads) {
    watch.touch();
    const decoded = decodeMessage(payload);
    // A kind that a later version added is passed over, as in datagrams.
    if (!decoded.ok && decoded.reason === 'unknown_kind') continue;
    if (!decoded.ok) throw new Error(`the snapshot of ${giver} holds what is no message`);
    const { message } = decoded;
    if (message.kind === 'digest') expected = message.flows;
    if (message.kind === 'hello') delay.note(clock.nowMs(), message.uptimeMs);
    if (message.kind !== 'flows') continue;
    rows += message.batch.count;
    progress(rows, expected);
    await accept(olderBy(message.batch, delay.ms(clock.nowMs())));
    watch.touch();
  }
}

/**
 * How long batches were under way: by how much more time has passed here than at the giver. A
 * stream can be held up for seconds, and ages would be wrong by that.
 */
class Delay {
  #leastMs: number;
  #readAtMs: number | undefined;

  constructor(giverStartedAtMs: number) {
    this.#leastMs = giverStartedAtMs;
  }

  /** The batch that follows was read when the giver had been up for so long. */
  note(nowMs: number, giverUptimeMs: number): void {
    this.#readAtMs = giverUptimeMs;
    this.#leastMs = Math.min(this.#leastMs, nowMs - giverUptimeMs);
  }

  /** Of what comes now: it may have been held up after the hello before it. */
  ms(nowMs: number): number {
    return this.#readAtMs === undefined ? 0 : nowMs - this.#readAtMs - this.#leastMs;
  }
}

/** Calls back once when nothing has been touched for SNAPSHOT_IDLE_MS. */
class IdleWatch {
  readonly #clock: Clock;
  readonly #onIdle: () => void;
  #cancel: () => void;

  constructor(clock: Clock, onIdle: () => void) {
    this.#clock = clock;
    this.#onIdle = onIdle;
    this.#cancel = clock.after(SNAPSHOT_IDLE_MS, onIdle);
  }

  touch(): void {
    this.#cancel();
    this.#cancel = this.#clock.after(SNAPSHOT_IDLE_MS, this.#onIdle);
  }

  stop(): void {
    this.#cancel();
  }
}
