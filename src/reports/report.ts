/** What backends say of themselves, as values. wire.ts turns them into bytes, seal.ts guards them. */
import type { Address } from '../model/address.ts';
import type { ServiceKey } from '../model/service.ts';

/** Addresses of one backend: a few of each family. */
export const ADDRESSES_MAX = 8;
export const SERVICES_MAX = 32;
/** Of UTF-8, for the backend as a whole. */
export const DETAIL_BYTES_MAX = 200;
/** Of UTF-8, for one service; fewer where many services share a datagram. */
export const SERVICE_DETAIL_BYTES_MAX = 100;

/** A service that is better or worse off than the backend as a whole. */
export interface ServiceReport {
  readonly service: ServiceKey;
  readonly healthy: boolean;
  /** Why it is not; empty when it is. */
  readonly detail: string;
}

/** `leaving`: the last word of a backend that stops in order. */
export type ReportedState = 'healthy' | 'unhealthy' | 'leaving';

export interface Report {
  /** Own addresses of the backend, as the cluster document has them; 1 to ADDRESSES_MAX. */
  readonly addresses: readonly Address[];
  /** Of everything on the backend: unless it is healthy, no service of it is. */
  readonly state: ReportedState;
  readonly detail: string;
  /** At most SERVICES_MAX; a service that is not among them is as `state` says. */
  readonly services: readonly ServiceReport[];
}

/** Who sent a report and when: from the authenticated header. */
export interface Envelope {
  /** See REPORTER_NAME. */
  readonly reporter: string;
  /** Milliseconds since 1970 when the reporter started: tells its lives apart. */
  readonly incarnation: number;
  /** Counts the reports of this life from 1. */
  readonly sequence: number;
  /** Milliseconds since 1970, by the reporter's clock. */
  readonly sentAtMs: number;
}

/** What a reporter may be called: the same as a backend in the cluster document. */
export const REPORTER_NAME = /^[A-Za-z0-9][A-Za-z0-9._:-]{0,62}$/;

/** Why a datagram changed nothing, in the order in which it is found out; see REPORTS.md. */
export const REFUSALS = [
  'not_a_report',
  'too_long',
  'version',
  'other_cluster',
  'other_key',
  'malformed',
  'unsigned',
  'forged',
  'too_old',
  'too_new',
  'unknown_backend',
  'foreign_source',
  'replayed',
  'old_incarnation',
  'address_taken',
  'too_many_reporters',
  'too_often',
] as const;

export type Refusal = (typeof REFUSALS)[number];
