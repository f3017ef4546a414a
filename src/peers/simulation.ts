/**
 * A cluster in a simulated network: the real engine, codec and seal over tables in memory, clients
 * that open, use and close flows, and what must be true of it all. For tests; one seed decides
 * everything, so a run that fails can be had again.
 */
import type { Logger } from '../lib/logger.ts';
import { address, type Address } from '../model/address.ts';
import type { Destination } from '../model/flow-batch.ts';
import type { KnownFlow } from '../model/merge.ts';
import {
  ANSWER_ROWS_MAX,
  GAP_RANGES_MAX,
  HISTORY_BYTES_MAX,
  INBOX_DATAGRAMS_MAX,
  OUTBOX_ROWS_MAX,
  PEERS_MAX,
  RESENDS_PENDING_MAX,
  SNAPSHOT_BATCHES_WAITING_MAX,
  SNAPSHOT_PAYLOAD_BYTES_MAX,
  TOMBSTONES_MAX,
} from './limits.ts';
import { keyOf, MemoryTable, type FlowName } from './memory-table.ts';
import { SimulatedNetwork, type Faults } from './simulated.ts';
import { FlowSync } from './sync.ts';
import { seededRandom, SimulatedClock, type VirtualTime } from './virtual-time.ts';
import { strideOf } from './wire-flows.ts';

const KEY = new Uint8Array(32).fill(7);
const EPOCH_MS = 1_700_000_000_000;
const JOIN_DEADLINE_MS = 10_000;

const BACKENDS = [101, 102, 103, 9].map((host) => address(`10.0.0.${host}`));
const DESTINATIONS: readonly Destination[] = [
  { vip: address('192.0.2.1'), protocol: 'tcp', port: 443 },
  { vip: address('192.0.2.1'), protocol: 'udp', port: 53 },
  { vip: address('2001:db8::1'), protocol: 'tcp', port: 443 },
];

/**
 * A tuple rests for this long after its end. Two lives of it are told apart by when they were
 * opened, to 100 ms; a client that keeps to RFC 1122 (section 4.2.2.13) waits far longer.
 */
const REUSE_MS = 250;

/** What is true of one life of a flow, whoever knows it. */
interface Life {
  readonly backend: Address;
  readonly openedMs: number;
  /** The node that saw its SYN, in which of its lives. */
  readonly opener: SimNode;
  readonly openerLife: number;
  closedMs: number | undefined;
  /** Who saw its end and had a record of it, and how often that had been started by then. */
  closer: { readonly node: SimNode; readonly starts: number } | undefined;
}

export interface Client {
  readonly name: FlowName;
  readonly key: string;
  /** The node that gets its packets. */
  home: SimNode;
  readonly lives: Life[];
}

export interface ClusterOptions {
  readonly seed: number;
  readonly nodes: number;
  readonly time: VirtualTime;
  readonly logger: Logger;
  readonly faults?: Faults;
  /** Tuples that clients use, again and again. */
  readonly tuples?: number;
}

export class SimNode {
  readonly name: string;
  readonly #cluster: Cluster;
  clock: SimulatedClock;
  table: MemoryTable;
  sync: FlowSync;
  isUp = false;
  configDigest = 'same';
  readonly injected: Uint8Array[] = [];
  /** Counts its starts with an empty table: what it knew before is gone. */
  life = 0;
  /** Counts its starts: what the supervisor knew before is gone. */
  starts = 0;
  #incarnation = 0;

  constructor(name: string, cluster: Cluster) {
    this.name = name;
    this.#cluster = cluster;
    this.clock = cluster.newClock();
    this.table = this.#newTable();
    this.sync = this.#newSync();
  }

  async start(): Promise<void> {
    this.sync = this.#newSync();
    this.isUp = true;
    this.starts += 1;
    await this.sync.start();
  }

  /** In order: its peers are told. The data plane stays as it is. */
  async stop(): Promise<void> {
    this.isUp = false;
    await this.sync.stop();
    this.clock.killTimers();
  }

  /** At once, without a word. */
  kill(): void {
    this.isUp = false;
    this.clock.killTimers();
    this.#cluster.network.kill(this.name);
  }

  /** The machine loses its memory, its clock begins anew; a wall clock may be anywhere. */
  reboot(wallJumpMs: number): void {
    this.clock = this.#cluster.newClock();
    this.clock.jumpWall(wallJumpMs);
    this.table = this.#newTable();
    this.life += 1;
  }

