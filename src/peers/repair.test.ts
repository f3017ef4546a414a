import { describe, expect, test } from 'vitest';
import { DIGEST_BUCKETS, type TableDigest } from './flow-table.ts';
import {
  DIGEST_INTERVAL_BUSY_MS,
  DIGEST_INTERVAL_MIN_MS,
  DIGEST_INTERVAL_MS,
  DIGEST_SAY_SPREAD_MS,
  DIGEST_SPREAD_MS,
  REQUEST_BUCKETS_MIN,
  REQUEST_SPREAD_MS,
  RESYNC_BUCKETS,
} from './limits.ts';
import { Repair } from './repair.ts';

const NO_CHANCE = () => 0;
const ROUND_MS = DIGEST_INTERVAL_MS + DIGEST_SPREAD_MS;
const REQUESTS_MS = DIGEST_SAY_SPREAD_MS + REQUEST_SPREAD_MS;
const ALIVE = new Set(['lb2', 'lb3']);

/** A digest that has 1 in these buckets. */
function digestOf(...buckets: readonly number[]): TableDigest {
  const sums = new BigUint64Array(DIGEST_BUCKETS);
  for (const bucket of buckets) sums[bucket] = 1n;
  return { flows: buckets.length, buckets: sums };
}

/** The digest as it comes, in parts of 128 buckets. */
function hear(repair: Repair, node: string, { flows, buckets }: TableDigest, nowMs: number): void {
  for (let firstBucket = 0; firstBucket < DIGEST_BUCKETS; firstBucket += 128) {
    const part = buckets.subarray(firstBucket, firstBucket + 128);
    repair.heard(node, { kind: 'digest', flows, firstBucket, buckets: part }, nowMs);
  }
}

/** A whole round: own digest, what a peer says, and the requests that follow. */
function round(repair: Repair, nowMs: number, own: TableDigest, other?: TableDigest) {
  repair.took(own, nowMs, false);
  if (other !== undefined) hear(repair, 'lb2', other, nowMs + 20);
  return repair.hasRequests(nowMs + REQUESTS_MS) ? repair.takeRequests(ALIVE) : [];
}

describe('when a digest is taken', () => {
  test('after the interval, and once at a time', () => {
    const repair = new Repair(0, NO_CHANCE);
    expect(repair.isDue(DIGEST_INTERVAL_MS - 1)).toBe(false);
    expect(repair.isDue(DIGEST_INTERVAL_MS)).toBe(true);
    expect(repair.isDue(DIGEST_INTERVAL_MS + 5_000)).toBe(false);
  });

  test('less often while flows come and go fast', () => {
    const repair = new Repair(0, NO_CHANCE);
    repair.took(digestOf(), 0, true);
    expect(repair.isDue(DIGEST_INTERVAL_BUSY_MS - 1)).toBe(false);
    expect(repair.isDue(DIGEST_INTERVAL_BUSY_MS)).toBe(true);
  });

  test('when another node begins a round, but not too often', () => {
    const repair = new Repair(0, NO_CHANCE);
    repair.took(digestOf(), 0, true);
    hear(repair, 'lb2', digestOf(), 900);
    expect(repair.isDue(900)).toBe(false);
    expect(repair.isDue(DIGEST_INTERVAL_MIN_MS)).toBe(true);
  });

  test('soon, when something was lost for good', () => {
    const repair = new Repair(0, NO_CHANCE);
    repair.hurry(100);
    expect(repair.isDue(100)).toBe(true);
  });

  test('again later when it could not be', () => {
    const repair = new Repair(0, NO_CHANCE);
    repair.hurry(0);
    repair.isDue(0);
    repair.gaveUp(0);
    expect(repair.isDue(DIGEST_INTERVAL_BUSY_MS - 1)).toBe(false);
    expect(repair.isDue(DIGEST_INTERVAL_BUSY_MS)).toBe(true);
  });
});

describe('who says its digest', () => {
  test('who begins the round, once', () => {
    const repair = new Repair(0, NO_CHANCE);
    repair.took(digestOf(5), 0, false);
    expect(repair.takeDigestToSay(0)).toEqual(digestOf(5));
    expect(repair.takeDigestToSay(9)).toBeUndefined();
  });

  test('nobody who has the same', () => {
    const repair = new Repair(0, NO_CHANCE);
    hear(repair, 'lb2', digestOf(5), 0);
    repair.took(digestOf(5), 10, false);
    expect(repair.takeDigestToSay(1_000)).toBeUndefined();
  });

  test('who differs', () => {
    const repair = new Repair(0, NO_CHANCE);
    hear(repair, 'lb2', digestOf(5), 0);
    repair.took(digestOf(5, 6), 10, false);
    expect(repair.takeDigestToSay(10 + DIGEST_SAY_SPREAD_MS)).toEqual(digestOf(5, 6));
  });

  test('nobody who differs, once another has said the same', () => {
    const repair = new Repair(0, () => 0.9);
    hear(repair, 'lb2', digestOf(5), 0);
    repair.took(digestOf(5, 6), 10, false);
    hear(repair, 'lb3', digestOf(5, 6), 20);
    expect(repair.takeDigestToSay(1_000)).toBeUndefined();
  });
});

