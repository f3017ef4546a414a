import { describe, expect, test } from 'vitest';
import { ManualClock } from '../lib/clock.ts';
import { address } from '../model/address.ts';
import { FlowChange } from '../model/flow-batch.ts';
import { MemoryTable } from './memory-table.ts';
import { HIGH, LOW } from './merge-cases.ts';
import {
  CONTRACT_BACKENDS,
  CONTRACT_DESTINATIONS,
  TABLE_CONTRACT,
  type TableUnderTest,
} from './table-contract.ts';

const NAME = {
  destination: CONTRACT_DESTINATIONS.tcp4,
  client: address('198.51.100.7'),
  clientPort: 40_000,
};

function subject(): TableUnderTest {
  const destinations: readonly unknown[] = Object.values(CONTRACT_DESTINATIONS).map((each) =>
    JSON.stringify(each),
  );
  const table = new MemoryTable({
    clock: new ManualClock(),
    knows: (destination, backend) =>
      destinations.includes(JSON.stringify(destination)) && CONTRACT_BACKENDS.includes(backend),
  });
  return {
    table,
    open: (client) => {
      table.syn(client, LOW);
      return Promise.resolve(LOW);
    },
    end: (client) => {
      table.end(client);
      return Promise.resolve();
    },
    close: () => Promise.resolve(),
  };
}

describe('a table in memory keeps the contract', () => {
  test.each(TABLE_CONTRACT)('$name', async ({ run }) => {
    await run(subject());
  });
});

function newTable(change: Partial<ConstructorParameters<typeof MemoryTable>[0]> = {}) {
  const clock = new ManualClock();
  return { clock, table: new MemoryTable({ clock, ...change }) };
}

function changesOf(table: MemoryTable): number[] {
  return table.drainChanges(100).batches.flatMap(({ change }) => [...change]);
}

describe('what its data plane does', () => {
  test('a packet of a flow that is not known makes a guess', () => {
    const { table } = newTable();
    expect(table.packet(NAME, HIGH)).toBe(HIGH);
    expect(table.find(NAME)).toMatchObject({ backend: HIGH, guess: true });
  });

  test('a packet of a known flow goes where the record says', () => {
    const { table } = newTable();
    table.syn(NAME, LOW);
    expect(table.packet(NAME, HIGH)).toBe(LOW);
  });

  test('a flow that lives on is said again, but rarely', () => {
    const { clock, table } = newTable({ refreshMs: 10_000 });
    table.syn(NAME, LOW);
    const said: number[] = [];
    for (let second = 0; second < 21; second += 1) {
      clock.advance(1_000);
      table.packet(NAME, HIGH);
      said.push(...changesOf(table));
    }
    expect(said).toEqual([FlowChange.open, FlowChange.refresh, FlowChange.refresh]);
  });

  test('an idle flow is forgotten, and its close tells when it was seen last', () => {
    const { clock, table } = newTable();
    table.syn(NAME, LOW);
    changesOf(table);
    clock.advance(20_000);
    table.expire(30_000);
    expect(table.size).toBe(1);
    clock.advance(20_000);
    table.expire(30_000);
    expect(table.size).toBe(0);
    const [batch] = table.drainChanges(1).batches;
    expect(batch?.change[0]).toBe(FlowChange.close);
    expect(batch?.seenAgoMs[0]).toBe(40_000);
  });

  test('a full table takes no more, from nobody', () => {
    const { table } = newTable({ capacity: 1 });
    table.syn(NAME, LOW);
    table.syn({ ...NAME, clientPort: 2 }, LOW);
    expect(table.size).toBe(1);
    const other = newTable();
    other.table.syn({ ...NAME, clientPort: 3 }, LOW);
    const [batch] = other.table.drainChanges(1).batches;
    expect(table.merge(batch!)).toMatchObject({ full: 1, added: 0 });
  });

  test('changes that nobody takes are counted when there is no room', () => {
    const { table } = newTable({ changesMax: 2 });
    for (const clientPort of [1, 2, 3, 4]) table.syn({ ...NAME, clientPort }, LOW);
    expect(table.drainChanges(10).lost).toBe(2);
    expect(table.drainChanges(10).lost).toBe(0);
  });
});
