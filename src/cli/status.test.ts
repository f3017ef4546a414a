import { expect, test } from 'vitest';
import { fixtureSnapshot } from '../console/fixture.ts';
import { describeNode } from './status.ts';

const lines = describeNode(fixtureSnapshot('usual'));

test.each([
  '  10.20.4.11 (web-1)  up, weight 10, ',
  '  10.20.6.31 (dns-1)  up, gue, weight 1, ',
  '  10.20.7.43 (mail-3)  up, full_nat, weight 1, ',
])('a backend is shown with its mode, unless that is l2dsr: %s', (start) => {
  expect(lines.filter((line) => line.startsWith(start))).not.toEqual([]);
});
