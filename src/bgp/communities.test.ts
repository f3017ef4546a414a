import { describe, expect, test } from 'vitest';
import { parseCommunity, parseLargeCommunity } from './communities.ts';

describe('a community', () => {
  test.each([
    ['0:0', 0],
    ['65001:100', 0xfde90064],
    ['65535:65535', 0xffffffff],
    ['no-export', 0xffffff01],
    ['graceful-shutdown', 0xffff0000],
  ])('%s is %d', (text, value) => {
    expect(parseCommunity(text)).toBe(value);
  });

  test.each([
    '',
    '1',
    '1:2:3',
    '65536:1',
    '1:65536',
    '-1:1',
    ' 1:1',
    '1:1 ',
    '0x1:1',
    '1:',
    'export',
  ])('is not %j', (text) => {
    expect(parseCommunity(text)).toBeUndefined();
  });
});

describe('a large community', () => {
  test('has three parts of 32 bits', () => {
    expect(parseLargeCommunity('4294967295:0:7')).toEqual({
      globalAdmin: 4_294_967_295,
      localData1: 0,
      localData2: 7,
    });
  });

  test.each(['', '1:2', '1:2:3:4', '4294967296:0:0', '1:2:x', 'no-export'])('is not %j', (text) => {
    expect(parseLargeCommunity(text)).toBeUndefined();
  });
});
