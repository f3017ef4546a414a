import { getEventListeners } from 'node:events';
import { createServer as createHttp2, type ServerHttp2Stream } from 'node:http2';
import type { Socket } from 'node:net';
import { setImmediate as turn } from 'node:timers/promises';
import { createServer as createTls } from 'node:tls';
import { fileURLToPath } from 'node:url';
import {
  loadPackageDefinition,
  Server,
  ServerCredentials,
  status,
  type handleUnaryCall,
  type ServiceClientConstructor,
} from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';
import { afterEach, beforeAll, describe, expect, test } from 'vitest';
import { address, type Address } from '../model/address.ts';
import type { GrpcCheck } from '../model/check.ts';
import { grpcCheck } from './fixtures.ts';
import { GrpcProbe } from './grpc.ts';
import {
  closedPort,
  lingering,
  listen,
  listenAnswering,
  listenRaw,
  listenSilently,
  makeCertificate,
  resources,
  until,
  type Certificate,
  type LocalServer,
} from './local-servers.ts';
import type { ProbeReport } from './probe.ts';

const VIP = address('192.0.2.1');
const LOOPBACK = address('127.0.0.1');
const PASSED = { kind: 'pass', latencyMs: expect.any(Number) as number };
const PROTO = fileURLToPath(new URL('../../proto/grpc-health.proto', import.meta.url));

const servers: LocalServer[] = [];
afterEach(async () => {
  for (const server of servers.splice(0)) await server.close();
});

async function opened(server: Promise<LocalServer>): Promise<number> {
  const running = await server;
  servers.push(running);
  return running.port;
}

type Check = handleUnaryCall<{ service: string }, { status: number | string }>;

/** A server of grpc-js, whose services are serving or not as `statuses` says. */
async function health(
  statuses: Readonly<Record<string, string>>,
  host = '127.0.0.1',
  certificate?: Certificate,
): Promise<LocalServer> {
  const server = new Server();
  const Check: Check = ({ request }, answer) => {
    const found = statuses[request.service];
    if (found !== undefined) answer(null, { status: found });
    else answer({ code: status.NOT_FOUND, details: 'who is that?' });
  };
  const loaded = loadPackageDefinition(loadSync(PROTO)) as unknown as {
    grpc: { health: { v1: { Health: ServiceClientConstructor } } };
  };
  server.addService(loaded.grpc.health.v1.Health.service, { Check });
  const pair = certificate && {
    private_key: Buffer.from(certificate.key),
    cert_chain: Buffer.from(certificate.cert),
  };
  const credentials =
    pair === undefined
      ? ServerCredentials.createInsecure()
      : ServerCredentials.createSsl(null, [pair]);
  const endpoint = host.includes(':') ? `[${host}]:0` : `${host}:0`;
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync(endpoint, credentials, (error, bound) => {
      if (error === null) resolve(bound);
      else reject(error);
    });
  });
  return {
    port,
    close: () => {
      server.forceShutdown();
      return Promise.resolve();
    },
  };
}

interface Options {
  readonly via?: Address | undefined;
  readonly probe?: GrpcProbe;
  readonly abort?: AbortController;
}

/** Runs a probe and makes sure that nothing of it is left. */
async function check(spec: Partial<GrpcCheck>, options: Options = {}): Promise<ProbeReport> {
  const { probe = new GrpcProbe(), abort = new AbortController() } = options;
  const via = 'via' in options ? options.via : LOOPBACK;
  const before = resources();
  const target = { vip: VIP, backend: LOOPBACK, via };
  const report = await probe.check(grpcCheck(spec), target, abort.signal);
  expect(getEventListeners(abort.signal, 'abort')).toEqual([]);
  await until(() => resources().length <= before.length);
  return report;
}

function failed(reason: string, detail: string) {
  return { kind: 'fail', reason, detail: expect.stringContaining(detail) as string };
}