  #newTable(): MemoryTable {
    return new MemoryTable({ clock: this.clock, settledMs: 2_000, refreshMs: 4_000 });
  }

  #newSync(): FlowSync {
    const { network, random, logger } = this.#cluster;
    // As the state file at the edge does it: never lower than before.
    this.#incarnation = Math.max(this.#incarnation + 1, Math.floor(this.clock.wallMs()));
    return new FlowSync({
      node: this.name,
      incarnation: this.#incarnation,
      keys: [KEY],
      cluster: 'simulated',
      softwareVersion: '0.0.0',
      configDigest: () => this.configDigest,
      table: this.table,
      link: network.link(this.name),
      snapshots: network.transport(this.name),
      inject: (packet) => {
        this.injected.push(packet);
        // This data plane does not know the flow either, and says so as it would of any error.
        this.sync.relayIcmp(packet);
      },
      clock: this.clock,
      logger,
      joinDeadlineMs: JOIN_DEADLINE_MS,
      random,
      nonce: () => Uint8Array.from({ length: 16 }, () => Math.floor(random() * 256)),
    });
  }
}

export class Cluster {
  readonly random: () => number;
  readonly network: SimulatedNetwork;
  readonly logger: Logger;
  readonly nodes: readonly SimNode[];
  readonly clients: readonly Client[];
  readonly #time: VirtualTime;
  /** What was found wrong, each with the time. */
  readonly problems: string[] = [];

  constructor({ seed, nodes, time, logger, faults, tuples = 60 }: ClusterOptions) {
    this.#time = time;
    this.logger = logger;
    this.random = seededRandom(seed);
    this.network = new SimulatedNetwork(time, this.random, faults);
    this.nodes = Array.from({ length: nodes }, (_, index) => new SimNode(`lb${index + 1}`, this));
    this.clients = Array.from({ length: tuples }, (_, index) => this.#newClient(index));
  }

  get up(): readonly SimNode[] {
    return this.nodes.filter(({ isUp }) => isUp);
  }

  newClock(): SimulatedClock {
    const monotonicMs = Math.floor(this.random() * 1e9);
    return new SimulatedClock(this.#time, monotonicMs, EPOCH_MS + this.#time.nowMs);
  }

  /** Of a list that is not empty. */
  readonly pick = <Item>(items: readonly Item[]): Item => {
    return items[Math.floor(this.random() * items.length)] as Item;
  };

  /** One client does something: opens its flow, sends a packet by whatever node, or closes. */
  traffic(): void {
    if (this.up.length === 0) return;
    const client = this.pick(this.clients);
    const node = this.pick(this.up);
    const life = client.lives.at(-1);
    const isOpen = life !== undefined && life.closedMs === undefined;
    if (!isOpen) this.#open(client, node);
    else if (this.random() < 0.25) this.#close(client, life);
    else this.#packet(client, node);
  }

  /** A client that has no flow opens one, at any node. Throws when all have one. */
  open(): Client {
    const client = this.clients.find(({ lives }) => lives.length === 0);
    if (client === undefined) throw new Error('every client has a flow');
    this.#open(client, this.pick(this.up));
    return client;
  }

  use(client: Client): void {
    client.home.table.packet(client.name, this.pick(BACKENDS));
  }

  end(client: Client): void {
    const life = client.lives.at(-1);
    if (life !== undefined) this.#close(client, life);
  }

  /** Every open flow sends a packet: an idle one would be forgotten. */
  keepAlive(): void {
    if (this.up.length === 0) return;
    for (const client of this.clients) {
      const life = client.lives.at(-1);
      const isOpen = life !== undefined && life.closedMs === undefined;
      if (isOpen) this.#packet(client, this.pick(this.up));
    }
  }

  /** Looks at every table; what is wrong is added to `problems`. */
  check(): void {
    for (const node of this.up) {
      const queues = node.sync.status().queues;
      for (const [queue, length] of Object.entries(queues)) {
        if (length > QUEUE_LIMITS[queue as keyof typeof queues]) {
          this.#problem(`${node.name}: ${queue} holds ${length}`);
        }
      }
      for (const client of this.clients) {
        const known = node.table.find(client.name);
        if (known === undefined || known.guess) continue;
        const isTrue = client.lives.some(({ backend }) => backend === known.backend);
        if (!isTrue) this.#problem(`${node.name}: ${client.key} is on ${known.backend}`);
      }
    }
  }

  /** Whether all nodes that are up know the same. */
  isConverged(): boolean {
    const [first, ...others] = this.up.map(({ table }) => contentOf(table));
    return others.every((content) => content === first);
  }

  /** After convergence: is what all know the truth? */
  checkTruth(): void {
    for (const node of this.up) {
      for (const client of this.clients) {
        const life = client.lives.at(-1);
        if (life === undefined) continue;
        const known = node.table.find(client.name);
        const { opener, openerLife, closer } = life;
        // What a node never told before it lost its memory nobody can know.
        if (life.closedMs === undefined) {
          const isKnowable = opener.isUp && opener.life === openerLife;
          if (isKnowable) this.#checkOpen(node, client, life, known);
        } else if (known !== undefined && closer !== undefined) {
          const isKnowable = closer.node.isUp && closer.node.starts === closer.starts;
          if (isKnowable) this.#problem(`${node.name}: ${client.key} is closed`);
        }
      }
    }
  }

  /** One line for each node, for a failure's message. */
  describe(): string {
    return this.nodes
      .map(({ name, isUp, table, sync }) => {
        const { gate, self, counters, repair } = sync.status();
        return JSON.stringify({ ...self, name, isUp, flows: table.size, gate, counters, repair });
      })
      .join('\n');
  }

  #checkOpen(node: SimNode, client: Client, life: Life, known: KnownFlow | undefined): void {
    if (known === undefined) this.#problem(`${node.name}: ${client.key} is not known`);
    else if (known.backend !== life.backend) {
      this.#problem(`${node.name}: ${client.key} is on ${known.backend}, not ${life.backend}`);
    }
  }

  #problem(what: string): void {
    if (this.problems.length < 20)
      this.problems.push(`${Math.round(this.#time.nowMs)} ms: ${what}`);
  }

