import { expect, test } from 'vitest';
import { ManualClock } from '../lib/clock.ts';
import { Bell } from './bell.ts';

test('wakes a sleeper before its time', async () => {
  const bell = new Bell(new ManualClock());
  const woken = bell.wait(1_000);
  bell.ring();
  await expect(woken).resolves.toBeUndefined();
});

test('lets a sleeper sleep for its time when it is not rung', async () => {
  const clock = new ManualClock();
  let awake = false;
  const woken = new Bell(clock).wait(1_000).then(() => {
    awake = true;
  });
  clock.advance(999);
  await Promise.resolve();
  expect(awake).toBe(false);
  clock.advance(1);
  await woken;
  expect(awake).toBe(true);
});

test('keeps one ring for the next sleeper, however often it was rung', async () => {
  const clock = new ManualClock();
  const bell = new Bell(clock);
  bell.ring();
  bell.ring();
  await bell.wait(1_000);
  const second = bell.wait(1_000);
  clock.advance(1_000);
  await second;
  expect(clock.nowMs()).toBe(1_000);
});
