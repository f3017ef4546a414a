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
import type { Socket } from 'node:net';
import { duplexPair } from 'node:stream';
import { TLSSocket } from 'node:tls';
import { fileURLToPath } from 'node:url';
import { status } from '@grpc/grpc-js';
import { loadSync, type MethodDefinition } from '@grpc/proto-loader';
import { formatEndpoint } from '../model/address.ts';
import type { GrpcCheck } from '../model/check.ts';
import { failure, noPath, unanswered } from './diagnose.ts';
import { Exchange } from './exchange.ts';
import type { Probe, ProbeReport, ProbeTarget } from './probe.ts';
import { TlsClient, type TlsOptions } from './tls.ts';

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
    const { port, timeoutMs } = spec;
    if (via === undefined) return Promise.resolve(noPath(target));
    if (signal.aborted) return Promise.resolve(unanswered(target, port, timeoutMs));
    const options = tlsOptions(spec, target);
    const tls = options === undefined ? undefined : { client: this.#tls, options };
    let call: Call | undefined;
    const exchange: Exchange = new Exchange({
      target,
      port,
      timeoutMs,
      tls,
      begin: (stream) => {
        call = new Call(spec, target, exchange);
        call.make(stream);
      },
    });
    return exchange.run(via, signal).finally(() => call?.end());
  }
}

class Call {
  readonly #spec: GrpcCheck;
  readonly #target: ProbeTarget;
  readonly #exchange: Exchange;
  readonly #chunks: Buffer[] = [];
  #bytes = 0;
  #session: ClientHttp2Session | undefined;

  constructor(spec: GrpcCheck, target: ProbeTarget, exchange: Exchange) {
    this.#spec = spec;
    this.#target = target;
    this.#exchange = exchange;
  }

  make(socket: Socket): void {
    if (socket instanceof TLSSocket && socket.alpnProtocol !== 'h2') {
      this.#exchange.protocolError('speaks TLS, but no HTTP/2');
      return;
    }
    const session = this.#open(socket);
    const { path, requestSerialize } = healthCheck();
    const { timeoutMs, service } = this.#spec;
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

  end(): void {
    this.#session?.destroy();
  }

  #open(socket: Socket): ClientHttp2Session {
    const { port, tls } = this.#spec;
    const authority =
      tls?.serverName === undefined
        ? formatEndpoint(this.#target.vip, port)
        : `${tls.serverName}:${port}`;
    const onError = (error: NodeJS.ErrnoException): void => {
      this.#exchange.fail(error);
    };
    // On a pair of streams and not on the socket itself, whose handle http2 would take over: so the
    // socket can still be reset.
    const [near, far] = duplexPair();
    for (const end of [near, far]) end.on('error', onError);
    socket.pipe(far).pipe(socket);
    const session = connectHttp2(`http://${authority}`, {
      createConnection: () => near,
      settings: { enablePush: false },
      maxSessionMemory: SESSION_MEMORY_MB,
    });
    this.#session = session;
    return session.on('error', onError);
  }

  #receive(stream: ClientHttp2Stream): void {
    stream.on('error', (error: NodeJS.ErrnoException) => {
      this.#exchange.fail(error);
    });
    stream.once('response', (headers) => {
      if (headers[':status'] !== 200) {
        const text = `answered HTTP status ${headers[':status']}, which is not gRPC`;
        this.#exchange.protocolError(text);
      } else if (headers['grpc-status'] !== undefined) {
        this.#judge(headers['grpc-status'], headers['grpc-message']);
      }
    });
    stream.on('data', (chunk: Buffer) => {
      this.#bytes += chunk.length;
      if (this.#bytes <= RESPONSE_BYTES_MAX) this.#chunks.push(chunk);
      else this.#exchange.protocolError(`answered more than ${RESPONSE_BYTES_MAX} bytes`);
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
    const exchange = this.#exchange;
    if (code === undefined) {
      exchange.protocolError('closed in the middle of the response');
      return;
    }
    const asked = this.#spec.service === '' ? 'the server' : `service ${this.#spec.service}`;
    if (code !== GRPC_OK) {
      const text = `answered ${refusal(code, message)} for ${asked}`;
      exchange.settle(failure('answer_unexpected', exchange.sentence(text)));
      return;
    }
    const serving = parseResponse(Buffer.concat(this.#chunks));
    if (serving === 'SERVING') {
      exchange.pass();
    } else if (serving === undefined) {
      exchange.protocolError('the answer is not proper gRPC');
    } else {
      const text = `answered ${serving} for ${asked}`;
      exchange.settle(failure('status_unexpected', exchange.sentence(text)));
    }
  }
}

/** Undefined: the call goes in the clear. */
function tlsOptions({ tls }: GrpcCheck, { vip }: ProbeTarget): TlsOptions | undefined {
  if (tls === undefined) return undefined;
  const { serverName, verify } = tls;
  return { name: serverName, identity: serverName ?? vip, verify, protocol: 'h2' };
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
