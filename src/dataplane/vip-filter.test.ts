import fc from 'fast-check';
import { expect, test } from 'vitest';
import { VIP_FILTER_BITS } from '../abi/abi.generated.ts';
import { address, addressFromBytes, type Address } from '../model/address.ts';
import { vipFilter, vipFilterBit } from './vip-filter.ts';

const SEED = 20260506;

const anyAddress: fc.Arbitrary<Address> = fc
  .uint8Array({ minLength: 16, maxLength: 16 })
  .chain((bytes) =>
    fc.boolean().map((ipv4) => {
      if (ipv4) bytes.fill(0, 0, 10).fill(0xff, 10, 12);
      return addressFromBytes(bytes);
    }),
  );

function isSet(words: readonly bigint[], bit: number): boolean {
  return ((words[bit >> 6] ?? 0n) >> BigInt(bit & 63)) % 2n === 1n;
}

function bitsOf(words: readonly bigint[]): number {
  return words.reduce((sum, word) => sum + word.toString(2).replaceAll('0', '').length, 0);
}

test('without VIPs no bit is set', () => {
  const words = vipFilter([]);
  expect(words).toHaveLength(VIP_FILTER_BITS / 64);
  expect(bitsOf(words)).toBe(0);
});

test('every VIP has its bit, and nothing else has', () => {
  fc.assert(
    fc.property(fc.array(anyAddress, { maxLength: 50 }), (vips) => {
      const words = vipFilter(vips);
      const bits = new Set(vips.map(vipFilterBit));
      for (const bit of bits) expect(isSet(words, bit)).toBe(true);
      expect(bitsOf(words)).toBe(bits.size);
      expect([...bits].every((bit) => bit >= 0 && bit < VIP_FILTER_BITS)).toBe(true);
    }),
    { seed: SEED },
  );
});

test('every word fits the 64 bits of the map', () => {
  const vips = Array.from({ length: 20_000 }, (_, i) => address(`10.1.${i >> 8}.${i & 255}`));
  const words = vipFilter(vips);
  expect(words.every((word) => word >= 0n && word < 1n << 64n)).toBe(true);
});

test('addresses beside each other have bits apart, and few share one', () => {
  const vips = Array.from({ length: 256 }, (_, i) => address(`192.0.2.${i}`));
  expect(new Set(vips.map(vipFilterBit)).size).toBeGreaterThan(250);
});
