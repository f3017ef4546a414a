/** Which new flows a service takes: from whom, and how many. */
import { formatPrefix, type Prefix } from './address.ts';

/** Of all rules that name a source, the one with the longest prefix decides. */
export interface SourceRule {
  readonly prefix: Prefix;
  readonly admits: boolean;
}

export interface Admission {
  /** Sources that no rule names are admitted unless some rule admits: an empty list allows. */
  readonly sources: readonly SourceRule[];
  /** Undefined: any number. */
  readonly newFlowsPerS: number | undefined;
  /** As many may come at once; undefined without `newFlowsPerS`. */
  readonly newFlowsBurst: number | undefined;
}

/** Everything is let in. */
export const ADMIT_ALL: Admission = {
  sources: [],
  newFlowsPerS: undefined,
  newFlowsBurst: undefined,
};

/** Unique among the rules of a service. */
export function ruleText({ prefix, admits }: SourceRule): string {
  return `${admits ? 'allow' : 'deny'} ${formatPrefix(prefix)}`;
}
