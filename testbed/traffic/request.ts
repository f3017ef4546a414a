/** One HTTP request on a TCP connection of its own; the answer's first line names the backend. */
import { request as httpRequest, type IncomingMessage } from 'node:http';
import { errorCode } from './report.ts';

const BODY_BYTES_MAX = 4096;

export interface RequestOptions {
  readonly url: string;
  readonly timeoutMs: number;
  readonly sourceAddress?: string | undefined;
  readonly sourcePort?: number | undefined;
}

export interface RequestResult {
  readonly backend: string | undefined;
  /** Of this end of the connection; undefined when there was none. */
  readonly port: number | undefined;
  /** Undefined when it went well. */
  readonly error: string | undefined;
  readonly latencyMs: number;
}

/**
 * Never throws: what goes wrong is in the result. A connection from a port of the caller's choice
 * ends with a reset: when both ends close at once, the port would otherwise wait a minute in
 * TIME_WAIT, and the next request from it would fail with EADDRINUSE.
 */
export async function requestOnce(options: RequestOptions): Promise<RequestResult> {
  const startedMs = performance.now();
  const { promise, resolve } = Promise.withResolvers<RequestResult>();
  let port: number | undefined;
  const finish = (backend: string | undefined, error: string | undefined): void => {
    clearTimeout(timer);
    resolve({ backend, port, error, latencyMs: performance.now() - startedMs });
  };
  const request = httpRequest(options.url, {
    agent: false,
    headers: { connection: 'close' },
    ...(options.sourceAddress === undefined ? {} : { localAddress: options.sourceAddress }),
    ...(options.sourcePort === undefined ? {} : { localPort: options.sourcePort }),
  });
  const timer = setTimeout(() => {
    request.destroy();
    finish(undefined, 'timeout');
  }, options.timeoutMs);
  request.once('error', (error) => {
    finish(undefined, errorCode(error));
  });
  request.once('socket', (socket) => {
    socket.once('connect', () => (port = socket.localPort));
  });
  request.once('response', (response) => {
    // Before the listener of http itself, which would send a FIN.
    if (options.sourcePort !== undefined) {
      response.prependOnceListener('end', () => response.socket.resetAndDestroy());
    }
    readBody(response).then(
      (body) => {
        if (response.statusCode === 200) finish(body.split('\n')[0], undefined);
        else finish(undefined, `status ${String(response.statusCode)}`);
      },
      (error: unknown) => {
        finish(undefined, errorCode(error));
      },
    );
  });
  request.end();
  return promise;
}

async function readBody(response: IncomingMessage): Promise<string> {
  let body = '';
  response.setEncoding('utf8');
  for await (const chunk of response as AsyncIterable<string>) {
    body += chunk;
    if (body.length > BODY_BYTES_MAX) throw new Error('body too long');
  }
  return body;
}
