/**
 * What any flow table must do towards the peers, as a list of behaviours: the test of each
 * implementation runs all of them. Real time may pass in between, so ages may come out a little
 * greater than they went in.
 */
import assert from 'node:assert/strict';
import { address, type Address } from '../model/address.ts';
import {
  FlowChange,
  SharedFlowState,
  type Destination,
  type FlowBatch,
} from '../model/flow-batch.ts';
import { bucketOf, FlowHasher } from '../model/flow-hash.ts';
import type { KnownFlow, SaidFlow } from '../model/merge.ts';
import { addressBook } from './address-book.ts';
import { FlowBatchBuilder } from './batch.ts';
import { DIGEST_BUCKETS, type FlowTable, type MergeTally } from './flow-table.ts';
import { HIGH, LOW, MERGE_CASES } from './merge-cases.ts';

/** Must be configured where the contract runs: three destinations, each with both backends. */
export const CONTRACT_DESTINATIONS = {
  tcp4: { vip: address('192.0.2.1'), protocol: 'tcp', port: 443 },
  udp4: { vip: address('192.0.2.1'), protocol: 'udp', port: 53 },
  tcp6: { vip: address('2001:db8::1'), protocol: 'tcp', port: 443 },
} as const satisfies Record<string, Destination>;
export const CONTRACT_BACKENDS: readonly Address[] = [LOW, HIGH];

/** Must not be configured. */
const STRANGE_DESTINATION: Destination = {
  vip: address('192.0.2.99'),
  protocol: 'tcp',
  port: 443,
};
const STRANGE_BACKEND = address('10.0.0.77');

export interface ContractClient {
  readonly destination: Destination;
  readonly client: Address;
  readonly clientPort: number;
}

export interface TableUnderTest {
  readonly table: FlowTable;
  /** A client opens a flow through this node's data plane, until it is established. */
  readonly open: (client: ContractClient) => Promise<Address>;
  /** The flow ends there, so that the table forgets it and says so. */
  readonly end: (client: ContractClient) => Promise<void>;
  readonly close: () => Promise<void>;
}

export interface ContractCase {
  readonly name: string;
  readonly run: (subject: TableUnderTest) => Promise<void>;
}

/** Time that may pass between a merge and the read that follows. */
const AGE_SLACK_MS = 800;
/** Ages on which the table is settled for sure. */
const OLD_MS = 600_000;

const V4: ContractClient = {
  destination: CONTRACT_DESTINATIONS.tcp4,
  client: address('198.51.100.7'),
  clientPort: 40_000,
};
const V6: ContractClient = {
  destination: CONTRACT_DESTINATIONS.tcp6,
  client: address('2001:db8:c::7'),
  clientPort: 40_000,
};

