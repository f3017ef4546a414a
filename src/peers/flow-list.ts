/**
 * Lists established flows of this node, filtered, with what the peers know of each. Walks the flow
 * table batch by batch, one walk at a time. Must never hold more rows than it lists, nor keep the
 * table from flow sync for long.
 */
import type { Clock } from '../lib/clock.ts';
import { SkeinError } from '../lib/errors.ts';
import { addressBytes, addressFromBytes, familyOf, type Address } from '../model/address.ts';
import { SharedFlowState, type FlowBatch } from '../model/flow-batch.ts';
import { bucketOf, FlowHasher } from '../model/flow-hash.ts';
import type {
  FlowList,
  FlowQuery,
  FlowStateName,
  ListedFlow,
  Survival,
} from '../model/flow-query.ts';
import type { FlowTable } from './flow-table.ts';
import { knownAt, survives, type Knowledge, type QuestionedFlow } from './known-at.ts';
import { LIST_MS_MAX, LISTS_WAITING_MAX } from './limits.ts';

export interface FlowListerParts {
  readonly table: Pick<FlowTable, 'read'>;
  /** Undefined: without flow sync. */
  readonly knowledge: (() => Knowledge) | undefined;
  readonly clock: Clock;
}

const STATE_NAMES: Readonly<Record<number, FlowStateName>> = {
  [SharedFlowState.tcpFin]: 'closing',
  [SharedFlowState.tcpEstablished]: 'open',
  [SharedFlowState.udp]: 'udp',
};

export class FlowLister {
  readonly #parts: FlowListerParts;
  #last: Promise<unknown> = Promise.resolve();
  #lists = 0;
  #isStopped = false;

  constructor(parts: FlowListerParts) {
    this.#parts = parts;
  }

