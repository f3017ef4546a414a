/**
 * A read-only view of a node at one moment, as plain JSON: the only thing that the console, the
 * metrics and `skein status` may see. Counters are numbers here; above 2^53 they lose precision.
 */
import type { BgpStatus } from './model/bgp.ts';
import type { CheckHealth, HealthState } from './model/health.ts';
import type { BackendState } from './model/service.ts';
import type { PeersStatus } from './peers/status.ts';
import type { ReportsStatus } from './reports/status.ts';

export interface TrafficSnapshot {
  readonly packets: number;
  readonly bytes: number;
  readonly flowsOpened: number;
  readonly flowsActive: number;
}

export interface BackendSnapshot {
  readonly name: string;
  readonly address: string;
  readonly weight: number;
  readonly mode: string;
  /** As the data plane has it. */
  readonly state: BackendState;
  readonly health: HealthState;
  readonly healthSinceMs: number;
  /** Why it is not up; empty otherwise. */
  readonly reason: string;
  readonly checks: readonly CheckHealth[];
  /** MAC address of its next hop; null while unresolved or unused. */
  readonly nextHop: string | null;
  readonly traffic: TrafficSnapshot;
}

export interface ServiceSnapshot {
  readonly id: string;
  readonly name: string;
  readonly vip: string;
  readonly protocol: string;
  readonly port: number;
  readonly scheduler: string;
  readonly state: HealthState;
  readonly programmed: boolean;
  readonly up: number;
  readonly need: number;
  readonly backends: readonly BackendSnapshot[];
  /** Rules of its source filter, and how many new flows each decided on. */
  readonly sources: readonly { prefix: string; verdict: 'allow' | 'deny'; hits: number }[];
  readonly traffic: TrafficSnapshot;
}

export interface VipSnapshot {
  readonly address: string;
  readonly policy: string;
  readonly announce: boolean;
  /** Machine-readable reason code; null when announced. */
  readonly reason: string | null;
  /** The same for people; null when announced. */
  readonly explanation: string | null;
  /** The BGP daemon has confirmed the route. */
  readonly confirmed: boolean;
  readonly sinceMs: number;
}

export interface ConfigSnapshot {
  readonly digest: string;
  readonly loadedAtMs: number;
  /** Problems of the last reload, when it was refused; the running configuration is the older one. */
  readonly refused: readonly { line: number; column: number; path: string; message: string }[];
  readonly refusedAtMs: number | null;
}

export interface NodeSnapshot {
  readonly node: string;
  readonly cluster: string;
  readonly version: string;
  readonly startedAtMs: number;
  readonly takenAtMs: number;
  readonly stopping: boolean;
  readonly config: ConfigSnapshot;
  readonly dataplane: {
    readonly interfaces: readonly { name: string; ifindex: number; xdpMode: string }[];
    readonly adopted: boolean;
    readonly layoutDigest: string;
    readonly tables: readonly { name: string; entries: number; capacity: number }[];
    readonly failures: readonly string[];
  };
  /** `bgp` is null where the document has no bgp section. */
  readonly bgp: BgpStatus | null;
  /** Null where the document has no sync section. */
  readonly peers: PeersStatus | null;
  /** Null where the document has no reports section. */
  readonly reports: ReportsStatus | null;
  readonly vips: readonly VipSnapshot[];
  readonly services: readonly ServiceSnapshot[];
  readonly counters: readonly { name: string; drop: boolean; value: number; help: string }[];
}
