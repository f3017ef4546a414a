import { describe, expect, test } from 'vitest';
import { COUNTERS } from '../src/abi/abi.generated.ts';
import { CASES, chosenCases } from './cases.ts';

const NAMES: readonly string[] = CASES.map(({ name }) => name);

test('names are unique', () => {
  expect(new Set(NAMES).size).toBe(NAMES.length);
});

test('what a case is compared with is a floor of as many flows', () => {
  for (const { comparison, flows, frames } of CASES) {
    if (comparison === undefined) continue;
    const floor = CASES.find(({ name }) => name === comparison.floor);
    expect(floor).toMatchObject({ flows, frames, subject: { kind: 'floor' } });
  }
});

test('a million flows share their table with no others', () => {
  const many = CASES.filter(({ flows }) => flows >= 1_000_000);
  const shared = many.map(({ subject, frame }) => {
    const family = frame.includes('6') ? 6 : 4;
    return subject.kind === 'skein' ? `${subject.tables}, IPv${family}` : undefined;
  });
  const named = shared.filter((each) => each !== undefined);
  expect(named.length).toBeGreaterThan(2);
  expect(new Set(named).size).toBe(named.length);
});

test('counters that cases name exist', () => {
  const counters: readonly string[] = COUNTERS.map(({ name }) => name);
  const named = CASES.flatMap(({ subject }) =>
    subject.kind === 'skein' && subject.outcome.kind === 'counted' ? [subject.outcome.counter] : [],
  );
  expect(named).not.toHaveLength(0);
  for (const name of named) expect(counters).toContain(name);
});

describe('a choice of cases', () => {
  test.each([
    ['tcp4-1', ['floor-lru-1', 'floor-lru-16k', 'floor-lru-1M', 'tcp4-1', 'tcp4-16k', 'tcp4-1M']],
    ['floor-parse', ['floor-parse']],
    ['echo', ['echo4', 'echo6']],
    ['nothing', []],
  ])('by %s brings the floors along', (prefix, names) => {
    expect(chosenCases(prefix).map(({ name }) => name)).toEqual(names);
  });

  test('by nothing is all of them', () => {
    expect(chosenCases('')).toEqual(CASES);
  });
});
