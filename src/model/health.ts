/** What is known of the health of backends and services. Made by health/, read by vip/ and console. */
import type { Address } from './address.ts';
import type { ServiceId } from './service.ts';

/**
 * Why a probe failed. `vip_unanswered` is the one that clients would otherwise find: the host
 * answers on its own address, but not for the VIP, so the VIP is probably missing from its loopback.
 */
export type ProbeFailure =
  | 'timeout'
  | 'refused'
  | 'reset'
  | 'unreachable'
  | 'vip_unanswered'
  | 'status_unexpected'
  | 'answer_unexpected'
  | 'tls_failed'
  | 'protocol_error'
  | 'script_failed'
  | 'no_path'
  | 'report_silent'
  | 'report_unhealthy';

export type ProbeResult =
  | { readonly kind: 'pass'; readonly latencyMs: number }
  | { readonly kind: 'fail'; readonly reason: ProbeFailure; readonly detail: string };

/** `unknown` until a check's window holds enough results to say. It counts as not up. */
export type HealthState = 'unknown' | 'up' | 'down';

export interface CheckHealth {
  readonly check: string;
  readonly state: HealthState;
  /** Results, newest last; at most the larger of the two windows. */
  readonly recent: readonly boolean[];
  readonly last: ProbeResult | undefined;
}

export interface BackendHealth {
  readonly state: HealthState;
  /** Wall clock of the last change of `state`. */
  readonly sinceMs: number;
  /** One sentence for people: which check fails and why; empty when up. */
  readonly reason: string;
  readonly checks: readonly CheckHealth[];
}

/** Health of each backend of each service, by service id and backend address. */
export type HealthView = ReadonlyMap<ServiceId, ReadonlyMap<Address, BackendHealth>>;
