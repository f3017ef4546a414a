import { expect, test } from 'vitest';
import { fixtureSnapshot } from '../console/fixture.ts';
import { describeNode } from './status.ts';

const usual = fixtureSnapshot('usual');
const lines = describeNode(usual);

test.each([
  '  10.20.4.11 (web-1)  up, weight 10, ',
  '  10.20.6.31 (dns-1)  up, gue, weight 1, ',
  '  10.20.7.43 (mail-3)  up, full_nat, weight 1, ',
])('a backend is shown with its mode, unless that is l2dsr: %s', (start) => {
  expect(lines.filter((line) => line.startsWith(start))).not.toEqual([]);
});

test('reports that are not taken as the document says are a failure, by name', () => {
  expect(lines).toContainEqual(
    expect.stringMatching(/^reports: listening at 239\.83\.75\.79:7484 on eth0, 12 reporters, /),
  );
  const problems = ['cannot send and receive at 10.0.0.1:7484 (UDP)'];
  const reports = usual.reports && { ...usual.reports, listening: null, problems };
  const failing = describeNode({ ...usual, reports });
  expect(failing).toContain(`FAILED reports: ${problems[0]}`);
  expect(failing.filter((line) => line.startsWith('reports: not listening'))).toHaveLength(1);
  expect(describeNode({ ...usual, reports: null }).join()).not.toContain('reports');
});

test('without BGP a VIP is ready, and nothing is left to be confirmed', () => {
  const shown = describeNode(fixtureSnapshot('no-bgp'));
  expect(shown[1]).toMatch(/^\d+ of \d+ VIPs ready; XDP on /);
  expect(shown.filter((line) => /^vip \S+ {2}ready$/.test(line))).not.toEqual([]);
  expect(shown.join()).not.toMatch(/announc|confirmed/);
  expect(lines[1]).toMatch(/^announcing \d+ of \d+ VIPs; XDP on /);
});