export const TABLE_CONTRACT: readonly ContractCase[] = [
  ...[V4, V6].flatMap((client) =>
    MERGE_CASES.map(({ name, known, said, outcome, then }): ContractCase => {
      const family = client === V4 ? 'IPv4' : 'IPv6';
      return {
        name: `${family}: ${name}`,
        run: async ({ table }) => {
          if (known !== undefined) table.merge(batchOf([[client, asOpen(known)]]));
          assert.deepEqual(table.merge(batchOf([[client, said]])), tally({ [outcome]: 1 }));
          const [flow, ...others] = await readAll(table);
          assert.equal(others.length, 0);
          assertFlow(flow, then);
        },
      };
    }),
  ),
  {
    name: 'rows of what is not configured here are counted, and nothing else',
    run: async ({ table }) => {
      const strangers = [
        [{ ...V4, destination: STRANGE_DESTINATION }, settled(LOW)],
        [V4, settled(STRANGE_BACKEND)],
      ] as const;
      assert.deepEqual(table.merge(batchOf(strangers)), tally({ unknown: 2 }));
      assert.deepEqual(await readAll(table), []);
    },
  },
  {
    name: 'the tally of a batch has every row once',
    run: ({ table }) => {
      table.merge(batchOf([[V4, settled(LOW)]]));
      const rows = [
        [V4, { ...settled(LOW), seenAgoMs: OLD_MS }],
        [{ ...V4, clientPort: 1 }, settled(LOW)],
        [
          { ...V4, clientPort: 2 },
          { ...settled(LOW), change: FlowChange.close },
        ],
        [{ ...V4, clientPort: 3 }, settled(STRANGE_BACKEND)],
      ] as const;
      assert.deepEqual(table.merge(batchOf(rows)), tally({ ignored: 2, added: 1, unknown: 1 }));
      return Promise.resolve();
    },
  },
  {
    name: 'flows differ by client, client port, destination port and protocol',
    run: async ({ table }) => {
      const clients = [
        V4,
        { ...V4, client: address('198.51.100.8') },
        { ...V4, clientPort: 40_001 },
        { ...V4, destination: CONTRACT_DESTINATIONS.udp4 },
        V6,
      ];
      for (const client of clients) {
        const state = stateOf(client);
        table.merge(batchOf([[client, { ...settled(LOW), state }]]));
      }
      assert.equal((await readAll(table)).length, clients.length);
    },
  },
  {
    name: 'what peers said is not told as a change of this node',
    run: ({ table }) => {
      table.merge(batchOf([[V4, settled(LOW)]]));
      table.merge(batchOf([[V4, { ...settled(LOW), change: FlowChange.close, seenAgoMs: 0 }]]));
      assert.deepEqual(table.drainChanges(100), { batches: [], lost: 0 });
      return Promise.resolve();
    },
  },
  {
    name: 'a flow that is opened here is told once, as it is',
    run: async ({ table, open }) => {
      const backend = await open(V4);
      const { batches, lost } = table.drainChanges(100);
      assert.equal(lost, 0);
      const rows = batches.flatMap((batch) => rowsOf(batch));
      assert.deepEqual(
        rows.map(({ change, flow }) => [change, flow.backend, flow.guess]),
        [[FlowChange.open, backend, false]],
      );
      assert.deepEqual(table.drainChanges(100), { batches: [], lost: 0 });
    },
  },
  {
    name: 'no more changes are told than are asked for, and none is lost',
    run: async ({ table, open }) => {
      for (const clientPort of [1, 2, 3]) await open({ ...V4, clientPort });
      const counts = [2, 2, 2].map((limit) =>
        table.drainChanges(limit).batches.reduce((sum, { count }) => sum + count, 0),
      );
      assert.deepEqual(counts, [2, 1, 0]);
    },
  },
  {
    name: 'a flow that ends here is told as a close, seen just now',
    run: async ({ table, open, end }) => {
      await open(V6);
      table.drainChanges(100);
      await end(V6);
      const rows = table.drainChanges(100).batches.flatMap((batch) => rowsOf(batch));
      const [closed] = rows.filter(({ change }) => change === FlowChange.close);
      assert.ok(closed, 'a close is told');
      assert.ok(closed.flow.seenAgoMs <= AGE_SLACK_MS, `seen ${closed.flow.seenAgoMs} ms ago`);
      assert.deepEqual(await readAll(table), []);
    },
  },
  {
    name: 'a walk gives every flow once, as a refresh',
    run: async ({ table }) => {
      const ports = Array.from({ length: 300 }, (_, index) => index + 1);
      for (const client of [V4, V6]) {
        table.merge(batchOf(ports.map((clientPort) => [{ ...client, clientPort }, settled(LOW)])));
      }
      const rows = await readRows(table);
      assert.equal(rows.length, 600);
      assert.equal(new Set(rows.map(({ key }) => key)).size, 600);
      assert.ok(rows.every(({ change }) => change === FlowChange.refresh));
    },
  },
  {
    name: 'a walk over some buckets gives the flows of these buckets',
    run: async ({ table }) => {
      const batch = batchOf(
        Array.from({ length: 300 }, (_, index) => [{ ...V4, clientPort: index + 1 }, settled(LOW)]),
      );
      table.merge(batch);
      const hasher = new FlowHasher(batch);
      const buckets = new Set([0, 1, 2].map((row) => bucketOf(hasher.key(row))));
      const expected = rowsOf(batch).filter((_, row) => buckets.has(bucketOf(hasher.key(row))));
      const read = await readRows(table, buckets);
      assert.deepEqual(read.map(({ key }) => key).sort(), expected.map(({ key }) => key).sort());
      assert.deepEqual(await readRows(table, new Set()), []);
    },
  },
  {
    name: 'the digest is the sum of the terms of settled flows, by bucket',
    run: async ({ table }) => {
      const batches = [V4, V6].map((client) =>
        batchOf([
          [client, settled(LOW)],
          [{ ...client, clientPort: 1 }, settled(HIGH)],
        ]),
      );
      const buckets = new BigUint64Array(DIGEST_BUCKETS);
      for (const batch of batches) {
        table.merge(batch);
        addTerms(batch, buckets);
      }
      assert.deepEqual(await table.digest(), { buckets, flows: 4 });
    },
  },
  {
    name: 'a flow that is new, or closing, is not in the digest',
    run: async ({ table }) => {
      const young = { ...settled(LOW), openedAgoMs: 0, seenAgoMs: 0 };
      const closing = { ...settled(LOW), state: SharedFlowState.tcpFin };
      table.merge(
        batchOf([
          [V4, young],
          [{ ...V4, clientPort: 1 }, closing],
        ]),
      );
      assert.deepEqual(await table.digest(), {
        buckets: new BigUint64Array(DIGEST_BUCKETS),
        flows: 0,
      });
    },
  },
  {
    name: 'a flow that was removed leaves no trace in the digest',
    run: async ({ table }) => {
      table.merge(batchOf([[V4, settled(LOW)]]));
      table.merge(batchOf([[V4, { ...settled(LOW), change: FlowChange.close }]]));
      assert.equal((await table.digest()).flows, 0);
      assert.ok((await table.digest()).buckets.every((bucket) => bucket === 0n));
    },
  },
];

