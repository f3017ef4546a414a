import { getEventListeners } from 'node:events';
import { createServer as createHttp, type RequestListener } from 'node:http';
import { createServer as createHttps, type ServerOptions } from 'node:https';
import type { Socket } from 'node:net';
import { setImmediate as turn } from 'node:timers/promises';
import { createServer as createTls, type TLSSocket } from 'node:tls';
import { afterEach, beforeAll, describe, expect, test } from 'vitest';
import { address, type Address } from '../model/address.ts';
import type { HttpCheck, HttpsCheck } from '../model/check.ts';
import { httpCheck, httpsCheck } from './fixtures.ts';
import { HttpProbe } from './http.ts';
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
const OK = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok';

const servers: LocalServer[] = [];
afterEach(async () => {
  for (const server of servers.splice(0)) await server.close();
});

async function opened(server: Promise<LocalServer>): Promise<number> {
  const running = await server;
  servers.push(running);
  return running.port;
}

interface Options {
  readonly via?: Address | undefined;
  readonly vip?: Address;
  readonly probe?: HttpProbe;
  readonly abort?: AbortController;
}

/** Runs a probe and makes sure that nothing of it is left. */
async function check(spec: HttpCheck | HttpsCheck, options: Options = {}): Promise<ProbeReport> {
  const { vip = VIP, probe = new HttpProbe(), abort = new AbortController() } = options;
  const via = 'via' in options ? options.via : LOOPBACK;
  const before = resources();
  const report = await probe.check(spec, { vip, backend: LOOPBACK, via }, abort.signal);
  expect(getEventListeners(abort.signal, 'abort')).toEqual([]);
  await until(() => resources().length <= before.length);
  return report;
}

function failed(reason: string, detail: string) {
  return { kind: 'fail', reason, detail: expect.stringContaining(detail) as string };
}

const PASSED = { kind: 'pass', latencyMs: expect.any(Number) as number };

