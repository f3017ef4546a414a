import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { ManualClock } from '../lib/clock.ts';
import { address } from '../model/address.ts';
import type { CheckSpec } from '../model/check.ts';
import type { HealthState } from '../model/health.ts';
import type { Service } from '../model/service.ts';
import { failure, type Diagnose } from './diagnose.ts';
import {
  BACKEND_A,
  BACKEND_B,
  FAIL,
  PASS,
  backend,
  httpCheck,
  probesOf,
  service,
  settle,
  tcpCheck,
} from './fixtures.ts';
import type { Probe, ProbeReport, ProbeTarget } from './probe.ts';
import { HealthScheduler, type HealthSchedulerOptions } from './scheduler.ts';

interface Call {
  readonly spec: CheckSpec;
  readonly target: ProbeTarget;
  readonly atMs: number;
  readonly signal: AbortSignal;
  readonly finish: (report: ProbeReport) => void;
  ended: boolean;
}

const TIMEOUT: ProbeReport = { ...failure('timeout', 'silence'), unanswered: true };
const VIP_MISSING = failure('vip_unanswered', 'alive, but not for the VIP');

/** Answers at once with what the script says, or leaves the answer to the test. */
class ScriptedProbe implements Probe {
  readonly calls: Call[] = [];
  script: ((spec: CheckSpec, target: ProbeTarget) => ProbeReport) | undefined = () => PASS;
  readonly #clock: ManualClock;

  constructor(clock: ManualClock) {
    this.#clock = clock;
  }

  check(spec: CheckSpec, target: ProbeTarget, signal: AbortSignal): Promise<ProbeReport> {
    const { promise, resolve } = Promise.withResolvers<ProbeReport>();
    const call: Call = {
      spec,
      target,
      signal,
      atMs: this.#clock.nowMs(),
      ended: false,
      finish: (report) => {
        call.ended = true;
        resolve(report);
      },
    };
    this.calls.push(call);
    signal.addEventListener('abort', () => call.finish(TIMEOUT), { once: true });
    if (this.script !== undefined) call.finish(this.script(spec, target));
    return promise;
  }

  backends(): string[] {
    return this.calls.map(({ target }) => target.backend);
  }
}

class Bench {
  readonly clock = new ManualClock();
  readonly probe = new ScriptedProbe(this.clock);
  readonly diagnosed: string[] = [];
  readonly scheduler: HealthScheduler;
  diagnose: Diagnose = () => Promise.resolve(VIP_MISSING);

  constructor(services: readonly Service[], options: Partial<HealthSchedulerOptions> = {}) {
    this.scheduler = new HealthScheduler({
      clock: this.clock,
      probes: probesOf(this.probe),
      path: () => address('100.64.0.1'),
      diagnose: (target, port, signal) => {
        this.diagnosed.push(target.backend);
        return this.diagnose(target, port, signal);
      },
      random: () => 0,
      ...options,
    });
    this.scheduler.set(services);
  }

  /** Lets time pass in steps small enough that what is started at one is done by the next. */
  async pass(ms: number, stepMs = 100): Promise<void> {
    for (let doneMs = 0; doneMs < ms; doneMs += stepMs) {
      this.clock.advance(stepMs);
      await settle();
    }
  }

  state(at = BACKEND_A, of = WEB): HealthState | undefined {
    return this.scheduler.view().get(of.id)?.get(at)?.state;
  }
}

const ONE = { backends: [backend(BACKEND_A)] };
const WEB = service([tcpCheck()], ONE);

