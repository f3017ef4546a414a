import { describe, expect, test } from 'vitest';
import { History } from './history.ts';
import { RESEND_QUIET_MS } from './limits.ts';

/** Datagrams of 100 bytes whose first byte is their sequence. */
function historyOf(sequences: readonly number[], bytesMax = 10_000, sequencesMax = 1_000): History {
  const history = new History({ bytesMax, sequencesMax });
  for (const sequence of sequences) {
    history.add(sequence, new Uint8Array(100).fill(sequence), sequence * 10);
  }
  return history;
}

function taken(history: History, nowMs: number, limit = 100) {
  const { datagrams = [], sentAgoMs = [], empty = [] } = history.take(nowMs, limit) ?? {};
  return { sequences: datagrams.map(([first]) => first), sentAgoMs, empty };
}

describe('what is asked for', () => {
  test('is sent again, with how long ago it was sent', () => {
    const history = historyOf([1, 2, 3]);
    history.ask([[2, 3]], 3, 100);
    expect(taken(history, 100)).toEqual({ sequences: [2, 3], sentAgoMs: [80, 70], empty: [] });
    expect(history.take(100, 9)).toBeUndefined();
  });

  test('is told to be empty where it carried no flows', () => {
    const history = historyOf([2, 5]);
    history.ask([[1, 7]], 8, 100);
    expect(taken(history, 100)).toMatchObject({
      sequences: [2, 5],
      empty: [
        [1, 1],
        [3, 4],
        [6, 7],
      ],
    });
  });

  test('is nobody’s to ask for when it was not sent yet', () => {
    const history = historyOf([1]);
    history.ask([[1, 1_000_000]], 2, 0);
    expect(taken(history, 0).empty).toEqual([[2, 2]]);
  });

  test('is sent once for all who miss it', () => {
    const history = historyOf([1, 2]);
    for (let asker = 0; asker < 63; asker += 1) history.ask([[1, 2]], 2, asker / 4);
    expect(taken(history, 16).sequences).toEqual([1, 2]);
    history.ask([[1, 2]], 2, 16 + RESEND_QUIET_MS - 1);
    expect(history.take(16 + RESEND_QUIET_MS - 1, 9)).toBeUndefined();
    history.ask([[2, 2]], 2, 16 + RESEND_QUIET_MS);
    expect(taken(history, 16 + RESEND_QUIET_MS).sequences).toEqual([2]);
  });

  test('is told to be empty once for all who miss it', () => {
    const history = historyOf([5]);
    for (let asker = 0; asker < 63; asker += 1) history.ask([[1, 4]], 5, 0);
    expect(taken(history, 0).empty).toEqual([[1, 4]]);
  });

  test('is sent in portions', () => {
    const history = historyOf([1, 2, 3]);
    history.ask([[1, 3]], 3, 0);
    expect(taken(history, 0, 2).sequences).toEqual([1, 2]);
    expect(history.pending).toBe(1);
    expect(taken(history, 0, 2).sequences).toEqual([3]);
  });
});

describe('what is kept', () => {
  test('ends by bytes', () => {
    const history = historyOf([1, 2, 3, 4, 5], 300);
    expect(history).toMatchObject({ bytes: 300, firstKept: 3 });
  });

  test('ends by sequences', () => {
    expect(historyOf([1, 2, 50, 60], 10_000, 20).firstKept).toBe(3);
  });

  test('what is gone is said once', () => {
    const history = historyOf([1, 2, 3, 4, 5], 300);
    history.ask([[1, 3]], 5, 0);
    expect(taken(history, 0).sequences).toEqual([3]);
    expect(history.takeGone()).toBe(true);
    expect(history.takeGone()).toBe(false);
  });

  test('what goes while it waits to be sent again is not sent', () => {
    const history = historyOf([1, 2, 3], 300);
    history.ask([[1, 3]], 3, 0);
    history.add(4, new Uint8Array(100).fill(4), 0);
    expect(taken(history, 0).sequences).toEqual([2, 3]);
  });
});
