/**
 * HTTP and HTTPS checks: one request on one connection, judged by its status. It follows nothing,
 * keeps nothing, and believes nothing: headers, body and interim responses are all bounded.
 */
import { request, type ClientRequest, type IncomingMessage } from 'node:http';
import { isIP, type Socket } from 'node:net';
import { familyOf, formatEndpoint, type Address } from '../model/address.ts';
import type { HttpCheck, HttpsCheck, StatusRange } from '../model/check.ts';
import { failure, noPath, unanswered } from './diagnose.ts';
import { Exchange } from './exchange.ts';
import type { Probe, ProbeReport, ProbeTarget } from './probe.ts';
import { TlsClient, type TlsOptions } from './tls.ts';

const HEADER_BYTES_MAX = 16 * 1024;
/** What is read of a body before the connection is cut; the status has been seen by then. */
const BODY_BYTES_MAX = 64 * 1024;
/** Responses of the 1xx class before the real one. */
const INTERIM_MAX = 8;

type Spec = HttpCheck | HttpsCheck;

export class HttpProbe implements Probe<Spec> {
  readonly #tls: TlsClient;

  /** `roots`: certificates (PEM) to verify against instead of the system's. */
  constructor(options: { readonly roots?: readonly string[] } = {}) {
    this.#tls = new TlsClient(options.roots);
  }

  check(spec: Spec, target: ProbeTarget, signal: AbortSignal): Promise<ProbeReport> {
    const { via } = target;
    const { port, timeoutMs } = spec;
    if (via === undefined) return Promise.resolve(noPath(target));
    if (signal.aborted) return Promise.resolve(unanswered(target, port, timeoutMs));
    const tls =
      spec.type === 'https' ? { client: this.#tls, options: tlsOptions(spec, target) } : undefined;
    const exchange: Exchange = new Exchange({
      target,
      port,
      timeoutMs,
      tls,
      explain,
      begin: (stream) => {
        new HttpRequest(spec, target, exchange).send(stream);
      },
    });
    return exchange.run(via, signal);
  }
}

class HttpRequest {
  readonly #spec: Spec;
  readonly #target: ProbeTarget;
  readonly #exchange: Exchange;
  #bodyBytes = 0;

  constructor(spec: Spec, target: ProbeTarget, exchange: Exchange) {
    this.#spec = spec;
    this.#target = target;
    this.#exchange = exchange;
  }

  send(stream: Socket): void {
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
      this.#exchange.fail(error);
    });
    this.#boundInterim(outgoing);
    outgoing.once('response', (response) => {
      this.#receive(response);
    });
    outgoing.once('upgrade', ({ statusCode }) => {
      const unexpected = this.#judge(statusCode);
      if (unexpected === undefined) this.#exchange.pass();
      else this.#exchange.settle(unexpected);
    });
    outgoing.end();
  }

  #boundInterim(outgoing: ClientRequest): void {
    let interim = 0;
    outgoing.on('information', () => {
      if (++interim > INTERIM_MAX) this.#exchange.protocolError('too many interim responses');
    });
  }

  /** A pass needs the whole response, or as much of it as is ever read. */
  #receive(response: IncomingMessage): void {
    response.on('error', () => {
      this.#exchange.protocolError('closed in the middle of the response');
    });
    const unexpected = this.#judge(response.statusCode);
    if (unexpected !== undefined) {
      this.#exchange.settle(unexpected);
      return;
    }
    response.on('data', (chunk: Buffer) => {
      this.#bodyBytes += chunk.length;
      if (this.#bodyBytes > BODY_BYTES_MAX) this.#exchange.pass();
    });
    // Ahead of http's own listener, which would begin a shutdown and so prevent the RST.
    response.prependOnceListener('end', () => {
      this.#exchange.pass();
    });
  }

  /** Undefined: the status is an expected one. */
  #judge(status: number | undefined): ProbeReport | undefined {
    const { method, path, expect } = this.#spec;
    if (status !== undefined && expect.some(({ from, to }) => status >= from && status <= to)) {
      return undefined;
    }
    const wanted = expect.map(formatRange).join(', ');
    // The path comes last: it may be long enough to be cut.
    const answer = `answered ${String(status)}, expected ${wanted}: ${method} ${path}`;
    return failure('status_unexpected', answer);
  }
}

function explain({ code }: NodeJS.ErrnoException): string | undefined {
  if (code === 'HPE_HEADER_OVERFLOW') return `headers of more than ${HEADER_BYTES_MAX} bytes`;
  return code === 'ECONNRESET' ? 'closed without an answer' : undefined;
}

function tlsOptions({ serverName, host, verify }: HttpsCheck, { vip }: ProbeTarget): TlsOptions {
  const name = serverName ?? (host === undefined ? undefined : hostName(host));
  return { name, identity: name ?? vip, verify, protocol: 'http/1.1' };
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
