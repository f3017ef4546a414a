/**
 * The console on a TCP port. It has no authentication since it writes nothing, so where it listens
 * decides who may read; it must never take a client's time or memory without a limit.
 */
import type { AddressInfo } from 'node:net';
import { createServer, type Server } from 'node:http';
import { getRequestListener } from '@hono/node-server';
import { systemClock } from '../lib/clock.ts';
import { SkeinError, errorMessage } from '../lib/errors.ts';
import type { Logger } from '../lib/logger.ts';
import { createConsole } from './app.ts';
import type { View } from './view.ts';

/** A request's headers fit easily; whoever needs longer holds a socket on purpose. */
const HEADERS_TIMEOUT_MS = 5_000;
const REQUEST_TIMEOUT_MS = 10_000;
/** Longer than the second between two polls of the page, so that a page keeps one socket. */
const KEEP_ALIVE_TIMEOUT_MS = 15_000;
/** Without a byte either way: for who asks and then does not read. */
const SILENCE_MS = 30_000;
const HEADER_BYTES_MAX = 8_192;
/** Sockets open at once: dozens of operators and scrapers. More are closed at once. */
const SOCKETS_MAX = 256;
/** How long a stop waits for answers under way. */
const STOP_GRACE_MS = 1_000;

export interface ConsoleServerOptions {
  readonly view: View;
  /** Address or name to listen on; a name is also accepted in the Host header. */
  readonly host: string;
  /** 0: any free port, told by `start`. */
  readonly port: number;
  readonly logger: Logger;
  /** A socket that carries nothing for so long is closed: half a minute. */
  readonly silenceMs?: number;
  /** Open at once: SOCKETS_MAX. */
  readonly socketsMax?: number;
}

export interface ListeningAddress {
  readonly host: string;
  readonly port: number;
}

export class ConsoleServer {
  readonly #options: ConsoleServerOptions;
  readonly #fetch: ReturnType<typeof createConsole>['fetch'];
  #running: { readonly server: Server; readonly listening: Promise<ListeningAddress> } | undefined;

  constructor(options: ConsoleServerOptions) {
    this.#options = options;
    const app = createConsole(options.view, {
      names: [options.host],
      onError: (error) => {
        options.logger.error({ err: error }, 'console: a request failed');
      },
    });
    this.#fetch = app.fetch;
  }

  /**
   * Resolves with where it listens; starting twice is the same start. Rejects with a SkeinError
   * (`CONSOLE_PORT_TAKEN`, `CONSOLE_LISTEN`), after which it can be started again.
   */
  start(): Promise<ListeningAddress> {
    if (this.#running === undefined) {
      const server = this.#createServer();
      const listening = listen(server, this.#options).catch((error: unknown) => {
        this.#running = undefined;
        throw error;
      });
      this.#running = { server, listening };
    }
    return this.#running.listening;
  }

  /** Resolves when the port is free and every socket closed, answers under way having a second. */
  async stop(): Promise<void> {
    const running = this.#running;
    if (running === undefined) return;
    await running.listening.catch(() => undefined);
    // A failed start has nothing to close, and of two stops the first one closes.
    if (this.#running === running) this.#running = undefined;
    await close(running.server);
  }

  #createServer(): Server {
    // The supervisor's own Request and Response stay those of Node.
    const answer = getRequestListener(this.#fetch, { overrideGlobalObjects: false });
    const server = createServer(
      {
        headersTimeout: HEADERS_TIMEOUT_MS,
        requestTimeout: REQUEST_TIMEOUT_MS,
        keepAliveTimeout: KEEP_ALIVE_TIMEOUT_MS,
        maxHeaderSize: HEADER_BYTES_MAX,
        connectionsCheckingInterval: HEADERS_TIMEOUT_MS,
      },
      (incoming, outgoing) => {
        void answer(incoming, outgoing);
      },
    );
    server.timeout = this.#options.silenceMs ?? SILENCE_MS;
    server.maxConnections = this.#options.socketsMax ?? SOCKETS_MAX;
    return server;
  }
}

function listen(server: Server, options: ConsoleServerOptions): Promise<ListeningAddress> {
  const { host, port, logger } = options;
  return new Promise((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => {
      reject(listenError(error, host, port));
    });
    server.listen({ host, port }, () => {
      server.removeAllListeners('error');
      server.on('error', (error) => {
        logger.error({ err: error }, 'console: the listening socket failed');
      });
      // A server that listens on TCP has an AddressInfo; only a closed one or a pipe has not.
      const address = server.address() as AddressInfo;
      resolve({ host: address.address, port: address.port });
    });
  });
}

function listenError(error: NodeJS.ErrnoException, host: string, port: number): SkeinError {
  const where = `${host.includes(':') ? `[${host}]` : host}:${port}`;
  if (error.code === 'EADDRINUSE') {
    return new SkeinError(
      'CONSOLE_PORT_TAKEN',
      `console: ${where} is in use: does this node run already? If not, change console in the node document`,
      { cause: error },
    );
  }
  return new SkeinError(
    'CONSOLE_LISTEN',
    `console: cannot listen on ${where} (${errorMessage(error)}): check console in the node document`,
    { cause: error },
  );
}

function close(server: Server): Promise<void> {
  return new Promise((resolve) => {
    const cancelForce = systemClock.after(STOP_GRACE_MS, () => {
      server.closeAllConnections();
    });
    // An error here says only that it was not listening, which is what a stop is for.
    server.close(() => {
      cancelForce();
      resolve();
    });
    server.closeIdleConnections();
  });
}
