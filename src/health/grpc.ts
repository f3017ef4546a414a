/**
 * A gRPC check: one call of grpc.health.v1.Health/Check, on one connection. Messages are encoded by
 * proto-loader; the call itself is made here, on HTTP/2 as Node has it, because a client of grpc-js
 * keeps a connection for good whose other side never begins to speak.
 */
import {
  connect as connectHttp2,
  type ClientHttp2Session,
  type ClientHttp2Stream,
} from 'node:http2';
import { connect, type Socket } from 'node:net';
import { performance } from 'node:perf_hooks';
import { duplexPair } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { status } from '@grpc/grpc-js';
import { loadSync, type MethodDefinition } from '@grpc/proto-loader';
import { errorMessage } from '../lib/errors.ts';
import { formatEndpoint, type Address } from '../model/address.ts';
import type { GrpcCheck } from '../model/check.ts';
import { resetSocket } from './connect.ts';
import { failure, noPath, socketFailure, unanswered } from './diagnose.ts';
import type { Probe, ProbeReport, ProbeTarget } from './probe.ts';
import { isTlsError, tlsText, TlsClient } from './tls.ts';

const PROTO_FILE = fileURLToPath(new URL('../../proto/grpc-health.proto', import.meta.url));
/** A response is a few bytes. */
const RESPONSE_BYTES_MAX = 4096;
/** Flag and length before a message (gRPC over HTTP/2, Length-Prefixed-Message). */
const PREFIX_BYTES = 5;
/** The least that Node takes: what one session may hold. */
const SESSION_MEMORY_MB = 1;

/** As it stands in the header `grpc-status`. */
const GRPC_OK = String(status.OK);

type Health = MethodDefinition<{ service: string }, { status: string | number }>;

let method: Health | undefined;

/** The .proto file is read when first needed, so that importing this module costs nothing. */
function healthCheck(): Health {
  method ??= (
    loadSync(PROTO_FILE, { enums: String, defaults: true })[
      'grpc.health.v1.Health'
    ] as unknown as Readonly<Record<string, Health>>
  )['Check'];
  if (method === undefined) throw new TypeError(`${PROTO_FILE} has no method Check`);
  return method;
}

export class GrpcProbe implements Probe<GrpcCheck> {
  readonly #tls: TlsClient;

  /** `roots`: certificates (PEM) to verify against instead of the system's. */
  constructor(options: { readonly roots?: readonly string[] } = {}) {
    this.#tls = new TlsClient(options.roots);
  }

  check(spec: GrpcCheck, target: ProbeTarget, signal: AbortSignal): Promise<ProbeReport> {
    const { via } = target;
    if (via === undefined) return Promise.resolve(noPath(target));
    if (signal.aborted) return Promise.resolve(unanswered(target, spec.port, spec.timeoutMs));
    return new Call(spec, target, this.#tls).run(via, signal);
  }
}

/** One call from connect to close. The first verdict counts; what comes after it is ignored. */
class Call {
  readonly #spec: GrpcCheck;
  readonly #target: ProbeTarget;
  readonly #tls: TlsClient;
  readonly #startMs = performance.now();
  readonly #done = Promise.withResolvers<ProbeReport>();
  /** Sockets not yet closed: the TCP one, and the TLS one on top of it. */
  readonly #open = new Set<Socket>();
  readonly #chunks: Buffer[] = [];
  #bytes = 0;
  #tcp: Socket | undefined;
  #secure: Socket | undefined;
  #session: ClientHttp2Session | undefined;
  #phase: 'connect' | 'handshake' | 'call' = 'connect';
  #report: ProbeReport | undefined;

  constructor(spec: GrpcCheck, target: ProbeTarget, tls: TlsClient) {
    this.#spec = spec;
    this.#target = target;
    this.#tls = tls;
  }

