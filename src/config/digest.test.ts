import { expect, test } from 'vitest';
import { canonicalJson, digestOf } from './digest.ts';

test.each<[unknown, string]>([
  [{ b: 1, a: [true, null, 'x'] }, '{"a":[true,null,"x"],"b":1}'],
  [{ b: undefined, a: { d: 1, c: 2 } }, '{"a":{"c":2,"d":1}}'],
  [[undefined], '[null]'],
  [{ 'ä"': 1, a: {} }, '{"a":{},"ä\\"":1}'],
  [[], '[]'],
])('%j in canonical form', (value, expected) => {
  expect(canonicalJson(value)).toBe(expected);
});

test('the digest is SHA-256 of the canonical form', () => {
  // As `printf '{}' | sha256sum` says.
  expect(digestOf({ a: undefined })).toBe(
    '44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a',
  );
});
