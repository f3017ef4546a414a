/**
 * Flows as rows, for the tests of what peers are told and what they say: made, merged, read back.
 * Must hold nothing between two calls.
 */
import { readFlow, writeFlow, type Flow } from '../abi/abi.generated.ts';
import type { WantedService } from '../dataplane/dataplane.ts';
import type { Address } from '../model/address.ts';
import {
  FlowChange,
  SharedFlowState,
  type Destination,
  type FlowBatch,
} from '../model/flow-batch.ts';
import { entryOf, FlowBatchBuilder, type FlowRow } from '../peers/batch.ts';
import type { MergeTally } from '../peers/flow-table.ts';
import type { FlowEntry } from './fixture-flows.ts';
import type { Plan } from './fixture-network.ts';
import { Fixture, kernelNowMs, service } from './fixture.ts';
import { addressBytes, tcp, udp } from './packet.ts';

/** Time that a test may lose between two looks at the clock. */
export const TOLERANCE_MS = 5_000;
/** Room of each flow table. */
export const FLOWS = 8192;
/** When a flow was told of, in its flags: see changes.h. */
const TOLD_UNIT_MS = 8192;
const TOLD_UNITS = 128;

export const NO_ROWS: MergeTally = {
  added: 0,
  replaced: 0,
  refreshed: 0,
  ignored: 0,
  removed: 0,
  unknown: 0,
  full: 0,
};

/** With `sharing`, unless it says otherwise. */
export function openSharing(
  change: { readonly flows?: number; readonly sharing?: boolean } = {},
): Promise<Fixture> {
  const { flows = FLOWS, sharing = true } = change;
  const limits = { services: 16, backends: 64, flows, embryonicFlows: 4096 };
  return Fixture.open({ limits, sharing });
}

/** A batch as rows. */
export function rowsOf(batch: FlowBatch): FlowRow[] {
  const width = batch.family === 'ipv4' ? 4 : 16;
  return Array.from({ length: batch.count }, (_, row) => ({
    destination: entryOf(batch.destinations, batch.destination[row] ?? 0),
    backend: entryOf(batch.backends, batch.backend[row] ?? 0),
    clientAddress: batch.clientAddress.slice(row * width, (row + 1) * width),
    clientPort: batch.clientPort[row] ?? 0,
    change: batch.change[row] ?? 0,
    state: batch.state[row] ?? 0,
    guess: batch.guess[row] === 1,
    openedAgoMs: batch.openedAgoMs[row] ?? 0,
    seenAgoMs: batch.seenAgoMs[row] ?? 0,
  }));
}

export function batchOf(plan: Plan, rows: readonly FlowRow[]): FlowBatch {
  const builder = new FlowBatchBuilder(plan.family, rows.length);
  for (const row of rows) builder.add(row);
  return builder.take();
}

export function mergeRows(fixture: Fixture, plan: Plan, rows: readonly FlowRow[]): MergeTally {
  return fixture.dataplane.flowTable.merge(batchOf(plan, rows));
}

/** What happened since the last call; throws when some of it was lost. */
export function drainRows(fixture: Fixture): FlowRow[] {
  const rows: FlowRow[] = [];
  for (;;) {
    const { batches, lost } = fixture.dataplane.flowTable.drainChanges(4096);
    if (lost > 0) throw new Error(`${lost} changes were lost`);
    if (batches.length === 0) return rows;
    rows.push(...batches.flatMap(rowsOf));
  }
}

export async function readRows(
  fixture: Fixture,
  buckets?: ReadonlySet<number>,
): Promise<FlowRow[]> {
  const rows: FlowRow[] = [];
  for await (const batch of fixture.dataplane.flowTable.read(buckets)) rows.push(...rowsOf(batch));
  return rows;
}

/** Names of rows, in one order. */
export function names(rows: readonly FlowRow[]): string[] {
  return rows.map(nameOf).sort();
}

/** Tells rows apart but for their ages and what happened. */
export function nameOf({
  destination,
  backend,
  clientAddress,
  clientPort,
  state,
  guess,
}: FlowRow): string {
  const { vip, protocol, port } = destination;
  const client = Buffer.from(clientAddress).toString('hex');
  return `${protocol} ${client}:${clientPort} ${vip}:${port} ${backend} ${state} ${guess}`;
}

export function destinationOf(plan: Plan): Destination {
  return { vip: plan.vip, protocol: 'tcp', port: 80 };
}

/** The `n`th flow, from its own client; established a minute ago on the first backend. */
export function row(plan: Plan, n: number, change: Partial<FlowRow> = {}): FlowRow {
  const clientAddress = addressBytes(plan.client);
  clientAddress[clientAddress.length - 2] = n >> 8;
  clientAddress[clientAddress.length - 1] = n & 0xff;
  return {
    destination: destinationOf(plan),
    backend: plan.backend(1),
    clientAddress,
    clientPort: 1024 + n,
    change: FlowChange.open,
    state: SharedFlowState.tcpEstablished,
    guess: false,
    openedAgoMs: 60_000,
    seenAgoMs: 5_000,
    ...change,
  };
}

export function rowsFrom(
  plan: Plan,
  first: number,
  count: number,
  change: Partial<FlowRow> = {},
): FlowRow[] {
  return Array.from({ length: count }, (_, i) => row(plan, first + i, change));
}

/** The row of the client of `packet`. */
export function clientRow(plan: Plan, change: Partial<FlowRow> = {}): FlowRow {
  const clientAddress = addressBytes(plan.client);
  return row(plan, 0, { clientAddress, clientPort: 40000, ...change });
}

export interface PacketFields {
  readonly flags?: string;
  readonly protocol?: 'tcp' | 'udp';
  readonly vip?: Address;
  readonly sport?: number;
  readonly dport?: number;
}

export function packet(plan: Plan, fields: PacketFields = {}): Uint8Array {
  const { flags = 'S', protocol = 'tcp', vip = plan.vip, sport = 40000, dport = 80 } = fields;
  const between = { source: plan.client, destination: vip, sport, dport };
  return protocol === 'tcp' ? tcp({ ...between, flags }) : udp(between);
}

/** Sends the first two packets of a flow. */
export function establish(fixture: Fixture, plan: Plan, fields: PacketFields = {}): void {
  fixture.send(packet(plan, { ...fields, flags: 'S' }));
  fixture.send(packet(plan, { ...fields, flags: 'A' }));
}

/** Writes a flow as it is but for some fields. */
export function rewrite(
  fixture: Fixture,
  { table, key, value }: FlowEntry,
  change: (flow: Flow) => Partial<Flow>,
): void {
  const bytes = value.slice();
  const view = new DataView(bytes.buffer);
  const flow = readFlow(view);
  writeFlow(view, 0, { ...flow, ...change(flow) });
  fixture.map(table).update(key, bytes);
}

/** The flags of a flow that was last told of so many units ago. */
export function toldFlags(units: number): number {
  const now = Math.floor(kernelNowMs() / TOLD_UNIT_MS);
  return ((now - units + TOLD_UNITS) % TOLD_UNITS) << 1;
}

/** A service of TCP, one of UDP, and one of every port; the second backend gets no new flows. */
export function flowServices(plan: Plan): WantedService[] {
  const { vip, otherVip, backend } = plan;
  return [
    service({ vip, backends: [backend(1), { address: backend(2), weight: 0 }] }),
    service({ vip, protocol: 'udp', port: 53, backends: [backend(3)] }),
    service({ vip: otherVip, port: 0, backends: [backend(4)] }),
  ];
}
