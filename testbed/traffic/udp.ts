/** Mode `udp`: datagrams to the echo port from a number of source ports, and who answered them. */
import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { echoOf } from '../content.ts';
import { errorCode, latencyOf, Tally, type UdpReport } from './report.ts';

/** Of what fits into an IPv4 packet. */
export const DATAGRAM_BYTES_MAX = 65_507;

const PADDING = 'abcdefghijklmnopqrstuvwxyz';

export interface UdpOptions {
  readonly host: string;
  readonly port: number;
  /** Datagrams, over all flows; undefined: until the signal. */
  readonly count?: number | undefined;
  /** Sockets, each with a source port of its own, taken in turn. */
  readonly flows: number;
  readonly ratePerS: number;
  /** How long to wait for the last answers. */
  readonly timeoutMs: number;
  /** They grow in even steps to this size, over `count`; undefined: a few bytes. */
  readonly bytesMax?: number | undefined;
  readonly sourceAddress?: string | undefined;
  /** Of the first flow; the others have the following ports. */
  readonly sourcePort?: number | undefined;
}

interface Sent {
  readonly atMs: number;
  readonly text: string;
}

interface Flow {
  readonly socket: Socket;
  backend: string | undefined;
  moved: boolean;
}

export async function sendDatagrams(options: UdpOptions, signal: AbortSignal): Promise<UdpReport> {
  const exchange = new Exchange();
  const flows = await openFlows(options, exchange);
  const startedMs = performance.now();
  const count = options.count ?? Infinity;
  for (let sent = 0; sent < count && !signal.aborted; sent += 1) {
    const flow = flows[sent % flows.length];
    if (flow !== undefined) exchange.send(flow, sent, sizeOf(options, sent));
    const dueMs = startedMs + ((sent + 1) * 1000) / options.ratePerS;
    await sleep(Math.max(0, dueMs - performance.now()));
  }
  const deadlineMs = performance.now() + options.timeoutMs;
  while (exchange.waiting > 0 && performance.now() < deadlineMs) await sleep(5);
  for (const flow of flows) flow.socket.close();
  return exchange.report(flows);
}

function sizeOf({ bytesMax = 0, count = 1 }: UdpOptions, index: number): number {
  return Math.round((bytesMax * (index + 1)) / count);
}

/** A sequence number, and what makes it up to the size. */
function payload(sequence: number, bytes: number): string {
  const number = String(sequence);
  return number.length >= bytes ? number : `${number} `.padEnd(bytes, PADDING);
}

/** What has been sent and what came back. */
class Exchange {
  readonly #sent = new Map<number, Sent>();
  readonly #latenciesMs: number[] = [];
  readonly #perBackend = new Tally();
  readonly #errors = new Tally();
  #count = 0;
  #bytesMax = 0;

  get waiting(): number {
    return this.#sent.size;
  }

  send(flow: Flow, sequence: number, bytes: number): void {
    const text = payload(sequence, bytes);
    this.#count += 1;
    this.#sent.set(sequence, { atMs: performance.now(), text });
    flow.socket.send(text, (error) => {
      if (error !== null) this.#errors.add(errorCode(error));
    });
  }

  receive(flow: Flow, data: Buffer): void {
    const answer = data.toString('latin1');
    const [backend = '', sequence] = answer.split(' ');
    const sent = this.#sent.get(Number(sequence));
    if (sent === undefined) {
      this.#errors.add('unexpected answer');
      return;
    }
    this.#sent.delete(Number(sequence));
    if (answer !== echoOf(backend, sent.text)) {
      this.#errors.add('wrong answer');
      return;
    }
    this.#bytesMax = Math.max(this.#bytesMax, data.length);
    this.#latenciesMs.push(performance.now() - sent.atMs);
    this.#perBackend.add(backend);
    if (flow.backend !== undefined && flow.backend !== backend) flow.moved = true;
    flow.backend = backend;
  }

  fail(error: unknown): void {
    this.#errors.add(errorCode(error));
  }

  report(flows: readonly Flow[]): UdpReport {
    const lastLostMs = [...this.#sent.values()].at(-1)?.atMs;
    return {
      kind: 'udp',
      sent: this.#count,
      answered: this.#latenciesMs.length,
      lost: this.#sent.size,
      lastLostAtMs:
        lastLostMs === undefined ? null : Math.round(performance.timeOrigin + lastLostMs),
      bytesMax: this.#bytesMax,
      moved: flows.filter((flow) => flow.moved).length,
      perBackend: this.#perBackend.toJSON(),
      errors: this.#errors.toJSON(),
      latency: latencyOf(this.#latenciesMs),
    };
  }
}

async function openFlows(options: UdpOptions, exchange: Exchange): Promise<readonly Flow[]> {
  const opened = Array.from({ length: options.flows }, async (_, index) => {
    const socket = createSocket(options.host.includes(':') ? 'udp6' : 'udp4');
    const flow: Flow = { socket, backend: undefined, moved: false };
    socket.on('message', (data) => {
      exchange.receive(flow, data);
    });
    socket.bind({
      ...(options.sourceAddress === undefined ? {} : { address: options.sourceAddress }),
      ...(options.sourcePort === undefined ? {} : { port: options.sourcePort + index }),
    });
    await once(socket, 'listening');
    // A connected socket hears only the host it wrote to: an answer from elsewhere is a loss.
    socket.connect(options.port, options.host);
    await once(socket, 'connect');
    // From here on an ICMP error is a result and not a failure of ours.
    socket.on('error', (error) => {
      exchange.fail(error);
    });
    return flow;
  });
  return Promise.all(opened);
}
