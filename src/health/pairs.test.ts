import { describe, expect, test } from 'vitest';
import { address } from '../model/address.ts';
import type { BackendHealth } from '../model/health.ts';
import type { Service } from '../model/service.ts';
import {
  BACKEND_A,
  BACKEND_B,
  FAIL,
  PASS,
  backend,
  httpCheck,
  service,
  tcpCheck,
} from './fixtures.ts';
import { PairTable } from './pairs.ts';

class Bench {
  wallMs = 1000;
  readonly table = new PairTable(() => this.wallMs);

  constructor(...services: Service[]) {
    this.table.set(services);
  }

  /** Records a result for the named check of backend A in every service, or in the given one. */
  record(check: string, passed: boolean, times = 1, id?: string): void {
    for (const each of this.table.checks()) {
      if (each.pair.backend !== BACKEND_A || each.spec.name !== check) continue;
      if (id !== undefined && each.pair.service !== id) continue;
      for (let i = 0; i < times; i++) this.table.record(each, passed ? PASS : FAIL);
    }
  }

  health(of = WEB, at = BACKEND_A): BackendHealth {
    const health = this.table.view().get(of.id)?.get(at);
    if (health === undefined) throw new Error(`no health of ${at}`);
    return health;
  }
}

const WEB = service([tcpCheck()]);
const ONE_BACKEND = { backends: [backend(BACKEND_A)] };

test('a backend comes up with its checks, and says since when', () => {
  const bench = new Bench(WEB);
  expect(bench.health()).toEqual({
    state: 'unknown',
    sinceMs: 1000,
    reason: 'check tcp: no result yet',
    checks: [{ check: 'tcp', state: 'unknown', recent: [], last: undefined }],
  });
  bench.wallMs = 2000;
  bench.record('tcp', true, 2);
  expect(bench.health()).toEqual({
    state: 'up',
    sinceMs: 2000,
    reason: '',
    checks: [{ check: 'tcp', state: 'up', recent: [true, true], last: PASS }],
  });
  expect(bench.health(WEB, BACKEND_B).state).toBe('unknown');
});

test('a service without checks has its backends up at once', () => {
  expect(new Bench(service([])).health()).toMatchObject({ state: 'up', reason: '', checks: [] });
});

test('the same backend is judged for each service by itself', () => {
  const other = service([tcpCheck()], { vip: address('192.0.2.2') });
  const bench = new Bench(WEB, other);
  bench.record('tcp', true, 2, WEB.id);
  expect([bench.health(WEB).state, bench.health(other).state]).toEqual(['up', 'unknown']);
});

describe('version', () => {
  test('stays while only results change', () => {
    const bench = new Bench(WEB);
    const { version } = bench.table;
    bench.record('tcp', true);
    expect(bench.table.version).toBe(version);
    bench.record('tcp', true);
    expect(bench.table.version).toBeGreaterThan(version);
  });

  test('stays when the same services are set again', () => {
    const bench = new Bench(WEB);
    const { version } = bench.table;
    bench.table.set([structuredClone(WEB)]);
    expect(bench.table.version).toBe(version);
  });

  test.each([
    [
      'a backend comes',
      [service([tcpCheck()], { backends: [...WEB.backends, backend(address('10.0.0.3'))] })],
    ],
    ['a backend goes', [service([tcpCheck()], ONE_BACKEND)]],
    [
      'a backend is replaced',
      [service([tcpCheck()], { backends: [backend(BACKEND_A), backend(address('10.0.0.3'))] })],
    ],
    ['a service goes', []],
    ['a service is replaced', [service([tcpCheck()], { vip: address('192.0.2.9') })]],
  ] as const)('grows when %s', (_what, services) => {
    const bench = new Bench(WEB);
    const { version } = bench.table;
    bench.table.set(services);
    expect(bench.table.version).toBeGreaterThan(version);
  });
});

