/** Servers on loopback that behave well or badly, and what tells whether a probe left something. */
import { execFileSync } from 'node:child_process';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setImmediate as turn } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';

export interface LocalServer {
  readonly port: number;
  close(): Promise<void>;
}

/** Listens on a free port and remembers its connections, so that `close` can end them. */
export async function listen(server: Server, host = '127.0.0.1'): Promise<LocalServer> {
  const open = new Set<Socket>();
  server.on('connection', (socket) => {
    open.add(socket);
    socket.on('error', () => undefined);
    socket.once('close', () => open.delete(socket));
  });
  await new Promise<void>((resolve) => server.listen(0, host, resolve));
  return {
    port: (server.address() as AddressInfo).port,
    close: async () => {
      const closed = new Promise((resolve) => server.close(resolve));
      for (const socket of open) socket.destroy();
      await closed;
    },
  };
}

/** A TCP server that leaves each connection to `serve`. */
export function listenRaw(serve: (socket: Socket) => void, host?: string): Promise<LocalServer> {
  return listen(createServer(serve), host);
}

/** Sends `answer` as soon as anything arrives, and leaves the connection open. */
export function listenAnswering(answer: string | Buffer, host?: string): Promise<LocalServer> {
  return listenRaw((socket) => socket.once('data', () => socket.write(answer)), host);
}

/** A UDP server; `answer` makes what goes back for a datagram, if anything does. */
export async function listenUdp(
  answer: (datagram: Buffer) => Uint8Array | string | undefined,
  host = '127.0.0.1',
): Promise<LocalServer> {
  const socket = createSocket(host.includes(':') ? 'udp6' : 'udp4');
  socket.on('message', (datagram, { port, address }) => {
    const reply = answer(datagram);
    if (reply !== undefined) socket.send(reply, port, address);
  });
  socket.bind(0, host);
  await once(socket, 'listening');
  return {
    port: socket.address().port,
    close: () => new Promise((resolve) => socket.close(resolve)),
  };
}

/**
 * A port of 127.0.0.1 on which nobody listens by TCP or UDP, and nobody else can as long as this
 * process runs: sockets have it that are connected, and so hear none but their peers.
 */
export async function closedPort(): Promise<number> {
  const server = createServer((socket) => socket.unref()).unref();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port: peer } = server.address() as AddressInfo;
  for (;;) {
    const tcp = connect(peer, '127.0.0.1').unref();
    await once(tcp, 'connect');
    const port = tcp.localPort ?? 0;
    const udp = createSocket('udp4').unref();
    udp.bind(port, '127.0.0.1');
    const isBound = await once(udp, 'listening').then(
      () => true,
      () => false,
    );
    if (!isBound) continue;
    udp.connect(peer, '127.0.0.1');
    await once(udp, 'connect');
    return port;
  }
}

/** So many ports of a host that no UDP socket has, all different. They are free again at once. */
export async function freeUdpPorts(host: string, count: number): Promise<number[]> {
  const sockets = Array.from({ length: count }, () =>
    createSocket(host.includes(':') ? 'udp6' : 'udp4').bind(0, host),
  );
  await Promise.all(sockets.map((socket) => once(socket, 'listening')));
  const ports = sockets.map((socket) => socket.address().port);
  await Promise.all(sockets.map((socket) => new Promise<void>((resolve) => socket.close(resolve))));
  return ports;
}

/**
 * A port of 127.0.0.1 that answers no SYN, as a host without the VIP would: its queue of
 * connections is full, and its thread is blocked so that it never takes one out.
 */
export async function listenSilently(): Promise<LocalServer> {
  const code = `
    const { createServer } = require('node:net');
    const { parentPort, workerData } = require('node:worker_threads');
    const server = createServer();
    server.listen({ port: 0, host: '127.0.0.1', backlog: 1 }, () => {
      parentPort.postMessage(server.address().port);
      Atomics.wait(workerData, 0, 0);
    });`;
  const gate = new Int32Array(new SharedArrayBuffer(4));
  const worker = new Worker(code, { eval: true, workerData: gate });
  const port = await new Promise<number>((resolve) => worker.once('message', resolve));
  const fillers = Array.from({ length: 4 }, () => connect({ host: '127.0.0.1', port }));
  // The kernel takes two of them (backlog + 1); the others see what the probe will see.
  let taken = 0;
  for (const filler of fillers) {
    filler.once('connect', () => taken++);
    filler.on('error', () => undefined);
  }
  await until(() => taken === 2);
  return {
    port,
    close: async () => {
      for (const filler of fillers) filler.destroy();
      await worker.terminate();
    },
  };
}

export interface Certificate {
  readonly key: string;
  readonly cert: string;
}

/** Self-signed, made anew; `names` such as `DNS:check.example` or `IP:192.0.2.1`. */
export function makeCertificate(names: string): Certificate {
  const folder = mkdtempSync(join(tmpdir(), 'skein-health-'));
  try {
    const [key, cert] = [join(folder, 'key.pem'), join(folder, 'cert.pem')];
    const curve = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];
    const subject = ['-subj', '/CN=skein test', '-addext', `subjectAltName=${names}`];
    const files = ['-keyout', key, '-out', cert, '-days', '2'];
    execFileSync('openssl', ['req', '-x509', ...curve, ...subject, ...files], { stdio: 'pipe' });
    return { key: readFileSync(key, 'utf8'), cert: readFileSync(cert, 'utf8') };
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** Sockets, timers and the like that this process holds, but for what only waits for its turn. */
export function resources(): string[] {
  return process
    .getActiveResourcesInfo()
    .filter((name) => name !== 'Immediate')
    .sort();
}

/**
 * Connections of `port` that linger in TIME_WAIT (state 06 in /proc/net/tcp). Also those of whoever
 * had the port before, within the last minute: compare with what there were at first.
 */
export function lingering(port: number): number {
  const hex = `:${port.toString(16).toUpperCase().padStart(4, '0')}`;
  const lines = ['tcp', 'tcp6'].flatMap((name) =>
    readFileSync(`/proc/net/${name}`, 'utf8').split('\n'),
  );
  return lines.filter((line) => {
    const [, local, remote, state] = line.trim().split(/\s+/);
    return state === '06' && (local?.endsWith(hex) === true || remote?.endsWith(hex) === true);
  }).length;
}

/** Waits until `condition` holds; the test's own timeout is its limit. */
export async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await turn();
}
