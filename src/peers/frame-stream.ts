/**
 * Frames on a TCP connection: a length of 32 bits, then as many bytes. Must never hold more than a
 * frame and what the kernel handed over with it; who does not read makes the other side wait.
 */
import type { Socket } from 'node:net';
import { SkeinError, errorMessage } from '../lib/errors.ts';
import { FRAME_BYTES_MAX, type FrameStream } from './link.ts';

const LENGTH_BYTES = 4;

export class TcpFrameStream implements FrameStream {
  readonly #socket: Socket;
  #onFirstFrame: (() => void) | undefined;

  /** `idleMs` without a byte in either direction end the stream. */
  constructor(socket: Socket, idleMs: number, onFirstFrame?: () => void) {
    this.#socket = socket;
    this.#onFirstFrame = onFirstFrame;
    // Whoever waits for the stream is told; without a listener the process would end.
    socket.on('error', () => undefined);
    socket.setNoDelay(true);
    socket.setTimeout(idleMs, () => {
      this.destroy(`nothing came or went for ${idleMs} ms`);
    });
  }

  async write(frame: Uint8Array): Promise<void> {
    if (frame.length > FRAME_BYTES_MAX) {
      throw new RangeError(`a frame of ${frame.length} bytes, over ${FRAME_BYTES_MAX}`);
    }
    const socket = this.#socket;
    if (!socket.writable) throw failureOf(socket);
    const length = Buffer.alloc(LENGTH_BYTES);
    length.writeUInt32BE(frame.length);
    socket.cork();
    socket.write(length);
    const hasRoom = socket.write(frame);
    socket.uncork();
    if (!hasRoom) await drained(socket);
  }

  readonly frames: AsyncIterable<Uint8Array> = {
    [Symbol.asyncIterator]: () => this.#read(),
  };

  /** Once what was written has been sent. */
  close(): void {
    this.#socket.destroySoon();
  }

  /** At once; both directions fail with this reason. */
  destroy(reason: string): void {
    this.#socket.destroy(broken(reason));
  }

  async *#read(): AsyncGenerator<Uint8Array> {
    let chunks: Buffer[] = [];
    let bytes = 0;
    let needed = LENGTH_BYTES;
    try {
      for await (const chunk of this.#socket as AsyncIterable<Buffer>) {
        chunks.push(chunk);
        bytes += chunk.length;
        if (bytes < needed) continue;
        let rest = Buffer.concat(chunks, bytes);
        needed = neededBytes(rest);
        while (rest.length >= needed) {
          const frame = rest.subarray(LENGTH_BYTES, needed);
          rest = rest.subarray(needed);
          needed = neededBytes(rest);
          this.#sawFrame();
          yield frame;
        }
        chunks = [rest];
        bytes = rest.length;
      }
    } catch (error) {
      throw error instanceof SkeinError ? error : broken(errorMessage(error), error);
    }
    if (bytes > 0) throw broken('it ended within a frame');
  }

  #sawFrame(): void {
    const onFirstFrame = this.#onFirstFrame;
    this.#onFirstFrame = undefined;
    onFirstFrame?.();
  }
}

/** Length and content of the frame that begins here; throws when it is longer than any may be. */
function neededBytes(bytes: Buffer): number {
  if (bytes.length < LENGTH_BYTES) return LENGTH_BYTES;
  const length = bytes.readUInt32BE();
  if (length > FRAME_BYTES_MAX) throw broken(`a frame of ${length} bytes was announced`);
  return LENGTH_BYTES + length;
}

/** Waits for room, or for the end of the connection. */
async function drained(socket: Socket): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<undefined>();
  const done = () => resolve(undefined);
  socket.once('drain', done);
  socket.once('close', done);
  await promise;
  socket.removeListener('drain', done);
  socket.removeListener('close', done);
  if (socket.destroyed) throw failureOf(socket);
}

function failureOf({ errored }: Socket): SkeinError {
  if (errored instanceof SkeinError) return errored;
  return broken(errored === null ? 'the other side ended it' : errored.message, errored);
}

function broken(reason: string, cause?: unknown): SkeinError {
  return new SkeinError('SNAPSHOT_STREAM', `a snapshot's connection broke: ${reason}`, { cause });
}
