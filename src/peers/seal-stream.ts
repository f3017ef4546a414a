/**
 * Snapshots under the cluster's keys, over any FrameStream. The giver sends a nonce, the asker proves
 * that it has a key and adds a nonce of its own, and the payloads go under a key made of both: so a
 * recording of either side is of no use. Must never serve, or merge, what has not verified.
 */
import type { KeyObject } from 'node:crypto';
import { SkeinError } from '../lib/errors.ts';
import { FRAME_BYTES_MAX, type FrameStream } from './link.ts';
import type { RejectReason } from './message.ts';
import { decrypt, encrypt, readCount, TAG_BYTES, writeCount } from './seal-aead.ts';
import { isMagic, MAGIC, PROTOCOL_VERSION } from './seal-header.ts';
import { CLUSTER_ID_BYTES, clusterId, deriveKey, masterKeys, type MasterKey } from './seal-keys.ts';
import { asBuffer, nameBytes, textOf } from './seal-names.ts';

export const STREAM_NONCE_BYTES = 16;

export interface StreamIdentity {
  readonly cluster: string;
  readonly node: string;
  readonly incarnation: number;
  /** The asker's first seals; the giver answers with the same. */
  readonly keys: readonly Uint8Array[];
  /** Makes STREAM_NONCE_BYTES by chance. */
  readonly nonce: () => Uint8Array;
}

export type Asked =
  | {
      readonly kind: 'asked';
      readonly asker: string;
      readonly incarnation: number;
      /** Resolves when the other side has room for more. At most STREAM_PAYLOAD_BYTES_MAX. */
      write(payload: Uint8Array): Promise<void>;
      /** Without it the asker takes what it has for cut short. */
      end(): Promise<void>;
    }
  | { readonly kind: 'reject'; readonly reason: RejectReason };

/*
 * Frames begin with magic, version and type.
 *   challenge  giver's nonce
 *   ask        key id, cluster id, asker's nonce | sealed: asker's name, incarnation, giver's name
 *   more, end  | sealed: a payload; `end` has none
 */
const FrameType = { challenge: 1, ask: 2, more: 3, end: 4 } as const;
type FrameTypeCode = (typeof FrameType)[keyof typeof FrameType];

const PREFIX_BYTES = 4;
const CHALLENGE_BYTES = PREFIX_BYTES + STREAM_NONCE_BYTES;
const KEY_ID_AT = PREFIX_BYTES;
const CLUSTER_AT = KEY_ID_AT + 1;
const ASKER_NONCE_AT = CLUSTER_AT + CLUSTER_ID_BYTES;
const ASK_CLEAR_BYTES = ASKER_NONCE_AT + STREAM_NONCE_BYTES;

export const STREAM_PAYLOAD_BYTES_MAX = FRAME_BYTES_MAX - PREFIX_BYTES - TAG_BYTES;

const ASK_LABEL = Buffer.from('skein snapshot ask v1');
const GIVE_LABEL = Buffer.from('skein snapshot give v1');

/**
 * Asks the node `giver` at the other end, and returns its payloads as they come. They throw a
 * SkeinError when one is forged, or when the stream ends before the giver has said so.
 */
export async function askSealed(
  stream: FrameStream,
  self: StreamIdentity,
  giver: string,
): Promise<AsyncIterable<Uint8Array>> {
  const frames = stream.frames[Symbol.asyncIterator]();
  const challenge = await nextFrame(frames);
  if (challenge === undefined) throw cutShort(giver);
  const problem = prefixProblem(challenge, FrameType.challenge, CHALLENGE_BYTES);
  if (problem !== undefined) throw refused(giver, problem);
  const giverNonce = challenge.subarray(PREFIX_BYTES, CHALLENGE_BYTES);

  const [master] = masterKeys(self.keys);
  const cluster = clusterId(self.cluster);
  const clear = Buffer.concat([prefix(FrameType.ask), Buffer.of(master.id), cluster, self.nonce()]);
  const nonces = Buffer.concat([giverNonce, clear.subarray(ASKER_NONCE_AT)]);
  const ask = { asker: self.node, incarnation: self.incarnation, giver };
  await stream.write(encrypt(askKey(master, cluster, nonces), 0, clear, askBytes(ask)));
  return payloads(frames, giveKey(master, cluster, nonces, ask), giver);
}

/** Waits for the node at the other end to ask. Rejects as the stream does when that breaks. */
export async function answerSealed(stream: FrameStream, self: StreamIdentity): Promise<Asked> {
  const giverNonce = self.nonce();
  await stream.write(Buffer.concat([prefix(FrameType.challenge), giverNonce]));
  const frame = await nextFrame(stream.frames[Symbol.asyncIterator]());
  if (frame === undefined) return { kind: 'reject', reason: 'too_short' };
  const opened = openAsk(frame, self, giverNonce);
  if (typeof opened === 'string') return { kind: 'reject', reason: opened };
  const { ask, key } = opened;
  let count = 0;
  const give = async (type: FrameTypeCode, payload: Uint8Array): Promise<void> => {
    if (payload.length > STREAM_PAYLOAD_BYTES_MAX) {
      throw new RangeError(
        `a payload of ${payload.length} bytes, over ${STREAM_PAYLOAD_BYTES_MAX}`,
      );
    }
    await stream.write(encrypt(key, count++, prefix(type), payload));
  };
  return {
    kind: 'asked',
    asker: ask.asker,
    incarnation: ask.incarnation,
    write: (payload) => give(FrameType.more, payload),
    end: () => give(FrameType.end, NOTHING),
  };
}

