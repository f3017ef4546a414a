import { setImmediate as turn } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { ManualClock } from '../lib/clock.ts';
import { B1, CLUSTER, key, signer, TestLink, WEB } from './fixture.ts';
import type { Report } from './report.ts';
import { Reporter, type LocalCheck } from './reporter.ts';
import { ReportOpener } from './seal.ts';
import { decodeReport } from './wire.ts';

class Bench {
  readonly clock = new ManualClock();
  readonly link = new TestLink();
  readonly logged: unknown[] = [];
  readonly reporter: Reporter;
  readonly #opener = new ReportOpener(CLUSTER, [key(1)]);

  constructor(checks: readonly LocalCheck[] = [], intervalMs = 3_000) {
    const log = (what: unknown) => this.logged.push(what);
    this.reporter = new Reporter({
      clock: this.clock,
      link: this.link,
      signer: signer(),
      addresses: [B1],
      checks,
      intervalMs,
      logger: { info: log, warn: log },
    });
  }

  async pass(ms: number): Promise<void> {
    for (let doneMs = 0; doneMs < ms; doneMs += 10) {
      this.clock.advance(10);
      await turn();
    }
  }

  async start(): Promise<void> {
    await this.reporter.open();
    this.reporter.begin();
    await turn();
  }

  async stop(): Promise<void> {
    const stopped = this.reporter.stop();
    await this.pass(2_000);
    await stopped;
  }

  get reports(): Report[] {
    return this.link.sent.map((datagram) => {
      const opened = this.#opener.open(datagram);
      const report = opened.kind === 'opened' ? decodeReport(opened.payload) : undefined;
      if (report === undefined) throw new Error('not a report');
      return report;
    });
  }
}

function scripted(outcome: { why?: string | undefined }, service?: LocalCheck['service']) {
  return { service, run: () => Promise.resolve(outcome.why) };
}

test('reports at once and then at every interval', async () => {
  const bench = new Bench();
  await bench.start();
  expect(bench.reports).toEqual([{ addresses: [B1], state: 'healthy', detail: '', services: [] }]);
  await bench.pass(2_990);
  expect(bench.reports).toHaveLength(1);
  await bench.pass(10);
  expect(bench.reports).toHaveLength(2);
  await bench.pass(9_000);
  expect(bench.reports).toHaveLength(5);
});

test('a check that fails makes the backend unhealthy, and says why, until it passes', async () => {
  const outcome: { why?: string | undefined } = { why: 'nobody listens' };
  const bench = new Bench([scripted(outcome), scripted({})]);
  await bench.start();
  expect(bench.reports.at(-1)).toMatchObject({ state: 'unhealthy', detail: 'nobody listens' });
  outcome.why = undefined;
  await bench.pass(3_000);
  expect(bench.reports.at(-1)).toMatchObject({ state: 'healthy', detail: '' });
  // One line for each change, not for each report.
  expect(bench.logged).toHaveLength(2);
});

test('a check of one service speaks for that service alone', async () => {
  const bench = new Bench([scripted({ why: 'refused' }, WEB)]);
  await bench.start();
  expect(bench.reports.at(-1)).toMatchObject({
    state: 'healthy',
    services: [{ service: WEB, healthy: false, detail: 'refused' }],
  });
});

test('a check that breaks is one that fails', async () => {
  const bench = new Bench([{ service: undefined, run: () => Promise.reject(new Error('oops')) }]);
  await bench.start();
  expect(bench.reports.at(-1)).toMatchObject({
    state: 'unhealthy',
    detail: 'the check broke: oops',
  });
});

test('a check that hangs is told to end, and nothing is reported before it has', async () => {
  const hanging: LocalCheck = {
    service: undefined,
    run: (signal) =>
      new Promise((resolve) => {
        signal.addEventListener('abort', () => resolve('no answer'));
      }),
  };
  const bench = new Bench([hanging]);
  await bench.start();
  await bench.pass(990);
  expect(bench.reports).toEqual([]);
  await bench.pass(10);
  expect(bench.reports).toMatchObject([{ state: 'unhealthy', detail: 'no answer' }]);
  // The interval counts from the beginning of a round.
  await bench.pass(3_000);
  expect(bench.reports).toHaveLength(2);
});

describe('stop', () => {
  test('says that the backend leaves, more than once, and nothing after that', async () => {
    const bench = new Bench();
    await bench.start();
    await bench.stop();
    expect(bench.reports.map(({ state }) => state)).toEqual([
      'healthy',
      'leaving',
      'leaving',
      'leaving',
    ]);
    expect(bench.link.open).toBe(false);
    await bench.pass(10_000);
    expect(bench.reports).toHaveLength(4);
  });

  test('while a check runs: its result is not reported any more', async () => {
    const { promise, resolve } = Promise.withResolvers<undefined>();
    const bench = new Bench([{ service: undefined, run: () => promise }]);
    await bench.start();
    const stopped = bench.stop();
    resolve(undefined);
    await stopped;
    expect(new Set(bench.reports.map(({ state }) => state))).toEqual(new Set(['leaving']));
  });

  test('says nothing twice, or where nothing was said before', async () => {
    const bench = new Bench();
    await bench.stop();
    await bench.start();
    await bench.stop();
    await bench.stop();
    expect(bench.reports).toHaveLength(4);
  });
});
