/** Mode `udp`: datagrams to the echo port from a number of source ports, and who answered them. */
import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { errorCode, latencyOf, Tally, type UdpReport } from './report.ts';

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
  readonly sourceAddress?: string | undefined;
  /** Of the first flow; the others have the following ports. */
  readonly sourcePort?: number | undefined;
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
    if (flow !== undefined) exchange.send(flow, sent);
    const dueMs = startedMs + ((sent + 1) * 1000) / options.ratePerS;
    await sleep(Math.max(0, dueMs - performance.now()));
  }
  const deadlineMs = performance.now() + options.timeoutMs;
  while (exchange.waiting > 0 && performance.now() < deadlineMs) await sleep(5);
  for (const flow of flows) flow.socket.close();
  return exchange.report(flows);
}

/** What has been sent and what came back. */
class Exchange {
  readonly #sentAtMs = new Map<number, number>();
  readonly #latenciesMs: number[] = [];
  readonly #perBackend = new Tally();
  readonly #errors = new Tally();
  #sent = 0;

  get waiting(): number {
    return this.#sentAtMs.size;
  }

  send(flow: Flow, sequence: number): void {
    this.#sent += 1;
    this.#sentAtMs.set(sequence, performance.now());
    flow.socket.send(String(sequence), (error) => {
      if (error !== null) this.#errors.add(errorCode(error));
    });
  }

  receive(flow: Flow, data: Buffer): void {
    const [backend = '', sequence] = data.toString('latin1').split(' ');
    const sentMs = this.#sentAtMs.get(Number(sequence));
    if (sentMs === undefined) {
      this.#errors.add('unexpected answer');
      return;
    }
    this.#sentAtMs.delete(Number(sequence));
    this.#latenciesMs.push(performance.now() - sentMs);
    this.#perBackend.add(backend);
    if (flow.backend !== undefined && flow.backend !== backend) flow.moved = true;
    flow.backend = backend;
  }

  fail(error: unknown): void {
    this.#errors.add(errorCode(error));
  }

  report(flows: readonly Flow[]): UdpReport {
    const lastLostMs = [...this.#sentAtMs.values()].at(-1);
    return {
      kind: 'udp',
      sent: this.#sent,
      answered: this.#latenciesMs.length,
      lost: this.#sentAtMs.size,
      lastLostAtMs:
        lastLostMs === undefined ? null : Math.round(performance.timeOrigin + lastLostMs),
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
