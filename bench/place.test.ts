import { expect, test } from 'vitest';
import { lastOfList } from './place.ts';

test.each([
  ['0', 0],
  ['0-1', 1],
  ['0-3,8', 8],
  ['2,4-31', 31],
])('the last CPU of %s', (list, last) => {
  expect(lastOfList(list)).toBe(last);
});
