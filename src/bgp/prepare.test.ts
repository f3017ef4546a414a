import { expect, test } from 'vitest';
import { versionProblem } from './prepare.ts';

test.each(['4.6.0', '4.8.0', '4.10.2', '4.9.0-rc1'])('gobgpd %s will do', (version) => {
  expect(versionProblem(version)).toBeUndefined();
});

test.each(['4.5.0', '3.10.0', '5.0.0', '40.6.0', 'latest'])('gobgpd %s will not', (version) => {
  expect(versionProblem(version)).toBe(
    `gobgpd is ${version}: install gobgpd 4.6 or newer (of major version 4)`,
  );
});

test('a daemon that does not say its version will not do', () => {
  expect(versionProblem('')).toContain('unknown version');
});
