import { expect, test } from 'vitest';
import { SkeinError } from '../lib/errors.ts';
import type { FrameStream } from './link.ts';
import {
  answerSealed,
  askSealed,
  STREAM_PAYLOAD_BYTES_MAX,
  type Asked,
  type StreamIdentity,
} from './seal-stream.ts';

/** Two ends of a stream in memory. What `tamper` makes of a frame arrives; nothing: it is lost. */
function streams(tamper: (frame: Uint8Array, index: number) => Uint8Array | undefined = (f) => f): {
  readonly asker: FrameStream;
  readonly giver: FrameStream;
  readonly recording: Uint8Array[];
} {
  const recording: Uint8Array[] = [];
  const toAsker = new Mailbox();
  const toGiver = new Mailbox();
  const end = (from: Mailbox, to: Mailbox): FrameStream => ({
    write: (frame) => {
      recording.push(frame);
      const arriving = tamper(frame, recording.length - 1);
      if (arriving !== undefined) to.put(arriving);
      return Promise.resolve();
    },
    frames: from,
    close: () => to.end(),
  });
  return { asker: end(toAsker, toGiver), giver: end(toGiver, toAsker), recording };
}

class Mailbox implements AsyncIterable<Uint8Array> {
  readonly #frames: Uint8Array[] = [];
  #hasEnded = false;
  #wake: () => void = () => undefined;

  put(frame: Uint8Array): void {
    this.#frames.push(frame);
    this.#wake();
  }