describe('what is asked for', () => {
  test('a bucket that differs twice in a row', () => {
    const repair = new Repair(0, NO_CHANCE);
    expect(round(repair, 0, digestOf(), digestOf(7))).toEqual([]);
    expect(round(repair, ROUND_MS, digestOf(), digestOf(7))).toEqual([
      { node: 'lb2', buckets: [7] },
    ]);
    expect(repair.counters).toMatchObject({ differing: 2, requested: 1 });
  });

  test('not one that differed for a moment', () => {
    const repair = new Repair(0, NO_CHANCE);
    round(repair, 0, digestOf(), digestOf(7));
    expect(round(repair, ROUND_MS, digestOf(7), digestOf(7))).toEqual([]);
    expect(round(repair, 2 * ROUND_MS, digestOf(), digestOf(7))).toEqual([]);
  });

  test('nothing by what was heard at another time', () => {
    const repair = new Repair(0, NO_CHANCE);
    for (let nowMs = 0; nowMs < 50_000; nowMs += 10_000) {
      hear(repair, 'lb2', digestOf(7), nowMs);
      expect(repair.isDue(nowMs + 5_000)).toBe(true);
      repair.took(digestOf(), nowMs + 5_000, false);
      expect(repair.takeRequests(ALIVE)).toEqual([]);
    }
  });

  test('also when a walk over the table takes seconds', () => {
    const repair = new Repair(0, NO_CHANCE);
    for (const nowMs of [0, 10_000]) {
      hear(repair, 'lb2', digestOf(7), nowMs);
      expect(repair.isDue(nowMs + 10)).toBe(true);
      repair.took(digestOf(), nowMs + 4_000, false);
    }
    expect(repair.takeRequests(ALIVE)).toEqual([{ node: 'lb2', buckets: [7] }]);
  });

  test('not of a peer that is gone', () => {
    const repair = new Repair(0, NO_CHANCE);
    round(repair, 0, digestOf(), digestOf(7));
    repair.took(digestOf(), ROUND_MS, false);
    hear(repair, 'lb2', digestOf(7), ROUND_MS);
    expect(repair.takeRequests(new Set(['lb3']))).toEqual([]);
  });

  test('not what another node has just asked for, since all hear the answer', () => {
    const repair = new Repair(0, NO_CHANCE);
    round(repair, 0, digestOf(), digestOf(7, 8));
    repair.took(digestOf(), ROUND_MS, false);
    hear(repair, 'lb2', digestOf(7, 8), ROUND_MS);
    repair.requestedByOther('lb2', [7]);
    expect(repair.takeRequests(ALIVE)).toEqual([{ node: 'lb2', buckets: [8] }]);
  });

  test('a bucket once, though it differs from several', () => {
    const repair = new Repair(0, NO_CHANCE);
    for (const nowMs of [0, ROUND_MS]) {
      repair.took(digestOf(), nowMs, false);
      hear(repair, 'lb2', digestOf(7), nowMs);
      hear(repair, 'lb3', digestOf(7), nowMs);
    }
    expect(repair.takeRequests(ALIVE)).toEqual([{ node: 'lb2', buckets: [7] }]);
  });

  test('not again when the peer falls silent because it agrees', () => {
    const repair = new Repair(0, NO_CHANCE);
    round(repair, 0, digestOf(), digestOf(7));
    round(repair, ROUND_MS, digestOf(), digestOf(7));
    expect(round(repair, 2 * ROUND_MS, digestOf(7))).toEqual([]);
    expect(round(repair, 3 * ROUND_MS, digestOf(7))).toEqual([]);
  });
});

describe('how much is asked for', () => {
  const many = digestOf(...Array.from({ length: 300 }, (_, index) => index));

  function requested(repair: Repair, times: number, news: number): number[] {
    const counts: number[] = [];
    for (let time = 0; time <= times; time += 1) {
      const wanted = round(repair, time * ROUND_MS, digestOf(), many);
      counts.push(wanted.reduce((sum, { buckets }) => sum + buckets.length, 0));
      repair.learned(news);
    }
    return counts.slice(1);
  }

  test('more and more while it brings news', () => {
    expect(requested(new Repair(0, NO_CHANCE), 4, 10)).toEqual([32, 64, 128, 256]);
  });

  test('less and less often while it does not', () => {
    const counts = requested(new Repair(0, NO_CHANCE), 12, 0);
    expect(counts.filter((count) => count > 0)).toHaveLength(4);
    expect(Math.max(...counts)).toBe(REQUEST_BUCKETS_MIN);
  });

  test('a snapshot, when nearly everything differs', () => {
    const repair = new Repair(0, NO_CHANCE);
    const all = digestOf(...Array.from({ length: RESYNC_BUCKETS + 1 }, (_, index) => index));
    round(repair, 0, digestOf(), all);
    expect(repair.farApart()).toEqual([]);
    repair.took(digestOf(), ROUND_MS, false);
    hear(repair, 'lb2', all, ROUND_MS);
    expect(repair.farApart()).toEqual(['lb2']);
    repair.forget('lb2');
    expect(repair.farApart()).toEqual([]);
  });
});
