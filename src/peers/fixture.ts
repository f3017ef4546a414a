/** Flows for the tests of this folder, from a few words each. */
import { address, type Address } from '../model/address.ts';
import {
  FlowChange,
  SharedFlowState,
  type Destination,
  type FlowBatch,
} from '../model/flow-batch.ts';
import { addressBook } from './address-book.ts';
import { FlowBatchBuilder } from './batch.ts';

export const VIP: Destination = { vip: address('192.0.2.1'), protocol: 'tcp', port: 443 };
export const BACKEND: Address = address('10.0.0.101');
export const CLIENT: Address = address('198.51.100.7');

export interface RowWords {
  readonly port: number;
  readonly change?: keyof typeof FlowChange;
  readonly destination?: Destination;
  readonly backend?: Address;
  readonly guess?: boolean;
  readonly openedAgoMs?: number;
  readonly seenAgoMs?: number;
}

/** IPv4 rows of one client; they differ by its port. */
export function batchOf(...rows: readonly RowWords[]): FlowBatch {
  const builder = new FlowBatchBuilder('ipv4', rows.length);
  for (const { port, change = 'open', openedAgoMs = 0, ...row } of rows) {
    builder.add({
      destination: VIP,
      backend: BACKEND,
      guess: false,
      seenAgoMs: openedAgoMs,
      ...row,
      clientAddress: addressBook.bytes(CLIENT),
      clientPort: port,
      change: FlowChange[change],
      state: SharedFlowState.tcpEstablished,
      openedAgoMs,
    });
  }
  return builder.take();
}

/** What rows say, in their order: `open 7`. */
export function wordsOf({ change, clientPort }: FlowBatch): string[] {
  const names = Object.keys(FlowChange);
  return [...change].map((code, row) => `${names[code] ?? '?'} ${clientPort[row] ?? '?'}`);
}
