/**
 * A backend of the testbed: an HTTP server and two echo servers that all say the backend's name, so
 * that a client can tell who served it. Runs inside the backend's namespace, one process a backend.
 *
 * HTTP: `/` answers `NAME\n`, `/healthz` answers `ok\n`, `/whoami` says in JSON who asked whom, and
 * `/bytes/N` sends the first N bytes of content.ts. PUT `/bytes` answers the SHA-256 of what it gets.
 * TCP echo: `NAME\n` first, then `NAME LINE\n` for every LINE. UDP echo: `NAME DATA` for DATA, by
 * `echoOf` of content.ts.
 */
import { createHash } from 'node:crypto';
import { createSocket, type Socket as UdpSocket } from 'node:dgram';
import {
  createServer as createHttpServer,
  type IncomingMessage,
  type Server as HttpServer,
  type ServerResponse,
} from 'node:http';
import { createServer as createTcpServer, type Server as TcpServer, type Socket } from 'node:net';
import { pipeline, Readable } from 'node:stream';
import { Command } from 'commander';
import { CONTENT_BYTES_MAX, content, echoOf } from './content.ts';
import { ECHO_PORT, HTTP_PORT, UDP_ECHO_PORT } from './topology.ts';

/** Ten thousand clients may come at once. */
const BACKLOG = 4096;
const LINE_BYTES_MAX = 4096;
/** A download may begin long after its connection. */
const KEEP_ALIVE_MS = 60_000;

export function serveHttp(name: string, port: number): HttpServer {
  const server = createHttpServer((request, response) => {
    response.setHeader('server', name);
    if (request.method === 'PUT') {
      hashUpload(request, response);
      return;
    }
    const bytes = bytesWanted(request);
    if (bytes !== undefined) {
      sendContent(response, bytes);
      return;
    }
    const body = answerTo(name, request);
    response.writeHead(body === undefined ? 404 : 200, { 'content-type': 'text/plain' });
    response.end(body ?? `${name} has no such page\n`);
  });
  server.keepAliveTimeout = KEEP_ALIVE_MS;
  return server.listen({ port, host: '::', backlog: BACKLOG });
}

export function serveEcho(name: string, port: number): TcpServer {
  const server = createTcpServer({ noDelay: true }, (socket) => {
    echoLines(name, socket);
  });
  return server.listen({ port, host: '::', backlog: BACKLOG });
}

/**
 * One socket an address: a socket bound to the wildcard would answer from the backend's own address
 * and not from the VIP that the client wrote to.
 */
export function serveUdpEcho(
  name: string,
  port: number,
  addresses: readonly string[],
): readonly UdpSocket[] {
  return addresses.map((address) => {
    const socket = createSocket(address.includes(':') ? 'udp6' : 'udp4');
    socket.on('message', (data, from) => {
      const answer = Buffer.from(echoOf(name, data.toString('latin1')), 'latin1');
      socket.send(answer, from.port, from.address);
    });
    return socket.bind({ port, address });
  });
}

function answerTo(name: string, request: IncomingMessage): string | undefined {
  const { socket } = request;
  switch (request.url?.split('?')[0]) {
    case '/':
      return `${name}\n`;
    case '/healthz':
      return 'ok\n';
    case '/whoami':
      return `${JSON.stringify({
        backend: name,
        client: { address: plain(socket.remoteAddress), port: socket.remotePort },
        local: { address: plain(socket.localAddress), port: socket.localPort },
      })}\n`;
    default:
      return undefined;
  }
}

function bytesWanted(request: IncomingMessage): number | undefined {
  const digits = /^\/bytes\/(\d{1,9})$/.exec(request.url ?? '')?.[1];
  const bytes = Number(digits);
  return digits !== undefined && bytes <= CONTENT_BYTES_MAX ? bytes : undefined;
}

function sendContent(response: ServerResponse, bytes: number): void {
  response.writeHead(200, { 'content-length': bytes });
  // A client that goes away ends the pipeline with an error that is of no interest here.
  pipeline(Readable.from(content(bytes)), response, () => undefined);
}

/** Never more than a download may have; then the connection ends. */
function hashUpload(request: IncomingMessage, response: ServerResponse): void {
  const hash = createHash('sha256');
  let bytes = 0;
  request.on('data', (chunk: Buffer) => {
    bytes += chunk.length;
    if (bytes > CONTENT_BYTES_MAX) request.destroy();
    else hash.update(chunk);
  });
  request.on('end', () => {
    response.end(`${hash.digest('hex')}\n`);
  });
  request.on('error', () => request.destroy());
}

function echoLines(name: string, socket: Socket): void {
  socket.on('error', () => socket.destroy());
  socket.write(`${name}\n`);
  let unfinished = '';
  socket.setEncoding('latin1');
  socket.on('data', (chunk: string) => {
    const lines = (unfinished + chunk).split('\n');
    unfinished = lines.pop() ?? '';
    if (unfinished.length > LINE_BYTES_MAX) socket.destroy();
    else if (lines.length > 0) {
      socket.write(lines.map((line) => `${name} ${line}\n`).join(''), 'latin1');
    }
  });
  socket.on('end', () => socket.end());
}

/** A dual-stack socket shows IPv4 clients as mapped addresses. */
function plain(address: string | undefined): string {
  return (address ?? '').replace(/^::ffff:(?=\d+\.)/, '');
}

function main(): void {
  const program = new Command('backend-server')
    .requiredOption('--name <name>', 'what it answers')
    .requiredOption('--address <address...>', 'own addresses and VIPs, for UDP');
  const options = program.parse().opts<{ name: string; address: string[] }>();
  serveHttp(options.name, HTTP_PORT);
  serveEcho(options.name, ECHO_PORT);
  serveUdpEcho(options.name, UDP_ECHO_PORT, options.address);
}

if (import.meta.main) main();
