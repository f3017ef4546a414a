import { expect, test } from 'vitest';
import { errorCode, latencyOf, Tally } from './report.ts';

test.each([
  [[], { p50Ms: 0, p99Ms: 0, maxMs: 0 }],
  [[5], { p50Ms: 5, p99Ms: 5, maxMs: 5 }],
  [[3, 1, 2], { p50Ms: 2, p99Ms: 3, maxMs: 3 }],
  [Array.from({ length: 1000 }, (_, i) => i + 1), { p50Ms: 501, p99Ms: 991, maxMs: 1000 }],
])('latencies of samples, case %#', (samples, expected) => {
  expect(latencyOf(samples)).toEqual(expected);
});

test('a tally counts by name, in the order of the names', () => {
  const tally = new Tally();
  for (const name of ['b2', 'b1', 'b2']) tally.add(name);
  expect(JSON.stringify(tally)).toBe('{"b1":1,"b2":2}');
  expect(tally.total()).toBe(3);
});

test.each([
  [Object.assign(new Error('connect ECONNREFUSED'), { code: 'ECONNREFUSED' }), 'ECONNREFUSED'],
  [new Error('body too long'), 'body too long'],
  ['text', 'text'],
])('the code of an error, case %#', (error, expected) => {
  expect(errorCode(error)).toBe(expected);
});
