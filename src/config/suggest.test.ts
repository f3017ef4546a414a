import { expect, test } from 'vitest';
import { didYouMean, suggest } from './suggest.ts';

const KNOWN = ['services', 'backends', 'interval_ms', 'port', 'tcp'];

test.each([
  ['servces', 'services'],
  ['sevrices', 'services'],
  ['Services', 'services'],
  ['intervalMs', 'interval_ms'],
  ['interval-ms', 'interval_ms'],
  ['tpc', 'tcp'],
  ['prot', 'port'],
  ['interval', 'interval_ms'],
  ['health', undefined],
  ['xy', undefined],
  ['', undefined],
  ['s'.repeat(100_000), undefined],
])('%j is near %j', (word, expected) => {
  expect(suggest(word, KNOWN)).toBe(expected);
});

test('the nearest wins, and the first of equals', () => {
  expect(suggest('web1', ['web22', 'web2', 'web3'])).toBe('web2');
});

test('a hint is a phrase to append, or nothing', () => {
  expect(didYouMean('backend', KNOWN)).toBe(' (did you mean "backends"?)');
  expect(didYouMean('nothing', KNOWN)).toBe('');
});
