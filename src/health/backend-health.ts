/** From the checks of one backend to its state, and to the sentence that explains it. Pure. */
import type { CheckSpec } from '../model/check.ts';
import type { HealthState, ProbeResult } from '../model/health.ts';
import type { Window } from './window.ts';

export interface CheckFacts {
  readonly spec: Pick<CheckSpec, 'name' | 'rise'>;
  readonly window: Window;
  readonly last: ProbeResult | undefined;
  /** Where the state comes from while the window has no result of its own. */
  readonly inherited: string | undefined;
}

/** Up when all checks are up (and so without any check); down when one is; unknown otherwise. */
export function backendState(checks: readonly CheckFacts[]): HealthState {
  let folded: HealthState = 'up';
  for (const { window } of checks) {
    if (window.state === 'down') return 'down';
    if (window.state === 'unknown') folded = 'unknown';
  }
  return folded;
}

/** One sentence on why the backend is in `backendState(checks)`; empty where up needs no words. */
export function backendReason(checks: readonly CheckFacts[]): string {
  const state = backendState(checks);
  if (state === 'up') return checks.map(inheritance).find((text) => text !== undefined) ?? '';
  const culprit = checks.find(({ window }) => window.state === state);
  return culprit === undefined ? '' : explain(culprit);
}

function explain(check: CheckFacts): string {
  const { spec, window, last } = check;
  const inherited = inheritance(check);
  if (inherited !== undefined) return inherited;
  if (last === undefined) return `check ${spec.name}: no result yet`;
  if (last.kind === 'fail') return `check ${spec.name}: ${last.detail}`;
  const passes = window.recent.slice(-spec.rise.window).filter(Boolean).length;
  return `check ${spec.name}: ${passes} of ${spec.rise.count} passes needed to come up`;
}

function inheritance({ window, inherited }: CheckFacts): string | undefined {
  return window.recent.length === 0 ? inherited : undefined;
}
