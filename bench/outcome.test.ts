import { describe, expect, test } from 'vitest';
import type { Outcome } from './cases.ts';
import { complaints } from './outcome.ts';
import type { Tally } from './programs.ts';

const BEFORE: Tally = {
  packets: 1000,
  flowsScheduled: 20,
  flowsEstablished: 20,
  flowsEnded: 3,
  counters: { passed: 5, no_service: 0, flow_guessed: 0 },
};

describe('what 100 frames must have changed, and nothing else', () => {
  test.each<[Outcome, Partial<Tally>]>([
    [{ kind: 'established' }, { packets: 1100 }],
    [{ kind: 'new' }, { packets: 1100, flowsScheduled: 120 }],
    [{ kind: 'counted', counter: 'passed' }, { counters: { ...BEFORE.counters, passed: 105 } }],
  ])('%j', (outcome, change) => {
    expect(complaints(outcome, BEFORE, { ...BEFORE, ...change }, 100)).toEqual([]);
  });
});

describe('what is complained of', () => {
  const established: Outcome = { kind: 'established' };

  test('a frame that was not forwarded', () => {
    const after = { ...BEFORE, packets: 1099, counters: { ...BEFORE.counters, no_service: 1 } };
    expect(complaints(established, BEFORE, after, 100)).toEqual([
      'packets grew by 99, not by 100',
      'no_service grew by 1, not by 0',
    ]);
  });

  test('a flow that was not known', () => {
    const after = { ...BEFORE, packets: 1100, flowsScheduled: 21 };
    expect(complaints(established, BEFORE, after, 100)).toEqual([
      'flows scheduled grew by 1, not by 0',
    ]);
  });

  test('a guess, although the frame was forwarded', () => {
    const after = { ...BEFORE, packets: 1100, counters: { ...BEFORE.counters, flow_guessed: 1 } };
    expect(complaints(established, BEFORE, after, 100)).toEqual([
      'flow_guessed grew by 1, not by 0',
    ]);
  });

  test('a counter that does not exist', () => {
    const outcome: Outcome = { kind: 'counted', counter: 'nonsense' };
    expect(complaints(outcome, BEFORE, BEFORE, 100)).toEqual(['there is no counter nonsense']);
  });
});
