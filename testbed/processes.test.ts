import { describe, expect, test } from 'vitest';
import { hasListener, isRunning, ownRecord, parseRecords, parseStat } from './processes.ts';

describe('a process record', () => {
  test('of this process says that it runs', () => {
    expect(isRunning(ownRecord('vitest'))).toBe(true);
  });

  test('with another start time is of a process that has ended', () => {
    expect(isRunning({ ...ownRecord('vitest'), startedTicks: '1' })).toBe(false);
  });

  test('survives writing and reading', () => {
    const record = { pid: 12, startedTicks: '345', name: 'lb1-gobgpd' };
    expect(parseRecords(`${JSON.stringify(record)}\n`)).toEqual([record]);
  });

  test.each(['', '{"pid":12,"started', '{"pid":"x"}', 'null'])('is not made of %j', (line) => {
    expect(parseRecords(line)).toEqual([]);
  });
});

test.each([
  ['7 (node) S 1 7 7 0 -1 4194304 1 0 0 0 1 1 0 0 20 0 11 0 4711 0 0', 'S', '4711'],
  ['7 (a (b) c) Z 1 7 7 0 -1 4194304 1 0 0 0 1 1 0 0 20 0 11 0 4712 0 0', 'Z', '4712'],
])('the stat line %s', (line, state, startedTicks) => {
  expect(parseStat(line)).toEqual({ state, startedTicks });
});

describe('listening ports', () => {
  const tcp = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when
   0: 0100007F:C383 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0
   1: 0100007F:0050 0100007F:D431 01 00000000:00000000 00:00000000 00000000     0
`;
  const udp = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when
  12: 0B01530A:1B59 00000000:0000 07 00000000:00000000 00:00000000 00000000     0
`;

  test.each([
    ['tcp', tcp, 50051, true],
    ['tcp', tcp, 80, false],
    ['udp', udp, 7001, true],
    ['udp', udp, 7000, false],
  ] as const)('%s, port %#', (protocol, text, port, listening) => {
    expect(hasListener(text, protocol, port)).toBe(listening);
  });
});
