import { describe, expect, test } from 'vitest';
import { knownAt, survives, type PeerComparisons } from './known-at.ts';
import { COMPARED_AGO_MS_MAX, SETTLED_MS } from './limits.ts';
import { Repair } from './repair.ts';
import { DIGEST_BUCKETS, type TableDigest } from './flow-table.ts';

const NOW_MS = 1_000_000;
const BUCKET = 7;
const OLD_FLOW = { bucket: BUCKET, openedAtMs: NOW_MS - 60_000, isClosing: false };

function compared(comparedAgoMs: number, isEqual: boolean, aliveForMs = NOW_MS): PeerComparisons {
  const atMs: number[] = [];
  const equal: number[] = [];
  atMs[BUCKET] = NOW_MS - comparedAgoMs;
  equal[BUCKET] = isEqual ? 1 : 0;
  return { peer: 'lb2', aliveSinceMs: NOW_MS - aliveForMs, atMs, isEqual: equal };
}

const KNOWS = compared(1_000, true);
const DIFFERS = compared(1_000, false);
const SILENT = { ...KNOWS, atMs: [], isEqual: [] };

describe('a flow at a peer', () => {
  test.each([
    ['equal sums', OLD_FLOW, KNOWS, 'known'],
    ['unequal sums', OLD_FLOW, DIFFERS, 'differs'],
    ['another bucket', { ...OLD_FLOW, bucket: BUCKET + 1 }, KNOWS, 'unsettled'],
    ['no digest of the peer', OLD_FLOW, SILENT, 'unsettled'],
    ['a flow that is about to end', { ...OLD_FLOW, isClosing: true }, KNOWS, 'unsettled'],
    ['a comparison before the flow', OLD_FLOW, compared(61_000, true), 'unsettled'],
    ['one while it was too young', OLD_FLOW, compared(60_001 - SETTLED_MS, true), 'unsettled'],
    ['one when it was just old enough', OLD_FLOW, compared(60_000 - SETTLED_MS, true), 'known'],
    ['one of an earlier life of the peer', OLD_FLOW, compared(1_000, true, 999), 'unsettled'],
    ['one of the first moment of its life', OLD_FLOW, compared(1_000, true, 1_000), 'known'],
  ] as const)('%s', (_, flow, peer, expected) => {
    expect(knownAt(flow, peer, NOW_MS)).toBe(expected);
  });

  test('a comparison counts for a limited time', () => {
    const flow = { ...OLD_FLOW, openedAtMs: 0 };
    expect(knownAt(flow, compared(COMPARED_AGO_MS_MAX, true), NOW_MS)).toBe('known');
    expect(knownAt(flow, compared(COMPARED_AGO_MS_MAX + 1, true), NOW_MS)).toBe('unsettled');
  });
});

describe('survival', () => {
  test.each([
    ['known at all', [KNOWS, KNOWS], true],
    ['unsettled at one', [KNOWS, SILENT], null],
    ['different at one', [KNOWS, DIFFERS], false],
    ['different at one, unsettled at another', [SILENT, DIFFERS], false],
    ['nobody is there', [], false],
  ])('%s', (_, peers, expected) => {
    expect(survives(OLD_FLOW, { nowMs: NOW_MS, peers })).toBe(expected);
  });
});

describe('comparisons of digests', () => {
  const digest = (value: bigint): TableDigest => ({
    flows: 1,
    buckets: new BigUint64Array(DIGEST_BUCKETS).fill(value),
  });

  test('hold for the buckets that were heard, dated by the own digest', () => {
    const repair = new Repair(0, () => 0);
    expect(repair.comparisons('lb2')).toBeUndefined();
    repair.took(digest(5n), 10_000, false);
    const part = { kind: 'digest', firstBucket: 3, buckets: BigUint64Array.of(5n, 6n) } as const;
    repair.heard('lb2', { ...part, flows: 1 }, 10_100);
    const { atMs, isEqual } = repair.comparisons('lb2') ?? { atMs: [], isEqual: [] };
    expect([2, 3, 4, 5].map((bucket) => atMs[bucket])).toEqual([
      -Infinity,
      10_000,
      10_000,
      -Infinity,
    ]);
    expect([3, 4].map((bucket) => isEqual[bucket])).toEqual([1, 0]);
  });

  test('are not made with a digest of another time', () => {
    const repair = new Repair(0, () => 0);
    repair.took(digest(5n), 10_000, false);
    const buckets = BigUint64Array.of(5n);
    repair.heard('lb2', { kind: 'digest', firstBucket: 0, buckets, flows: 1 }, 12_000);
    expect(repair.comparisons('lb2')?.atMs[0]).toBe(-Infinity);
    repair.took(digest(5n), 12_100, false);
    expect(repair.comparisons('lb2')?.atMs[0]).toBe(12_100);
  });
});
