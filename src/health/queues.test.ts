import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { DueQueue } from './due-queue.ts';
import { FairQueue } from './fair-queue.ts';

describe('DueQueue', () => {
  test('is empty at first', () => {
    const queue = new DueQueue();
    queue.postponeFirst(1);
    expect(queue.first()).toBeUndefined();
  });

  test('always has the earliest item first, however items are postponed', () => {
    const times = fc.array(fc.nat(1000), { minLength: 1 });
    fc.assert(
      fc.property(times, fc.array(fc.nat(1000)), (dueTimes, delays) => {
        const items = dueTimes.map((dueMs) => ({ dueMs }));
        const queue = new DueQueue<{ dueMs: number }>();
        queue.rebuild(items);
        for (const delay of [0, ...delays]) {
          const earliestMs = Math.min(...items.map(({ dueMs }) => dueMs));
          expect(queue.first()?.dueMs).toBe(earliestMs);
          queue.postponeFirst(earliestMs + delay);
        }
      }),
    );
  });
});

describe('FairQueue', () => {
  function drain(queue: FairQueue<string, number>): number[] {
    const items: number[] = [];
    for (let item = queue.shift(); item !== undefined; item = queue.shift()) items.push(item);
    return items;
  }

  test('serves the keys in turn, and each key in order', () => {
    const queue = new FairQueue<string, number>();
    for (const item of [1, 2, 3]) queue.push('a', item);
    for (const item of [11, 12]) queue.push('b', item);
    expect(queue.size).toBe(5);
    expect(drain(queue)).toEqual([1, 11, 2, 12, 3]);
    expect(queue.size).toBe(0);
  });

  test('a key that always has items does not keep another waiting', () => {
    const queue = new FairQueue<string, number>();
    for (let i = 0; i < 100; i++) queue.push('busy', i);
    queue.push('late', -1);
    expect([queue.shift(), queue.shift()]).toEqual([0, -1]);
  });

  test('gives back everything that was pushed, once', () => {
    // True pushes to a key, false takes one out.
    const step = fc.tuple(fc.boolean(), fc.constantFrom('a', 'b', 'c'));
    fc.assert(
      fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
        const queue = new FairQueue<string, number>();
        const taken: (number | undefined)[] = [];
        let pushed = 0;
        for (const [push, key] of steps) {
          if (push) queue.push(key, pushed++);
          else if (queue.size > 0) taken.push(queue.shift());
        }
        const all = [...taken, ...drain(queue)].sort((a, b) => Number(a) - Number(b));
        expect(all).toEqual(Array.from({ length: pushed }, (_, i) => i));
      }),
    );
  });

  test('drops what is not to be kept', () => {
    const queue = new FairQueue<string, number>();
    for (const item of [1, 2, 3, 4]) queue.push('a', item);
    queue.push('b', 5);
    queue.shift();
    queue.retain((item) => item % 2 === 0);
    expect(queue.size).toBe(2);
    expect(drain(queue)).toEqual([2, 4]);
  });
});
