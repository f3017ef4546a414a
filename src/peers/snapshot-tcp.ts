/**
 * SnapshotTransport over TCP. Anyone can connect, so a connection costs little until its first frame
 * has come, and the oldest of those that say nothing makes room for the next. Must never hold more
 * connections than it was given.
 */
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { systemClock, type Clock } from '../lib/clock.ts';
import { SkeinError, errorMessage } from '../lib/errors.ts';
import { formatEndpoint, parseAddress, type Address } from '../model/address.ts';
import { TcpFrameStream } from './frame-stream.ts';
import type { FrameStream, SnapshotTransport } from './link.ts';

export interface TcpSnapshotOptions {
  /** Where to listen, and what others are told. */
  readonly address: Address;
  /** 0: the kernel chooses. */
  readonly port: number;
  /** Connections that have sent a frame. */
  readonly streamsMax?: number;
  /** Connections that have not. */
  readonly silentMax?: number;
  /** From the connection to its first frame: a round trip, and a glance at a key. */
  readonly firstFrameMs?: number;
  /** Without a byte in either direction. */
  readonly idleMs?: number;
  readonly connectMs?: number;
  readonly clock?: Clock;
}

const DEFAULTS = {
  streamsMax: 4,
  silentMax: 16,
  firstFrameMs: 2_000,
  idleMs: 10_000,
  connectMs: 2_000,
  clock: systemClock,
} as const;

export interface SnapshotStats {
  /** From other nodes, or from whoever else. */
  readonly connections: number;
  /** Those of them that were closed: too many, or silent for too long. */
  readonly refused: number;
}

type Serve = (stream: FrameStream) => Promise<void>;

export class TcpSnapshotTransport implements SnapshotTransport {
  readonly #options: Required<TcpSnapshotOptions>;
  #server: Server | undefined;
  #port: number;
  /** All connections, our own included. */
  readonly #open = new Set<TcpFrameStream>();
  /** The oldest first. */
  readonly #silent = new Set<TcpFrameStream>();
  readonly #active = new Set<TcpFrameStream>();
  #connections = 0;
  #refused = 0;

  constructor(options: TcpSnapshotOptions) {
    this.#options = { ...DEFAULTS, ...options };
    this.#port = options.port;
  }

  get endpoint(): string {
    return formatEndpoint(this.#options.address, this.#port);
  }

  /** Throws a SkeinError when the address is not to be had. */
  async listen(serve: Serve): Promise<void> {
    if (this.#server !== undefined) throw new Error('snapshots are being served');
    const server = createServer((socket) => this.#accept(socket, serve));
    this.#server = server;
    try {
      await listening(server, this.#options.address, this.#options.port);
    } catch (error) {
      if (this.#server === server) this.#server = undefined;
      throw new SkeinError(
        'SNAPSHOT_LISTEN',
        `cannot give snapshots at ${this.endpoint} (TCP): ${errorMessage(error)}; does the address belong to this node, and is no other program there?`,
        { cause: error },
      );
    }
    this.#port = (server.address() as AddressInfo).port;
    // Such as running out of descriptors: the next connection may do better.
    server.on('error', () => (this.#refused += 1));
  }

  /** Throws a SkeinError when nobody answers there. `signal` ends the stream at any time. */
  async connect(endpoint: string, signal: AbortSignal): Promise<FrameStream> {
    const target = parseEndpoint(endpoint);
    if (target === undefined) {
      throw new SkeinError('SNAPSHOT_CONNECT', `${endpoint} is not address:port`);
    }
    const { idleMs, connectMs, clock } = this.#options;
    const socket = connect({ host: target.address, port: target.port });
    const stream = this.#track(socket, new TcpFrameStream(socket, idleMs));
    const abort = () => stream.destroy('it was given up');
    signal.addEventListener('abort', abort);
    socket.once('close', () => signal.removeEventListener('abort', abort));
    const cancel = clock.after(connectMs, () =>
      stream.destroy(`no connection within ${connectMs} ms`),
    );
    if (signal.aborted) abort();
    try {
      await connected(socket);
    } catch (error) {
      throw new SkeinError('SNAPSHOT_CONNECT', `cannot reach ${endpoint}: ${errorMessage(error)}`, {
        cause: error,
      });
    } finally {
      cancel();
    }
    return stream;
  }

  stats(): SnapshotStats {
    return { connections: this.#connections, refused: this.#refused };
  }

  /** Ends all connections. */
  async stop(): Promise<void> {
    const server = this.#server;
    this.#server = undefined;
    for (const stream of this.#open) stream.destroy('this node stops');
    if (server !== undefined) await new Promise((resolve) => server.close(resolve));
  }

  #accept(socket: Socket, serve: Serve): void {
    const { idleMs, firstFrameMs, silentMax, clock } = this.#options;
    this.#connections += 1;
    const [oldest] = this.#silent;
    if (oldest !== undefined && this.#silent.size >= silentMax) {
      this.#refuse(oldest, 'newer connections took its place');
    }
    const stream = this.#track(
      socket,
      new TcpFrameStream(socket, idleMs, () => this.#spoke(stream)),
    );
    this.#silent.add(stream);
    const cancel = clock.after(firstFrameMs, () => {
      if (this.#silent.has(stream)) this.#refuse(stream, `no frame within ${firstFrameMs} ms`);
    });
    socket.once('close', () => {
      cancel();
      this.#silent.delete(stream);
      this.#active.delete(stream);
    });
    void this.#serve(stream, serve);
  }

  #spoke(stream: TcpFrameStream): void {
    this.#silent.delete(stream);
    if (this.#active.size < this.#options.streamsMax) this.#active.add(stream);
    else this.#refuse(stream, 'too many snapshots are being given');
  }

  async #serve(stream: TcpFrameStream, serve: Serve): Promise<void> {
    try {
      await serve(stream);
      stream.close();
    } catch (error) {
      stream.destroy(errorMessage(error));
    }
  }

  #refuse(stream: TcpFrameStream, reason: string): void {
    this.#refused += 1;
    this.#silent.delete(stream);
    stream.destroy(reason);
  }

  #track(socket: Socket, stream: TcpFrameStream): TcpFrameStream {
    this.#open.add(stream);
    socket.once('close', () => this.#open.delete(stream));
    return stream;
  }
}

function listening(server: Server, host: string, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const closed = () => reject(new Error('it was stopped'));
    server.once('error', reject);
    server.once('close', closed);
    server.listen({ host, port }, () => {
      server.removeListener('error', reject);
      server.removeListener('close', closed);
      resolve();
    });
  });
}

function connected(socket: Socket): Promise<void> {
  return new Promise((resolve, reject) => {
    socket.once('connect', resolve);
    socket.once('close', () => reject(socket.errored ?? new Error('it was closed')));
  });
}

/** `192.0.2.1:7000` or `[2001:db8::1]:7000`. */
function parseEndpoint(
  endpoint: string,
): { readonly address: Address; readonly port: number } | undefined {
  const [, ipv6, ipv4, digits] = /^(?:\[([^\]]+)\]|([^[\]:]+)):(\d{1,5})$/.exec(endpoint) ?? [];
  const address = parseAddress(ipv6 ?? ipv4 ?? '');
  const port = Number(digits);
  return address === undefined || port < 1 || port > 0xffff ? undefined : { address, port };
}
