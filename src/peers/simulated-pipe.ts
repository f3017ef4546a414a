/** A stream of frames between two simulated nodes: in order, with backpressure, until it breaks. */
import { SkeinError } from '../lib/errors.ts';
import type { FrameStream } from './link.ts';

/** Frames that the writer may be ahead of the reader. */
const PIPE_FRAMES = 4;

/** One direction of a stream. */
export class Pipe {
  readonly #carry: (arrive: () => void) => void;
  readonly #arrived: (Uint8Array | undefined)[] = [];
  #ahead = 0;
  #problem: string | undefined;
  #wakeReader: (() => void) | undefined;
  #wakeWriter: (() => void) | undefined;

  constructor(carry: (arrive: () => void) => void) {
    this.#carry = carry;
  }

  async write(frame: Uint8Array): Promise<void> {
    if (this.#problem !== undefined) throw broken(this.#problem);
    this.#send(frame);
    while (this.#ahead >= PIPE_FRAMES) {
      const { promise, resolve } = Promise.withResolvers<undefined>();
      this.#wakeWriter = () => {
        resolve(undefined);
      };
      await promise;
      if (this.#isBroken()) throw broken(String(this.#problem));
    }
  }

  end(): void {
    this.#send(undefined);
  }

  break(reason: string): void {
    this.#problem ??= reason;
    this.#wakeReader?.();
    this.#wakeWriter?.();
  }

  async *read(): AsyncGenerator<Uint8Array> {
    for (;;) {
      if (this.#problem !== undefined) throw broken(this.#problem);
      if (this.#arrived.length === 0) {
        const { promise, resolve } = Promise.withResolvers<undefined>();
        this.#wakeReader = () => {
          resolve(undefined);
        };
        await promise;
        continue;
      }
      const frame = this.#arrived.shift();
      if (frame === undefined) return;
      this.#ahead -= 1;
      this.#wakeWriter?.();
      yield frame;
    }
  }

  #isBroken(): boolean {
    return this.#problem !== undefined;
  }

  #send(frame: Uint8Array | undefined): void {
    this.#ahead += 1;
    this.#carry(() => {
      this.#arrived.push(frame);
      this.#wakeReader?.();
    });
  }
}

/** A node's end of a stream that is made of two pipes. */
export function endOf(out: Pipe, into: Pipe): FrameStream {
  return {
    write: (frame) => out.write(frame),
    frames: { [Symbol.asyncIterator]: () => into.read() },
    close: () => {
      out.end();
      into.break('the other side closed it');
    },
  };
}

export function broken(reason: string): SkeinError {
  return new SkeinError('SNAPSHOT_STREAM', `a simulated stream broke: ${reason}`);
}
