import { describe, expect, test } from 'vitest';
import { ManualClock } from '../lib/clock.ts';
import { BACKEND_A, probesOf, reportCheck, service, settle } from './fixtures.ts';
import { ReportProbe, type ReportedHealth } from './report.ts';
import { HealthScheduler } from './scheduler.ts';

const WEB = service([reportCheck()]);

function probeOf(said: ReportedHealth | undefined) {
  return new ReportProbe({
    clock: new ManualClock(),
    said: () => said,
    silent: () => undefined,
  });
}

function heard(ageMs: number, healthy = true, detail = ''): ReportedHealth {
  return { kind: 'report', healthy, detail, ageMs };
}

describe('a check of what a backend reports', () => {
  test.each<[string, ReportedHealth | undefined, string | undefined]>([
    ['healthy, just now', heard(0), 'pass'],
    ['healthy, as long ago as it may be', heard(9_999), 'pass'],
    ['healthy, and silent since', heard(10_000), 'report_silent'],
    ['not healthy', heard(1, false), 'report_unhealthy'],
    ['not healthy, and silent since', heard(10_000, false), 'report_silent'],
    ['nothing yet, and it may still come', { kind: 'nothing', waitedMs: 9_999 }, undefined],
    ['nothing in all the time', { kind: 'nothing', waitedMs: 10_000 }, 'report_silent'],
    ['of a backend that nobody listens for', undefined, undefined],
  ])('%s', (_, said, expected) => {
    const result = probeOf(said).check(reportCheck(), WEB.id, BACKEND_A);
    expect(result?.kind === 'fail' ? result.reason : result?.kind).toBe(expected);
  });

  test('says what the backend says, on one line', () => {
    const result = probeOf(heard(1, false, 'the disk\u0007 is\nfull')).check(
      reportCheck(),
      WEB.id,
      BACKEND_A,
    );
    expect(result).toMatchObject({ detail: expect.stringContaining('the disk is full') as string });
  });
});

/** A scheduler whose only checks are of reports, and what backend A has last said. */
class Bench {
  readonly clock = new ManualClock();
  readonly scheduler: HealthScheduler;
  #heard: { healthy: boolean; atMs: number } | undefined;
  #sinceMs = 0;

  constructor(spec = reportCheck()) {
    const probe = new ReportProbe({
      clock: this.clock,
      said: (backend) => (backend === BACKEND_A ? this.#said() : undefined),
      silent: (backend) => {
        this.scheduler.hear(backend, true);
      },
    });
    const unused = { check: () => Promise.reject(new Error('not a check of reports')) };
    this.scheduler = new HealthScheduler({
      clock: this.clock,
      probes: probesOf(unused),
      reports: probe,
      path: () => undefined,
      diagnose: () => Promise.reject(new Error('nothing to look into')),
      random: () => 0,
    });
    this.scheduler.set([service([spec])]);
  }

  report(healthy: boolean, changed = true): void {
    this.#heard = { healthy, atMs: this.clock.nowMs() };
    this.scheduler.hear(BACKEND_A, changed);
  }

  async pass(ms: number): Promise<void> {
    for (let doneMs = 0; doneMs < ms; doneMs += 50) {
      this.clock.advance(50);
      await settle();
    }
  }

  get health() {
    return this.scheduler.view().get(WEB.id)?.get(BACKEND_A);
  }

  #said(): ReportedHealth {
    const nowMs = this.clock.nowMs();
    return this.#heard === undefined
      ? { kind: 'nothing', waitedMs: nowMs - this.#sinceMs }
      : heard(nowMs - this.#heard.atMs, this.#heard.healthy);
  }
}

describe('a backend that reports', () => {
  test('is up with its first report, down with a bad one, and up with the next, at once', async () => {
    const bench = new Bench(reportCheck({ intervalMs: 3_600_000 }));
    bench.scheduler.start();
    await bench.pass(50);
    expect(bench.health?.state).toBe('unknown');
    for (const healthy of [true, false, true]) {
      bench.report(healthy);
      await settle();
      expect(bench.health?.state).toBe(healthy ? 'up' : 'down');
    }
  });

  test('leaves when it has been silent for as long as it may, whatever the interval', async () => {
    const bench = new Bench(reportCheck({ intervalMs: 7_000 }));
    bench.scheduler.start();
    await bench.pass(100);
    bench.report(true);
    await bench.pass(9_950);
    expect(bench.health?.state).toBe('up');
    await bench.pass(50);
    expect(bench.health?.state).toBe('down');
    expect(bench.health?.reason).toContain('has stopped reporting');
    bench.report(true, false);
    await settle();
    expect(bench.health?.state).toBe('up');
  });

  test('that was up before the supervisor started again stays so until silence means something', async () => {
    const bench = new Bench();
    bench.scheduler.adopt(WEB.id, BACKEND_A, 'up');
    bench.scheduler.start();
    await bench.pass(9_950);
    expect(bench.health?.state).toBe('up');
    await bench.pass(50);
    expect(bench.health?.state).toBe('down');
    expect(bench.health?.reason).toContain('has not reported yet');
  });

  test('is not checked anew by a report that says the same while it is up', async () => {
    const bench = new Bench(reportCheck({ intervalMs: 3_600_000 }));
    bench.scheduler.start();
    await bench.pass(50);
    bench.report(true);
    await settle();
    const { started } = bench.scheduler.stats();
    for (let count = 0; count < 100; count += 1) bench.report(true, false);
    await settle();
    expect(bench.scheduler.stats().started).toBe(started);
  });

  test('needs as many results as the check says', async () => {
    const bench = new Bench(
      reportCheck({
        intervalMs: 1_000,
        fall: { count: 3, window: 3 },
        rise: { count: 1, window: 1 },
      }),
    );
    bench.scheduler.start();
    await bench.pass(50);
    bench.report(true);
    await settle();
    bench.report(false);
    await settle();
    expect(bench.health?.state).toBe('up');
    await bench.pass(2_000);
    expect(bench.health?.state).toBe('down');
  });

  test('is heard before start and after stop, without effect', async () => {
    const bench = new Bench();
    bench.report(true);
    bench.scheduler.start();
    await bench.scheduler.stop();
    bench.report(false);
    await settle();
    expect(bench.health?.state).toBe('unknown');
    expect(bench.scheduler.stats().started).toBe(0);
  });
});