test.each(['127.0.0.1', '::1'])('passes at %s while the server serves', async (host) => {
  const port = await opened(health({ '': 'SERVING' }, host));
  expect(await check({ port }, { via: address(host) })).toEqual(PASSED);
});

test.each([
  ['a', PASSED],
  ['b', failed('status_unexpected', 'answered NOT_SERVING for service b')],
  ['c', failed('status_unexpected', 'answered UNKNOWN for service c')],
  ['d', failed('answer_unexpected', 'answered NOT_FOUND (who is that?) for service d')],
])('asks for service %s', async (service, expected) => {
  const port = await opened(health({ a: 'SERVING', b: 'NOT_SERVING', c: 'UNKNOWN' }));
  expect(await check({ port, service })).toEqual(expected);
});

test('a server without the health service', async () => {
  const server = new Server();
  const port = await new Promise<number>((resolve) => {
    server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (_error, bound) => {
      resolve(bound);
    });
  });
  expect(await check({ port })).toEqual(failed('answer_unexpected', 'answered UNIMPLEMENTED'));
  server.forceShutdown();
});

test('leaves no connection in TIME_WAIT', async () => {
  const port = await opened(health({ '': 'SERVING' }));
  const before = lingering(port);
  for (let i = 0; i < 5; i++) expect(await check({ port })).toEqual(PASSED);
  expect(lingering(port)).toBeLessThanOrEqual(before);
});

describe('a server that is no proper gRPC server', () => {
  type Serve = (stream: ServerHttp2Stream) => void;
  const trailing = (code: string, body: Uint8Array): Serve => {
    return (stream) => {
      stream.on('error', () => undefined);
      stream.respond({ ':status': 200 }, { waitForTrailers: true });
      stream.on('wantTrailers', () => {
        stream.sendTrailers({ 'grpc-status': code });
      });
      stream.end(body);
    };
  };
  const message = (...bytes: number[]) => Uint8Array.of(0, 0, 0, 0, bytes.length, ...bytes);

  test.each<[string, Serve, ReturnType<typeof failed> | typeof PASSED]>([
    ['sends fields of the future', trailing('0', message(8, 1, 0x12, 1, 65)), PASSED],
    [
      'sends a status without a name',
      trailing('0', message(8, 9)),
      failed('status_unexpected', 'answered 9 for the server'),
    ],
    ['sends no message', trailing('0', new Uint8Array(0)), failed('protocol_error', 'not proper')],
    [
      'sends half of one',
      trailing('0', Uint8Array.of(0, 0, 0, 0, 9, 8)),
      failed('protocol_error', 'not proper'),
    ],
    [
      'sends two',
      trailing('0', Uint8Array.of(...message(8, 1), ...message(8, 1))),
      failed('protocol_error', 'not proper'),
    ],
    [
      'sends a compressed one',
      trailing('0', Uint8Array.of(1, 0, 0, 0, 2, 8, 1)),
      failed('protocol_error', 'not proper'),
    ],
    [
      'sends what is no protobuf',
      trailing('0', message(0xff, 0xff)),
      failed('protocol_error', 'not proper'),
    ],
    [
      'sends a code without a name',
      trailing('99', new Uint8Array(0)),
      failed('answer_unexpected', 'answered status 99'),
    ],
    [
      'sends without end',
      trailing('0', new Uint8Array(1_000_000)),
      failed('protocol_error', 'more than 4096 bytes'),
    ],
    [
      'answers as a web server does',
      (stream) => {
        stream.respond({ ':status': 404 });
        stream.end('no');
      },
      failed('protocol_error', 'answered HTTP status 404, which is not gRPC'),
    ],
    [
      'sends no status',
      (stream) => {
        stream.respond({ ':status': 200 });
        stream.end(message(8, 1));
      },
      failed('protocol_error', 'closed in the middle of the response'),
    ],
    [
      'resets the stream',
      (stream) => {
        stream.on('error', () => undefined);
        stream.close(2);
      },
      failed('protocol_error', 'INTERNAL_ERROR'),
    ],
  ])('%s', async (_, serve, expected) => {
    const server = createHttp2();
    server.on('stream', serve);
    const port = await opened(listen(server));
    expect(await check({ port })).toEqual(expected);
  });

  test('speaks something else', async () => {
    const port = await opened(listenAnswering('HTTP/1.1 400 Bad\r\n\r\n'));
    expect(await check({ port })).toMatchObject({ kind: 'fail', reason: 'protocol_error' });
  });

  test('closes at once', async () => {
    const port = await opened(listenRaw((socket) => socket.end()));
    expect(await check({ port })).toMatchObject({ kind: 'fail', reason: 'protocol_error' });
  });

  test.each([undefined, { serverName: undefined, verify: false }])(
    'takes the connection and is silent, TLS %j: nothing of it is kept',
    async (tls) => {
      const abort = new AbortController();
      let open = 0;
      const port = await opened(
        listenRaw((socket) => {
          open++;
          socket.resume();
          socket.once('close', () => open--);
          socket.once('data', () => {
            abort.abort();
          });
        }),
      );
      expect(await check({ port, tls }, { abort })).toEqual(
        failed('timeout', tls === undefined ? 'gave no whole answer' : 'did not finish TLS'),
      );
      await until(() => open === 0);
    },
  );
});

