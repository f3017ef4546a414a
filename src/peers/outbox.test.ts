import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { batchOf, wordsOf, type RowWords } from './fixture.ts';
import { Outbox } from './outbox.ts';

/** Takes everything out, in portions of so many rows. */
function drained(outbox: Outbox, portion = 1_000): string[] {
  const words: string[] = [];
  for (let head = outbox.head(0); head !== undefined; head = outbox.head(0)) {
    const taken = Math.min(portion, head.count);
    words.push(...wordsOf(head).slice(0, taken));
    outbox.sent(taken);
  }
  return words;
}

describe('rows that wait', () => {
  test('leave in the order in which they came, in portions or whole', () => {
    for (const portion of [1, 2, 1_000]) {
      const outbox = new Outbox(100);
      outbox.add(batchOf({ port: 1 }, { port: 2, change: 'close' }, { port: 3 }), 0);
      outbox.add(batchOf({ port: 2, change: 'refresh' }), 0);
      expect(drained(outbox, portion)).toEqual(['open 1', 'close 2', 'open 3', 'refresh 2']);
      expect(outbox.rows).toBe(0);
    }
  });

  test('grow older while they wait', () => {
    const outbox = new Outbox(100);
    outbox.add(batchOf({ port: 1, openedAgoMs: 500 }, { port: 2 }), 1_000);
    expect([...outbox.head(1_040)!.openedAgoMs]).toEqual([540, 40]);
    outbox.sent(1);
    expect([...outbox.head(1_090)!.openedAgoMs]).toEqual([90]);
  });

  test('of an empty batch are none', () => {
    const outbox = new Outbox(10);
    outbox.add(batchOf(), 0);
    expect(outbox.head(0)).toBeUndefined();
  });
});

describe('without room', () => {
  const mixed: readonly RowWords[] = [
    { port: 1 },
    { port: 2, change: 'refresh' },
    { port: 3, change: 'close' },
    { port: 4, change: 'refresh' },
  ];

  test('refreshes go first', () => {
    const outbox = new Outbox(4);
    outbox.add(batchOf(...mixed), 0);
    outbox.add(batchOf({ port: 5 }, { port: 6 }), 0);
    expect(drained(outbox)).toEqual(['open 1', 'close 3', 'open 5', 'open 6']);
    expect(outbox.drops).toEqual({ refresh: 2, close: 0, open: 0 });
  });

  test('closes go next', () => {
    const outbox = new Outbox(4);
    outbox.add(batchOf(...mixed), 0);
    outbox.add(batchOf({ port: 5 }, { port: 6 }, { port: 7 }), 0);
    expect(drained(outbox)).toEqual(['open 1', 'open 5', 'open 6', 'open 7']);
    expect(outbox.drops).toEqual({ refresh: 2, close: 1, open: 0 });
  });

  test('a refresh that comes is dropped before a close that waits', () => {
    const outbox = new Outbox(2);
    outbox.add(batchOf({ port: 1, change: 'close' }), 0);
    outbox.add(batchOf({ port: 2, change: 'refresh' }, { port: 3 }), 0);
    expect(drained(outbox)).toEqual(['close 1', 'open 3']);
  });

  test('of what comes, opens are the last to be dropped', () => {
    const outbox = new Outbox(2);
    outbox.add(batchOf({ port: 1 }), 0);
    outbox.add(batchOf(...mixed.map((row) => ({ ...row, port: row.port + 10 })), { port: 20 }), 0);
    expect(drained(outbox)).toEqual(['open 1', 'open 11']);
    expect(outbox.drops).toEqual({ refresh: 2, close: 1, open: 1 });
  });

  test('there are never more than allowed, and every row is sent or counted', () => {
    const row = fc.record({
      port: fc.nat(60_000),
      change: fc.constantFrom('open' as const, 'refresh' as const, 'close' as const),
    });
    fc.assert(
      fc.property(
        fc.array(fc.array(row, { maxLength: 12 }), { maxLength: 12 }),
        fc.nat(20),
        (batches, taken) => {
          const outbox = new Outbox(20);
          let added = 0;
          let sent = 0;
          for (const rows of batches) {
            outbox.add(batchOf(...rows), 0);
            added += rows.length;
            expect(outbox.rows).toBeLessThanOrEqual(20);
            const count = Math.min(taken, outbox.head(0)?.count ?? 0);
            outbox.sent(count);
            sent += count;
          }
          const { refresh, close, open } = outbox.drops;
          expect(sent + drained(outbox).length + refresh + close + open).toBe(added);
        },
      ),
    );
  });
});
