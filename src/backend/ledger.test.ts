import { describe, expect, test } from 'vitest';
import { address } from '../model/address.ts';
import { parseLedger } from './ledger.ts';

const HERE = 'boot net:[1]';
const LEDGER = {
  changes: [
    { kind: 'setting', key: 'all/arp_ignore', before: 0, after: 1 },
    { kind: 'setting', key: 'eth0.5/rp_filter', before: 1, after: 2 },
    { kind: 'address', address: address('192.0.2.1') },
  ],
  clamp: true,
};

function text(change: Readonly<Record<string, unknown>> = {}): string {
  return JSON.stringify({ format: 1, place: HERE, ...LEDGER, ...change });
}

test('what was written is read', () => {
  expect(parseLedger(text(), HERE)).toEqual(LEDGER);
});

test('of another boot or another namespace there is nothing to take back', () => {
  expect(parseLedger(text(), 'boot net:[2]')).toBe('elsewhere');
});

describe('not believed', () => {
  const setting = { kind: 'setting', key: 'all/arp_ignore', before: 0, after: 1 };
  const rows = [
    ['no JSON', '{"format":1,'],
    ['another format', text({ format: 2 })],
    ['no list', text({ changes: {} })],
    ['no word on the clamp', text({ clamp: undefined })],
    ['a kind that is not known', text({ changes: [{ kind: 'route' }] })],
    ['no address', text({ changes: [{ kind: 'address', address: '192.0.2.1/8 dev eth0' }] })],
    [
      'a path out of the folder',
      text({ changes: [{ ...setting, key: '../../kernel/arp_ignore' }] }),
    ],
    ['a folder above', text({ changes: [{ ...setting, key: '../rp_filter' }] })],
    ['another setting', text({ changes: [{ ...setting, key: 'all/forwarding' }] })],
    ['a value that is none', text({ changes: [{ ...setting, before: '0; reboot' }] })],
    ['a value out of range', text({ changes: [{ ...setting, after: 99 }] })],
    ['more than anybody writes', text({ pad: 'x'.repeat(1 << 20) })],
  ] as const;

  test.each(rows)('%s', (_, written) => {
    expect(parseLedger(written, HERE)).toBe('malformed');
  });
});
