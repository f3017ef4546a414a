/** What the demo shows: numbers out of snapshots and results, and the text made of them. */
import type { NodeSnapshot } from '../src/snapshot.ts';
import type { BalancerNode } from './daemons.ts';
import type { StreamResult } from './traffic/report.ts';

/** Backends and errors are counted over this last while. */
const WINDOW_MS = 5_000;
const RATE_SPAN_MS = 2_000;
const BAR_WIDTH = 24;

export interface NodeView {
  readonly name: string;
  /** Undefined while the console does not answer. */
  readonly packetsPerS: number | undefined;
  readonly announcing: boolean;
}

/** The last few seconds of the stream. */
export interface Serving {
  readonly total: number;
  readonly failed: number;
  readonly recent: number;
  readonly recentFailed: number;
  readonly backends: readonly { readonly name: string; readonly share: number }[];
  readonly medianMs: number;
}

export interface View extends Serving {
  readonly nodes: readonly NodeView[];
}

interface Sample {
  readonly atMs: number;
  readonly packets: number;
}

/** Packets a second of one node, from the differences between its snapshots. */
export class NodeWatch {
  readonly #node: BalancerNode;
  #samples: Sample[] = [];

  constructor(node: BalancerNode) {
    this.#node = node;
  }

  async look(): Promise<NodeView> {
    const { name } = this.#node.site;
    try {
      const snapshot = await this.#node.snapshot();
      const sample = { atMs: snapshot.takenAtMs, packets: packetsOf(snapshot) };
      this.#samples = withSample(this.#samples, sample);
      const announcing = snapshot.vips.length > 0 && snapshot.vips.every((vip) => vip.announce);
      return { name, packetsPerS: rateOf(this.#samples), announcing };
    } catch {
      this.#samples = [];
      return { name, packetsPerS: undefined, announcing: false };
    }
  }
}

/** Packets that a node has forwarded since its maps were made. */
export function packetsOf(snapshot: Pick<NodeSnapshot, 'services'>): number {
  const backends = snapshot.services.flatMap((service) => service.backends);
  return backends.reduce((sum, backend) => sum + backend.traffic.packets, 0);
}

/** Keeps the newest of the samples that are older than the span, so that the span is covered. */
export function withSample(samples: readonly Sample[], sample: Sample): Sample[] {
  const last = samples.at(-1);
  // The same snapshot again says nothing new; fewer packets mean that the counters began anew.
  if (last !== undefined && sample.packets < last.packets) return [sample];
  if (last !== undefined && sample.atMs <= last.atMs) return [...samples];
  const grown = [...samples, sample];
  const keepFrom = grown.findLastIndex((one) => one.atMs <= sample.atMs - RATE_SPAN_MS);
  return grown.slice(Math.max(0, keepFrom));
}

export function rateOf(samples: readonly Sample[]): number {
  const [first, last] = [samples[0], samples.at(-1)];
  if (first === undefined || last === undefined || last.atMs === first.atMs) return 0;
  return ((last.packets - first.packets) * 1000) / (last.atMs - first.atMs);
}

export function serving(results: readonly StreamResult[], nowMs: number): Serving {
  const recent = results.filter((result) => result.atMs > nowMs - WINDOW_MS);
  const served = recent.filter((result) => result.error === null);
  const names = [...new Set(served.map((result) => result.backend ?? ''))].sort();
  const latencies = served.map((result) => result.latencyMs).sort((a, b) => a - b);
  return {
    total: results.length,
    failed: results.filter((result) => result.error !== null).length,
    recent: recent.length,
    recentFailed: recent.length - served.length,
    backends: names.map((name) => ({
      name,
      share: served.filter((result) => result.backend === name).length / served.length,
    })),
    medianMs: latencies[Math.floor(latencies.length / 2)] ?? 0,
  };
}

export function table(view: View): string {
  const packets = view.nodes.map((node) => node.packetsPerS ?? 0);
  const allPackets = Math.max(
    1e-9,
    packets.reduce((sum, rate) => sum + rate, 0),
  );
  return [
    'balancer              packets/s',
    ...view.nodes.map((node) => {
      const share = (node.packetsPerS ?? 0) / allPackets;
      return `  ${node.name.padEnd(6)} ${nodeState(node).padEnd(12)} ${rate(node)}  ${bar(share)}`;
    }),
    'backend                   share',
    ...view.backends.map(({ name, share }) => {
      return `  ${name.padEnd(6)} ${''.padEnd(12)} ${percent(share)}  ${bar(share)}`;
    }),
    requestsText(view),
  ]
    .map((line) => line.trimEnd())
    .join('\n');
}

export function summaryLine(view: View): string {
  const nodes = view.nodes.map((node) => `${node.name} ${rate(node).trim()}/s`).join(', ');
  const backends = view.backends.map(({ name, share }) => `${name} ${percent(share).trim()}`);
  return `${requestsText(view)}; packets ${nodes}; ${backends.join(', ')}`;
}

function requestsText(view: View): string {
  const errors = view.failed === 1 ? '1 error' : `${view.failed} errors`;
  return `${view.total} requests, ${errors}, median ${view.medianMs.toFixed(1)} ms`;
}

function nodeState(node: NodeView): string {
  if (node.packetsPerS === undefined) return 'no answer';
  return node.announcing ? 'announcing' : 'withholding';
}

function rate(node: NodeView): string {
  return (node.packetsPerS === undefined ? '-' : node.packetsPerS.toFixed(0)).padStart(9);
}

function percent(share: number): string {
  return `${(share * 100).toFixed(0)} %`.padStart(9);
}

function bar(share: number): string {
  return '#'.repeat(Math.round(Math.min(1, share) * BAR_WIDTH));
}