  /** As a data plane does: a SYN does not open a flow anew that this node takes for alive. */
  #open(client: Client, node: SimNode): void {
    if (node.table.find(client.name) !== undefined) return;
    const closedMs = client.lives.at(-1)?.closedMs ?? -Infinity;
    if (this.#time.nowMs - closedMs < REUSE_MS) return;
    const backend = this.pick(BACKENDS);
    client.home = node;
    node.table.syn(client.name, backend);
    client.lives.push({
      backend,
      openedMs: this.#time.nowMs,
      opener: node,
      openerLife: node.life,
      closedMs: undefined,
      closer: undefined,
    });
  }

  #packet(client: Client, node: SimNode): void {
    // Routers keep a flow on its node, as long as that is there.
    if (client.home.isUp && this.random() < 0.9) node = client.home;
    client.home = node;
    node.table.packet(client.name, this.pick(BACKENDS));
  }

  #close(client: Client, life: Life): void {
    const { home, name } = client;
    if (!home.isUp) return;
    const known = home.table.find(name);
    home.table.end(name);
    life.closedMs = this.#time.nowMs;
    if (known !== undefined) life.closer = { node: home, starts: home.starts };
  }

  #newClient(index: number): Client {
    const destination = this.pick(DESTINATIONS);
    const isV6 = destination.vip.includes(':');
    const client = isV6 ? address(`2001:db8:c::${index}`) : address(`198.51.100.${index % 250}`);
    const name = { destination, client, clientPort: 1_024 + index };
    return { name, key: keyOf(name), home: this.pick(this.nodes), lives: [] };
  }
}

const QUEUE_LIMITS = {
  inboxDatagrams: INBOX_DATAGRAMS_MAX,
  outboxRows: OUTBOX_ROWS_MAX,
  answerRows: ANSWER_ROWS_MAX,
  snapshotRows: (SNAPSHOT_BATCHES_WAITING_MAX * SNAPSHOT_PAYLOAD_BYTES_MAX) / strideOf('ipv4'),
  historyBytes: HISTORY_BYTES_MAX,
  resendsPending: RESENDS_PENDING_MAX,
  gapRanges: PEERS_MAX * GAP_RANGES_MAX,
  tombstones: TOMBSTONES_MAX,
};

/** What a table would do with packets. */
function contentOf(table: MemoryTable): string {
  return [...table.flows()]
    .map(([key, { backend }]) => `${key} ${backend}`)
    .sort()
    .join('\n');
}
