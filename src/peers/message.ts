/**
 * What nodes say to each other, as values. wire.ts turns them into bytes and back, seal.ts guards
 * them, sync.ts decides what is said. Field by field in PROTOCOL.md.
 */
import type { FlowBatch } from '../model/flow-batch.ts';

export const NODE_NAME_BYTES_MAX = 63;

/** Who sent a datagram, and where it stands among that sender's: from the authenticated header. */
export interface Envelope {
  /** Name of the node; 1 to NODE_NAME_BYTES_MAX bytes. */
  readonly node: string;
  /** Milliseconds since 1970 when the sender started: a later life has a greater one. */
  readonly incarnation: number;
  /** Counts the sender's datagrams of this incarnation from 1. */
  readonly sequence: number;
}

/** Said every second, so that silence means something. */
export interface Hello {
  readonly kind: 'hello';
  /** Highest protocol version that the sender understands. */
  readonly version: number;
  readonly softwareVersion: string;
  readonly configDigest: string;
  /** Where the sender gives snapshots; empty: nowhere. */
  readonly snapshotEndpoint: string;
  /** False while the sender itself is still joining: it is no source for a snapshot. */
  readonly synced: boolean;
  readonly uptimeMs: number;
  /**
   * How far the sender has heard peers: by name, incarnation and highest sequence without a gap. May
   * be a part of them: a peer that is not named is as an earlier hello had it.
   */
  readonly heard: readonly (readonly [node: string, incarnation: number, sequence: number])[];
}

export interface Flows {
  readonly kind: 'flows';
  readonly batch: FlowBatch;
}

/** Asks a peer to send these of its datagrams again; ranges are inclusive. */
export interface Nack {
  readonly kind: 'nack';
  readonly node: string;
  readonly incarnation: number;
  readonly ranges: readonly (readonly [first: number, last: number])[];
}

/** The answer to a nack: datagrams of the past, whole, each with its own envelope inside. */
export interface Resend {
  readonly kind: 'resend';
  readonly datagrams: readonly Uint8Array[];
  /**
   * For each of them, how long ago it was first sent: the ages inside are as they were then, and two
   * lives of a flow are told apart by them.
   */
  readonly sentAgoMs: readonly number[];
  /**
   * Ranges (inclusive) that carried nothing that lasts, such as a hello: they are no gap any more.
   * Without this the asker would ask for them again and again.
   */
  readonly empty: readonly (readonly [first: number, last: number])[];
}

/**
 * What is before this is gone from the sender's history: nobody need ask for it. Also said at the
 * end of a burst, so that the loss of its last datagram is noticed.
 */
export interface Gone {
  readonly kind: 'gone';
  readonly firstKept: number;
}

/** A part of the sender's table digest: all of it is too much for a datagram. */
export interface Digest {
  readonly kind: 'digest';
  /** Of the whole table. */
  readonly flows: number;
  /** The bucket of the table that `buckets[0]` is; each part can be compared on its own. */
  readonly firstBucket: number;
  readonly buckets: BigUint64Array;
}

/** Asks one peer for all flows of some buckets; it answers with `flows`. */
export interface BucketRequest {
  readonly kind: 'bucket_request';
  readonly node: string;
  readonly buckets: readonly number[];
}

/** An ICMP error whose quoted flow is not known where it arrived. Never relayed again. */
export interface IcmpRelay {
  readonly kind: 'icmp';
  /** From the IP header on. */
  readonly packet: Uint8Array;
}

/** The last word of a node that stops in order. */
export interface Goodbye {
  readonly kind: 'goodbye';
}

export type Message =
  Hello | Flows | Nack | Resend | Gone | Digest | BucketRequest | IcmpRelay | Goodbye;

/** Why a datagram was not believed; each has a counter. */
export type RejectReason =
  | 'too_short'
  | 'too_long'
  | 'not_skein'
  | 'version'
  | 'other_cluster'
  | 'unknown_key'
  | 'forged'
  | 'own'
  | 'replayed'
  | 'old_incarnation'
  | 'too_many_peers'
  | 'malformed'
  | 'unknown_kind';

export const REJECT_REASONS: readonly RejectReason[] = [
  'too_short',
  'too_long',
  'not_skein',
  'version',
  'other_cluster',
  'unknown_key',
  'forged',
  'own',
  'replayed',
  'old_incarnation',
  'too_many_peers',
  'malformed',
  'unknown_kind',
];
