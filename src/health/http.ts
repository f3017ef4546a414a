/**
 * HTTP and HTTPS checks: one request on one connection, judged by its status. It follows nothing,
 * keeps nothing, and believes nothing: headers, body and interim responses are all bounded.
 */
import { request, type ClientRequest, type IncomingMessage } from 'node:http';
import { connect, isIP, type Socket } from 'node:net';
import { performance } from 'node:perf_hooks';
import { familyOf, formatEndpoint, type Address } from '../model/address.ts';
import type { HttpCheck, HttpsCheck, StatusRange } from '../model/check.ts';
import { resetSocket } from './connect.ts';
import { failure, noPath, socketFailure, unanswered } from './diagnose.ts';
import type { Probe, ProbeReport, ProbeTarget } from './probe.ts';
import { isTlsError, tlsText, TlsClient } from './tls.ts';

const HEADER_BYTES_MAX = 16 * 1024;
/** What is read of a body before the connection is cut; the status has been seen by then. */
const BODY_BYTES_MAX = 64 * 1024;
/** Responses of the 1xx class before the real one. */
const INTERIM_MAX = 8;

type Spec = HttpCheck | HttpsCheck;

interface Security {
  readonly spec: HttpsCheck;
  readonly tls: TlsClient;
}

export class HttpProbe implements Probe<Spec> {
  readonly #tls: TlsClient;

  /** `roots`: certificates (PEM) to verify against instead of the system's. */
  constructor(options: { readonly roots?: readonly string[] } = {}) {
    this.#tls = new TlsClient(options.roots);
  }

  check(spec: Spec, target: ProbeTarget, signal: AbortSignal): Promise<ProbeReport> {
    const { via } = target;
    if (via === undefined) return Promise.resolve(noPath(target));
    if (signal.aborted) return Promise.resolve(unanswered(target, spec.port, spec.timeoutMs));
    const security = spec.type === 'https' ? { spec, tls: this.#tls } : undefined;
    return new Exchange(spec, target, security).run(via, signal);
  }
}

/** One request from connect to close. The first verdict counts; what comes after it is ignored. */
class Exchange {
  readonly #spec: Spec;
  readonly #target: ProbeTarget;
  readonly #security: Security | undefined;
  readonly #startMs = performance.now();
  readonly #done = Promise.withResolvers<ProbeReport>();
  /** Sockets not yet closed: the TCP one, and the TLS one on top of it. */
  readonly #open = new Set<Socket>();
  #tcp: Socket | undefined;
  /** What the request travels on: the TLS socket, or the TCP one. */
  #stream: Socket | undefined;
  #phase: 'connect' | 'handshake' | 'request' = 'connect';
  #bodyBytes = 0;
  #report: ProbeReport | undefined;

  constructor(spec: Spec, target: ProbeTarget, security: Security | undefined) {
    this.#spec = spec;
    this.#target = target;
    this.#security = security;
  }