describe('when checks run', () => {
  test('once an interval, from a place in it that chance decides', async () => {
    const bench = new Bench([WEB], { random: () => 0.3 });
    bench.scheduler.start();
    await bench.pass(3000);
    expect(bench.probe.calls.map(({ atMs }) => atMs)).toEqual([300, 1300, 2300]);
  });

  test('chance spreads many of them over the interval', async () => {
    let chance = 0;
    const backends = Array.from({ length: 10 }, (_, i) => backend(address(`10.0.1.${i}`)));
    const bench = new Bench([service([tcpCheck()], { backends })], {
      random: () => (chance++ % 10) / 10,
    });
    bench.scheduler.start();
    await bench.pass(900);
    expect(bench.probe.calls.map(({ atMs }) => atMs)).toEqual(backends.map((_, i) => i * 100));
  });

  test('each at its own interval, for every backend, with the probe of its type', async () => {
    const checks = [tcpCheck({ intervalMs: 1000 }), httpCheck({ intervalMs: 500 })];
    const bench = new Bench([service(checks)]);
    bench.scheduler.start();
    await bench.pass(1000);
    const ran = bench.probe.calls.map(({ spec, target }) => `${spec.name} ${target.backend}`);
    expect(ran.filter((name) => name === `tcp ${BACKEND_A}`)).toHaveLength(2);
    expect(ran.filter((name) => name === `tcp ${BACKEND_B}`)).toHaveLength(2);
    expect(ran.filter((name) => name === `http ${BACKEND_A}`)).toHaveLength(3);
  });

  test('the target names the VIP, the backend and the path as it is known then', async () => {
    const paths = [undefined, address('100.64.0.7')];
    const bench = new Bench([WEB], { path: () => paths.shift() });
    bench.scheduler.start();
    await bench.pass(1500);
    expect(bench.probe.calls.map(({ target }) => target)).toEqual([
      { vip: WEB.vip, backend: BACKEND_A, via: undefined },
      { vip: WEB.vip, backend: BACKEND_A, via: '100.64.0.7' },
    ]);
  });

  test('a check that is added or changed while running joins in, the others keep their time', async () => {
    const bench = new Bench([WEB], { random: () => 0.5 });
    bench.scheduler.start();
    await bench.pass(700);
    bench.scheduler.set([service([tcpCheck()])]);
    await bench.pass(1300);
    const times = bench.probe.calls.map(({ target, atMs }) => `${target.backend} ${atMs}`);
    expect(times).toEqual([`${BACKEND_A} 500`, `${BACKEND_B} 1200`, `${BACKEND_A} 1500`]);
  });
});

describe('results', () => {
  test('bring a backend up and take it down by the thresholds', async () => {
    const bench = new Bench([WEB]);
    bench.scheduler.start();
    await bench.pass(100);
    expect(bench.state()).toBe('unknown');
    const { version } = bench.scheduler;
    await bench.pass(1000);
    expect(bench.state()).toBe('up');
    expect(bench.scheduler.version).toBeGreaterThan(version);
    bench.probe.script = () => FAIL;
    await bench.pass(1000);
    expect(bench.state()).toBe('up');
    await bench.pass(1000);
    expect(bench.state()).toBe('down');
  });

  test('an adopted backend is up before the first probe, and goes down only by threshold', async () => {
    const bench = new Bench([WEB]);
    expect(bench.scheduler.adopt(WEB.id, BACKEND_A, 'up')).toBe(true);
    bench.probe.script = () => FAIL;
    bench.scheduler.start();
    expect(bench.state()).toBe('up');
    await bench.pass(500);
    expect(bench.state()).toBe('up');
    await bench.pass(1000);
    expect(bench.state()).toBe('down');
  });

  test('a probe that throws is a failed check, and the others go on', async () => {
    const bench = new Bench([service([tcpCheck()])]);
    bench.probe.script = (_spec, { backend: at }) => {
      if (at === BACKEND_A) throw new Error('broken');
      return PASS;
    };
    bench.scheduler.start();
    await bench.pass(1500);
    expect([bench.state(BACKEND_A), bench.state(BACKEND_B)]).toEqual(['down', 'up']);
    const broken = bench.scheduler.view().get(WEB.id)?.get(BACKEND_A);
    expect(broken?.reason).toContain('the check itself broke: broken');
  });
});

describe('limits', () => {
  test('the signal fires at the timeout', async () => {
    const bench = new Bench([WEB]);
    bench.probe.script = undefined;
    bench.scheduler.start();
    await bench.pass(500);
    expect(bench.probe.calls[0]?.signal.aborted).toBe(true);
    expect(bench.scheduler.stats()).toMatchObject({ inFlight: 0, started: 1 });
  });

  test('a timeout noticed late is given a little more time, once', async () => {
    const clock = new StallingClock();
    const bench = new Bench([WEB], { clock });
    bench.probe.script = undefined;
    bench.scheduler.start();
    clock.advance(1);
    clock.stalledMs = 3000;
    clock.advance(500);
    expect(bench.probe.calls[0]?.signal.aborted).toBe(false);
    clock.advance(100);
    expect(bench.probe.calls[0]?.signal.aborted).toBe(true);
    await settle();
    expect(bench.scheduler.stats().inFlight).toBe(0);
  });

  test('no more than the allowed number are in flight, and the rest wait their turn', async () => {
    const backends = Array.from({ length: 5 }, (_, i) => backend(address(`10.0.1.${i}`)));
    let chance = 0;
    const bench = new Bench([service([tcpCheck()], { backends })], {
      inFlightMax: 2,
      random: () => chance++ / 1000,
    });
    bench.probe.script = undefined;
    bench.scheduler.start();
    await bench.pass(100);
    expect(bench.scheduler.stats()).toMatchObject({ inFlight: 2, waiting: 3, started: 2 });
    bench.probe.calls[0]?.finish(PASS);
    await settle();
    expect(bench.scheduler.stats()).toMatchObject({ inFlight: 2, waiting: 2, started: 3 });
    expect(bench.probe.backends()).toEqual(['10.0.1.0', '10.0.1.1', '10.0.1.2']);
  });

  test('a service whose backends are silent does not hold up another', async () => {
    const vip = address('192.0.2.9');
    const silent = Array.from({ length: 20 }, (_, i) => backend(address(`10.0.1.${i}`)));
    const bench = new Bench([service([tcpCheck()], { vip, backends: silent }), WEB], {
      inFlightMax: 2,
    });
    bench.probe.script = undefined;
    bench.scheduler.start();
    await bench.pass(100);
    expect(bench.probe.backends()).toEqual(['10.0.1.0', BACKEND_A]);
  });

  test('a check that is still running or waiting is skipped, never run twice at once', async () => {
    const slow = service([tcpCheck({ timeoutMs: 2500 })], ONE);
    const bench = new Bench([slow], { inFlightMax: 1 });
    bench.probe.script = undefined;
    bench.scheduler.start();
    await bench.pass(2400);
    expect(bench.scheduler.stats()).toMatchObject({ started: 1, inFlight: 1, skipped: 2 });
    await bench.pass(600);
    expect(bench.probe.calls.map(({ atMs }) => atMs)).toEqual([0, 3000]);
  });

  test('what a stalled process missed is counted, not made up for', async () => {
    const clock = new StallingClock();
    const bench = new Bench([WEB], { clock });
    bench.scheduler.start();
    clock.stalledMs = 5500;
    clock.advance(1);
    await settle();
    expect(bench.scheduler.stats()).toMatchObject({ started: 1, skipped: 5 });
  });
});

