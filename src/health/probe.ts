import type { Address } from '../model/address.ts';
import type { CheckSpec } from '../model/check.ts';
import type { ProbeResult } from '../model/health.ts';

/** Where one check goes. */
export interface ProbeTarget {
  readonly vip: Address;
  /** The backend's own address, for diagnosis and messages. */
  readonly backend: Address;
  /**
   * The private address that stands for this VIP on this backend: packets sent to it take the
   * forwarding path of live traffic. Undefined while the data plane does not know the pair.
   */
  readonly via: Address | undefined;
}

/**
 * A result; `unanswered` marks a timeout in which not one packet came back. Only then is it worth
 * asking whether the host is alive on its own address.
 */
export type ProbeReport = ProbeResult & { readonly unanswered?: boolean };

/**
 * Port: one kind of health check. Never throws: whatever goes wrong is a failed result.
 * `signal` fires at the check's timeout; the implementation then ends its socket at once, and
 * resolves once it is gone.
 */
export interface Probe<Spec extends CheckSpec = CheckSpec> {
  check(spec: Spec, target: ProbeTarget, signal: AbortSignal): Promise<ProbeReport>;
}

/** What asks a backend: every check but `report`, which waits to be told. */
export type ProbeSpec = Exclude<CheckSpec, { readonly type: 'report' }>;

/** A probe for each type of check that asks. */
export type Probes = {
  readonly [Type in ProbeSpec['type']]: Probe<Extract<CheckSpec, { type: Type }>>;
};

export function runProbe(
  probes: Probes,
  spec: ProbeSpec,
  target: ProbeTarget,
  signal: AbortSignal,
): Promise<ProbeReport> {
  // The compiler does not see that a spec and the probe of its type belong together.
  const probe: Probe = probes[spec.type];
  return probe.check(spec, target, signal);
}
