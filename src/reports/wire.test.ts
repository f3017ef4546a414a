import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { address } from '../model/address.ts';
import { B1, report, WEB } from './fixture.ts';
import type { Report } from './report.ts';
import { decodeReport, encodeReport, PAYLOAD_BYTES_MAX } from './wire.ts';

const full: Report = report({
  addresses: [B1, address('2001:db8::1')],
  state: 'unhealthy',
  detail: 'the disk is full – 100 %',
  services: [
    { service: WEB, healthy: true, detail: '' },
    {
      service: { vip: address('2001:db8::53'), protocol: 'udp', port: 65_535 },
      healthy: false,
      detail: 'no answer',
    },
  ],
});

/** Behind its two addresses. */
const STATE_AT = 33;

test.each<[string, Report]>([
  ['the shortest', report()],
  ['a last word', report({ state: 'leaving' })],
  ['both families, both protocols', full],
])('what is encoded is decoded: %s', (_, each) => {
  expect(decodeReport(encodeReport(each))).toEqual(each);
});

test('the layout is the one of REPORTS.md', () => {
  const bytes = encodeReport(
    report({ services: [{ service: WEB, healthy: false, detail: 'no' }] }),
  );
  expect(Buffer.from(bytes).toString('hex')).toBe(
    ['01', '00000000000000000000ffff0a000001', '01', '00']
      .concat('01', '00000000000000000000ffffc0000201', '06', '0050', '00', '02', '6e6f')
      .join(''),
  );
});

test('the largest report fits, with its details cut at whole characters', () => {
  const long = 'ä'.repeat(500);
  const services = Array.from({ length: 32 }, (_, index) => ({
    service: { ...WEB, port: index },
    healthy: false,
    detail: long,
  }));
  const addresses = Array.from({ length: 8 }, (_, index) => address(`10.0.0.${index}`));
  const bytes = encodeReport({ addresses, state: 'unhealthy', detail: long, services });
  expect(bytes.length).toBeLessThanOrEqual(PAYLOAD_BYTES_MAX);
  const decoded = decodeReport(bytes);
  expect(decoded?.detail).toBe('ä'.repeat(100));
  expect(decoded?.services).toHaveLength(32);
  expect(decoded?.services.every(({ detail }) => /^ä{1,50}$/.test(detail))).toBe(true);
});

test('what a terminal would obey does not get out', () => {
  const bytes = encodeReport(report({ detail: 'red \u001b[31m\nline\u0000' }));
  expect(decodeReport(bytes)?.detail).toBe('red [31m line');
});

test.each([
  ['no address', report({ addresses: [] })],
  ['too many addresses', report({ addresses: Array.from({ length: 9 }, () => B1) })],
  [
    'too many services',
    report({
      services: Array.from({ length: 33 }, () => ({ service: WEB, healthy: true, detail: '' })),
    }),
  ],
])('%s is a mistake of the program', (_, each) => {
  expect(() => encodeReport(each)).toThrow(RangeError);
});

describe('refused', () => {
  const bytes = encodeReport(full);
  const [first, second] = [bytes.subarray(1, 17), bytes.subarray(17, STATE_AT)];
  const rest = bytes.subarray(STATE_AT);

  test.each<[string, Uint8Array]>([
    ['nothing', new Uint8Array()],
    ['a state that is none', bytes.with(STATE_AT, 3)],
    ['a byte too many', Buffer.concat([bytes, Uint8Array.of(0)])],
    ['no address', Uint8Array.of(0, 1, 0, 0)],
    ['an address that is cut short', encodeReport(report()).subarray(0, 10)],
    ['more addresses than there may be', Uint8Array.of(9, ...new Uint8Array(147))],
    ['addresses out of order', Buffer.concat([bytes.subarray(0, 1), second, first, rest])],
    ['an address twice', Buffer.concat([bytes.subarray(0, 1), first, first, rest])],
    ['text that is no UTF-8', bytes.with(STATE_AT + 2, 0xff)],
    ['a control character', bytes.with(STATE_AT + 2, 0x07)],
  ])('%s', (_, each) => {
    expect(decodeReport(each)).toBeUndefined();
  });

  test('every beginning of a report', () => {
    for (let end = 0; end < bytes.length; end += 1) {
      expect(decodeReport(bytes.subarray(0, end))).toBeUndefined();
    }
  });
});

test('any bytes: a report that is encoded the same way, or nothing, and no exception', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 80 }), (bytes) => {
      const decoded = decodeReport(bytes);
      if (decoded !== undefined) expect(decodeReport(encodeReport(decoded))).toBeDefined();
    }),
    { numRuns: 2_000 },
  );
});
