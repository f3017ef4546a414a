/** Goal: what the traffic modes report is what happened. Method: real servers and sockets on loopback. */
import { once } from 'node:events';
import { createSocket, type Socket as UdpSocket } from 'node:dgram';
import { createServer as createHttpServer } from 'node:http';
import { createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { closedPort } from '../../src/health/local-servers.ts';
import { serveEcho, serveHttp, serveUdpEcho } from '../backend-server.ts';
import { until } from '../until.ts';
import { Download } from './download.ts';
import { HeldConnections } from './hold.ts';
import type { StreamResult } from './report.ts';
import { requestOnce } from './request.ts';
import { sendRequests } from './requests.ts';
import { streamRequests } from './stream.ts';
import { transfer } from './transfers.ts';
import { sendDatagrams } from './udp.ts';

const host = '127.0.0.1';
let http: Server;
let echo: Server;
let udp: UdpSocket;

beforeAll(async () => {
  http = serveHttp('b1', 0);
  echo = serveEcho('b1', 0);
  udp = serveUdpEcho('b1', 0, [host])[0]!;
  await Promise.all([http, echo, udp].map((server) => once(server, 'listening')));
});

afterAll(() => {
  http.close();
  echo.close();
  udp.close();
});

function portOf(server: Server): number {
  return (server.address() as AddressInfo).port;
}

/** A server that treats connections as it is told, on a port of its own. */
async function server(treat: (socket: Socket) => void): Promise<Server> {
  const sockets: Socket[] = [];
  const made = createServer((socket) => {
    sockets.push(socket);
    socket.on('error', () => socket.destroy());
    treat(socket);
  }).listen(0, host);
  await once(made, 'listening');
  onTestFinished(() => {
    made.close();
    for (const socket of sockets) socket.destroy();
  });
  return made;
}

/** Bound, and never answering. */
async function silentSocket(): Promise<UdpSocket> {
  const socket = createSocket('udp4').bind(0, host);
  await once(socket, 'listening');
  onTestFinished(() => {
    socket.close();
  });
  return socket;
}

function url(path = '/'): string {
  return `http://${host}:${portOf(http)}${path}`;
}

describe('requests', () => {
  test('name the backend that answered each', async () => {
    const report = await sendRequests({ url: url(), timeoutMs: 20_000, count: 20, concurrency: 4 });
    expect(report).toMatchObject({ sent: 20, ok: 20, perBackend: { b1: 20 }, errors: {} });
    expect(report.latency.maxMs).toBeGreaterThan(0);
  });

  test('count what went wrong by its code', async () => {
    const refused = {
      url: `http://${host}:${await closedPort()}/`,
      timeoutMs: 20_000,
      count: 2,
      concurrency: 1,
    };
    expect(await sendRequests(refused)).toMatchObject({ ok: 0, errors: { ECONNREFUSED: 2 } });
  });

  test('see a server that says nothing, and one that says the wrong thing', async () => {
    const silent = await server(() => undefined);
    const silentUrl = `http://${host}:${portOf(silent)}/`;
    expect(await requestOnce({ url: silentUrl, timeoutMs: 20 })).toMatchObject({
      error: 'timeout',
    });
    expect(await requestOnce({ url: url('/none'), timeoutMs: 20_000 })).toMatchObject({
      error: 'status 404',
    });
  });

  test('leave from the source port that they are told', async () => {
    const probe = await server(() => undefined);
    const sourcePort = portOf(probe);
    probe.close();
    await once(probe, 'close');
    const options = { url: url('/whoami'), timeoutMs: 20_000, sourcePort };
    const { backend, port } = await requestOnce(options);
    expect(port).toBe(sourcePort);
    expect(JSON.parse(backend!)).toMatchObject({ client: { address: host, port: sourcePort } });
  });
});

test('a stream takes its targets in turn and has a result for each request', async () => {
  const stop = new AbortController();
  const results: StreamResult[] = [];
  const urls = [url(), url('/none')];
  await streamRequests({ urls, ratePerS: 500, timeoutMs: 20_000 }, stop.signal, (result) => {
    results.push(result);
    if (results.length === 10) stop.abort();
  });
  const failed = results.filter((result) => result.error !== null);
  expect(new Set(failed.map((result) => `${result.url} ${result.error}`))).toEqual(
    new Set([`${urls[1]} status 404`]),
  );
  expect(results.length - failed.length).toBeGreaterThanOrEqual(4);
});

test('datagrams are counted by who answered', async () => {
  const { port } = udp.address();
  const options = { host, port, count: 20, flows: 4, ratePerS: 2000, timeoutMs: 20_000 };
  const report = await sendDatagrams(options, new AbortController().signal);
  expect(report).toMatchObject({
    sent: 20,
    answered: 20,
    lost: 0,
    moved: 0,
    perBackend: { b1: 20 },
    lastLostAtMs: null,
  });
});

test('the last datagram that nobody answered is told by its time', async () => {
  const silent = await silentSocket();
  const beforeMs = Date.now();
  const options = { host, port: silent.address().port, flows: 2, ratePerS: 1000, timeoutMs: 20 };
  const report = await sendDatagrams({ ...options, count: 10 }, new AbortController().signal);
  expect(report).toMatchObject({ sent: 10, answered: 0, lost: 10 });
  expect(report.lastLostAtMs).toBeGreaterThanOrEqual(beforeMs - 1);
  expect(report.lastLostAtMs).toBeLessThanOrEqual(Date.now() + 1);
});

test('datagrams without a number go on until they are told to stop, and wait for answers', async () => {
  const stop = new AbortController();
  const { port } = udp.address();
  const sending = sendDatagrams(
    { host, port, flows: 2, ratePerS: 500, timeoutMs: 20_000 },
    stop.signal,
  );
  udp.once('message', () => {
    stop.abort();
  });
  const report = await sending;
  expect(report.sent).toBeGreaterThan(0);
  expect(report.lost).toBe(0);
});

test('datagrams grow to the size asked for, and come back as they were', async () => {
  const { port } = udp.address();
  const options = { host, port, count: 30, flows: 4, ratePerS: 2000, timeoutMs: 20_000 };
  const report = await sendDatagrams({ ...options, bytesMax: 1472 }, new AbortController().signal);
  expect(report).toMatchObject({ answered: 30, lost: 0, bytesMax: 1472, errors: {} });
});

test('a datagram that comes back changed is told', async () => {
  const lying = await silentSocket();
  lying.on('message', (data, from) => {
    lying.send(`b1 ${data.toString()} x`, from.port, from.address);
  });
  const options = { host, port: lying.address().port, flows: 1, ratePerS: 1000, timeoutMs: 20_000 };
  const report = await sendDatagrams({ ...options, count: 2 }, new AbortController().signal);
  expect(report).toMatchObject({ answered: 0, lost: 0, errors: { 'wrong answer': 2 } });
});

describe('transfers', () => {
  const common = { bytes: 1_000_001, downloads: 3, uploads: 3, timeoutMs: 60_000 };

  test('go both ways at once, and each is checked', async () => {
    expect(await transfer({ url: url(), ...common })).toMatchObject({
      downloaded: 3,
      uploaded: 3,
      downloadsFrom: { b1: 3 },
      uploadsTo: { b1: 3 },
      errors: {},
    });
  });

  test('notice wrong bytes in either direction', async () => {
    const lying = createHttpServer((request, response) => {
      request.resume();
      request.on('end', () => response.end('x'.repeat(common.bytes)));
    }).listen(0, host);
    await once(lying, 'listening');
    onTestFinished(() => {
      lying.close();
    });
    const report = await transfer({ url: `http://${host}:${portOf(lying)}/`, ...common });
    expect(report).toMatchObject({ downloaded: 0, uploaded: 0, uploadsTo: {} });
    expect(report.errors).toEqual({ 'wrong content': 3, 'answer too long': 3 });
  });

  test('are given up after their time', async () => {
    const mute = await server((socket) => socket.resume());
    const report = await transfer({
      ...common,
      url: `http://${host}:${portOf(mute)}/`,
      timeoutMs: 50,
    });
    expect(report).toMatchObject({ downloaded: 0, uploaded: 0, errors: { ABORT_ERR: 6 } });
  });
});

describe('a download', () => {
  async function download(bytes: number, root = url('/')): Promise<Download> {
    const made = new Download({ url: root, bytes });
    onTestFinished(() => {
      made.close();
    });
    await made.open();
    return made;
  }

  test('knows its backend before it starts, and its bytes when they are all there', async () => {
    const made = await download(1_000_001);
    expect(made.report()).toMatchObject({ state: 'idle', bytes: 0 });
    await made.start();
    expect(made.report()).toMatchObject({ state: 'done', bytes: 1_000_001, error: null });
  });

  test.each([
    ['other bytes', 'xxxx', 'wrong content'],
    ['too few', 'xx', 'wrong length'],
  ])('notices %s', async (_, body, error) => {
    const lying = createHttpServer((_request, response) => response.end(body)).listen(0, host);
    await once(lying, 'listening');
    onTestFinished(() => {
      lying.close();
    });
    const made = await download(4, `http://${host}:${portOf(lying)}/`);
    await made.start();
    expect(made.report()).toMatchObject({ state: 'failed', error });
  });
});

describe('held connections', () => {
  const common = { host, intervalMs: 5, openTimeoutMs: 20_000, stallMs: 30 };

  async function hold(port: number, count: number): Promise<HeldConnections> {
    const held = new HeldConnections({ ...common, port, count });
    onTestFinished(() => {
      held.close();
    });
    await held.open();
    return held;
  }

  test('keep talking and find their own words in the echo', async () => {
    const held = await hold(portOf(echo), 10);
    await until(() => held.report().linesEchoed >= 50, { what: 'echoes' });
    expect(held.report()).toMatchObject({
      opened: 10,
      open: 10,
      broken: 0,
      perBackend: { b1: 10 },
    });
  });

  test('see a reset', async () => {
    const resetting = await server((socket) => {
      socket.write('b1\n');
      socket.once('data', () => socket.resetAndDestroy());
    });
    const held = await hold(portOf(resetting), 2);
    await until(() => held.report().broken === 2, { what: 'resets' });
    expect(held.report()).toMatchObject({ open: 0, brokenBy: { ECONNRESET: 2 } });
  });

  test('see an echo that is not theirs, and one of another backend', async () => {
    const answers = ['b1 1 99\n', 'b2 2 0\n'];
    const lying = await server((socket) => {
      const answer = answers.shift() ?? '';
      socket.write('b1\n');
      socket.once('data', () => socket.write(answer));
    });
    const held = await hold(portOf(lying), 2);
    await until(() => held.report().broken === 2, { what: 'wrong echoes' });
    expect(held.report()).toMatchObject({ moved: 1 });
    expect(Object.keys(held.report().brokenBy)).toEqual(['moved to b2', 'wrong echo']);
  });

  test('see an echo that does not come', async () => {
    const mute = await server((socket) => socket.write('b1\n'));
    const held = await hold(portOf(mute), 3);
    await until(() => held.report().stalled === 3, { what: 'stalls' });
    const report = held.report();
    expect(report.longestGapMs).toBeGreaterThanOrEqual(30);
    expect(report).toMatchObject({ open: 3, broken: 0 });
  });

  test('that cannot be opened have failed', async () => {
    const held = await hold(await closedPort(), 3);
    expect(held.report()).toMatchObject({ opened: 0, failed: 3, broken: 0 });
  });
});
