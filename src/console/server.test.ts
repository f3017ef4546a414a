import { connect, type Socket } from 'node:net';
import { once } from 'node:events';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { silentLogger } from '../lib/logger.ts';
import { fixtureSnapshot } from './fixture.ts';
import { ConsoleServer } from './server.ts';

const WAIT = { timeout: 30_000, interval: 20 };

const running: ConsoleServer[] = [];

function consoleServer(port = 0, host = '127.0.0.1'): ConsoleServer {
  const view = { snapshot: () => fixtureSnapshot('usual') };
  const server = new ConsoleServer({ view, host, port, logger: silentLogger });
  running.push(server);
  return server;
}

afterEach(async () => {
  await Promise.all(running.splice(0).map((server) => server.stop()));
});

function url(port: number, path = '/healthz'): string {
  return `http://127.0.0.1:${port}${path}`;
}

/** Sends `text` and gives everything that comes back until the server closes the socket. */
async function raw(port: number, text: string): Promise<string> {
  const socket = connect(port, '127.0.0.1');
  socket.end(text);
  const chunks: Buffer[] = [];
  for await (const chunk of socket) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString();
}

describe('start', () => {
  test('tells where it listens, and answers there', async () => {
    const { host, port } = await consoleServer().start();
    expect(host).toBe('127.0.0.1');
    expect(port).toBeGreaterThan(0);
    expect(await (await fetch(url(port))).text()).toBe('ok\n');
  });

  test('twice is the same start', async () => {
    const server = consoleServer();
    const [first, second] = await Promise.all([server.start(), server.start()]);
    expect(second).toEqual(first);
  });

  test('listens on IPv6 as well', async () => {
    const { port } = await consoleServer(0, '::1').start();
    expect((await fetch(`http://[::1]:${port}/healthz`)).status).toBe(200);
  });

  test('says so when the port is taken, and works once it is free', async () => {
    const first = consoleServer();
    const { port } = await first.start();
    const second = consoleServer(port);
    await expect(second.start()).rejects.toMatchObject({
      name: 'SkeinError',
      code: 'CONSOLE_PORT_TAKEN',
      message: expect.stringContaining(`127.0.0.1:${port} is in use`) as string,
    });
    await first.stop();
    expect(await second.start()).toMatchObject({ port });
  });

  test('says so when the address is not of this machine', async () => {
    await expect(consoleServer(0, '192.0.2.1').start()).rejects.toMatchObject({
      code: 'CONSOLE_LISTEN',
    });
  });
});

describe('stop', () => {
  test('before a start, and twice, does nothing', async () => {
    const server = consoleServer();
    await server.stop();
    await server.start();
    await Promise.all([server.stop(), server.stop()]);
    await server.stop();
  });

  test('frees the port, and a later start takes it again', async () => {
    const server = consoleServer();
    const { port } = await server.start();
    await server.stop();
    await expect(fetch(url(port))).rejects.toThrow();
    const again = consoleServer(port);
    expect((await again.start()).port).toBe(port);
  });

  test('during a start waits for it and leaves nothing behind', async () => {
    const server = consoleServer();
    const starting = server.start();
    await server.stop();
    const { port } = await starting;
    await expect(fetch(url(port))).rejects.toThrow();
  });

  test('does not wait for a client that never finishes its request', async () => {
    const server = consoleServer();
    const { port } = await server.start();
    const socket: Socket = connect(port, '127.0.0.1');
    await once(socket, 'connect');
    socket.write('GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n');
    const closed = once(socket, 'close');
    socket.on('error', () => undefined);
    await server.stop();
    await closed;
  });
});

describe('hostile requests', () => {
  test('for answers that are never read do not lock others out', async () => {
    // More than the kernel keeps for a socket, so that the answer cannot be sent.
    const snapshot = () => ({ ...fixtureSnapshot('usual'), version: 'x'.repeat(32 * 1024 * 1024) });
    const bounds = { socketsMax: 2, silenceMs: 200 };
    const options = { view: { snapshot }, host: '127.0.0.1', port: 0, logger: silentLogger };
    const server = new ConsoleServer({ ...options, ...bounds });
    running.push(server);
    const { port } = await server.start();
    const sockets = Array.from({ length: bounds.socketsMax }, () => connect(port, '127.0.0.1'));
    for (const socket of sockets) {
      socket.on('error', () => undefined).pause();
      socket.write('GET /api/v1/snapshot HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n');
    }
    await Promise.all(sockets.map((socket) => once(socket, 'connect')));
    await vi.waitFor(async () => {
      expect((await fetch(url(port))).ok).toBe(true);
    }, WAIT);
    for (const socket of sockets) socket.destroy();
  });

  test('with another site’s name are refused on the wire', async () => {
    const { port } = await consoleServer().start();
    const answer = await raw(
      port,
      'GET / HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n',
    );
    expect(answer).toMatch(/^HTTP\/1\.1 421 /);
    expect(answer).toContain('host_not_allowed');
  });

  test.each([
    ['without a Host', 'GET / HTTP/1.1\r\nConnection: close\r\n\r\n'],
    ['with a broken Host', 'GET / HTTP/1.1\r\nHost: a b\r\nConnection: close\r\n\r\n'],
    ['that are no HTTP', '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03'],
    ['with a huge header', `GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: ${'x'.repeat(10_000)}\r\n\r\n`],
  ])('%s are refused, and the next one is answered', async (_, text) => {
    const { port } = await consoleServer().start();
    expect(await raw(port, text)).toMatch(/^HTTP\/1\.1 4\d\d /);
    expect((await fetch(url(port))).status).toBe(200);
  });

  test('with a body do not get it read into memory', async () => {
    const { port } = await consoleServer().start();
    const response = await fetch(url(port, '/api/v1/node'), {
      method: 'POST',
      body: 'x'.repeat(1_000_000),
    });
    expect(response.status).toBe(405);
  });
});
