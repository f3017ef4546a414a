/**
 * The one decision about a VIP: announce it, or withhold it and say why. Pure; the law is
 * maps programmed -> checks passed -> flows synced -> announce, and the first gate that is closed is the reason.
 */
import type { HealthState } from '../model/health.ts';
import type { ServiceId, VipPolicy } from '../model/service.ts';

export type WithholdReason =
  | { readonly code: 'stopping' }
  | { readonly code: 'no_services' }
  | { readonly code: 'not_synced'; readonly detail: string }
  | { readonly code: 'not_programmed'; readonly services: readonly ServiceId[] }
  | { readonly code: 'checks_pending'; readonly services: readonly ServiceId[] }
  | {
      readonly code: 'too_few_backends';
      readonly services: readonly { id: ServiceId; up: number; need: number }[];
    };

export type Verdict =
  { readonly kind: 'announce' } | { readonly kind: 'withhold'; readonly reason: WithholdReason };

export interface ServiceFacts {
  readonly id: ServiceId;
  readonly programmed: boolean;
  readonly state: HealthState;
  readonly up: number;
  readonly need: number;
}

export interface VipFacts {
  readonly policy: VipPolicy;
  readonly stopping: boolean;
  /** Why the flows of the peers are not here yet; undefined once they are, or without peers. */
  readonly unsynced: string | undefined;
  readonly services: readonly ServiceFacts[];
}

export function verdict(facts: VipFacts): Verdict {
  const { services, policy } = facts;
  if (facts.stopping) return withhold({ code: 'stopping' });
  if (services.length === 0) return withhold({ code: 'no_services' });

  const unprogrammed = services.filter((service) => !service.programmed);
  if (unprogrammed.length > 0) {
    return withhold({ code: 'not_programmed', services: unprogrammed.map(({ id }) => id) });
  }
  const notUp = services.filter((service) => service.state !== 'up');
  const enough = notUp.length === 0 || (policy === 'any' && notUp.length < services.length);
  if (enough && facts.unsynced === undefined) return { kind: 'announce' };
  if (enough) return withhold({ code: 'not_synced', detail: facts.unsynced ?? '' });

  const down = notUp.filter((service) => service.state === 'down');
  if (down.length === 0) {
    return withhold({ code: 'checks_pending', services: notUp.map(({ id }) => id) });
  }
  return withhold({
    code: 'too_few_backends',
    services: down.map(({ id, up, need }) => ({ id, up, need })),
  });
}

/** One sentence for people. */
export function explain(reason: WithholdReason): string {
  switch (reason.code) {
    case 'stopping':
      return 'this node is stopping: withdrawn so that traffic moves to its peers first';
    case 'no_services':
      return 'no service uses this address';
    case 'not_synced':
      return `waiting for the flows of the other nodes: ${reason.detail}`;
    case 'not_programmed':
      return `not yet in the forwarding maps: ${reason.services.join(', ')}`;
    case 'checks_pending':
      return `waiting for the first health checks of ${reason.services.join(', ')}`;
    case 'too_few_backends':
      return reason.services
        .map(({ id, up, need }) => `${id} has ${up} of ${need} needed backends up`)
        .join('; ');
  }
}

function withhold(reason: WithholdReason): Verdict {
  return { kind: 'withhold', reason };
}