describe('set', () => {
  test('keeps what is known where the spec is equal, whatever else changes', () => {
    const bench = new Bench(WEB);
    bench.record('tcp', true, 2);
    const checks = [...bench.table.checks()];
    bench.table.set([service([{ ...tcpCheck() }], { need: 2, affinity: 'client' })]);
    expect(bench.health().checks[0]?.recent).toEqual([true, true]);
    expect([...bench.table.checks()]).toEqual(checks);
  });

  test('forgets a backend that went, and starts anew when it returns', () => {
    const bench = new Bench(WEB);
    bench.record('tcp', true, 2);
    bench.table.set([service([tcpCheck()], { backends: [backend(BACKEND_B)] })]);
    expect(bench.table.view().get(WEB.id)?.has(BACKEND_A)).toBe(false);
    bench.table.set([WEB]);
    expect(bench.health().state).toBe('unknown');
  });

  test.each([
    ['up', true],
    ['down', false],
  ] as const)('a changed check starts from %s, without results', (state, passed) => {
    const bench = new Bench(WEB);
    bench.record('tcp', passed, 2);
    bench.table.set([service([tcpCheck({ intervalMs: 5000 })])]);
    expect(bench.health()).toMatchObject({
      state,
      reason: 'as it was before its checks were changed',
      checks: [{ recent: [], last: undefined }],
    });
  });

  test('a check that is new on a backend that is up takes it down only by its threshold', () => {
    const bench = new Bench(WEB);
    bench.record('tcp', true, 2);
    bench.table.set([service([tcpCheck(), httpCheck()])]);
    expect(bench.health().state).toBe('up');
    bench.record('http', false);
    expect(bench.health().state).toBe('up');
    bench.record('http', false);
    expect(bench.health().state).toBe('down');
  });

  test('a check that is new on any other backend starts unknown', () => {
    const bench = new Bench(WEB);
    bench.table.set([service([tcpCheck(), httpCheck()])]);
    bench.record('tcp', true, 2);
    expect(bench.health().state).toBe('unknown');
  });

  test('a check that went no longer counts', () => {
    const bench = new Bench(service([tcpCheck(), httpCheck()]));
    bench.record('tcp', true, 2);
    bench.record('http', false, 2);
    const [, gone] = bench.table.checks();
    bench.table.set([WEB]);
    expect(bench.health()).toMatchObject({ state: 'up', checks: [{ check: 'tcp' }] });
    if (gone === undefined) throw new Error('no second check');
    expect(bench.table.has(gone)).toBe(false);
    const before = bench.table.view();
    bench.table.record(gone, FAIL);
    bench.table.amend(gone, FAIL);
    expect(bench.table.view()).toBe(before);
  });
});

describe('adopt', () => {
  test.each([
    ['up', false],
    ['down', true],
  ] as const)('starts %s and leaves it only by the threshold', (state, opposite) => {
    const bench = new Bench(WEB);
    expect(bench.table.adopt(WEB.id, BACKEND_A, state)).toBe(true);
    expect(bench.health()).toMatchObject({
      state,
      reason: 'as the previous supervisor left it',
      checks: [{ recent: [] }],
    });
    bench.record('tcp', opposite);
    expect(bench.health().state).toBe(state);
    bench.record('tcp', opposite);
    expect(bench.health().state).toBe(opposite ? 'up' : 'down');
  });

  test('does nothing to a pair that has results, has no checks, or is not wanted', () => {
    const unchecked = service([], { vip: address('192.0.2.2') });
    const bench = new Bench(WEB, unchecked);
    bench.record('tcp', true);
    expect(bench.table.adopt(WEB.id, BACKEND_A, 'up')).toBe(false);
    expect(bench.table.adopt(unchecked.id, BACKEND_A, 'down')).toBe(false);
    expect(bench.table.adopt(WEB.id, address('10.9.9.9'), 'up')).toBe(false);
    expect([bench.health().state, bench.health(unchecked).state]).toEqual(['unknown', 'up']);
  });
});

describe('view', () => {
  test('is the same object while nothing has changed', () => {
    const bench = new Bench(WEB);
    expect(bench.table.view()).toBe(bench.table.view());
  });

  test('shares what has not changed, and leaves older views as they were', () => {
    const other = service([tcpCheck()], { vip: address('192.0.2.2') });
    const bench = new Bench(WEB, other);
    const before = bench.table.view();
    bench.record('tcp', true, 2, WEB.id);
    const after = bench.table.view();
    expect(after.get(other.id)).toBe(before.get(other.id));
    expect(after.get(WEB.id)?.get(BACKEND_B)).toBe(before.get(WEB.id)?.get(BACKEND_B));
    expect(before.get(WEB.id)?.get(BACKEND_A)?.state).toBe('unknown');
    expect(after.get(WEB.id)?.get(BACKEND_A)?.state).toBe('up');
  });

  test('an amended result explains itself anew and counts as before', () => {
    const bench = new Bench(WEB);
    bench.record('tcp', false, 2);
    const [check] = bench.table.checks();
    if (check === undefined) throw new Error('no check');
    bench.table.amend(check, { kind: 'fail', reason: 'vip_unanswered', detail: 'no VIP there' });
    expect(bench.health()).toMatchObject({
      state: 'down',
      reason: 'check tcp: no VIP there',
      checks: [{ recent: [false, false] }],
    });
  });
});
