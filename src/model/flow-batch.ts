/**
 * Flows on their way between the data plane and the peers: many at a time, in columns, since a
 * million of them a second leave no time for an object each. Everything is named by value: no map
 * index, MAC address, interface or clock of one node means anything to another.
 */
import type { Address, Family } from './address.ts';
import type { L4Protocol } from './service.ts';

/** Where clients send: the VIP, protocol and port of a flow (not of its service, whose port may be 0). */
export interface Destination {
  readonly vip: Address;
  readonly protocol: L4Protocol;
  readonly port: number;
}

/** What happened to a flow. `open` is also said again (a refresh) while a flow lives long. */
export const FlowChange = { open: 0, refresh: 1, close: 2 } as const;

/** States as in enum flow_state of src/bpf/abi.h, which a contract test compares. */
export const SharedFlowState = { tcpFin: 2, tcpEstablished: 3, udp: 4 } as const;

/**
 * Columns of equal length; row i is one flow. All flows of a batch are of one family, that of the
 * client and the VIP. `destinations` and `backends` are dictionaries that rows point into.
 */
export interface FlowBatch {
  readonly family: Family;
  readonly count: number;
  readonly destinations: readonly Destination[];
  readonly backends: readonly Address[];
  /** 4 or 16 bytes a row, network order. */
  readonly clientAddress: Uint8Array;
  readonly clientPort: Uint16Array;
  /** Index into `destinations`. */
  readonly destination: Uint16Array;
  /** Index into `backends`. */
  readonly backend: Uint16Array;
  /** One of FlowChange. */
  readonly change: Uint8Array;
  /** One of SharedFlowState. */
  readonly state: Uint8Array;
  /** 1: the backend is what the hash said when the flow was first seen in the middle. */
  readonly guess: Uint8Array;
  /** Ages when the batch was made. */
  readonly openedAgoMs: Uint32Array;
  readonly seenAgoMs: Uint32Array;
}

/** Most entries of a dictionary, so that indexes fit a column. */
export const DICTIONARY_ENTRIES_MAX = 65_535;
