import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { HealthState } from '../model/health.ts';
import { emptyWindow, observe, type Thresholds } from './window.ts';

/** `+` is a pass and `-` a failure; the states after each of them. */
function walk(results: string, thresholds: Thresholds, from: HealthState = 'unknown'): string {
  let window = emptyWindow(from);
  const states = Array.from(results, (result) => {
    window = observe(window, result === '+', thresholds);
    return window.state === 'unknown' ? '?' : window.state === 'up' ? 'U' : 'D';
  });
  return states.join('');
}

function kOfN(rise: readonly [number, number], fall: readonly [number, number]): Thresholds {
  return {
    rise: { count: rise[0], window: rise[1] },
    fall: { count: fall[0], window: fall[1] },
  };
}

describe('the state after each result', () => {
  test.each([
    ['a fresh check comes up after rise', '++++', kOfN([3, 3], [2, 2]), 'unknown', '??UU'],
    ['a fresh check goes down after fall', '---', kOfN([3, 3], [2, 2]), 'unknown', '?DD'],
    ['undecided results leave it unknown', '+-+-+-', kOfN([3, 3], [3, 3]), 'unknown', '??????'],
    ['one failure of three does not take it down', '+-++-+', kOfN([2, 3], [3, 3]), 'up', 'UUUUUU'],
    ['scattered failures within the window do', '-+-+-', kOfN([5, 5], [3, 5]), 'up', 'UUUUD'],
    [
      'failures that left the window do not count',
      '-++-++-',
      kOfN([3, 3], [2, 3]),
      'up',
      'UUUUUUU',
    ],
    ['one of one follows every result', '+-+-', kOfN([1, 1], [1, 1]), 'unknown', 'UDUD'],
    ['a pass cannot take it down', '--+', kOfN([1, 3], [2, 3]), 'up', 'UDU'],
    ['a failure cannot bring it up', '++-', kOfN([2, 3], [3, 3]), 'down', 'DUU'],
    ['seeded up, it stays until fall', '---', kOfN([1, 1], [3, 3]), 'up', 'UUD'],
    ['seeded down, it stays until rise', '+++', kOfN([3, 3], [1, 1]), 'down', 'DDU'],
    ['rise looks back further than fall', '+--+-+', kOfN([3, 6], [3, 3]), 'down', 'DDDDDU'],
  ] as const)('%s', (_name, results, thresholds, from, states) => {
    expect(walk(results, thresholds, from)).toBe(states);
  });
});

test('keeps as many results as the larger window looks at, newest last', () => {
  let window = emptyWindow('unknown');
  for (const passed of [true, true, true, false, true]) {
    window = observe(window, passed, kOfN([2, 2], [3, 4]));
  }
  expect(window.recent).toEqual([true, true, false, true]);
});

const threshold = fc
  .tuple(fc.integer({ min: 1, max: 8 }), fc.integer({ min: 0, max: 8 }))
  .map(([count, spare]) => ({ count, window: count + spare }));
const state = fc.constantFrom<HealthState>('unknown', 'up', 'down');

test('changes only with the threshold met by results since the start, and always then', () => {
  fc.assert(
    fc.property(
      threshold,
      threshold,
      state,
      fc.array(fc.boolean()),
      (rise, fall, from, results) => {
        let window = emptyWindow(from);
        results.forEach((passed, i) => {
          const before = window.state;
          window = observe(window, passed, { rise, fall });
          const history = results.slice(0, i + 1);
          const { count, window: length } = passed ? rise : fall;
          const agreeing = history.slice(-length).filter((result) => result === passed).length;
          expect(window.state).toBe(agreeing >= count ? (passed ? 'up' : 'down') : before);
          expect(window.recent).toEqual(history.slice(-Math.max(rise.window, fall.window)));
        });
      },
    ),
  );
});

test('never flips twice within fewer results than the smaller count', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 2, max: 6 }),
      fc.integer({ min: 2, max: 6 }),
      fc.array(fc.boolean(), { maxLength: 60 }),
      (rise, fall, results) => {
        // In a row, which is what count = window means.
        const states = walk(
          results.map((passed) => (passed ? '+' : '-')).join(''),
          kOfN([rise, rise], [fall, fall]),
        );
        const stays = states.match(/U+|D+/g) ?? [];
        for (const stay of stays.slice(0, -1)) {
          expect(stay.length).toBeGreaterThanOrEqual(stay.startsWith('U') ? fall : rise);
        }
      },
    ),
  );
});
