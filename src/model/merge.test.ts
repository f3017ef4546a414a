import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { MERGE_CASES } from '../peers/merge-cases.ts';
import { address } from './address.ts';
import { FlowChange, SharedFlowState } from './flow-batch.ts';
import { mergeFlow, SAME_LIFE_MS, type KnownFlow } from './merge.ts';

describe('the merge rule', () => {
  test.each(MERGE_CASES)('$name', ({ known, said, outcome, then }) => {
    const merged = mergeFlow(known, said);
    expect(merged.outcome).toBe(outcome);
    const after = 'flow' in merged ? merged.flow : merged.outcome === 'removed' ? undefined : known;
    expect(after).toEqual(then);
  });
});

const BACKENDS = ['10.0.0.1', '10.0.0.9', '10.0.0.100', '2001:db8::1'].map((text) => address(text));

/** Openings far enough apart to be told from each other, or equal. */
const record: fc.Arbitrary<KnownFlow> = fc.record({
  backend: fc.constantFrom(...BACKENDS),
  guess: fc.boolean(),
  state: fc.constantFrom(SharedFlowState.tcpEstablished, SharedFlowState.tcpFin),
  openedAgoMs: fc.nat({ max: 6 }).map((step) => 10_000 + step * (SAME_LIFE_MS + 1)),
  seenAgoMs: fc.nat({ max: 9_000 }),
});

function merge(known: KnownFlow | undefined, said: KnownFlow): KnownFlow | undefined {
  const merged = mergeFlow(known, { ...said, change: FlowChange.refresh });
  return 'flow' in merged ? merged.flow : known;
}

describe('whatever order records arrive in', () => {
  test('every node ends with the same backend and certainty', () => {
    fc.assert(
      fc.property(
        fc.uniqueArray(record, { maxLength: 5 }),
        fc.infiniteStream(fc.nat()),
        (all, chance) => {
          const shuffled = all
            .map((each) => ({ each, rank: chance.next().value as number }))
            .sort((a, b) => a.rank - b.rank)
            .map(({ each }) => each);
          const one = all.reduce<KnownFlow | undefined>(merge, undefined);
          const other = shuffled.reduce<KnownFlow | undefined>(merge, undefined);
          expect(other?.backend).toBe(one?.backend);
          expect(other?.guess).toBe(one?.guess);
        },
      ),
    );
  });

  test('hearing a record twice changes nothing', () => {
    fc.assert(
      fc.property(record, record, (known, said) => {
        const once = merge(known, said);
        expect(merge(once, said)).toEqual(once);
      }),
    );
  });

  test('two nodes that tell each other what they have agree', () => {
    fc.assert(
      fc.property(record, record, (one, other) => {
        const a = merge(one, other);
        const b = merge(other, one);
        expect(a?.backend).toBe(b?.backend);
        expect(a?.guess).toBe(b?.guess);
      }),
    );
  });
});