describe('with TLS', () => {
  let certificate: Certificate;
  beforeAll(() => {
    certificate = makeCertificate('DNS:check.example,IP:192.0.2.1');
  });
  const roots = () => new GrpcProbe({ roots: [certificate.cert] });
  const serving = () => opened(health({ '': 'SERVING' }, '127.0.0.1', certificate));

  test('passes with any certificate', async () => {
    const tls = { serverName: undefined, verify: false };
    expect(await check({ port: await serving(), tls })).toEqual(PASSED);
  });

  test.each([
    ['its name', 'check.example'],
    ['the VIP', undefined],
  ])('verifies it against %s', async (_, serverName) => {
    const spec = { port: await serving(), tls: { serverName, verify: true } };
    expect(await check(spec, { probe: roots() })).toEqual(PASSED);
    expect(await check(spec)).toEqual(failed('tls_failed', 'TLS failed: '));
  });

  test('refuses one for another name', async () => {
    const tls = { serverName: 'other.example', verify: true };
    expect(await check({ port: await serving(), tls }, { probe: roots() })).toEqual(
      failed('tls_failed', 'other.example'),
    );
  });

  test('fails where the server has no TLS', async () => {
    const port = await opened(listenAnswering('hello, who is there?\r\n'));
    const tls = { serverName: undefined, verify: false };
    expect(await check({ port, tls })).toMatchObject({ kind: 'fail', reason: 'tls_failed' });
  });

  test('fails where the server has no HTTP/2', async () => {
    const { key, cert } = certificate;
    const server = createTls({ key, cert }, (socket: Socket) => {
      socket.on('error', () => undefined);
    });
    const port = await opened(listen(server));
    const tls = { serverName: undefined, verify: false };
    expect(await check({ port, tls })).toEqual(
      failed('protocol_error', 'speaks TLS, but no HTTP/2'),
    );
  });
});

describe('without a server to talk to', () => {
  test('refused, where nobody listens', async () => {
    expect(await check({ port: await closedPort() })).toMatchObject({ reason: 'refused' });
  });

  test('timeout, where no answer comes at all', async () => {
    const port = await opened(listenSilently());
    const abort = new AbortController();
    const report = check({ port }, { abort });
    await turn();
    abort.abort();
    expect(await report).toMatchObject({ reason: 'timeout', unanswered: true });
  });

  test('no_path, while the data plane does not know the pair', async () => {
    expect(await check({}, { via: undefined })).toMatchObject({ reason: 'no_path' });
  });

  test('may be aborted before it begins', async () => {
    const abort = new AbortController();
    abort.abort();
    expect(await check({}, { abort })).toMatchObject({ reason: 'timeout' });
  });
});
