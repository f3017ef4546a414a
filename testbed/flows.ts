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
import type { Named, Site } from './topology.ts';

export interface FlowEnds {
  readonly client: Address;
  readonly clientPort: number;
  readonly vip: Address;
  readonly port: number;
}

export interface PlacedFlow extends FlowEnds {
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

/** A flow by its ends, as one text. */
export function endsOf({ client, clientPort, vip, port }: FlowEnds): string {
  return `${client} ${clientPort} ${vip} ${port}`;
}

/** The established TCP connections in a backend's kernel: what it serves, whatever balancers say. */
export async function servedBy({ namespace }: Site): Promise<readonly FlowEnds[]> {
  return parseConnections(await run(['ss', '-Htn', 'state', 'established'], { namespace }));
}

/** Lines of ss(8) without a state: two queues, the own end and the other. */
export function parseConnections(listed: string): readonly FlowEnds[] {
  return listed.split('\n').flatMap((line) => {
    const [, , own, other] = line.trim().split(/\s+/);
    const [to, from] = [parseEnd(own ?? ''), parseEnd(other ?? '')];
    if (to === undefined || from === undefined) return [];
    return [{ client: from.host, clientPort: from.port, vip: to.host, port: to.port }];
  });
}

/** `192.0.2.1:80` or `[2001:db8::1]:80`. */
function parseEnd(end: string): { readonly host: Address; readonly port: number } | undefined {
  const [, host, port] = /^\[?([0-9a-f.:]+?)\]?:(\d+)$/.exec(end) ?? [];
  return host === undefined ? undefined : { host: address(host), port: Number(port) };
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