function settled(backend: Address): SaidFlow {
  return {
    backend,
    change: FlowChange.open,
    guess: false,
    state: SharedFlowState.tcpEstablished,
    openedAgoMs: OLD_MS,
    seenAgoMs: OLD_MS / 2,
  };
}

function asOpen(flow: KnownFlow): SaidFlow {
  return { ...flow, change: FlowChange.open };
}

function stateOf({ destination }: ContractClient): number {
  return destination.protocol === 'udp' ? SharedFlowState.udp : SharedFlowState.tcpEstablished;
}

function tally(change: Partial<MergeTally>): MergeTally {
  const none = { added: 0, replaced: 0, refreshed: 0, ignored: 0, removed: 0, unknown: 0, full: 0 };
  return { ...none, ...change };
}

/** All of one family, that of the first. */
function batchOf(rows: readonly (readonly [ContractClient, SaidFlow])[]): FlowBatch {
  const family = rows[0]?.[0].client.includes(':') === true ? 'ipv6' : 'ipv4';
  const builder = new FlowBatchBuilder(family, rows.length);
  for (const [{ destination, client, clientPort }, flow] of rows) {
    builder.add({ destination, clientAddress: addressBook.bytes(client), clientPort, ...flow });
  }
  return builder.take();
}

interface Row {
  readonly key: string;
  readonly change: number;
  readonly flow: KnownFlow;
}

function rowsOf(batch: FlowBatch): Row[] {
  const width = batch.family === 'ipv4' ? 4 : 16;
  return Array.from({ length: batch.count }, (_, row) => {
    const { vip, protocol, port } = batch.destinations[batch.destination[row] ?? -1] ?? {};
    const client = batch.clientAddress.subarray(row * width, (row + 1) * width).join('.');
    return {
      key: `${protocol} ${client} ${batch.clientPort[row]} ${vip} ${port}`,
      change: batch.change[row] ?? -1,
      flow: {
        backend: batch.backends[batch.backend[row] ?? -1] ?? STRANGE_BACKEND,
        guess: batch.guess[row] === 1,
        state: batch.state[row] ?? -1,
        openedAgoMs: batch.openedAgoMs[row] ?? -1,
        seenAgoMs: batch.seenAgoMs[row] ?? -1,
      },
    };
  });
}

async function readRows(table: FlowTable, buckets?: ReadonlySet<number>): Promise<Row[]> {
  const rows: Row[] = [];
  for await (const batch of table.read(buckets)) rows.push(...rowsOf(batch));
  return rows;
}

async function readAll(table: FlowTable): Promise<KnownFlow[]> {
  return (await readRows(table)).map(({ flow }) => flow);
}

function assertFlow(actual: KnownFlow | undefined, expected: KnownFlow | undefined): void {
  if (actual === undefined || expected === undefined) {
    assert.equal(actual, expected);
    return;
  }
  const { openedAgoMs, seenAgoMs, ...rest } = actual;
  const { openedAgoMs: opened, seenAgoMs: seen, ...expectedRest } = expected;
  assert.deepEqual(rest, expectedRest);
  const ages = `opened ${openedAgoMs} and seen ${seenAgoMs} ms ago, not ${opened} and ${seen}`;
  assert.ok(openedAgoMs >= opened && openedAgoMs <= opened + AGE_SLACK_MS, ages);
  assert.ok(seenAgoMs >= seen && seenAgoMs <= seen + AGE_SLACK_MS, ages);
}

function addTerms(batch: FlowBatch, buckets: BigUint64Array): void {
  const hasher = new FlowHasher(batch);
  for (let row = 0; row < batch.count; row += 1) {
    const { high, low } = hasher.term(row);
    const bucket = bucketOf(hasher.key(row));
    buckets[bucket] = (buckets[bucket] ?? 0n) + ((BigInt(high) << 32n) | BigInt(low));
  }
}