const NOTHING = new Uint8Array(0);

function openAsk(
  frame: Buffer,
  self: StreamIdentity,
  giverNonce: Uint8Array,
): { readonly ask: Ask; readonly key: KeyObject } | RejectReason {
  const problem = prefixProblem(frame, FrameType.ask, ASK_CLEAR_BYTES + TAG_BYTES);
  if (problem !== undefined) return problem;
  const cluster = clusterId(self.cluster);
  if (cluster.compare(frame, CLUSTER_AT, ASKER_NONCE_AT) !== 0) return 'other_cluster';
  const masters = masterKeys(self.keys).filter(({ id }) => id === frame[KEY_ID_AT]);
  if (masters.length === 0) return 'unknown_key';
  const nonces = Buffer.concat([giverNonce, frame.subarray(ASKER_NONCE_AT, ASK_CLEAR_BYTES)]);
  for (const master of masters) {
    const opened = decrypt(askKey(master, cluster, nonces), 0, frame, ASK_CLEAR_BYTES);
    if (opened === undefined) continue;
    const ask = readAsk(opened);
    // What was meant for another node is no more ours to answer than what makes no sense.
    if (ask?.giver !== self.node) return 'malformed';
    if (ask.asker === self.node) return 'own';
    return { ask, key: giveKey(master, cluster, nonces, ask) };
  }
  return 'forged';
}

async function* payloads(
  frames: AsyncIterator<Uint8Array>,
  key: KeyObject,
  giver: string,
): AsyncGenerator<Uint8Array> {
  try {
    for (let count = 0; ; count += 1) {
      const frame = await nextFrame(frames);
      if (frame === undefined) throw cutShort(giver);
      const type = frame[PREFIX_BYTES - 1];
      if (type !== FrameType.more && type !== FrameType.end) throw refused(giver, 'malformed');
      const problem = prefixProblem(frame, type, PREFIX_BYTES + TAG_BYTES);
      if (problem !== undefined) throw refused(giver, problem);
      const payload = decrypt(key, count, frame, PREFIX_BYTES);
      if (payload === undefined) throw refused(giver, 'forged');
      if (type === FrameType.end) return;
      yield payload;
    }
  } finally {
    // Whoever stops before the end wants no more of the stream either.
    await frames.return?.();
  }
}

/** Who asks whom: both ends derive the payloads' key from it, so neither can be another. */
interface Ask {
  readonly asker: string;
  readonly incarnation: number;
  readonly giver: string;
}

function askBytes({ asker, incarnation, giver }: Ask): Buffer {
  const count = Buffer.alloc(8);
  writeCount(count, 0, incarnation);
  const [from, to] = [nameBytes(asker), nameBytes(giver)];
  return Buffer.concat([Buffer.of(from.length), from, count, Buffer.of(to.length), to]);
}

/** The inverse; a later version may have appended something. */
function readAsk(bytes: Buffer): Ask | undefined {
  const incarnationAt = 1 + (bytes[0] ?? 0);
  const giverAt = incarnationAt + 9;
  if (bytes.length < giverAt) return undefined;
  const end = giverAt + (bytes[giverAt - 1] ?? 0);
  if (bytes.length < end) return undefined;
  const asker = textOf(bytes.subarray(1, incarnationAt));
  const incarnation = readCount(bytes, incarnationAt);
  const giver = textOf(bytes.subarray(giverAt, end));
  if (asker === undefined || asker === '') return undefined;
  return incarnation === undefined || giver === undefined
    ? undefined
    : { asker, incarnation, giver };
}

function askKey(master: MasterKey, cluster: Uint8Array, nonces: Uint8Array): KeyObject {
  return deriveKey(master, cluster, Buffer.concat([ASK_LABEL, nonces]));
}

function giveKey(master: MasterKey, cluster: Uint8Array, nonces: Uint8Array, ask: Ask): KeyObject {
  return deriveKey(master, cluster, Buffer.concat([GIVE_LABEL, nonces, askBytes(ask)]));
}

function prefix(type: FrameTypeCode): Buffer {
  return Buffer.of(...MAGIC, PROTOCOL_VERSION, type);
}

function prefixProblem(
  frame: Buffer,
  type: FrameTypeCode,
  bytesMin: number,
): RejectReason | undefined {
  if (frame.length < PREFIX_BYTES) return 'too_short';
  if (!isMagic(frame)) return 'not_skein';
  if (frame[PREFIX_BYTES - 2] !== PROTOCOL_VERSION) return 'version';
  if (frame[PREFIX_BYTES - 1] !== type) return 'malformed';
  return frame.length < bytesMin ? 'too_short' : undefined;
}

async function nextFrame(frames: AsyncIterator<Uint8Array>): Promise<Buffer | undefined> {
  const next = await frames.next();
  return next.done === true ? undefined : asBuffer(next.value);
}

function refused(giver: string, reason: RejectReason): SkeinError {
  return new SkeinError(
    'SNAPSHOT_REFUSED',
    `what ${giver} sent as a snapshot is not to be believed (${reason}): does it have the same key and cluster name?`,
  );
}

function cutShort(giver: string): SkeinError {
  return new SkeinError('SNAPSHOT_CUT_SHORT', `${giver} ended its snapshot before it was complete`);
}
