/**
 * k of n: folds the last results of one check into its state. Pure. The newest result decides which
 * threshold is looked at, so a pass can never take a check down and a failure can never bring it up:
 *
 *   newest  among the last `window` results        next state
 *   pass    passes   >= rise.count                 up
 *   pass    passes   <  rise.count                 as before
 *   fail    failures >= fall.count                 down
 *   fail    failures <  fall.count                 as before
 *
 * "As before" is `unknown` for a fresh check: it becomes up or down by whichever comes first.
 */
import type { Threshold } from '../model/check.ts';
import type { HealthState } from '../model/health.ts';

export interface Thresholds {
  readonly rise: Threshold;
  readonly fall: Threshold;
}

export interface Window {
  readonly state: HealthState;
  /** Newest last; at most the larger of the two thresholds' windows. */
  readonly recent: readonly boolean[];
}

/** A window without results, in the state that it is to start from. */
export function emptyWindow(state: HealthState): Window {
  return { state, recent: [] };
}

/** The window after one more result. */
export function observe(before: Window, passed: boolean, { rise, fall }: Thresholds): Window {
  const recent = [...before.recent, passed].slice(-Math.max(rise.window, fall.window));
  const met = agreeing(recent, passed, passed ? rise : fall);
  if (!met) return { state: before.state, recent };
  return { state: passed ? 'up' : 'down', recent };
}

function agreeing(recent: readonly boolean[], wanted: boolean, threshold: Threshold): boolean {
  let count = 0;
  for (let i = Math.max(0, recent.length - threshold.window); i < recent.length; i++) {
    if (recent[i] === wanted) count++;
  }
  return count >= threshold.count;
}
