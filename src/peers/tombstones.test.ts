import { describe, expect, test } from 'vitest';
import { batchOf, wordsOf } from './fixture.ts';
import { TOMBSTONE_MS } from './limits.ts';
import { Tombstones } from './tombstones.ts';

/** A flow that was opened at 9,000 and closed at 10,000. */
function buried(): Tombstones {
  const tombstones = new Tombstones();
  tombstones.bury(batchOf({ port: 1, change: 'close', openedAgoMs: 1_000, seenAgoMs: 0 }), 10_000);
  return tombstones;
}

describe('news of a flow that was closed', () => {
  test('is refused', () => {
    const late = batchOf({ port: 1, openedAgoMs: 1_500 }, { port: 2, openedAgoMs: 1_500 });
    const { alive, closed } = buried().screen(late, 10_500);
    expect(wordsOf(alive)).toEqual(['open 2']);
    expect(closed).toBeUndefined();
  });

  test('that states what a peer has is refused, and the close can be said again', () => {
    const { alive, closed } = buried().screen(
      batchOf({ port: 1, change: 'refresh', openedAgoMs: 1_500 }, { port: 2, openedAgoMs: 9 }),
      10_500,
    );
    expect(wordsOf(alive)).toEqual(['open 2']);
    expect(wordsOf(closed!)).toEqual(['close 1']);
    expect([closed!.openedAgoMs[0], closed!.seenAgoMs[0]]).toEqual([1_500, 500]);
  });

  test('is let through when the flow was opened after that', () => {
    const later = batchOf({ port: 1, openedAgoMs: 300 });
    expect(buried().screen(later, 10_500).alive).toBe(later);
  });

  test('is let through when the flow was seen long after that', () => {
    const seen = batchOf({ port: 1, change: 'refresh', openedAgoMs: 6_000, seenAgoMs: 0 });
    expect(buried().screen(seen, 15_000).alive).toBe(seen);
  });

  test('is let through when the close is long past', () => {
    const late = batchOf({ port: 1, openedAgoMs: 1_000 + TOMBSTONE_MS });
    expect(buried().screen(late, 10_000 + TOMBSTONE_MS).alive).toBe(late);
  });

  test('is not looked at when it is a close itself', () => {
    const close = batchOf({ port: 1, change: 'close', openedAgoMs: 1_500, seenAgoMs: 500 });
    expect(buried().screen(close, 10_500).alive).toBe(close);
  });

  test('of an earlier life does not undo the close of a later one', () => {
    const tombstones = buried();
    const earlier = batchOf({ port: 1, change: 'close', openedAgoMs: 9_000, seenAgoMs: 8_000 });
    tombstones.bury(earlier, 10_100);
    const late = batchOf({ port: 1, openedAgoMs: 1_500 });
    expect(tombstones.screen(late, 10_500).alive.count).toBe(0);
  });

  test('a close that is heard again is not a younger one', () => {
    const tombstones = buried();
    const again = batchOf({ port: 1, change: 'close', openedAgoMs: 3_000, seenAgoMs: 2_000 });
    tombstones.bury(again, 12_000);
    const next = batchOf({ port: 1, openedAgoMs: 1_500 });
    expect(tombstones.screen(next, 12_000).alive).toBe(next);
  });
});

describe('how many are remembered', () => {
  const closes = (from: number, count: number) =>
    batchOf(
      ...Array.from({ length: count }, (_, index) => ({
        port: from + index,
        change: 'close' as const,
      })),
    );
  const opens = (from: number, count: number) =>
    batchOf(...Array.from({ length: count }, (_, index) => ({ port: from + index })));

  test('as many as there are, up to the limit', () => {
    const tombstones = new Tombstones(8_192);
    tombstones.bury(closes(0, 4_000), 1_000);
    expect(tombstones.places).toBe(8_192);
    const { alive } = tombstones.screen(opens(0, 4_000), 1_000);
    expect(4_000 - alive.count).toBeGreaterThan(3_950);
    tombstones.bury(closes(4_000, 40_000), 1_000);
    expect(tombstones.places).toBe(8_192);
  });

  test('the latest, when there are too many', () => {
    const tombstones = new Tombstones(1_024);
    tombstones.bury(closes(0, 20_000), 1_000);
    tombstones.bury(closes(20_000, 100), 2_000);
    expect(tombstones.screen(opens(20_000, 100), 2_000).alive.count).toBeLessThan(5);
  });
});
