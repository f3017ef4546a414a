/** Which established flows somebody asks for, and what is answered: plain JSON. */
import type { Address } from './address.ts';
import type { L4Protocol } from './service.ts';

/** `closing`: a FIN was seen. `open`: an established TCP flow. `udp`: UDP has no more to tell. */
export const FLOW_STATES = ['closing', 'open', 'udp'] as const;
export type FlowStateName = (typeof FLOW_STATES)[number];

/** A flow must fit all that is there. `port` is that of the VIP. */
export interface FlowQuery {
  readonly client?: Address | undefined;
  readonly vip?: Address | undefined;
  readonly port?: number | undefined;
  readonly protocol?: L4Protocol | undefined;
  readonly backend?: Address | undefined;
  readonly state?: FlowStateName | undefined;
  /** Flows that are listed; all are counted. */
  readonly limit: number;
}

export const LISTED_FLOWS_DEFAULT = 100;
export const LISTED_FLOWS_MAX = 1_000;

/**
 * What digests say of one flow and one peer. They are sums over many flows, a bucket: `known` is sure
 * up to a 64-bit hash, `differs` says that of all flows of the bucket at least one is not the same
 * there, not that this one is. `unsettled`: nothing can be said (yet).
 */
export type FlowKnowledge = 'known' | 'differs' | 'unsettled';

export interface FlowAtPeer {
  readonly peer: string;
  readonly knowledge: FlowKnowledge;
}

export interface ListedFlow {
  readonly client: Address;
  readonly clientPort: number;
  readonly vip: Address;
  readonly port: number;
  readonly protocol: L4Protocol;
  readonly backend: Address;
  readonly state: FlowStateName;
  readonly openedAgoMs: number;
  readonly seenAgoMs: number;
  /** First seen in the middle: placed by hash, not by knowledge. */
  readonly guess: boolean;
  /** Every peer that is alive; none without flow sync. */
  readonly knownAt: readonly FlowAtPeer[];
  readonly survives: Survival;
}

/**
 * Would the flow go on if this node were lost? True: every peer that is alive knows it. False: none
 * is alive, or its bucket differs at one. Null: it cannot be said (yet), or flow sync is off.
 */
export type Survival = boolean | null;

export interface FlowList {
  readonly flows: readonly ListedFlow[];
  /** Flows that were looked at, and those of them that fit. */
  readonly scanned: number;
  readonly matched: number;
  /** Of those that fit, by `survives`; null without flow sync. */
  readonly survival: SurvivalCounts | null;
  /** There are, or may be, flows that fit and are not listed. */
  readonly truncated: boolean;
  /** The whole table was looked at; a walk that takes too long ends early. */
  readonly complete: boolean;
}

export interface SurvivalCounts {
  readonly survive: number;
  readonly mayNot: number;
  readonly unsettled: number;
}
