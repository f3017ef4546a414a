/**
 * The flows that a balancer's data plane has, read from its pinned maps: what a packet would find
 * now, whatever the supervisor says. bpftool gives the bytes, the generated codecs their meaning.
 */
import { readdirSync } from 'node:fs';
import {
  FlowState,
  readBackend,
  readFlow,
  readFlow4Key,
  readFlow6Key,
  type Backend,
} from '../src/abi/abi.generated.ts';
import { address, addressFromBytes, type Address } from '../src/model/address.ts';
import { run } from './exec.ts';
import { BPFFS } from './places.ts';
import type { Named } from './topology.ts';

export interface PlacedFlow {
  readonly client: Address;
  readonly clientPort: number;
  readonly vip: Address;
  readonly port: number;
  /** Undefined: its backend's slot has been given away. */
  readonly backend: Address | undefined;
  readonly protocol: 'tcp' | 'udp';
  /** One side has closed it. */
  readonly isClosing: boolean;
}

interface Entry {
  readonly key: DataView;
  readonly value: DataView;
}

/** Established flows of both families, by a text that is the same on every node. */
export async function flowsOf(node: Named): Promise<ReadonlyMap<string, PlacedFlow>> {
  const [flows4, flows6, backends] = await Promise.all([
    dump(node, 'flows4'),
    dump(node, 'flows6'),
    dump(node, 'backends'),
  ]);
  const slots = backends.map(({ value }) => readBackend(value));
  const found = new Map<string, PlacedFlow>();
  for (const entry of flows4) {
    const { saddr, daddr, sport, dport, l4Proto } = readFlow4Key(entry.key);
    const ends = [ipv4(saddr), sport, ipv4(daddr), dport] as const;
    found.set([l4Proto, ...ends].join(' '), placed(ends, entry.value, slots));
  }
  for (const entry of flows6) {
    const { saddr, daddr, sport, dport, l4Proto } = readFlow6Key(entry.key);
    const ends = [addressFromBytes(saddr), sport, addressFromBytes(daddr), dport] as const;
    found.set([l4Proto, ...ends].join(' '), placed(ends, entry.value, slots));
  }
  return found;
}

/**
 * What two nodes do not agree on, a line each: a flow on different backends, or one that only one of
 * them knows. Flows that are closing wherever they are known are left out, as flow sync does not
 * compare them either.
 */
export function differences(
  one: ReadonlyMap<string, PlacedFlow>,
  other: ReadonlyMap<string, PlacedFlow>,
): readonly string[] {
  const keys = new Set([...one.keys(), ...other.keys()]);
  return [...keys].flatMap((key) => {
    const [here, there] = [one.get(key), other.get(key)];
    const isSame = here !== undefined && here.backend === there?.backend;
    const isEverywhereClosing = here?.isClosing !== false && there?.isClosing !== false;
    if (isSame || isEverywhereClosing) return [];
    return [`${key}: ${said(here)}, and ${said(there)}`];
  });
}

function said(flow: PlacedFlow | undefined): string {
  if (flow === undefined) return 'unknown';
  return `${flow.isClosing ? 'closing ' : ''}on ${flow.backend ?? 'nothing'}`;
}

function placed(
  [client, clientPort, vip, port]: readonly [Address, number, Address, number],
  value: DataView,
  slots: readonly Backend[],
): PlacedFlow {
  const { backend: slot, generation, state } = readFlow(value);
  const backend = slots[slot];
  const isIts = backend?.generation === generation;
  return {
    client,
    clientPort,
    vip,
    port,
    backend: isIts ? addressFromBytes(backend.address) : undefined,
    protocol: state === FlowState.FLOW_UDP ? 'udp' : 'tcp',
    isClosing: state === FlowState.FLOW_TCP_FIN,
  };
}

function ipv4(bits: number): Address {
  return address([24, 16, 8, 0].map((shift) => (bits >>> shift) & 0xff).join('.'));
}

async function dump(node: Named, map: string): Promise<readonly Entry[]> {
  const pinned = `${BPFFS}/${node.name}`;
  // Maps are pinned below a folder that is named after their layout.
  const folder = readdirSync(pinned, { withFileTypes: true }).find((each) => each.isDirectory());
  if (folder === undefined) throw new Error(`${node.name} has pinned no maps`);
  const path = `${pinned}/${folder.name}/${map}`;
  const entries = JSON.parse(await run(['bpftool', '-j', 'map', 'dump', 'pinned', path])) as {
    readonly key: readonly string[];
    readonly value: readonly string[];
  }[];
  return entries.map(({ key, value }) => ({ key: view(key), value: view(value) }));
}

function view(hexBytes: readonly string[]): DataView {
  return new DataView(Uint8Array.from(hexBytes, Number).buffer);
}