  async run(via: Address, signal: AbortSignal): Promise<ProbeReport> {
    const onAbort = () => {
      this.#settle(this.#timeout());
    };
    signal.addEventListener('abort', onAbort, { once: true });
    // The preface and the call are small writes one after the other, each of which would wait for an ACK.
    const options = { host: via, port: this.#spec.port, autoSelectFamily: false, noDelay: true };
    const tcp = connect(options);
    this.#tcp = tcp;
    this.#watch(tcp);
    tcp.once('connect', () => {
      this.#guard(() => {
        if (this.#spec.tls === undefined) this.#call(tcp);
        else this.#handshake(tcp, this.#spec.tls);
      });
    });
    try {
      return await this.#done.promise;
    } finally {
      signal.removeEventListener('abort', onAbort);
    }
  }

  #watch(socket: Socket): void {
    this.#open.add(socket);
    socket.on('error', (error: NodeJS.ErrnoException) => {
      this.#fail(error);
    });
    socket.once('close', () => {
      this.#open.delete(socket);
      if (this.#open.size === 0) this.#finish();
    });
  }

  #finish(): void {
    // An error of the session may still be on its way up from the closed socket.
    setImmediate(() => {
      this.#settle(this.#protocolError('closed without an answer'));
      if (this.#report !== undefined) this.#done.resolve(this.#report);
    });
  }

