import { describe, expect, test } from 'vitest';
import { CASES, type Case } from './cases.ts';
import type { Sample } from './measure.ts';
import { figures, netSpread, spread, tableText } from './report.ts';

function caseNamed(name: string): Case {
  const found = CASES.find((each) => each.name === name);
  if (found === undefined) throw new TypeError(`no case ${name}`);
  return found;
}

function steady(caseNs: number): Sample[] {
  return [{ caseNs, emptyNs: 40 }];
}

describe('spread', () => {
  test.each([
    [[3, 1, 2], { min: 1, median: 2, max: 3 }],
    [[4, 1, 3, 2], { min: 1, median: 2.5, max: 4 }],
    [[10, 9], { min: 9, median: 9.5, max: 10 }],
    [[5], { min: 5, median: 5, max: 5 }],
  ])('of %j', (values, expected) => {
    expect(spread(values)).toEqual(expected);
  });
});

test('a net figure takes least from least, and the median of the empty program from the rest', () => {
  const samples = [
    { caseNs: 70, emptyNs: 40 },
    { caseNs: 90, emptyNs: 38 },
    { caseNs: 75, emptyNs: 60 },
  ];
  expect(netSpread(samples)).toEqual({ min: 32, median: 35, max: 50 });
});

describe('figures', () => {
  const cases = [caseNamed('floor-lru-1'), caseNamed('tcp4-1')];

  test.each([
    [94, 1.8, true],
    [95, 1.833, false],
  ])('a case of %i ns is %f times its floor', (caseNs, timesFloor, held) => {
    const samples = new Map([
      ['floor-lru-1', steady(70)],
      ['tcp4-1', steady(caseNs)],
    ]);
    const [floor, own] = figures(cases, samples);
    expect(floor?.bar).toBeUndefined();
    expect(own?.timesFloor).toBeCloseTo(timesFloor, 3);
    expect(own?.bar).toEqual({ atMost: 1.8, held });
  });

  test('a missed bar cannot be overlooked', () => {
    const samples = new Map([
      ['floor-lru-1', steady(70)],
      ['tcp4-1', steady(200)],
    ]);
    const lines = tableText(figures(cases, samples)).split('\n');
    expect(lines).toHaveLength(3);
    expect(lines[2]).toMatch(/^tcp4-1 +1 +160\.0 +160\.0 +160\.0 +5\.33 +MISSED 1\.8 /);
  });
});
