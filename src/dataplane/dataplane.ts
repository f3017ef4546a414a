import type { Address } from '../model/address.ts';
import type { Admission, SourceRule } from '../model/admission.ts';
import type { FlowTimeouts } from '../model/flow.ts';
import type { ForwardingMode, ForwardingOptions } from '../model/forwarding.ts';
import type { QuicRouting } from '../model/quic.ts';
import type { Affinity, BackendState, ServiceId, ServiceKey } from '../model/service.ts';

export interface WantedBackend {
  readonly address: Address;
  readonly weight: number;
  readonly mode: ForwardingMode;
  readonly forwarding?: ForwardingOptions | undefined;
  /** What QUIC connection IDs call it, in hex. */
  readonly serverId?: string | undefined;
  readonly state: BackendState;
}

/** A service as the data plane needs it: health is already folded into the backends' states. */
export interface WantedService extends ServiceKey {
  readonly id: ServiceId;
  readonly affinity: Affinity;
  /** Which new flows it takes; undefined: all. */
  readonly admission?: Admission | undefined;
  readonly quic?: QuicRouting | undefined;
  readonly backends: readonly WantedBackend[];
}

export interface ReconcileResult {
  /** Services that are now in the maps exactly as wanted. */
  readonly programmed: ReadonlySet<ServiceId>;
  /** Number of kernel writes that it took; 0 when nothing had changed. */
  readonly writes: number;
  /** What could not be written, in words; retried at the next call. */
  readonly failures: readonly string[];
}

/** Sums over all CPUs. Numbers: beyond 2^53 the last digits are lost, which no rate will show. */
export interface Traffic {
  readonly packets: number;
  readonly bytes: number;
  /** Flows opened since the maps were made. */
  readonly flowsOpened: number;
  /** Flows opened and not yet closed or expired. */
  readonly flowsActive: number;
}

export interface BackendTraffic extends Traffic {
  readonly service: ServiceId;
  readonly backend: Address;
  /** MAC address of the next hop as packets last used it; undefined before the first packet. */
  readonly nextHop: string | undefined;
}

/** New flows that a rule of a source filter decided on. */
export interface SourceHits extends SourceRule {
  readonly service: ServiceId;
  readonly hits: number;
}

export interface FlowTable {
  readonly name: string;
  readonly entries: number;
  readonly capacity: number;
}

export interface Counters {
  /** Every named counter of the data plane, drops among them, in the order of abi.h. */
  readonly global: readonly { name: string; drop: boolean; value: number; help: string }[];
  readonly backends: readonly BackendTraffic[];
  readonly tables: readonly FlowTable[];
  readonly sources: readonly SourceHits[];
}

export interface InterfaceStatus {
  readonly name: string;
  readonly ifindex: number;
  readonly xdpMode: 'native' | 'generic';
}

export interface DataplaneStatus {
  readonly interfaces: readonly InterfaceStatus[];
  /** True when pinned maps of an earlier supervisor were taken over. */
  readonly adopted: boolean;
  /**
   * True when the supervisor before this one was lost while it was in service: its routes still stand, and
   * its flows are as new as they can be.
   */
  readonly wasInService: boolean;
  /** Digest of every struct that crosses the boundary. */
  readonly layoutDigest: string;
}

/** Port: the forwarding plane of one node. */
export interface Dataplane {
  /**
   * Makes the maps say what `services` says, and nothing else. Takes the whole desired state;
   * calling twice is a no-op; a failed write is planned again by the next call.
   */
  reconcile(services: readonly WantedService[], timeouts: FlowTimeouts): ReconcileResult;
  /** What the maps held when this process opened them: lets a restart go on with what was known. */
  adoptedServices(): readonly WantedService[];
  /** For the supervisor after this one: whether this node takes its part in the cluster. */
  setInService(inService: boolean): void;
  /**
   * The private address whose packets take the live path to this backend of this service. For a
   * backend that is this node itself: the VIP, if the host has it on an interface, as it must.
   */
  probeAddress(service: ServiceId, backend: Address): Address | undefined;
  counters(): Counters;
  status(): DataplaneStatus;
  /**
   * What has to be done every few seconds: removes flows that have been idle for longer than their
   * timeout, and sees that the kernel still resolves the backends. Not on the main thread.
   */
  maintain(): Promise<{ scanned: number; expired: number }>;
  /** Leaves the program and its maps at work (`keep`), or takes everything away (`detach`). */
  close(how: 'keep' | 'detach'): Promise<void>;
}
