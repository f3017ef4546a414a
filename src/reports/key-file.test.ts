import { expect, test } from 'vitest';
import { address } from '../model/address.ts';
import { B1, CLUSTER, key } from './fixture.ts';
import { formatKeyFile, isReporterKey, parseKeyFile } from './key-file.ts';
import { ADDRESSES_MAX } from './report.ts';
import { reporterKey } from './seal.ts';

const BOTH = [B1, address('2001:db8::1')];
const FILE = { key: reporterKey(key(1), CLUSTER, BOTH), addresses: BOTH };
const TEXT = formatKeyFile(FILE);

test('a key file is a line of text, and comes back as it was', () => {
  expect(TEXT).toMatch(/^skein-report-key [0-9a-f]{2} 10\.0\.0\.1,2001:db8::1 \S{44}\n$/);
  const parsed = parseKeyFile(`\n  ${TEXT}\r\n`);
  expect(parsed?.addresses).toEqual(BOTH);
  expect(parsed?.key.id).toBe(FILE.key.id);
  expect(parsed && Uint8Array.from(parsed.key.secret)).toEqual(FILE.key.secret);
});

test('a key differs by master, cluster and addresses, and not by their order', () => {
  const secret = (...from: Parameters<typeof reporterKey>) =>
    Buffer.from(reporterKey(...from).secret).toString('hex');
  const all = [
    secret(key(1), CLUSTER, BOTH),
    secret(key(2), CLUSTER, BOTH),
    secret(key(1), 'east', BOTH),
    secret(key(1), CLUSTER, [B1]),
    Buffer.from(key(1)).toString('hex'),
  ];
  expect(new Set(all).size).toBe(all.length);
  expect(secret(key(1), CLUSTER, BOTH.toReversed())).toBe(all[0]);
});

test('a key of the cluster is none of a reporter', () => {
  expect(isReporterKey(TEXT)).toBe(true);
  expect(isReporterKey(Buffer.from(key(1)).toString('base64'))).toBe(false);
});

test.each([
  ['nothing', ''],
  ['another word', TEXT.replace('skein', 'skain')],
  ['no addresses', TEXT.replace(/ 10\S+/, ' ')],
  ['an address that is none', TEXT.replace('10.0.0.1', '10.0.0.256')],
  ['more addresses than there may be', TEXT.replace('10.0.0.1', manyAddresses())],
  ['an id that is none', TEXT.replace(/key ../, 'key x1')],
  ['a key that is cut short', TEXT.trim().slice(0, -3)],
  ['more behind it', `${TEXT.trim()} x`],
  ['two keys', TEXT + TEXT],
])('refused: %s', (_, text) => {
  expect(parseKeyFile(text)).toBeUndefined();
});

function manyAddresses(): string {
  return Array.from({ length: ADDRESSES_MAX }, (_, index) => `10.0.1.${index}`).join();
}
