import fc from 'fast-check';
import { expect, test } from 'vitest';
import { Slots } from './slots.ts';

test('never-used slots go first, and freed ones in the order in which they came back', () => {
  const slots = new Slots(4);
  expect([slots.take(), slots.take()]).toEqual([0, 1]);
  slots.free(1);
  slots.free(0);
  expect([slots.take(), slots.take(), slots.take(), slots.take()]).toEqual([2, 3, 1, 0]);
  expect(slots.take()).toBeUndefined();
});

test('a freed slot waits while others are unused', () => {
  const slots = new Slots(3);
  slots.free(slots.take()!);
  expect(slots.take()).toBe(1);
  expect(slots.available).toBe(2);
});

test('without capacity there is nothing to take', () => {
  expect(new Slots(0).take()).toBeUndefined();
});

test('after a restore exactly the named slots are taken', () => {
  const slots = new Slots(6);
  slots.take();
  slots.restore(new Set([3, 1]));
  expect(slots.highWater).toBe(4);
  expect(slots.available).toBe(4);
  const rest = [slots.take(), slots.take(), slots.take(), slots.take(), slots.take()];
  expect(rest).toEqual([4, 5, 0, 2, undefined]);
});

test('a restore of nothing starts over', () => {
  const slots = new Slots(2);
  slots.take();
  slots.restore(new Set());
  expect([slots.take(), slots.take(), slots.take()]).toEqual([0, 1, undefined]);
});

test('no slot is handed out twice, and none is lost', () => {
  const capacity = 8;
  const seed = 20260505;
  fc.assert(
    fc.property(fc.array(fc.nat({ max: 11 }), { maxLength: 60 }), (steps) => {
      const slots = new Slots(capacity);
      const taken: number[] = [];
      for (const step of steps) {
        const index = step % 12;
        if (index < taken.length) {
          slots.free(taken.splice(index, 1)[0]!);
          continue;
        }
        const slot = slots.take();
        expect(slot === undefined).toBe(taken.length === capacity);
        if (slot === undefined) continue;
        expect(taken).not.toContain(slot);
        expect(slot).toBeLessThan(capacity);
        taken.push(slot);
      }
      expect(slots.available).toBe(capacity - taken.length);
    }),
    { seed },
  );
});