  async run(via: Address, signal: AbortSignal): Promise<ProbeReport> {
    const onAbort = () => {
      this.#settle(this.#timeout());
    };
    signal.addEventListener('abort', onAbort, { once: true });
    const tcp = connect({ host: via, port: this.#spec.port, autoSelectFamily: false });
    this.#tcp = this.#stream = tcp;
    this.#watch(tcp);
    tcp.once('connect', () => {
      this.#guard(() => {
        if (this.#security === undefined) this.#send(tcp);
        else this.#secure(tcp, this.#security);
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
    if (this.#report !== undefined) {
      this.#done.resolve(this.#report);
      return;
    }
    // The end of a response, or its error, may still be on its way up from the closed socket.
    setImmediate(() => {
      this.#done.resolve(this.#report ?? this.#protocolError('closed without an answer'));
    });
  }

  #secure(tcp: Socket, { spec, tls }: Security): void {
    this.#phase = 'handshake';
    const name = spec.serverName ?? (spec.host === undefined ? undefined : hostName(spec.host));
    const identity = name ?? this.#target.vip;
    const options = { name, identity, verify: spec.verify, protocol: 'http/1.1' } as const;
    const secure = tls.secure(tcp, options, () => {
      this.#guard(() => {
        this.#send(secure);
      });
    });
    this.#stream = secure;
    this.#watch(secure);
  }

  #send(stream: Socket): void {
    this.#phase = 'request';
    const { method, path } = this.#spec;
    const outgoing = request({
      createConnection: () => stream,
      method,
      path,
      setHost: false,
      maxHeaderSize: HEADER_BYTES_MAX,
      headers: {
        host: hostHeader(this.#spec, this.#target.vip),
        accept: '*/*',
        'user-agent': 'skein',
        connection: 'close',
      },
    });
    outgoing.on('error', (error) => {
      this.#fail(error);
    });
    this.#boundInterim(outgoing);
    outgoing.once('response', (response) => {
      this.#receive(response);
    });
    outgoing.once('upgrade', (response) => {
      this.#settle(this.#judge(response.statusCode));
    });
    outgoing.end();
  }

  #boundInterim(outgoing: ClientRequest): void {
    let interim = 0;
    outgoing.on('information', () => {
      if (++interim > INTERIM_MAX) this.#settle(this.#protocolError('too many interim responses'));
    });
  }

  /** A pass needs the whole response, or as much of it as is ever read. */
  #receive(response: IncomingMessage): void {
    response.on('error', () => {
      this.#settle(this.#protocolError('closed in the middle of the response'));
    });
    const verdict = this.#judge(response.statusCode);
    if (verdict.kind === 'fail') {
      this.#settle(verdict);
      return;
    }
    response.on('data', (chunk: Buffer) => {
      this.#bodyBytes += chunk.length;
      if (this.#bodyBytes > BODY_BYTES_MAX) this.#settle(this.#pass());
    });
    // Ahead of http's own listener, which would begin a shutdown and so prevent the RST.
    response.prependOnceListener('end', () => {
      this.#settle(this.#pass());
    });
  }

  #judge(status: number | undefined): ProbeReport {
    const { method, path, expect } = this.#spec;
    if (status !== undefined && expect.some(({ from, to }) => status >= from && status <= to)) {
      return this.#pass();
    }
    const wanted = expect.map(formatRange).join(', ');
    // The path comes last: it may be long enough to be cut.
    const answer = `answered ${String(status)}, expected ${wanted}: ${method} ${path}`;
    return failure('status_unexpected', answer);
  }

  /** Keeps what http or tls throw at once (a path with a space in it, say) inside the result. */
  #guard(step: () => void): void {
    if (this.#report !== undefined) return;
    try {
      step();
    } catch (error) {
      this.#settle(this.#protocolError(error instanceof Error ? error.message : String(error)));
    }
  }

  #fail(error: NodeJS.ErrnoException): void {
    if (this.#report === undefined) this.#settle(this.#explain(error));
  }

  #explain(error: NodeJS.ErrnoException): ProbeReport {
    // Errors of the kernel name a system call; what http makes up itself does not.
    if (this.#isTls(error)) return failure('tls_failed', this.#sentence(tlsText(error)));
    if (error.syscall !== undefined) return socketFailure(error, this.#target, this.#spec.port);
    if (error.code === 'HPE_HEADER_OVERFLOW') {
      return this.#protocolError(`headers of more than ${HEADER_BYTES_MAX} bytes`);
    }
    if (error.code === 'ECONNRESET') return this.#protocolError('closed without an answer');
    return this.#protocolError(error.message);
  }

  /** Until the request is sent all but the kernel's errors are TLS; later, what OpenSSL reports. */
  #isTls(error: NodeJS.ErrnoException): boolean {
    return isTlsError(error) || (this.#phase === 'handshake' && error.syscall === undefined);
  }

  #pass(): ProbeReport {
    return { kind: 'pass', latencyMs: performance.now() - this.#startMs };
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
    if (this.#tcp !== undefined) resetSocket(this.#tcp, this.#stream?.writableEnded);
    this.#stream?.destroy();
  }
}

/** RFC 9110, section 7.2: with the port, unless it is the scheme's own. */
function hostHeader(spec: Spec, vip: Address): string {
  if (spec.host !== undefined) return spec.host;
  if (spec.port !== (spec.type === 'https' ? 443 : 80)) return formatEndpoint(vip, spec.port);
  return familyOf(vip) === 'ipv6' ? `[${vip}]` : vip;
}

/** A Host header without its port and brackets. */
function hostName(host: string): string {
  if (isIP(host) > 0) return host;
  return host.replace(/:\d+$/, '').replace(/^\[(.*)\]$/, '$1');
}

function formatRange({ from, to }: StatusRange): string {
  return from === to ? String(from) : `${from}-${to}`;
}
