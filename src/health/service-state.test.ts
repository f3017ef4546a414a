import { expect, test } from 'vitest';
import { address } from '../model/address.ts';
import type { HealthState } from '../model/health.ts';
import { backend } from './fixtures.ts';
import { serviceState } from './service-state.ts';

const LETTERS: Record<string, HealthState> = { U: 'up', D: 'down', '?': 'unknown' };

/** One letter a backend: U, D and ? are its health, in lower case (u, d) when it is draining. */
function stateOf(letters: string, need: number) {
  const addresses = Array.from(letters, (_, i) => address(`10.0.0.${i + 1}`));
  const backends = addresses.map((at, i) => {
    const draining = /[a-z]/.test(letters.charAt(i));
    return backend(at, { intent: draining ? 'draining' : 'active' });
  });
  const health = new Map(
    addresses.map((at, i) => {
      const state = LETTERS[letters.charAt(i).toUpperCase()] ?? 'unknown';
      return [at, { state }];
    }),
  );
  return serviceState({ need, backends }, health);
}

test.each([
  ['U', 1, 'up', 1],
  ['UUD', 2, 'up', 2],
  ['UDD', 2, 'down', 1],
  ['U?D', 2, 'unknown', 1],
  ['???', 1, 'unknown', 0],
  ['?DD', 2, 'down', 0],
  ['U??', 1, 'up', 1],
  ['u', 1, 'down', 0],
  ['Uu', 1, 'up', 1],
  ['Uu', 2, 'down', 1],
  ['Ud', 1, 'up', 1],
  ['', 1, 'down', 0],
] as const)('backends %s with need %i are %s', (letters, need, state, up) => {
  expect(stateOf(letters, need)).toEqual({ state, up, need });
});

test('a backend that nothing is known of is unknown', () => {
  const backends = [backend(address('10.0.0.1'))];
  expect(serviceState({ need: 1, backends }, undefined).state).toBe('unknown');
});
