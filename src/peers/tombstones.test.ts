import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { FlowBatch } from '../model/flow-batch.ts';
import { closeApplies } from '../model/merge.ts';
import { batchOf, wordsOf } from './fixture.ts';
import { TOMBSTONE_MS } from './limits.ts';
import { olderBy } from './rows.ts';
import { Tombstones } from './tombstones.ts';
import { decodeMessage, encodeMessage } from './wire.ts';

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

  test('is refused also when an earlier life was closed long before', () => {
    const tombstones = buried();
    const nowMs = 10_000 + TOMBSTONE_MS;
    tombstones.bury(batchOf({ port: 1, change: 'close', openedAgoMs: 1_000, seenAgoMs: 0 }), nowMs);
    const late = batchOf({ port: 1, openedAgoMs: 1_500 });
    expect(tombstones.screen(late, nowMs + 500).alive.count).toBe(0);
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

  test('is refused for every life that was told to be closed, in whatever order', () => {
    const first = { port: 1, change: 'close', openedAgoMs: 1_000, seenAgoMs: 0 } as const;
    // On the wire a close can seem to be a little earlier than it was.
    const second = { port: 1, change: 'close', openedAgoMs: -20, seenAgoMs: 10 } as const;
    for (const closes of [
      [first, second],
      [second, first],
    ]) {
      const tombstones = new Tombstones();
      for (const close of closes) {
        const { openedAgoMs, seenAgoMs } = close;
        const ages = { openedAgoMs: openedAgoMs + 100, seenAgoMs: seenAgoMs + 100 };
        tombstones.bury(batchOf({ ...close, ...ages }), 10_100);
      }
      const late = batchOf({ port: 1, openedAgoMs: 470 });
      expect(tombstones.screen(late, 10_500).alive.count).toBe(0);
    }
  });

  test('a close that is heard again is not a younger one', () => {
    const tombstones = buried();
    const again = batchOf({ port: 1, change: 'close', openedAgoMs: 3_000, seenAgoMs: 2_000 });
    tombstones.bury(again, 12_000);
    const next = batchOf({ port: 1, openedAgoMs: 1_500 });
    expect(tombstones.screen(next, 12_000).alive).toBe(next);
  });
});

describe('a flow that is refused', () => {
  /** As another node has them so much later. */
  function told(batch: FlowBatch, afterMs: number): FlowBatch {
    const decoded = decodeMessage(encodeMessage({ kind: 'flows', batch }));
    if (!decoded.ok || decoded.message.kind !== 'flows') throw new Error('no flows');
    return olderBy(decoded.message.batch, afterMs);
  }

  /** What the peer that has the flow makes of the answer of the node that knows it to be closed. */
  function agree(close: readonly number[], flow: readonly number[], guess: boolean, nowMs: number) {
    const [closeOpenedAtMs = 0, closedAtMs = 0] = close;
    const [openedAtMs = 0, seenAtMs = 0] = flow;
    const tombstones = new Tombstones();
    const ages = { openedAgoMs: nowMs - closeOpenedAtMs, seenAgoMs: nowMs - closedAtMs };
    tombstones.bury(batchOf({ port: 1, change: 'close', ...ages }), nowMs);
    const has = { guess, openedAgoMs: nowMs - openedAtMs, seenAgoMs: nowMs - seenAtMs };
    const { alive, closed } = tombstones.screen(
      told(batchOf({ port: 1, change: 'refresh', ...has }), 0),
      nowMs,
    );
    if (closed === undefined) return alive.count === 1 ? 'added' : 'lost';
    const { openedAgoMs, seenAgoMs } = told(closed, 0);
    const again = { openedAgoMs: openedAgoMs[0] ?? 0, seenAgoMs: seenAgoMs[0] ?? 0 };
    return closeApplies(has, again) ? 'removed' : 'kept';
  }

  test('is removed by who told it, though it was opened just before the close of an earlier life', () => {
    expect(agree([2_924, 6_562], [6_514, 6_514], false, 12_985)).toBe('removed');
  });

  test('is removed by who told it, or it is not refused, whenever it was opened and seen', () => {
    // To a minute, with most of them near the thresholds of the merge rule.
    const life = fc
      .tuple(fc.integer({ min: 0, max: 1_500 }), fc.integer({ min: 0, max: 1_500 }))
      .map(([openedAtMs, forMs]) => [openedAtMs, openedAtMs + forMs]);
    const nowMs = fc.integer({ min: 3_000, max: 33_000 });
    fc.assert(
      fc.property(life, life, fc.boolean(), nowMs, (close, flow, guess, at) => {
        expect(agree(close, flow, guess, at)).toBeOneOf(['removed', 'added']);
      }),
      { numRuns: 2_000 },
    );
  });

  test('is a guess: its opening does not make the close one of a later life', () => {
    const tombstones = buried();
    const late = batchOf({
      port: 1,
      change: 'refresh',
      guess: true,
      openedAgoMs: 100,
      seenAgoMs: 100,
    });
    const { closed } = tombstones.screen(late, 10_500);
    expect(closed!.openedAgoMs[0]).toBe(1_500);
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

  test('next to all of them, while there is room for more', () => {
    const tombstones = new Tombstones();
    tombstones.bury(closes(0, 30_000), 1_000);
    expect(tombstones.screen(opens(0, 30_000), 1_000).alive.count).toBeLessThan(10);
  });

  test('the latest, when there are too many', () => {
    const tombstones = new Tombstones(1_024);
    tombstones.bury(closes(0, 20_000), 1_000);
    tombstones.bury(closes(20_000, 100), 2_000);
    expect(tombstones.screen(opens(20_000, 100), 2_000).alive.count).toBeLessThan(5);
  });
});