test('whatever probes do, none runs twice at once and the limit holds', async () => {
  // Each number is a step: how many of the probes in flight end before time goes on.
  await fc.assert(
    fc.asyncProperty(fc.array(fc.nat(4), { maxLength: 40 }), async (steps) => {
      const services = [service([tcpCheck(), httpCheck({ intervalMs: 300 })], { vip: WEB.vip })];
      const bench = new Bench(services, { inFlightMax: 3 });
      bench.probe.script = undefined;
      bench.scheduler.start();
      for (const ends of steps) {
        await bench.pass(200, 200);
        const open = bench.probe.calls.filter((call) => !call.ended);
        const names = open.map(({ spec, target }) => `${spec.name} ${target.backend}`);
        expect(new Set(names).size).toBe(names.length);
        expect(open.length).toBeLessThanOrEqual(3);
        expect(bench.scheduler.stats().inFlight).toBe(open.length);
        for (const call of open.slice(0, ends)) call.finish(PASS);
      }
      await bench.scheduler.stop();
      expect(bench.scheduler.stats().inFlight).toBe(0);
    }),
    { numRuns: 30 },
  );
});

/** Time that jumps ahead while the timers stand still, as when the process gets no CPU. */
class StallingClock extends ManualClock {
  stalledMs = 0;

  override nowMs(): number {
    return super.nowMs() + this.stalledMs;
  }
}

describe('removal', () => {
  test('ends the probe under way and drops what it says', async () => {
    const bench = new Bench([WEB]);
    bench.probe.script = undefined;
    bench.scheduler.start();
    await bench.pass(100);
    bench.scheduler.set([]);
    expect(bench.probe.calls[0]?.signal.aborted).toBe(true);
    await settle();
    expect(bench.scheduler.stats()).toMatchObject({ checks: 0, inFlight: 0, waiting: 0 });
    bench.scheduler.set([WEB]);
    expect(bench.scheduler.view().get(WEB.id)?.get(BACKEND_A)?.checks[0]?.recent).toEqual([]);
  });

  test('takes waiting checks out of the queue', async () => {
    const bench = new Bench([service([tcpCheck()])], { inFlightMax: 1 });
    bench.probe.script = undefined;
    bench.scheduler.start();
    await bench.pass(100);
    expect(bench.scheduler.stats().waiting).toBe(1);
    bench.scheduler.set([WEB]);
    expect(bench.scheduler.stats()).toMatchObject({ waiting: 0, inFlight: 1 });
  });
});

