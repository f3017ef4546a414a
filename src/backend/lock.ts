/**
 * One `skein backend` for a state folder: a socket that only a living process answers. Whoever asks is
 * told what that process does, as JSON, and never anything else.
 */
import { mkdirSync, rmSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { join } from 'node:path';
import { errorMessage, SkeinError } from '../lib/errors.ts';

/** Of a path in a socket address (Linux, unix(7)), with its closing zero. */
const SOCKET_PATH_BYTES_MAX = 107;
const ANSWER_BYTES_MAX = 1 << 20;
const ANSWER_TIMEOUT_MS = 2_000;
const CONNECTIONS_MAX = 8;
const ATTEMPTS_MAX = 3;

export interface Lock {
  release(): Promise<void>;
}

/** Throws a SkeinError that names the process which has it. `answer` is asked for each question. */
export async function takeLock(stateDir: string, answer: () => unknown): Promise<Lock> {
  const path = socketPath(stateDir);
  mkdirSync(stateDir, { recursive: true });
  for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt += 1) {
    const lock = await listen(path, answer);
    if (lock !== undefined) return lock;
    const owner = await ask(path);
    if (owner !== undefined) throw running(stateDir, owner);
    rmSync(path, { force: true });
  }
  throw new SkeinError('BACKEND_LOCK', `another skein backend is just starting (${path})`);
}

/** What the process that has the lock does; undefined when there is none. */
export async function askBackend(stateDir: string): Promise<unknown> {
  const text = await ask(socketPath(stateDir));
  return text === undefined ? undefined : (JSON.parse(text) as unknown);
}

function socketPath(stateDir: string): string {
  const path = join(stateDir, 'socket');
  if (Buffer.byteLength(path) <= SOCKET_PATH_BYTES_MAX) return path;
  throw new SkeinError(
    'CONFIG',
    `${path} is longer than ${SOCKET_PATH_BYTES_MAX} bytes: use a shorter --state-dir`,
  );
}

/** Undefined when somebody is, or was, listening there. */
async function listen(path: string, answer: () => unknown): Promise<Lock | undefined> {
  const { promise, resolve, reject } = Promise.withResolvers<Lock | undefined>();
  const server = createServer((socket) => {
    socket.on('error', () => socket.destroy());
    socket.setTimeout(ANSWER_TIMEOUT_MS, () => socket.destroy());
    socket.end(`${JSON.stringify(answer())}\n`);
  });
  server.maxConnections = CONNECTIONS_MAX;
  server.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EADDRINUSE') resolve(undefined);
    else reject(new SkeinError('BACKEND_LOCK', `${path}: ${error.message}`, { cause: error }));
  });
  server.listen(path, () => {
    resolve({
      release: () =>
        new Promise((done) => {
          server.close(() => {
            done();
          });
        }),
    });
  });
  return await promise;
}

/** Undefined when nobody answers. */
async function ask(path: string): Promise<string | undefined> {
  const { promise, resolve, reject } = Promise.withResolvers<string | undefined>();
  const socket = connect(path);
  let text = '';
  socket.setEncoding('utf8');
  socket.setTimeout(ANSWER_TIMEOUT_MS, () => {
    // It has the socket open, so it lives, busy as it may be.
    resolve('{}');
    socket.destroy();
  });
  socket.on('data', (chunk: string) => {
    text += chunk;
    if (text.length > ANSWER_BYTES_MAX) socket.destroy();
  });
  socket.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'ECONNREFUSED' || error.code === 'ENOENT') resolve(undefined);
    else reject(new SkeinError('BACKEND_LOCK', `${path}: ${error.message}`, { cause: error }));
  });
  socket.on('close', () => {
    resolve(text === '' ? '{}' : text);
  });
  return await promise;
}

function running(stateDir: string, answer: string): SkeinError {
  let pid: unknown;
  try {
    ({ pid } = JSON.parse(answer) as { pid?: unknown });
  } catch (error) {
    pid = errorMessage(error);
  }
  const who = typeof pid === 'number' ? `process ${pid}` : 'a process';
  return new SkeinError(
    'BACKEND_RUNNING',
    `skein backend runs already (${who}, ${stateDir}): end it first, or use another --state-dir and --bpffs`,
  );
}
