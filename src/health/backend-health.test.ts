import { expect, test } from 'vitest';
import type { HealthState } from '../model/health.ts';
import { backendReason, backendState, type CheckFacts } from './backend-health.ts';
import { FAIL, PASS, tcpCheck } from './fixtures.ts';

function check(name: string, state: HealthState, facts: Partial<CheckFacts> = {}): CheckFacts {
  const window = { state, recent: [] };
  return { spec: tcpCheck({ name }), window, last: undefined, inherited: undefined, ...facts };
}

test.each([
  [[], 'up'],
  [['up'], 'up'],
  [['up', 'up'], 'up'],
  [['up', 'unknown'], 'unknown'],
  [['unknown', 'down'], 'down'],
  [['down', 'up'], 'down'],
] as const)('checks %j make a backend %s', (states, expected) => {
  expect(backendState(states.map((state, i) => check(`c${i}`, state)))).toBe(expected);
});

test('an up backend needs no words', () => {
  expect(backendReason([check('a', 'up', { last: PASS })])).toBe('');
});

test('the first check that is down explains a backend that is down', () => {
  const checks = [check('a', 'unknown'), check('b', 'down', { last: FAIL }), check('c', 'down')];
  expect(backendReason(checks)).toBe('check b: nobody listens');
});

test('a check that passes again says how far it is', () => {
  const window = { state: 'down', recent: [false, true] } as const;
  const facts = { window, last: PASS };
  expect(backendReason([check('a', 'down', facts)])).toBe(
    'check a: 1 of 2 passes needed to come up',
  );
});

test('an unknown backend says which check is awaited', () => {
  expect(backendReason([check('a', 'up'), check('b', 'unknown')])).toBe('check b: no result yet');
});

test.each(['up', 'down'] as const)(
  'an inherited %s is explained until the first result',
  (state) => {
    const inherited = 'as it was';
    expect(backendReason([check('a', state, { inherited })])).toBe('as it was');
    const window = { state, recent: [state === 'up'] };
    const last = state === 'up' ? PASS : FAIL;
    expect(backendReason([check('a', state, { inherited, window, last })])).not.toContain(
      'as it was',
    );
  },
);
