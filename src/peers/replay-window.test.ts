import fc from 'fast-check';
import { expect, test } from 'vitest';
import { REPLAY_WINDOW, ReplayWindow } from './replay-window.ts';

test('each sequence is admitted once, in any order', () => {
  const window = new ReplayWindow(0);
  const admitted = [1, 2, 2, 5, 3, 5, 4, 1, 4, 6].map((sequence) => window.admit(sequence));
  expect(admitted).toEqual([true, true, false, true, true, false, true, false, false, true]);
  expect(window.highest).toBe(6);
});

test('what lies a window behind the highest is too old', () => {
  const window = new ReplayWindow(0);
  window.admit(REPLAY_WINDOW + 10);
  expect(window.admit(10)).toBe(false);
  expect(window.admit(11)).toBe(true);
  expect(window.admit(11)).toBe(false);
});

test('what lies at or below the floor is refused', () => {
  const window = new ReplayWindow(100);
  expect([100, 99, 1].map((sequence) => window.admit(sequence))).toEqual([false, false, false]);
  expect(window.admit(102)).toBe(true);
  expect(window.admit(101)).toBe(true);
});

test('a floor can be raised, never lowered, above the highest too', () => {
  const window = new ReplayWindow(0);
  window.admit(10);
  window.raiseFloor(5);
  window.raiseFloor(2);
  expect([5, 6].map((sequence) => window.admit(sequence))).toEqual([false, true]);
  window.raiseFloor(20);
  expect([20, 21].map((sequence) => window.admit(sequence))).toEqual([false, true]);
});

test('a leap over more than a window leaves nothing of before', () => {
  const window = new ReplayWindow(0);
  for (let sequence = 1; sequence <= 100; sequence += 1) window.admit(sequence);
  const far = 5 * REPLAY_WINDOW;
  expect(window.admit(far)).toBe(true);
  const below = Array.from({ length: REPLAY_WINDOW - 1 }, (_, index) => far - 1 - index);
  expect(below.every((sequence) => window.admit(sequence))).toBe(true);
  expect(window.admit(far - REPLAY_WINDOW)).toBe(false);
});

test('the greatest sequence that there is can be admitted', () => {
  const window = new ReplayWindow(0);
  expect(window.admit(Number.MAX_SAFE_INTEGER)).toBe(true);
  expect(window.admit(Number.MAX_SAFE_INTEGER)).toBe(false);
  expect(window.admit(Number.MAX_SAFE_INTEGER - 1)).toBe(true);
});

test('it agrees with a set that remembers everything', () => {
  const steps = fc.oneof(
    fc.integer({ min: -40, max: 40 }),
    fc.integer({ min: -2 * REPLAY_WINDOW, max: 2 * REPLAY_WINDOW }),
  );
  fc.assert(
    fc.property(fc.nat(50), fc.array(steps, { maxLength: 200 }), (floor, jumps) => {
      const window = new ReplayWindow(floor);
      const seen = new Set<number>();
      let highest = floor;
      for (const jump of jumps) {
        const sequence = Math.max(1, highest + jump);
        const fresh = sequence > floor && sequence > highest - REPLAY_WINDOW && !seen.has(sequence);
        expect(window.admit(sequence)).toBe(fresh);
        seen.add(sequence);
        highest = Math.max(highest, sequence);
      }
    }),
    { numRuns: 200 },
  );
});