describe('start and stop', () => {
  test('nothing runs before start, and starting twice is starting once', async () => {
    const bench = new Bench([WEB]);
    await bench.pass(2000);
    expect(bench.probe.calls).toHaveLength(0);
    bench.scheduler.start();
    bench.scheduler.start();
    await bench.pass(1500);
    expect(bench.probe.calls).toHaveLength(2);
  });

  test('stop ends what runs, waits for it, and leaves what is known', async () => {
    const bench = new Bench([service([tcpCheck()])], { inFlightMax: 1 });
    bench.scheduler.start();
    await bench.pass(1500);
    bench.probe.script = undefined;
    await bench.pass(1000);
    const { version } = bench.scheduler;
    const stopped = bench.scheduler.stop();
    expect(bench.probe.calls.at(-1)?.signal.aborted).toBe(true);
    await stopped;
    await bench.scheduler.stop();
    expect(bench.scheduler.stats()).toMatchObject({ inFlight: 0, waiting: 0 });
    const { length } = bench.probe.calls;
    await bench.pass(3000);
    expect(bench.probe.calls).toHaveLength(length);
    expect(bench.scheduler.version).toBe(version);
    expect(bench.state()).toBe('up');
  });

  test('stop before start does nothing, and start after stop runs on', async () => {
    const bench = new Bench([WEB]);
    await bench.scheduler.stop();
    bench.scheduler.start();
    await bench.pass(500);
    await bench.scheduler.stop();
    bench.scheduler.start();
    await bench.pass(500);
    expect(bench.probe.calls).toHaveLength(2);
    expect(bench.state()).toBe('up');
  });
});

describe('diagnosis of unanswered timeouts', () => {
  function last(bench: Bench) {
    return bench.scheduler.view().get(WEB.id)?.get(BACKEND_A)?.checks[0]?.last;
  }

  test('the first explains itself, the ones after it reuse the finding, every tenth asks again', async () => {
    const bench = new Bench([WEB]);
    bench.probe.script = () => TIMEOUT;
    bench.scheduler.start();
    await bench.pass(500);
    expect(last(bench)).toEqual(VIP_MISSING);
    expect(bench.diagnosed).toHaveLength(1);
    await bench.pass(9000);
    expect(last(bench)).toEqual(VIP_MISSING);
    expect(bench.diagnosed).toHaveLength(1);
    await bench.pass(1000);
    expect(bench.diagnosed).toHaveLength(2);
  });

  test('never delays the result itself', async () => {
    const bench = new Bench([WEB]);
    bench.diagnose = (_target, _port, signal) =>
      new Promise((resolve) => {
        signal.addEventListener('abort', () => resolve(VIP_MISSING), { once: true });
      });
    bench.probe.script = () => TIMEOUT;
    bench.scheduler.start();
    await bench.pass(200);
    expect(last(bench)).toEqual(failure('timeout', 'silence'));
    expect(bench.scheduler.stats().inFlight).toBe(0);
    await bench.pass(200);
    expect(last(bench)).toEqual(VIP_MISSING);
  });

  test('comes too late for a check that has passed since', async () => {
    const bench = new Bench([WEB]);
    const { promise, resolve } = Promise.withResolvers<typeof VIP_MISSING>();
    bench.diagnose = () => promise;
    bench.probe.script = () => TIMEOUT;
    bench.scheduler.start();
    await bench.pass(500);
    bench.probe.script = () => PASS;
    await bench.pass(1000);
    resolve(VIP_MISSING);
    await settle();
    expect(last(bench)).toEqual(PASS);
  });

  test.each([
    ['refused', FAIL],
    ['an answer that came too late', failure('timeout', 'half an answer')],
  ])('is not done for %s', async (_what, report) => {
    const bench = new Bench([WEB]);
    bench.probe.script = () => report;
    bench.scheduler.start();
    await bench.pass(3000);
    expect(bench.diagnosed).toHaveLength(0);
    expect(last(bench)).toEqual(report);
  });

  test('begins anew after a pass', async () => {
    const bench = new Bench([WEB]);
    const reports = [TIMEOUT, TIMEOUT, PASS, TIMEOUT];
    bench.probe.script = () => reports.shift() ?? PASS;
    bench.scheduler.start();
    await bench.pass(3500);
    expect(bench.diagnosed).toHaveLength(2);
  });

  test('is bounded when everything dies at once, and made up for later', async () => {
    const backends = Array.from({ length: 100 }, (_, i) => backend(address(`10.0.1.${i}`)));
    const bench = new Bench([service([tcpCheck()], { backends })]);
    const open = new Set<() => void>();
    bench.diagnose = () =>
      new Promise((resolve) => {
        open.add(() => resolve(VIP_MISSING));
      });
    bench.probe.script = () => TIMEOUT;
    bench.scheduler.start();
    await bench.pass(100);
    expect(bench.diagnosed).toHaveLength(32);
    for (const answer of open) answer();
    await bench.pass(1000);
    expect(new Set(bench.diagnosed).size).toBe(64);
  });

  test('ends with stop, without a finding', async () => {
    const bench = new Bench([WEB]);
    bench.diagnose = (_target, _port, signal) =>
      new Promise((resolve) => {
        signal.addEventListener('abort', () => resolve(VIP_MISSING), { once: true });
      });
    bench.probe.script = () => TIMEOUT;
    bench.scheduler.start();
    await bench.pass(100);
    await bench.scheduler.stop();
    expect(last(bench)).toEqual(failure('timeout', 'silence'));
  });
});