  end(): void {
    this.#hasEnded = true;
    this.#wake();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array> {
    for (;;) {
      const frame = this.#frames.shift();
      if (frame !== undefined) yield frame;
      else if (this.#hasEnded) return;
      else await new Promise<void>((resolve) => (this.#wake = resolve));
    }
  }
}

let nonces = 0;

function identity(node: string, options: Partial<StreamIdentity> = {}): StreamIdentity {
  const nonce = () => new Uint8Array(16).fill((nonces += 1));
  const keys = [new Uint8Array(32).fill(1)];
  return { cluster: 'west', node, incarnation: 7, keys, nonce, ...options };
}

async function give(asked: Asked, payloads: readonly string[], finish = true): Promise<void> {
  if (asked.kind === 'reject') throw new Error(asked.reason);
  for (const payload of payloads) await asked.write(Buffer.from(payload));
  if (finish) await asked.end();
}

async function collect(payloads: AsyncIterable<Uint8Array>): Promise<string[]> {
  const texts: string[] = [];
  for await (const payload of payloads) texts.push(Buffer.from(payload).toString());
  return texts;
}

test('the asker gets what the giver wrote, and each knows the other', async () => {
  const { asker, giver, recording } = streams();
  const answering = answerSealed(giver, identity('lb2'));
  const asking = askSealed(asker, identity('lb1'), 'lb2');
  const asked = await answering;
  expect(asked).toMatchObject({ kind: 'asked', asker: 'lb1', incarnation: 7 });
  await give(asked, ['one', '', 'three']);
  expect(await collect(await asking)).toEqual(['one', '', 'three']);
  const bytes = Buffer.concat(recording).toString('latin1');
  for (const clear of ['lb1', 'lb2', 'west', 'three']) expect(bytes).not.toContain(clear);
});

test('a payload is at most what a frame holds', async () => {
  const { asker, giver } = streams();
  const answering = answerSealed(giver, identity('lb2'));
  await askSealed(asker, identity('lb1'), 'lb2');
  const asked = await answering;
  if (asked.kind === 'reject') throw new Error(asked.reason);
  await asked.write(new Uint8Array(STREAM_PAYLOAD_BYTES_MAX));
  await expect(asked.write(new Uint8Array(STREAM_PAYLOAD_BYTES_MAX + 1))).rejects.toThrow(
    RangeError,
  );
});

test('both keys of a rotation serve', async () => {
  const [old, fresh] = [new Uint8Array(32).fill(1), new Uint8Array(32).fill(2)];
  const { asker, giver } = streams();
  const answering = answerSealed(giver, identity('lb2', { keys: [old, fresh] }));
  const asking = askSealed(asker, identity('lb1', { keys: [fresh, old] }), 'lb2');
  await give(await answering, ['one']);
  expect(await collect(await asking)).toEqual(['one']);
});

test.each<[string, string, Partial<StreamIdentity>, string, string]>([
  ['of another cluster', 'other_cluster', { cluster: 'east' }, 'lb1', 'lb2'],
  ['with another key', 'unknown_key', { keys: [new Uint8Array(32).fill(9)] }, 'lb1', 'lb2'],
  ['of our own name', 'own', {}, 'lb2', 'lb2'],
  ['who wants another node', 'malformed', {}, 'lb1', 'lb3'],
])('an asker %s is rejected: %s', async (_, reason, options, asker, wanted) => {
  const ends = streams();
  const answering = answerSealed(ends.giver, identity('lb2'));
  await askSealed(ends.asker, identity(asker, options), wanted);
  expect(await answering).toEqual({ kind: 'reject', reason });
  // A challenge and an ask, and not a byte of what is in the table.
  expect(ends.recording).toHaveLength(2);
});

const ASK = 1;

test.each<[string, string, (ask: Uint8Array) => Uint8Array]>([
  ['an empty frame', 'too_short', () => new Uint8Array(0)],
  ['a frame that is cut', 'too_short', (ask) => ask.subarray(0, 40)],
  ['another protocol', 'not_skein', (ask) => ask.with(0, 0)],
  ['another version', 'version', (ask) => ask.with(2, 2)],
  ['another type of frame', 'malformed', (ask) => ask.with(3, 3)],
  ['another nonce', 'forged', (ask) => ask.with(20, ask[20]! ^ 1)],
  ['another name', 'forged', (ask) => ask.with(32, ask[32]! ^ 1)],
])('an ask with %s is rejected: %s', async (_, reason, tamper) => {
  const ends = streams((frame, index) => (index === ASK ? tamper(Uint8Array.from(frame)) : frame));
  const answering = answerSealed(ends.giver, identity('lb2'));
  await askSealed(ends.asker, identity('lb1'), 'lb2');
  expect(await answering).toEqual({ kind: 'reject', reason });
});

test('a recorded ask is of no use with another challenge', async () => {
  const first = streams();
  const answering = answerSealed(first.giver, identity('lb2'));
  await askSealed(first.asker, identity('lb1'), 'lb2');
  await answering;
  const again = streams();
  const answeringAgain = answerSealed(again.giver, identity('lb2'));
  await again.asker.write(first.recording[ASK]!);
  expect(await answeringAgain).toEqual({ kind: 'reject', reason: 'forged' });
});

test('a recorded snapshot is of no use to another ask', async () => {
  const first = streams();
  const answering = answerSealed(first.giver, identity('lb2'));
  const asking = askSealed(first.asker, identity('lb1'), 'lb2');
  await give(await answering, ['one']);
  await collect(await asking);
  const [challenge, , ...frames] = first.recording;
  const again = streams();
  await again.giver.write(challenge!);
  const payloads = await askSealed(again.asker, identity('lb1'), 'lb2');
  for (const frame of frames) await again.giver.write(frame);
  await expect(collect(payloads)).rejects.toThrow('forged');
});

test('a connection that says nothing is rejected when it ends', async () => {
  const { asker, giver } = streams();
  const answering = answerSealed(giver, identity('lb2'));
  asker.close();
  expect(await answering).toEqual({ kind: 'reject', reason: 'too_short' });
});

/** Frames 0 and 1 are challenge and ask; payloads begin at 2. */
test.each<[string, string, (frame: Uint8Array, index: number) => Uint8Array | undefined]>([
  [
    'has been changed',
    'SNAPSHOT_REFUSED',
    (frame, index) => (index === 3 ? flipLast(frame) : frame),
  ],
  ['is missing', 'SNAPSHOT_REFUSED', (frame, index) => (index === 3 ? undefined : frame)],
  [
    'says too early that it is the last',
    'SNAPSHOT_REFUSED',
    (frame, index) => (index === 3 ? frame.with(3, 4) : frame),
  ],
  ['is of no type', 'SNAPSHOT_REFUSED', (frame, index) => (index === 3 ? frame.with(3, 9) : frame)],
  ['is cut', 'SNAPSHOT_REFUSED', (frame, index) => (index === 3 ? frame.subarray(0, 12) : frame)],
  [
    'is the last, and the end never comes',
    'SNAPSHOT_CUT_SHORT',
    (frame, index) => (index === 5 ? undefined : frame),
  ],
])('when a frame %s, the asker keeps what came before and fails: %s', async (_, code, tamper) => {
  const ends = streams((frame, index) => tamper(Uint8Array.from(frame), index));
  const answering = answerSealed(ends.giver, identity('lb2'));
  const asking = askSealed(ends.asker, identity('lb1'), 'lb2');
  await give(await answering, ['one', 'two', 'three']);
  ends.giver.close();
  const got: string[] = [];
  const reading = (async () => {
    for await (const payload of await asking) got.push(Buffer.from(payload).toString());
  })();
  await expect(reading).rejects.toMatchObject({ code });
  expect(got).toEqual(code === 'SNAPSHOT_CUT_SHORT' ? ['one', 'two', 'three'] : ['one']);
});

test.each<[string, string, (challenge: Uint8Array) => Uint8Array]>([
  ['of another protocol', 'not_skein', (challenge) => challenge.with(1, 0)],
  ['of a later version', 'version', (challenge) => challenge.with(2, 2)],
  ['that is cut', 'too_short', (challenge) => challenge.subarray(0, 19)],
])('a challenge %s is not answered: %s', async (_, reason, tamper) => {
  const ends = streams((frame) => tamper(Uint8Array.from(frame)));
  void answerSealed(ends.giver, identity('lb2'));
  const asking = askSealed(ends.asker, identity('lb1'), 'lb2');
  await expect(asking).rejects.toThrow(`(${reason})`);
  expect(ends.recording).toHaveLength(1);
});

test('a giver that ends at once has given nothing', async () => {
  const { asker, giver } = streams();
  giver.close();
  const asking = askSealed(asker, identity('lb1'), 'lb2');
  await expect(asking).rejects.toBeInstanceOf(SkeinError);
});

function flipLast(frame: Uint8Array): Uint8Array {
  return frame.with(frame.length - 1, frame.at(-1)! ^ 1);
}
