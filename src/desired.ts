/**
 * (configuration, health) -> what the data plane and the BGP speaker should hold. Pure: looks at no
 * machine and no clock, so growing, shrinking, failing and starting are one and the same code.
 */
import type { NodeConfig } from './config/types.ts';
import type { WantedService } from './dataplane/dataplane.ts';
import { serviceState } from './health/service-state.ts';
import { familyOf, hostPrefix, type Address } from './model/address.ts';
import type { DesiredBgp, Route } from './model/bgp.ts';
import type { BackendHealth, HealthView } from './model/health.ts';
import type { Backend, BackendState, Service, ServiceId, Vip } from './model/service.ts';
import { verdict, type ServiceFacts, type Verdict } from './vip/verdict.ts';

/** Only what is proved to be up gets new flows; the operator's drain comes before health. */
export function backendState(backend: Backend, health: BackendHealth | undefined): BackendState {
  if (health?.state !== 'up') return 'down';
  return backend.intent === 'draining' ? 'draining' : 'up';
}

export function wantedService(service: Service, health: HealthView): WantedService {
  const known = health.get(service.id);
  return {
    id: service.id,
    vip: service.vip,
    protocol: service.protocol,
    port: service.port,
    affinity: service.affinity,
    admission: service.admission,
    quic: service.quic,
    backends: service.backends.map((backend) => ({
      address: backend.address,
      weight: backend.weight,
      mode: backend.mode,
      forwarding: forwardingOf(service, backend),
      serverId: backend.serverId,
      state: backendState(backend, known?.get(backend.address)),
    })),
  };
}

/** The clamp is the service's, all other options are the backend's. */
function forwardingOf({ mssClamp }: Service, { forwarding }: Backend): Backend['forwarding'] {
  return mssClamp === undefined ? forwarding : { ...forwarding, mssBytes: mssClamp };
}

export interface BackendChange {
  readonly service: ServiceId;
  readonly backend: Address;
  readonly state: BackendState;
  /** Why it is not up; empty otherwise. */
  readonly reason: string;
}

/** Backends whose state is another one than before; those of new services are none of them. */
export function backendChanges(
  before: readonly WantedService[],
  after: readonly WantedService[],
  health: HealthView,
): BackendChange[] {
  const services = new Map(before.map((service) => [service.id, service]));
  return after.flatMap(({ id, backends }) => {
    const known = services.get(id)?.backends.map(({ address, state }) => [address, state] as const);
    const states = new Map(known);
    return backends
      .filter(({ address, state }) => states.has(address) && states.get(address) !== state)
      .map(({ address, state }) => {
        const reason = health.get(id)?.get(address)?.reason ?? '';
        return { service: id, backend: address, state, reason };
      });
  });
}

export interface VerdictInputs {
  readonly services: readonly Service[];
  readonly vips: readonly Vip[];
  readonly health: HealthView;
  readonly programmed: ReadonlySet<ServiceId>;
  readonly stopping: boolean;
  /** Why the peers' flows are not here yet; undefined when nothing has to be waited for. */
  readonly unsynced: string | undefined;
}

export function serviceFacts(
  service: Service,
  health: HealthView,
  programmed: ReadonlySet<ServiceId>,
): ServiceFacts {
  const state = serviceState(service, health.get(service.id));
  return { id: service.id, programmed: programmed.has(service.id), ...state };
}

/** One verdict for each VIP of the document. */
export function vipVerdicts(inputs: VerdictInputs): Map<Address, Verdict> {
  const { services, vips, health, programmed, stopping, unsynced } = inputs;
  const byVip = Map.groupBy(services, ({ vip }) => vip);
  return new Map(
    vips.map(({ address, policy }) => {
      const facts = (byVip.get(address) ?? []).map((service) =>
        serviceFacts(service, health, programmed),
      );
      return [address, verdict({ policy, stopping, unsynced, services: facts })];
    }),
  );
}

/**
 * Undefined where the document has no `bgp` section and had none before. A section that is taken out
 * leaves the sessions as they are, but no route.
 */
export function desiredBgp(
  { cluster, node }: NodeConfig,
  verdicts: ReadonlyMap<Address, Verdict>,
  before: DesiredBgp | undefined,
): DesiredBgp | undefined {
  if (cluster.bgp === undefined || node.routerId === undefined) {
    return before && { speaker: before.speaker, routes: [] };
  }
  const { as, peers } = cluster.bgp;
  return {
    speaker: { as, routerId: node.routerId, peers },
    routes: cluster.vips
      .filter(({ address }) => verdicts.get(address)?.kind === 'announce')
      .flatMap((vip) => route(vip, familyOf(vip.address) === 'ipv4' ? node.ipv4 : node.ipv6)),
  };
}

/** Resolving refuses a VIP without an own address of its family, so none is lost here. */
function route(vip: Vip, nextHop: Address | undefined): Route[] {
  if (nextHop === undefined) return [];
  const { communities, largeCommunities, med } = vip;
  return [{ prefix: hostPrefix(vip.address), nextHop, communities, largeCommunities, med }];
}