  #handshake(tcp: Socket, { serverName, verify }: NonNullable<GrpcCheck['tls']>): void {
    this.#phase = 'handshake';
    const identity = serverName ?? this.#target.vip;
    const options = { name: serverName, identity, verify, protocol: 'h2' } as const;
    const secure = this.#tls.secure(tcp, options, () => {
      this.#guard(() => {
        if (secure.alpnProtocol === 'h2') this.#call(secure);
        else this.#settle(this.#protocolError('speaks TLS, but no HTTP/2'));
      });
    });
    this.#secure = secure;
    this.#watch(secure);
  }

  #call(socket: Socket): void {
    this.#phase = 'call';
    const { port, tls, timeoutMs, service } = this.#spec;
    const authority =
      tls?.serverName === undefined
        ? formatEndpoint(this.#target.vip, port)
        : `${tls.serverName}:${port}`;
    // On a pair of streams and not on the socket itself, whose handle http2 would take over: so the
    // socket stays ours to reset.
    const [near, far] = duplexPair();
    for (const end of [near, far]) end.on('error', (error) => this.#fail(error));
    socket.pipe(far).pipe(socket);
    const session = connectHttp2(`http://${authority}`, {
      createConnection: () => near,
      settings: { enablePush: false },
      maxSessionMemory: SESSION_MEMORY_MB,
    });
    this.#session = session;
    session.on('error', (error: NodeJS.ErrnoException) => {
      this.#fail(error);
    });
    const { path, requestSerialize } = healthCheck();
    const stream = session.request({
      ':method': 'POST',
      ':path': path,
      'content-type': 'application/grpc',
      'grpc-timeout': `${timeoutMs}m`,
      te: 'trailers',
      'user-agent': 'skein',
    });
    this.#receive(stream);
    stream.end(framed(requestSerialize({ service })));
  }

  #receive(stream: ClientHttp2Stream): void {
    stream.on('error', (error: NodeJS.ErrnoException) => {
      this.#fail(error);
    });
    stream.once('response', (headers) => {
      if (headers[':status'] !== 200) {
        const text = `answered HTTP status ${headers[':status']}, which is not gRPC`;
        this.#settle(this.#protocolError(text));
      } else if (headers['grpc-status'] !== undefined) {
        this.#judge(headers['grpc-status'], headers['grpc-message']);
      }
    });
    stream.on('data', (chunk: Buffer) => {
      this.#bytes += chunk.length;
      if (this.#bytes <= RESPONSE_BYTES_MAX) this.#chunks.push(chunk);
      else this.#settle(this.#protocolError(`answered more than ${RESPONSE_BYTES_MAX} bytes`));
    });
    // Node gives them before what is left of the body.
    let trailers: Readonly<Record<string, unknown>> = {};
    stream.once('trailers', (headers: Readonly<Record<string, unknown>>) => {
      trailers = headers;
    });
    stream.once('end', () => {
      this.#judge(trailers['grpc-status'], trailers['grpc-message']);
    });
  }

  #judge(code: unknown, message: unknown): void {
    if (code === undefined) {
      this.#settle(this.#protocolError('closed in the middle of the response'));
      return;
    }
    const asked = this.#spec.service === '' ? 'the server' : `service ${this.#spec.service}`;
    if (code !== GRPC_OK) {
      const text = `answered ${refusal(code, message)} for ${asked}`;
      this.#settle(failure('answer_unexpected', this.#sentence(text)));
      return;
    }
    const serving = parseResponse(Buffer.concat(this.#chunks));
    if (serving === 'SERVING') {
      this.#settle({ kind: 'pass', latencyMs: performance.now() - this.#startMs });
    } else if (serving === undefined) {
      this.#settle(this.#protocolError('the answer is not proper gRPC'));
    } else {
      const text = `answered ${serving} for ${asked}`;
      this.#settle(failure('status_unexpected', this.#sentence(text)));
    }
  }

  /** Keeps what http2 or tls throw at once inside the result. */
  #guard(step: () => void): void {
    if (this.#report !== undefined) return;
    try {
      step();
    } catch (error) {
      this.#settle(this.#protocolError(errorMessage(error)));
    }
  }

  #fail(error: NodeJS.ErrnoException): void {
    if (this.#report === undefined) this.#settle(this.#explain(error));
  }

  #explain(error: NodeJS.ErrnoException): ProbeReport {
    // Until the call all but the kernel's errors are TLS; later, what OpenSSL reports.
    const handshake = this.#phase === 'handshake' && error.syscall === undefined;
    if (isTlsError(error) || handshake) {
      return failure('tls_failed', this.#sentence(tlsText(error)));
    }
    if (error.syscall !== undefined) return socketFailure(error, this.#target, this.#spec.port);
    return this.#protocolError(error.message);
  }

  #timeout(): ProbeReport {
    const { port, timeoutMs } = this.#spec;
    if (this.#phase === 'connect') return unanswered(this.#target, port, timeoutMs);
    const missing = this.#phase === 'handshake' ? 'did not finish TLS' : 'gave no whole answer';
    return failure('timeout', this.#sentence(`connected, but ${missing} within ${timeoutMs} ms`));
  }

  #protocolError(what: string): ProbeReport {
    return failure('protocol_error', this.#sentence(what));
  }

  #sentence(what: string): string {
    return `${this.#target.backend} for ${formatEndpoint(this.#target.vip, this.#spec.port)}: ${what}`;
  }

  #settle(report: ProbeReport): void {
    if (this.#report !== undefined) return;
    this.#report = report;
    this.#session?.destroy();
    if (this.#tcp !== undefined) resetSocket(this.#tcp, this.#secure?.writableEnded);
    this.#secure?.destroy();
  }
}

function framed(message: Buffer): Buffer {
  const frame = Buffer.alloc(PREFIX_BYTES + message.length);
  frame.writeUInt32BE(message.length, 1);
  message.copy(frame, PREFIX_BYTES);
  return frame;
}

/** The serving status in a single message that is not compressed; undefined for anything else. */
function parseResponse(frame: Buffer): string | undefined {
  if (frame.length < PREFIX_BYTES || frame[0] !== 0) return undefined;
  if (frame.readUInt32BE(1) !== frame.length - PREFIX_BYTES) return undefined;
  try {
    // An enum value that has no name comes as a number.
    return String(healthCheck().responseDeserialize(frame.subarray(PREFIX_BYTES)).status);
  } catch {
    return undefined;
  }
}

/** `NOT_FOUND (unknown service)`. */
function refusal(code: unknown, message: unknown): string {
  const name = status[Number(code)] ?? `status ${String(code)}`;
  return typeof message === 'string' && message !== '' ? `${name} (${decoded(message)})` : name;
}

/** Percent-encoded, as gRPC has it; what is not properly so is taken as it stands. */
function decoded(message: string): string {
  try {
    return decodeURIComponent(message);
  } catch {
    return message;
  }
}
