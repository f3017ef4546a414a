import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Gaps } from './gaps.ts';
import {
  GAP_RANGES_MAX,
  HISTORY_SEQUENCES_MAX,
  NACK_RETRY_MS,
  NACK_TRIES_MAX,
  REORDER_MS,
} from './limits.ts';

function heard(floor: number, ...sequences: readonly number[]): Gaps {
  const gaps = new Gaps(floor);
  for (const sequence of sequences) gaps.note(sequence, 0, 0);
  return gaps;
}

const ALL = 1_000;

describe('what is missing', () => {
  test('nothing, while sequences follow each other', () => {
    const gaps = heard(4, 5, 6, 7);
    expect(gaps).toMatchObject({ highest: 7, contiguous: 7, missing: 0 });
  });

  test('nothing more when what came, or what is before the floor, comes again', () => {
    const gaps = heard(4, 5, 7, 5, 3, 7);
    expect(gaps).toMatchObject({ highest: 7, contiguous: 5, missing: 1 });
    expect(gaps.counters.reordered).toBe(0);
  });

  test('a gap is filled from any side and from its middle', () => {
    const gaps = heard(0, 1, 10);
    for (const sequence of [5, 2, 9]) gaps.note(sequence, 0, 0);
    expect(gaps.due(ALL, 0, 9)).toEqual([
      [3, 4],
      [6, 8],
    ]);
    expect(gaps).toMatchObject({ contiguous: 2, missing: 5, highest: 10 });
  });

  test('whatever comes in whatever order, the missing are those below the highest that did not', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: 60 }), { minLength: 1 }), (sequences) => {
        const gaps = heard(0, ...sequences);
        const highest = Math.max(...sequences);
        const missing = Array.from({ length: highest }, (_, index) => index + 1).filter(
          (sequence) => !sequences.includes(sequence),
        );
        expect(gaps.highest).toBe(highest);
        expect(gaps.missing).toBe(missing.length);
        expect(gaps.contiguous).toBe((missing[0] ?? highest + 1) - 1);
        const asked = gaps
          .due(ALL, 0, 100)
          .flatMap(([first, last]) =>
            Array.from({ length: last - first + 1 }, (_, index) => first + index),
          );
        expect(asked).toEqual(missing);
      }),
    );
  });
});

describe('asking', () => {
  test('waits for what may only be out of order', () => {
    const gaps = heard(0, 1, 3);
    expect(gaps.due(REORDER_MS - 1, 0, 9)).toEqual([]);
    gaps.note(2, REORDER_MS - 1, 0);
    expect(gaps.due(REORDER_MS, 0, 9)).toEqual([]);
    expect(gaps.counters).toMatchObject({ lost: 0, reordered: 1 });
  });

  test('begins later by the spread', () => {
    const gaps = new Gaps(0);
    gaps.note(2, 0, 15);
    expect(gaps.due(REORDER_MS + 14, 0, 9)).toEqual([]);
    expect(gaps.due(REORDER_MS + 15, 0, 9)).toEqual([[1, 1]]);
  });

  test('is repeated less and less often, and ends', () => {
    const gaps = heard(0, 1, 3);
    const asked: number[] = [];
    for (let nowMs = 0; nowMs < 20_000; nowMs += 10) {
      if (gaps.due(nowMs, 0, 9).length > 0) asked.push(nowMs);
    }
    expect(asked).toHaveLength(NACK_TRIES_MAX);
    const waits = asked.slice(1).map((atMs, index) => atMs - asked[index]!);
    expect(waits).toEqual(waits.map((_, index) => NACK_RETRY_MS * 2 ** index));
    expect(gaps).toMatchObject({ missing: 0, contiguous: 3 });
    expect(gaps.counters).toEqual({ lost: 1, repaired: 0, reordered: 0, abandoned: 1 });
  });

  test('is left to another node that has just done it', () => {
    const gaps = heard(0, 1, 3, 7);
    gaps.askedByOther([[1, 3]], REORDER_MS);
    expect(gaps.due(REORDER_MS, 0, 9)).toEqual([[4, 6]]);
    expect(gaps.due(REORDER_MS + NACK_RETRY_MS, 0, 9)).toEqual([
      [2, 2],
      [4, 6],
    ]);
  });

  test('is bounded at a time, and goes on with the rest', () => {
    const gaps = heard(0, 2, 4, 6);
    expect(gaps.due(ALL, 0, 2)).toEqual([
      [1, 1],
      [3, 3],
    ]);
    expect(gaps.due(ALL, 0, 2)).toEqual([[5, 5]]);
  });

  test('what was asked for and came is repaired', () => {
    const gaps = heard(0, 4);
    gaps.due(ALL, 0, 9);
    gaps.note(2, ALL, 0);
    gaps.empty(1, 1);
    expect(gaps.counters).toEqual({ lost: 3, repaired: 2, reordered: 0, abandoned: 0 });
    expect(gaps.missing).toBe(1);
  });
});

describe('giving up', () => {
  test('what the peer no longer has', () => {
    const gaps = heard(0, 10);
    expect(gaps.gone(6)).toBe(true);
    expect(gaps.gone(6)).toBe(false);
    expect(gaps.due(ALL, 0, 9)).toEqual([[6, 9]]);
    expect(gaps.counters.abandoned).toBe(5);
  });

  test('everything, when the peer is gone', () => {
    const gaps = heard(0, 10, 20);
    gaps.abandonAll();
    expect(gaps).toMatchObject({ missing: 0, contiguous: 20 });
  });

  test('what is further back than a resend would be taken', () => {
    const gaps = heard(0, 1, 3);
    gaps.note(3 + HISTORY_SEQUENCES_MAX, 0, 0);
    expect(gaps.missing).toBeLessThanOrEqual(HISTORY_SEQUENCES_MAX);
    expect(gaps.contiguous).toBe(3);
  });

  test('the oldest, when there are too many gaps', () => {
    const gaps = new Gaps(0);
    for (let sequence = 2; sequence <= 2 * (GAP_RANGES_MAX + 50); sequence += 2) {
      gaps.note(sequence, 0, 0);
    }
    expect(gaps.ranges).toBe(GAP_RANGES_MAX);
    expect(gaps.counters.abandoned).toBe(50);
    expect(gaps.contiguous).toBe(100);
  });
});
