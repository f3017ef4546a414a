/**
 * One exchange of a check with a server, from connect to close, on a TCP connection or on TLS over it.
 * The first verdict counts, ends the connection with RST where that is possible, and is given when
 * every socket is gone; what comes after it is ignored. Never rejects. What is said, the check knows.
 */
import { connect, type Socket } from 'node:net';
import { performance } from 'node:perf_hooks';
import { errorMessage } from '../lib/errors.ts';
import { formatEndpoint, type Address } from '../model/address.ts';
import { resetSocket } from './connect.ts';
import { failure, socketFailure, unanswered } from './diagnose.ts';
import type { ProbeReport, ProbeTarget } from './probe.ts';
import { isTlsError, tlsText, type TlsClient, type TlsOptions } from './tls.ts';

export interface ExchangeOptions {
  readonly target: ProbeTarget;
  readonly port: number;
  /** For the sentence alone: `run` ends when its signal is aborted. */
  readonly timeoutMs: number;
  /** Undefined: what is said goes in the clear. */
  readonly tls?: { readonly client: TlsClient; readonly options: TlsOptions } | undefined;
  /** Says what there is to say. Called once, with the TLS socket or the TCP one. */
  readonly begin: (stream: Socket) => void;
  /** What an error of the protocol means; undefined: its own message says it. */
  readonly explain?: (error: NodeJS.ErrnoException) => string | undefined;
}

export class Exchange {
  readonly #options: ExchangeOptions;
  readonly #startMs = performance.now();
  readonly #done = Promise.withResolvers<ProbeReport>();
  /** Sockets not yet closed: the TCP one, and the TLS one on top of it. */
  readonly #open = new Set<Socket>();
  #tcp: Socket | undefined;
  /** What is said travels on it: the TLS socket, or the TCP one. */
  #stream: Socket | undefined;
  #phase: 'connect' | 'handshake' | 'talk' = 'connect';
  #report: ProbeReport | undefined;

  constructor(options: ExchangeOptions) {
    this.#options = options;
  }

  async run(via: Address, signal: AbortSignal): Promise<ProbeReport> {
    const onAbort = () => {
      this.settle(this.#timeout());
    };
    signal.addEventListener('abort', onAbort, { once: true });
    // Small writes that follow each other would wait for an ACK each.
    const { port } = this.#options;
    const tcp = connect({ host: via, port, autoSelectFamily: false, noDelay: true });
    this.#tcp = this.#stream = tcp;
    this.#watch(tcp);
    tcp.once('connect', () => {
      this.#step(() => {
        if (this.#options.tls === undefined) this.#begin(tcp);
        else this.#secure(tcp, this.#options.tls);
      });
    });
    try {
      return await this.#done.promise;
    } finally {
      signal.removeEventListener('abort', onAbort);
    }
  }

  pass(): void {
    this.settle({ kind: 'pass', latencyMs: performance.now() - this.#startMs });
  }

  /** `what` the server did, without its name. */
  protocolError(what: string): void {
    this.settle(this.#protocolError(what));
  }

  fail(error: NodeJS.ErrnoException): void {
    if (this.#report === undefined) this.settle(this.#explain(error));
  }

  settle(report: ProbeReport): void {
    if (this.#report !== undefined) return;
    this.#report = report;
    if (this.#tcp !== undefined) resetSocket(this.#tcp, this.#stream?.writableEnded);
    this.#stream?.destroy();
  }

  /** `b1 for 192.0.2.10:443: answered ...` */
  sentence(what: string): string {
    const { target, port } = this.#options;
    return `${target.backend} for ${formatEndpoint(target.vip, port)}: ${what}`;
  }

  #watch(socket: Socket): void {
    this.#open.add(socket);
    socket.on('error', (error: NodeJS.ErrnoException) => {
      this.fail(error);
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
    // The end of an answer, or its error, may still be on its way up from the closed socket.
    setImmediate(() => {
      this.#done.resolve(this.#report ?? this.#protocolError('closed without an answer'));
    });
  }

  #secure(tcp: Socket, { client, options }: NonNullable<ExchangeOptions['tls']>): void {
    this.#phase = 'handshake';
    const secure = client.secure(tcp, options, () => {
      this.#step(() => {
        this.#begin(secure);
      });
    });
    this.#stream = secure;
    this.#watch(secure);
  }

  #begin(stream: Socket): void {
    this.#phase = 'talk';
    this.#options.begin(stream);
  }

  /** Keeps what http or tls throw at once (a path with a space in it, say) inside the result. */
  #step(step: () => void): void {
    if (this.#report !== undefined) return;
    try {
      step();
    } catch (error) {
      this.protocolError(errorMessage(error));
    }
  }

  #explain(error: NodeJS.ErrnoException): ProbeReport {
    if (this.#isTls(error)) return failure('tls_failed', this.sentence(tlsText(error)));
    // Errors of the kernel name a system call; what Node's own protocols make up does not.
    const { target, port, explain } = this.#options;
    if (error.syscall !== undefined) return socketFailure(error, target, port);
    return this.#protocolError(explain?.(error) ?? error.message);
  }

  /** Until TLS is through all but the kernel's errors are its; later, what OpenSSL reports. */
  #isTls(error: NodeJS.ErrnoException): boolean {
    return isTlsError(error) || (this.#phase === 'handshake' && error.syscall === undefined);
  }

  #timeout(): ProbeReport {
    const { target, port, timeoutMs } = this.#options;
    if (this.#phase === 'connect') return unanswered(target, port, timeoutMs);
    const missing = this.#phase === 'handshake' ? 'did not finish TLS' : 'gave no whole answer';
    return failure('timeout', this.sentence(`connected, but ${missing} within ${timeoutMs} ms`));
  }

  #protocolError(what: string): ProbeReport {
    return failure('protocol_error', this.sentence(what));
  }
}
