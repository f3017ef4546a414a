import { describe, expect, test } from 'vitest';
import { rateOf, serving, summaryLine, table, withSample, type View } from './demo-view.ts';
import type { StreamResult } from './traffic/report.ts';

function result(atMs: number, backend: string | null): StreamResult {
  const error = backend === null ? 'timeout' : null;
  const port = backend === null ? null : 40_000;
  return { kind: 'result', atMs, url: 'http://10.83.100.1/', backend, port, error, latencyMs: 2 };
}

describe('packets a second', () => {
  test('are taken over about the last two seconds', () => {
    const points = [0, 500, 1000, 1500, 2000, 2500, 3000];
    const samples = points.reduce<readonly { atMs: number; packets: number }[]>(
      (all, atMs) => withSample(all, { atMs, packets: atMs < 1000 ? 0 : atMs - 1000 }),
      [],
    );
    expect(samples[0]?.atMs).toBe(1000);
    expect(rateOf(samples)).toBe(1000);
  });

  test('begin anew when the counters do', () => {
    const samples = withSample([{ atMs: 0, packets: 900 }], { atMs: 1000, packets: 5 });
    expect(samples).toEqual([{ atMs: 1000, packets: 5 }]);
    expect(rateOf(samples)).toBe(0);
  });

  test('do not change when the same snapshot is seen again', () => {
    const samples = [{ atMs: 0, packets: 0 }];
    expect(withSample(samples, { atMs: 0, packets: 0 })).toEqual(samples);
  });
});

test('shares and median are of the last seconds, totals of all', () => {
  const results = [
    result(0, 'old'),
    ...['b1', 'b1', 'b1', 'b2', null].map((backend) => result(9_000, backend)),
  ];
  expect(serving(results, 10_000)).toEqual({
    total: 6,
    failed: 1,
    recent: 5,
    recentFailed: 1,
    backends: [
      { name: 'b1', share: 0.75 },
      { name: 'b2', share: 0.25 },
    ],
    medianMs: 2,
  });
});

describe('the text', () => {
  const view: View = {
    nodes: [
      { name: 'lb1', packetsPerS: 75, announcing: true },
      { name: 'lb2', packetsPerS: 25, announcing: false },
      { name: 'lb3', packetsPerS: undefined, announcing: false },
    ],
    ...serving([result(9_000, 'b1'), result(9_000, null)], 10_000),
  };

  test('of the table', () => {
    expect(table(view)).toMatchInlineSnapshot(`
      "balancer              packets/s
        lb1    announcing          75  ##################
        lb2    withholding         25  ######
        lb3    no answer            -
      backend                   share
        b1                      100 %  ########################
      2 requests, 1 error, median 2.0 ms"
    `);
  });

  test('of the summary', () => {
    expect(summaryLine(view)).toMatchInlineSnapshot(
      `"2 requests, 1 error, median 2.0 ms; packets lb1 75/s, lb2 25/s, lb3 -/s; b1 100 %"`,
    );
  });

  test('before anything has happened', () => {
    const nothing = { nodes: [], ...serving([], 0) };
    expect(summaryLine(nothing)).toContain('0 requests, 0 errors');
  });
});
