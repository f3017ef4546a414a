import fc from 'fast-check';
import { pack } from './wire-msgpack.ts';
import { expect, test } from 'vitest';
import { isPlainMsgpack } from './wire-scan.ts';

const bytes = (...values: number[]) => Uint8Array.from(values);

test.each<[string, Uint8Array]>([
  ['nothing at all', bytes()],
  ['the byte that is never used', bytes(0xc1)],
  ['an empty map', bytes(0x80)],
  ['a map of 16 bits', bytes(0xde, 0, 0)],
  ['a map of 32 bits', bytes(0xdf, 0, 0, 0, 0)],
  ['an extension of one byte', bytes(0xd4, 1, 0)],
  ['a record definition, which makes code', bytes(0xd4, 0x72, 0x40, 0x91, 0xa1, 0x61)],
  ['an extension of 8 bits', bytes(0xc7, 0, 1)],
  ['a timestamp', bytes(0xd6, 0xff, 0, 0, 0, 1)],
  ['an array that lacks an element', bytes(0x92, 1)],
  ['an array longer than memory', bytes(0xdd, 0xff, 0xff, 0xff, 0xff)],
  ['an array whose length is cut', bytes(0xdc, 0)],
  ['binary longer than the rest', bytes(0xc4, 3, 1, 2)],
  ['binary longer than memory', bytes(0xc6, 0xff, 0xff, 0xff, 0xff)],
  ['binary whose length is cut', bytes(0xc5, 0)],
  ['a string longer than the rest', bytes(0xa3, 0x61)],
  ['a number that is cut', bytes(0xce, 1, 2, 3)],
  ['something after the value', bytes(0x90, 0)],
  ['five arrays in each other', bytes(0x91, 0x91, 0x91, 0x91, 0x91, 0)],
  ['too many values', bytes(0xdc, 0x10, 0x00, ...new Uint8Array(4_096))],
])('refuses %s', (_, input) => {
  expect(isPlainMsgpack(input)).toBe(false);
});

test.each<[string, Uint8Array]>([
  ['an empty array', bytes(0x90)],
  ['four arrays in each other', bytes(0x91, 0x91, 0x91, 0x91, 0)],
  ['as many values as there may be', bytes(0xdc, 0x0f, 0xff, ...new Uint8Array(4_095))],
  ['numbers of all sizes', pack([0, 127, 128, 65_535, 65_536, 2n ** 53n, -1, -200, 1.5])],
  ['texts of all sizes', pack(['', 'a'.repeat(31), 'a'.repeat(32), 'a'.repeat(300)])],
  ['binary of all sizes', pack([new Uint8Array(0), new Uint8Array(256), new Uint8Array(70_000)])],
  ['nil and booleans', pack([null, true, false])],
])('lets %s through', (_, input) => {
  expect(isPlainMsgpack(input)).toBe(true);
});

test('a value is no longer one when its last byte is missing', () => {
  const plain = fc.letrec<{ value: number | string | boolean | null | Uint8Array | unknown[] }>(
    (tie) => ({
      value: fc.oneof(
        { maxDepth: 3, depthSize: 'small' },
        fc.integer({ min: 0 }),
        fc.string(),
        fc.boolean(),
        fc.constant(null),
        fc.uint8Array({ maxLength: 300 }),
        fc.array(tie('value'), { maxLength: 20 }),
      ),
    }),
  ).value;
  fc.assert(
    fc.property(fc.array(plain), (value) => {
      const packed = pack(value as Parameters<typeof pack>[0]);
      expect(isPlainMsgpack(packed)).toBe(true);
      expect(isPlainMsgpack(packed.subarray(0, -1))).toBe(false);
    }),
  );
});

test('arbitrary bytes get an answer', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (input) => {
      expect(isPlainMsgpack(input)).toBeTypeOf('boolean');
    }),
    { numRuns: 2_000 },
  );
});