describe('http', () => {
  test.each(['127.0.0.1', '::1'])('passes at %s by its status', async (host) => {
    const port = await opened(
      listen(
        createHttp((_request, response) => response.end('ok')),
        host,
      ),
    );
    expect(await check(httpCheck({ port }), { via: address(host) })).toEqual(PASSED);
  });

  test.each([
    [204, [{ from: 200, to: 299 }], true],
    [301, [{ from: 200, to: 299 }], false],
    [503, [{ from: 200, to: 299 }], false],
    [
      401,
      [
        { from: 200, to: 204 },
        { from: 401, to: 401 },
      ],
      true,
    ],
    [
      404,
      [
        { from: 200, to: 204 },
        { from: 401, to: 401 },
      ],
      false,
    ],
  ] as const)('status %i among %j passes: %s', async (status, expect_, passes) => {
    const port = await opened(
      listen(createHttp((_request, response) => response.writeHead(status).end())),
    );
    const report = await check(httpCheck({ port, expect: expect_ }));
    expect(report.kind).toBe(passes ? 'pass' : 'fail');
  });

  test('names the status that came and those that would have passed', async () => {
    const port = await opened(listenAnswering('HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n'));
    const ranges = [
      { from: 200, to: 299 },
      { from: 401, to: 401 },
    ];
    expect(await check(httpCheck({ port, expect: ranges }))).toEqual(
      failed('status_unexpected', 'answered 503, expected 200-299, 401: GET /health'),
    );
  });

  test('does not follow a redirect', async () => {
    const paths: (string | undefined)[] = [];
    const port = await opened(
      listen(
        createHttp((request, response) => {
          paths.push(request.url);
          response.writeHead(302, { location: '/elsewhere' }).end();
        }),
      ),
    );
    expect(await check(httpCheck({ port }))).toEqual(failed('status_unexpected', '302'));
    expect(paths).toEqual(['/health']);
  });

  async function requestSeen(overrides: Partial<HttpCheck>, vip = VIP) {
    const seen: { line: string; headers: NodeJS.Dict<string | string[]> }[] = [];
    const listener: RequestListener = (request, response) => {
      seen.push({
        line: `${String(request.method)} ${String(request.url)}`,
        headers: request.headers,
      });
      response.end();
    };
    const port = await opened(listen(createHttp(listener)));
    await check(httpCheck({ port, ...overrides }), { vip });
    const [request] = seen;
    if (request === undefined) throw new Error('no request arrived');
    return { ...request, port };
  }

  test.each(['GET', 'HEAD', 'POST', 'OPTIONS'] as const)(
    'sends %s and the path',
    async (method) => {
      const { line, headers } = await requestSeen({ method, path: '/a?b=c' });
      expect(line).toBe(`${method} /a?b=c`);
      expect(headers).toMatchObject({ connection: 'close', 'user-agent': 'skein' });
    },
  );

  test('sends the Host that is set', async () => {
    expect((await requestSeen({ host: 'www.example' })).headers['host']).toBe('www.example');
  });

  test.each(['192.0.2.1', '2001:db8::1'])(
    'sends %s as Host otherwise, with the port',
    async (vip) => {
      const { headers, port } = await requestSeen({}, address(vip));
      expect(headers['host']).toBe(vip.includes(':') ? `[${vip}]:${port}` : `${vip}:${port}`);
    },
  );

  test('reads a body that is small, and leaves no connection in TIME_WAIT', async () => {
    let ended = 0;
    const serve = (socket: Socket) => {
      socket.once('data', () => socket.write(OK)).once('close', () => ended++);
    };
    const port = await opened(listenRaw(serve));
    const before = lingering(port);
    for (let i = 0; i < 5; i++) expect(await check(httpCheck({ port }))).toEqual(PASSED);
    await until(() => ended === 5);
    expect(lingering(port)).toBeLessThanOrEqual(before);
  });

  test('cuts a body that does not end', async () => {
    const chunk = Buffer.alloc(4096, 'x');
    let sentBytes = 0;
    const serve = (socket: Socket) => {
      const pour = () => {
        while (!socket.destroyed && socket.write(chunk)) sentBytes += chunk.length;
      };
      socket.once('data', () => {
        socket.write('HTTP/1.1 200 OK\r\n\r\n');
        socket.on('drain', pour);
        pour();
      });
    };
    expect(await check(httpCheck({ port: await opened(listenRaw(serve)) }))).toEqual(PASSED);
    // The bound, and what the two socket buffers may hold on top of it.
    expect(sentBytes).toBeLessThan(64 * 1024 * 1024);
  });

  test('takes the end of the connection for the end of a body without a length', async () => {
    const answer = `HTTP/1.0 200 OK\r\n\r\n${'x'.repeat(60_000)}`;
    const port = await opened(listenRaw((socket) => socket.once('data', () => socket.end(answer))));
    for (let i = 0; i < 10; i++) expect(await check(httpCheck({ port }))).toEqual(PASSED);
  });

  test.each([
    ['garbage', '\x00\x01 something else\r\n\r\n', 'Expected HTTP/'],
    ['another protocol', 'SSH-2.0-OpenSSH_9.2\r\n', 'Expected HTTP/'],
    [
      'huge headers',
      `HTTP/1.1 200 OK\r\nA: ${'x'.repeat(40_000)}\r\n\r\n`,
      'headers of more than 16384',
    ],
    [
      'many small headers',
      `HTTP/1.1 200 OK\r\n${'a: b\r\n'.repeat(20_000)}\r\n`,
      'headers of more than',
    ],
    [
      'two lengths',
      'HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx',
      'Content-Length',
    ],
    ['endless interim responses', 'HTTP/1.1 100 Continue\r\n\r\n'.repeat(20), 'too many interim'],
  ])('protocol_error, for %s', async (_what, answer, detail) => {
    const port = await opened(listenAnswering(answer));
    expect(await check(httpCheck({ port }))).toEqual(failed('protocol_error', detail));
  });

  test.each([
    ['without a word', '', 'closed without an answer'],
    ['within the headers', 'HTTP/1.1 200 OK\r\nConte', 'closed without an answer'],
    [
      'within the body',
      'HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc',
      'in the middle of the response',
    ],
  ])('protocol_error, for a connection closed %s', async (_when, answer, detail) => {
    const port = await opened(listenRaw((socket) => socket.once('data', () => socket.end(answer))));
    expect(await check(httpCheck({ port }))).toEqual(failed('protocol_error', detail));
  });

  test('a switch of protocols is judged by its status', async () => {
    const answer = 'HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: other\r\n\r\n';
    const port = await opened(listenAnswering(answer));
    expect(await check(httpCheck({ port }))).toEqual(failed('status_unexpected', '101'));
  });

  test('interim responses before the real one are passed over', async () => {
    const port = await opened(listenAnswering(`HTTP/1.1 103 Early Hints\r\n\r\n${OK}`));
    expect(await check(httpCheck({ port }))).toEqual(PASSED);
  });

  test('reset, for a connection that is reset', async () => {
    const serve = (socket: Socket) => socket.once('data', () => socket.resetAndDestroy());
    const port = await opened(listenRaw(serve));
    expect(await check(httpCheck({ port }))).toEqual(failed('reset', '192.0.2.1'));
  });

  test('refused, where nobody listens', async () => {
    expect(await check(httpCheck({ port: await closedPort() }))).toEqual(
      failed('refused', 'refuses'),
    );
  });

  test('unreachable, where there is no way', async () => {
    const via = address('255.255.255.255');
    expect(await check(httpCheck(), { via })).toEqual(failed('unreachable', 'ENETUNREACH'));
  });

  test('no_path, while the data plane does not know the pair', async () => {
    expect(await check(httpCheck(), { via: undefined })).toEqual(failed('no_path', 'no path'));
  });

  test('a path that cannot be sent is a failed check, not an exception', async () => {
    const port = await opened(listenAnswering(OK));
    expect(await check(httpCheck({ port, path: '/a b' }))).toEqual(
      failed('protocol_error', 'unescaped characters'),
    );
  });

  test('timeout, unanswered, where not even the handshake is through', async () => {
    const port = await opened(listenSilently());
    const abort = new AbortController();
    const report = check(httpCheck({ port }), { abort });
    await turn();
    abort.abort();
    expect(await report).toMatchObject({ reason: 'timeout', unanswered: true });
  });

  test.each([
    ['says nothing', []],
    ['drips its headers', ['HTTP/1.1 200', ' OK\r\n', 'A: b']],
    ['drips its body', ['HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n', 'a', 'b']],
  ])('timeout, for a server that takes the request and %s', async (_how, drops) => {
    const abort = new AbortController();
    const serve = (socket: Socket) => {
      socket.once('data', () => void drip(socket, drops).then(() => abort.abort()));
    };
    const port = await opened(listenRaw(serve));
    const report = await check(httpCheck({ port }), { abort });
    expect(report).toEqual(failed('timeout', 'connected, but gave no whole answer within 500 ms'));
  });

  async function drip(socket: Socket, drops: readonly string[]): Promise<void> {
    for (const drop of drops) {
      await new Promise((resolve) => socket.write(drop, resolve));
      await turn();
    }
  }
});