  /** `busy`: others ask already, and more than a few may not wait. Throws a SkeinError once stopped. */
  async list(query: FlowQuery): Promise<FlowList | 'busy'> {
    if (this.#lists > LISTS_WAITING_MAX) return 'busy';
    this.#lists += 1;
    const walk = this.#last.then(() => this.#walk(query));
    this.#last = walk.catch(() => undefined);
    try {
      return await walk;
    } finally {
      this.#lists -= 1;
    }
  }

  /** Resolves when no walk is under way: the table may go. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    await this.#last;
  }

  async #walk(query: FlowQuery): Promise<FlowList> {
    const { table, clock, knowledge } = this.#parts;
    const known = knowledge?.();
    const listing = new Listing(query, known);
    const startedMs = clock.nowMs();
    this.#refuseWhenStopped();
    for await (const batch of table.read()) {
      this.#refuseWhenStopped();
      const nowMs = clock.nowMs();
      listing.add(batch, nowMs);
      if (nowMs - startedMs > LIST_MS_MAX) return listing.take(false);
    }
    return listing.take(true);
  }

  #refuseWhenStopped(): void {
    if (this.#isStopped) throw new SkeinError('STOPPING', 'the node is stopping');
  }
}

/** What one walk has come to so far. */
class Listing {
  readonly #query: FlowQuery;
  readonly #knowledge: Knowledge | undefined;
  readonly #flows: ListedFlow[] = [];
  #scanned = 0;
  #matched = 0;
  #survive = 0;
  #mayNot = 0;

  constructor(query: FlowQuery, knowledge: Knowledge | undefined) {
    this.#query = query;
    this.#knowledge = knowledge;
  }

  /** Ages of the batch count from `nowMs`. */
  add(batch: FlowBatch, nowMs: number): void {
    this.#scanned += batch.count;
    const fits = filterOf(batch, this.#query);
    if (fits === undefined) return;
    const hasher = new FlowHasher(batch);
    for (let row = 0; row < batch.count; row += 1) {
      if (!fits(row)) continue;
      this.#matched += 1;
      const isListed = this.#flows.length < this.#query.limit;
      if (this.#knowledge === undefined) {
        if (isListed) this.#push(listedFlow(batch, row), [], null);
        continue;
      }
      const flow: QuestionedFlow = {
        bucket: bucketOf(hasher.key(row)),
        openedAtMs: nowMs - (batch.openedAgoMs[row] ?? 0),
        isClosing: batch.state[row] === SharedFlowState.tcpFin,
      };
      const survival = survives(flow, this.#knowledge);
      if (survival === true) this.#survive += 1;
      if (survival === false) this.#mayNot += 1;
      if (!isListed) continue;
      const { peers, nowMs: askedMs } = this.#knowledge;
      const at = peers.map((peer) => ({
        peer: peer.peer,
        knowledge: knownAt(flow, peer, askedMs),
      }));
      this.#push(listedFlow(batch, row), at, survival);
    }
  }

  take(complete: boolean): FlowList {
    const settled = this.#survive + this.#mayNot;
    return {
      flows: this.#flows,
      scanned: this.#scanned,
      matched: this.#matched,
      survival:
        this.#knowledge === undefined
          ? null
          : { survive: this.#survive, mayNot: this.#mayNot, unsettled: this.#matched - settled },
      truncated: !complete || this.#matched > this.#flows.length,
      complete,
    };
  }

  #push(flow: BareFlow, at: ListedFlow['knownAt'], survival: Survival): void {
    this.#flows.push({ ...flow, knownAt: at, survives: survival });
  }
}

/** Rows that fit; undefined: none of this batch can. Dictionaries are looked at once, not by row. */
function filterOf(batch: FlowBatch, query: FlowQuery): ((row: number) => boolean) | undefined {
  const { client, vip, port, protocol, backend, state } = query;
  if (client !== undefined && familyOf(client) !== batch.family) return undefined;
  const destinations = batch.destinations.map(
    (each) =>
      (vip ?? each.vip) === each.vip &&
      (port ?? each.port) === each.port &&
      (protocol ?? each.protocol) === each.protocol,
  );
  const backends = batch.backends.map((each) => (backend ?? each) === each);
  if (!destinations.includes(true) || !backends.includes(true)) return undefined;
  const bytes = client === undefined ? undefined : clientColumn(client);
  return (row) =>
    destinations[batch.destination[row] ?? -1] === true &&
    backends[batch.backend[row] ?? -1] === true &&
    (state === undefined || STATE_NAMES[batch.state[row] ?? -1] === state) &&
    (bytes === undefined ||
      bytes.every((byte, i) => batch.clientAddress[row * bytes.length + i] === byte));
}

type BareFlow = Omit<ListedFlow, 'knownAt' | 'survives'>;

function listedFlow(batch: FlowBatch, row: number): BareFlow {
  const destination = batch.destinations[batch.destination[row] ?? -1];
  const backend = batch.backends[batch.backend[row] ?? -1];
  if (destination === undefined || backend === undefined) {
    throw new RangeError(`row ${row} points outside of the dictionaries of its batch`);
  }
  return {
    client: clientOf(batch, row),
    clientPort: batch.clientPort[row] ?? 0,
    ...destination,
    backend,
    state: STATE_NAMES[batch.state[row] ?? -1] ?? 'open',
    openedAgoMs: batch.openedAgoMs[row] ?? 0,
    seenAgoMs: batch.seenAgoMs[row] ?? 0,
    guess: batch.guess[row] === 1,
  };
}

/** As in the column: 4 or 16 bytes. */
function clientColumn(client: Address): Uint8Array {
  const bytes = addressBytes(client);
  return familyOf(client) === 'ipv4' ? bytes.subarray(12) : bytes;
}

function clientOf({ family, clientAddress }: FlowBatch, row: number): Address {
  if (family === 'ipv6') return addressFromBytes(clientAddress.subarray(row * 16, row * 16 + 16));
  const bytes = new Uint8Array(16).fill(0xff, 10, 12);
  bytes.set(clientAddress.subarray(row * 4, row * 4 + 4), 12);
  return addressFromBytes(bytes);
}
