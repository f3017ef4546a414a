/** Flow tables read back for the kernel tests: what the maps hold, in words. */
import {
  FlowFlag,
  FlowState,
  readFlow,
  readFlow4Key,
  readFlow6Key,
  writeFlow,
} from '../abi/abi.generated.ts';
import type { BpfMap } from '../dataplane/libbpf.ts';
import { address, addressFromBytes, type Address } from '../model/address.ts';

interface Tuple {
  readonly source: Address;
  readonly destination: Address;
  readonly sport: number;
  readonly dport: number;
  readonly protocol: number;
}

/** A flow as a map holds it. */
export interface FlowEntry extends Tuple {
  readonly table: string;
  /** Slot and generation of its backend. */
  readonly owner: string;
  /** Name of enum flow_state, such as `tcp_syn`. */
  readonly state: string;
  readonly guess: boolean;
  readonly seenMs: number;
  readonly openedMs: number;
  readonly key: Uint8Array;
  readonly value: Uint8Array;
}

export function ownerOf(slot: number, generation: number): string {
  return `slot ${slot}, generation ${generation}`;
}

export function readFlows(map: BpfMap): FlowEntry[] {
  const entries: FlowEntry[] = [];
  map.readAll((keys, values, count) => {
    for (let i = 0; i < count; i += 1) {
      const flow = readFlow(values, i * map.valueBytes);
      entries.push({
        table: map.name,
        ...(map.name.endsWith('6')
          ? tuple6(keys, i * map.keyBytes)
          : tuple4(keys, i * map.keyBytes)),
        owner: ownerOf(flow.backend, flow.generation),
        state: stateName(flow.state),
        guess: (flow.flags & FlowFlag.FLOW_GUESS) !== 0,
        seenMs: flow.seenMs,
        openedMs: flow.openedMs,
        key: bytesOf(keys, i * map.keyBytes, map.keyBytes),
        value: bytesOf(values, i * map.valueBytes, map.valueBytes),
      });
    }
  });
  return entries;
}

/** A flow's value with another time of the last packet; `livedMs`: so long after the first one. */
export function seenAt(value: Uint8Array, seenMs: number, livedMs?: number): Uint8Array {
  const changed = value.slice();
  const view = new DataView(changed.buffer);
  const flow = readFlow(view);
  const openedMs = livedMs === undefined ? flow.openedMs : (seenMs - livedMs) >>> 0;
  writeFlow(view, 0, { ...flow, seenMs: seenMs >>> 0, openedMs });
  return changed;
}

function tuple4(keys: DataView, at: number): Tuple {
  const { saddr, daddr, sport, dport, l4Proto } = readFlow4Key(keys, at);
  return { source: ipv4(saddr), destination: ipv4(daddr), sport, dport, protocol: l4Proto };
}

function tuple6(keys: DataView, at: number): Tuple {
  const { saddr, daddr, sport, dport, l4Proto } = readFlow6Key(keys, at);
  const addresses = { source: addressFromBytes(saddr), destination: addressFromBytes(daddr) };
  return { ...addresses, sport, dport, protocol: l4Proto };
}

function ipv4(value: number): Address {
  return address([24, 16, 8, 0].map((shift) => (value >>> shift) & 0xff).join('.'));
}

function stateName(code: number): string {
  const name = Object.entries(FlowState).find(([, value]) => value === code)?.[0];
  return name?.replace('FLOW_', '').toLowerCase() ?? `state ${code}`;
}

function bytesOf(view: DataView, at: number, length: number): Uint8Array {
  return new Uint8Array(view.buffer, view.byteOffset + at, length).slice();
}