describe('https', () => {
  let named: Certificate;
  let addressed: Certificate;
  beforeAll(() => {
    named = makeCertificate('DNS:check.example');
    addressed = makeCertificate('IP:192.0.2.1');
  });

  const answer: RequestListener = (_request, response) => response.end('ok');

  function serveTls(options: ServerOptions, host?: string): Promise<number> {
    return opened(listen(createHttps(options, answer), host));
  }

  test.each(['127.0.0.1', '::1'])('passes at %s without verification', async (host) => {
    const port = await serveTls(named, host);
    expect(await check(httpsCheck({ port }), { via: address(host) })).toEqual(PASSED);
  });

  test('verifies the certificate against the roots and the server name', async () => {
    const port = await serveTls(named);
    const probe = new HttpProbe({ roots: [named.cert] });
    const spec = httpsCheck({ port, verify: true, serverName: 'check.example' });
    expect(await check(spec, { probe })).toEqual(PASSED);
  });

  test.each(['check.example', 'check.example:8443'])(
    'takes the name from Host %s',
    async (host) => {
      const port = await serveTls(named);
      const probe = new HttpProbe({ roots: [named.cert] });
      expect(await check(httpsCheck({ port, verify: true, host }), { probe })).toEqual(PASSED);
    },
  );

  test('verifies against the VIP where there is no name', async () => {
    const port = await serveTls(addressed);
    const probe = new HttpProbe({ roots: [addressed.cert] });
    const spec = httpsCheck({ port, verify: true });
    expect(await check(spec, { probe })).toEqual(PASSED);
    const other = { probe, vip: address('192.0.2.2') };
    expect(await check(spec, other)).toEqual(
      failed('tls_failed', "192.0.2.2 is not in the cert's list"),
    );
  });

  test('tls_failed, for a name that the certificate does not have', async () => {
    const port = await serveTls(named);
    const probe = new HttpProbe({ roots: [named.cert] });
    const spec = httpsCheck({ port, verify: true, serverName: 'other.example' });
    expect(await check(spec, { probe })).toEqual(failed('tls_failed', 'other.example. is not in'));
  });

  test('tls_failed, for a certificate that no root vouches for', async () => {
    const port = await serveTls(named);
    const spec = httpsCheck({ port, verify: true, serverName: 'check.example' });
    expect(await check(spec)).toEqual({
      kind: 'fail',
      reason: 'tls_failed',
      detail: `127.0.0.1 for 192.0.2.1:${port}: TLS failed: self-signed certificate`,
    });
  });

  test('no request is sent to a server that failed verification', async () => {
    let requests = 0;
    const server = createHttps(named, (_request, response) => {
      requests++;
      response.end();
    });
    const port = await opened(listen(server));
    await check(httpsCheck({ port, verify: true }));
    expect(requests).toBe(0);
  });

  test.each([
    ['serverName', { serverName: 'check.example', host: 'other.example' }, 'check.example'],
    ['host', { host: 'check.example' }, 'check.example'],
    ['no name for an address', { host: '192.0.2.1' }, false],
    ['nothing', {}, false],
  ] as const)('sends as SNI %s, and offers HTTP/1.1 only', async (_what, names, sni) => {
    const seen: unknown[] = [];
    const server = createHttps({ ...named, ALPNProtocols: ['h2', 'http/1.1'] }, answer);
    server.on('secureConnection', (socket: TLSSocket & { servername?: unknown }) => {
      seen.push(socket.servername, socket.alpnProtocol);
    });
    const port = await opened(listen(server));
    await check(httpsCheck({ port, ...names }));
    expect(seen).toEqual([sni, 'http/1.1']);
  });

  test('tls_failed, for a server that does not speak TLS', async () => {
    const port = await opened(listenAnswering(OK));
    expect(await check(httpsCheck({ port }))).toEqual(failed('tls_failed', 'wrong version number'));
  });

  test('tls_failed, for a server that demands a certificate of the client', async () => {
    const port = await serveTls({ ...named, requestCert: true, minVersion: 'TLSv1.3' });
    expect(await check(httpsCheck({ port }))).toEqual(failed('tls_failed', 'certificate required'));
  });

  test('tls_failed, for a connection closed within the handshake', async () => {
    const port = await opened(listenRaw((socket) => socket.once('data', () => socket.end())));
    expect(await check(httpsCheck({ port }))).toEqual(failed('tls_failed', 'before secure TLS'));
  });

  test('reset, for a connection reset within the handshake', async () => {
    const serve = (socket: Socket) => socket.once('data', () => socket.resetAndDestroy());
    const port = await opened(listenRaw(serve));
    expect(await check(httpsCheck({ port }))).toEqual(failed('reset', '192.0.2.1'));
  });

  test('timeout, for a server that never finishes the handshake', async () => {
    const abort = new AbortController();
    const port = await opened(listenRaw((socket) => socket.once('data', () => abort.abort())));
    const report = await check(httpsCheck({ port }), { abort });
    expect(report).toEqual(failed('timeout', 'connected, but did not finish TLS within 500 ms'));
  });

  test('protocol_error, for garbage within TLS', async () => {
    const server = createTls(named, (socket) => {
      socket.on('error', () => undefined);
      socket.once('data', () => socket.write('nonsense\r\n\r\n'));
    });
    const port = await opened(listen(server));
    expect(await check(httpsCheck({ port }))).toEqual(failed('protocol_error', 'Expected HTTP/'));
  });
});

test('may be aborted at any moment', async () => {
  const certificate = makeCertificate('DNS:check.example');
  const plain = await opened(listen(createHttp((_request, response) => response.end('ok'))));
  const secure = await opened(
    listen(createHttps(certificate, (_request, response) => response.end('ok'))),
  );
  for (const spec of [httpCheck({ port: plain }), httpsCheck({ port: secure })]) {
    const reasons = new Set<string>();
    // Later and later, until the abort comes too late to matter.
    for (let turns = 0; !reasons.has('pass'); turns = Math.ceil(turns * 1.3) + 1) {
      const abort = new AbortController();
      const running = check(spec, { abort });
      for (let i = 0; i < turns; i++) await turn();
      abort.abort();
      const report = await running;
      reasons.add(report.kind === 'pass' ? 'pass' : report.reason);
    }
    expect([...reasons]).toEqual(['timeout', 'pass']);
  }
});
