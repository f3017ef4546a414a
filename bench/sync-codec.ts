/**
 * How many flows a second one core seals and opens, and their bytes on the wire. Counts CPU time,
 * not time on the wall, since the machine may be busy with other things; `--help` for how.
 */
import { Command } from 'commander';
import { address, type Address, type Family } from '../src/model/address.ts';
import {
  FlowChange,
  SharedFlowState,
  type Destination,
  type FlowBatch,
} from '../src/model/flow-batch.ts';
import { addressLength, FlowBatchBuilder, groupByDestination } from '../src/peers/batch.ts';
import { DATAGRAM_BYTES_MAX } from '../src/peers/seal-header.ts';
import { Opener, Sealer } from '../src/peers/seal.ts';
import { RESEND_BYTES, splitFlows } from '../src/peers/wire-split.ts';
import { decodeMessage } from '../src/peers/wire.ts';
import { whole } from '../testbed/options.ts';

interface Options {
  readonly flows: number;
  readonly rounds: number;
  readonly services: number;
  readonly backends: number;
}

const options = new Command('sync-codec')
  .description('Flows a second through the codec and the seal of flow sync, on one core.')
  .option('--flows <n>', 'flows of a round', whole(1, 10_000_000), 200_000)
  .option('--rounds <n>', 'rounds; the median counts', whole(1, 1_000), 9)
  .option('--services <n>', 'destinations that the flows go to', whole(1, 60_000), 8)
  .option('--backends <n>', 'backends of each service', whole(1, 1_000), 16)
  .parse()
  .opts<Options>();

console.log(
  `${options.flows} flows to ${options.services} services on ${options.backends} backends each, ` +
    `median of ${options.rounds} rounds`,
);
for (const family of ['ipv4', 'ipv6'] as const) console.log(lineOf(family, measure(family)));

interface Figures {
  readonly sealedPerS: number;
  readonly openedPerS: number;
  readonly bytesPerFlow: number;
  readonly flowsPerDatagram: number;
}

function measure(family: Family): Figures {
  const keys = [new Uint8Array(32).fill(7)];
  const sealer = new Sealer({ cluster: 'bench', node: 'node-1', incarnation: 1, keys });
  const opener = new Opener({ cluster: 'bench', node: 'node-2', keys, peersMax: 64 });
  const batch = flowsOf(family);
  const payloadBytesMax = DATAGRAM_BYTES_MAX - 2 * sealer.overheadBytes - RESEND_BYTES;
  const sealedPerS: number[] = [];
  const openedPerS: number[] = [];
  let bytes = 0;
  let datagrams: Uint8Array[] = [];
  for (let round = 0; round < options.rounds; round += 1) {
    const start = process.cpuUsage();
    datagrams = [];
    for (const { payload } of splitFlows(groupByDestination(batch), payloadBytesMax)) {
      datagrams.push(sealer.seal(payload).datagram);
    }
    const sealing = process.cpuUsage(start);
    const middle = process.cpuUsage();
    const opened = datagrams.reduce((sum, datagram) => sum + flowsIn(opener, datagram), 0);
    const opening = process.cpuUsage(middle);
    if (opened !== batch.count) throw new Error(`${opened} of ${batch.count} flows came through`);
    sealedPerS.push(batch.count / secondsOf(sealing));
    openedPerS.push(batch.count / secondsOf(opening));
    bytes = datagrams.reduce((sum, { length }) => sum + length, 0);
  }
  return {
    sealedPerS: median(sealedPerS),
    openedPerS: median(openedPerS),
    bytesPerFlow: bytes / batch.count,
    flowsPerDatagram: batch.count / datagrams.length,
  };
}

/** All threads of the process, the collector's too: what one core is busy for. */
function secondsOf({ user, system }: NodeJS.CpuUsage): number {
  return (user + system) / 1e6;
}

function flowsIn(opener: Opener, datagram: Uint8Array): number {
  const opened = opener.open(datagram);
  if (opened.kind === 'reject') return 0;
  const decoded = decodeMessage(opened.payload);
  return decoded.ok && decoded.message.kind === 'flows' ? decoded.message.batch.count : 0;
}

/** Clients, services and backends in no order, as a busy node sees them. */
function flowsOf(family: Family): FlowBatch {
  const builder = new FlowBatchBuilder(family, options.flows);
  const host = (index: number): Address =>
    address(
      family === 'ipv4'
        ? `10.${index >>> 16}.${(index >>> 8) & 0xff}.${index & 0xff}`
        : `2001:db8::${(index + 1).toString(16)}`,
    );
  const destinations = Array.from({ length: options.services }, (_, service): Destination => ({
    vip: host(service),
    protocol: 'tcp',
    port: 443,
  }));
  const backends = destinations.map((_, service) =>
    Array.from({ length: options.backends }, (_each, backend) =>
      host(options.services + service * options.backends + backend),
    ),
  );
  for (let flow = 0; flow < options.flows; flow += 1) {
    const clientAddress = new Uint8Array(addressLength(family));
    new DataView(clientAddress.buffer).setUint32(clientAddress.length - 4, mixed(flow));
    const service = mixed(flow + 1) % options.services;
    const destination = destinations[service];
    const backend = backends[service]?.[flow % options.backends];
    if (destination === undefined || backend === undefined) throw new Error('no such service');
    builder.add({
      destination,
      backend,
      clientAddress,
      clientPort: mixed(flow + 3) & 0xffff,
      change: FlowChange.open,
      state: SharedFlowState.tcpEstablished,
      guess: false,
      openedAgoMs: mixed(flow + 4) % 10_000,
      seenAgoMs: 0,
    });
  }
  return builder.take();
}

/** Multiplicative hashing: spread, and the same every time. */
function mixed(value: number): number {
  const product = Math.imul(value, 0x9e37_79b1);
  return (product ^ (product >>> 15)) >>> 0;
}

function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? 0;
}

function lineOf(family: Family, figures: Figures): string {
  const { sealedPerS, openedPerS, bytesPerFlow, flowsPerDatagram } = figures;
  return (
    `${family}: encoded and sealed ${millions(sealedPerS)}, opened and decoded ` +
    `${millions(openedPerS)} flows/s; ${bytesPerFlow.toFixed(1)} bytes a flow, ` +
    `${flowsPerDatagram.toFixed(1)} flows a datagram`
  );
}

function millions(perS: number): string {
  return `${(perS / 1e6).toFixed(2)} M`;
}
