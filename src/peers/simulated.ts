/**
 * A network in one process, on a clock that moves only when told to: loss, delay, reordering,
 * repetition, partitions, broken streams, all by one seed. Implements the ports that sockets
 * implement, and must never behave better than they may.
 */
import type { FrameStream, PeerLink, SnapshotTransport } from './link.ts';
import { broken, endOf, Pipe } from './simulated-pipe.ts';
import type { VirtualTime } from './virtual-time.ts';

/** What the network does to datagrams and streams; rates are from 0 to 1. */
export interface Faults {
  lossRate: number;
  duplicateRate: number;
  delayMinMs: number;
  /** Above the minimum datagrams overtake each other. */
  delayMaxMs: number;
  /** Of a stream, for each frame. */
  breakRate: number;
}

export const NO_FAULTS: Faults = {
  lossRate: 0,
  duplicateRate: 0,
  delayMinMs: 0.2,
  delayMaxMs: 0.2,
  breakRate: 0,
};

/** A stalled stream looks again after this whether it gets through. */
const STALL_MS = 50;

interface Station {
  receive: ((datagram: Uint8Array, from: string) => void) | undefined;
  serve: ((stream: FrameStream) => Promise<void>) | undefined;
  readonly pipes: Set<Pipe>;
  /** Number of the group that it can talk to. */
  group: number;
  sent: number;
  received: number;
}

export class SimulatedNetwork {
  readonly faults: Faults;
  readonly #time: VirtualTime;
  readonly #random: () => number;
  readonly #stations = new Map<string, Station>();

  constructor(time: VirtualTime, random: () => number, faults: Faults = NO_FAULTS) {
    this.#time = time;
    this.#random = random;
    this.faults = { ...faults };
  }

  link(name: string): PeerLink {
    const station = this.#station(name);
    return {
      start: (receive) => {
        station.receive = receive;
        return Promise.resolve();
      },
      send: (datagram) => {
        station.sent += 1;
        this.#multicast(name, datagram);
      },
      stats: () => ({ sent: station.sent, sendErrors: 0, received: station.received }),
      stop: () => {
        station.receive = undefined;
        return Promise.resolve();
      },
    };
  }

  transport(name: string): SnapshotTransport {
    const station = this.#station(name);
    return {
      endpoint: name,
      listen: (serve) => {
        station.serve = serve;
        return Promise.resolve();
      },
      connect: (endpoint, signal) => this.#connect(name, endpoint, signal),
      stop: () => {
        station.serve = undefined;
        this.#breakStreams(station, 'the node stopped');
        return Promise.resolve();
      },
    };
  }

  /** Each group hears only itself; who is in none is alone. */
  partition(groups: readonly (readonly string[])[]): void {
    let alone = groups.length;
    for (const [name, station] of this.#stations) {
      const group = groups.findIndex((members) => members.includes(name));
      station.group = group >= 0 ? group : (alone += 1);
    }
  }

  heal(): void {
    for (const station of this.#stations.values()) station.group = 0;
  }

  /** A node is gone without a word: what is under way to it is lost, its streams break. */
  kill(name: string): void {
    const station = this.#station(name);
    station.receive = undefined;
    station.serve = undefined;
    this.#breakStreams(station, 'the node died');
  }

  #station(name: string): Station {
    const known = this.#stations.get(name);
    if (known !== undefined) return known;
    const station: Station = {
      receive: undefined,
      serve: undefined,
      pipes: new Set(),
      group: 0,
      sent: 0,
      received: 0,
    };
    this.#stations.set(name, station);
    return station;
  }

  #multicast(from: string, datagram: Uint8Array): void {
    const { lossRate, duplicateRate } = this.faults;
    const sender = this.#station(from);
    for (const [name, station] of this.#stations) {
      // Real multicast hands the sender its own datagrams, too.
      if (name !== from && station.group !== sender.group) continue;
      const copies = this.#random() < duplicateRate ? 2 : 1;
      for (let copy = 0; copy < copies; copy += 1) {
        if (this.#random() < lossRate) continue;
        const { receive } = station;
        this.#time.at(this.#time.nowMs + this.#delayMs(), () => {
          // A node that died meanwhile, or another life of it, does not get it.
          if (receive === undefined || station.receive !== receive) return;
          station.received += 1;
          receive(datagram, from);
        });
      }
    }
  }

  #delayMs(): number {
    const { delayMinMs, delayMaxMs } = this.faults;
    return delayMinMs + this.#random() * (delayMaxMs - delayMinMs);
  }

  async #connect(from: string, endpoint: string, signal: AbortSignal): Promise<FrameStream> {
    const asker = this.#station(from);
    const giver = this.#station(endpoint);
    await this.#reach(asker, giver, signal);
    const { serve } = giver;
    if (serve === undefined) throw broken(`${endpoint} does not listen`);
    const there = this.#pipe(asker, giver);
    const back = this.#pipe(giver, asker);
    serve(endOf(back, there)).catch((error: unknown) => {
      back.break(String(error));
    });
    return endOf(there, back);
  }

  /** Packets are sent again until they get through, or the caller gives up. */
  #reach(asker: Station, giver: Station, signal: AbortSignal): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<undefined>();
    const attempt = () => {
      if (signal.aborted) reject(broken(String(signal.reason)));
      else if (asker.group === giver.group) resolve(undefined);
      else this.#time.at(this.#time.nowMs + STALL_MS, attempt);
    };
    this.#time.at(this.#time.nowMs + this.#delayMs(), attempt);
    return promise;
  }

  #pipe(from: Station, to: Station): Pipe {
    const underWay: { readonly arrive: () => void; readonly dueMs: number }[] = [];
    // One after the other, whatever happens: a stream does not reorder.
    const deliver = () => {
      if (from.group !== to.group) {
        this.#time.at(this.#time.nowMs + STALL_MS, deliver);
        return;
      }
      underWay.shift()?.arrive();
      const [next] = underWay;
      if (next !== undefined) this.#time.at(next.dueMs, deliver);
    };
    const pipe: Pipe = new Pipe((arrive) => {
      if (this.#random() < this.faults.breakRate) {
        pipe.break('the network broke it');
        return;
      }
      const dueMs = this.#time.nowMs + this.faults.delayMinMs;
      underWay.push({ arrive, dueMs });
      if (underWay.length === 1) this.#time.at(dueMs, deliver);
    });
    from.pipes.add(pipe);
    to.pipes.add(pipe);
    return pipe;
  }

  #breakStreams(station: Station, reason: string): void {
    for (const pipe of station.pipes) pipe.break(reason);
    station.pipes.clear();
  }
}
