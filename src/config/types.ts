/** The resolved configuration: the cluster document and the node part with every default filled in. */
import type { Address } from '../model/address.ts';
import type { BgpPeer } from '../model/bgp.ts';
import type { FlowTimeouts } from '../model/flow.ts';
import type { OwnTunnels } from '../model/forwarding.ts';
import type { Service, Vip } from '../model/service.ts';

/** How nodes share their flows. */
export interface SyncConfig {
  /** Multicast group of the datagrams; undefined: `peers` lists every node. */
  readonly group: { readonly address: Address; readonly port: number } | undefined;
  /** Where every node listens, this one among them; empty with a multicast group. */
  readonly peers: readonly { readonly address: Address; readonly port: number }[];
  /** Paths of the key files: the first one seals, all open. One or two. */
  readonly keyFiles: readonly string[];
  /** A node that starts announces at the latest after this time, with or without a snapshot. */
  readonly joinDeadlineMs: number;
}

/** How backends report their own health. */
export interface ReportsConfig {
  /** Multicast group of the reports; undefined: backends send to each of `nodes`. */
  readonly group: { readonly address: Address; readonly port: number } | undefined;
  /** Where nodes listen; empty with a multicast group. */
  readonly nodes: readonly { readonly address: Address; readonly port: number }[];
  /** Paths of the key files: the first one signs, all are accepted. One or two. */
  readonly keyFiles: readonly string[];
  /** By how much the clocks of backends and nodes may differ. */
  readonly maxSkewMs: number;
}

/** Must be equal on every node of a cluster; `digest` tells whether it is. */
export interface ClusterConfig {
  readonly name: string;
  readonly services: readonly Service[];
  readonly vips: readonly Vip[];
  /** Undefined: nothing is announced (static routes lead to the nodes). */
  readonly bgp: { readonly as: number; readonly peers: readonly BgpPeer[] } | undefined;
  readonly flowTimeouts: FlowTimeouts;
  /** Undefined: nodes do not know of each other. */
  readonly sync: SyncConfig | undefined;
  /** Undefined: backends do not report. */
  readonly reports: ReportsConfig | undefined;
  /** How long forwarding goes on after the withdrawal when a node is stopped. */
  readonly drainMs: number;
  /** SHA-256 of the canonical document, in hex. */
  readonly digest: string;
}

export interface NodeLimits {
  readonly services: number;
  readonly backends: number;
  readonly flows: number;
  readonly embryonicFlows: number;
}

/** Differs from node to node. */
export interface NodePart {
  readonly name: string;
  readonly interfaces: readonly string[];
  /** This node's own addresses: source of health checks and BGP next hop. */
  readonly ipv4: Address | undefined;
  readonly ipv6: Address | undefined;
  readonly routerId: Address | undefined;
  readonly gobgp: string;
  readonly console: { readonly host: string; readonly port: number };
  readonly bpffs: string;
  /** Own address for the datagrams and snapshots of flow sync; undefined without `sync`. */
  readonly syncAddress: Address | undefined;
  /** Folder of what must outlive the process. */
  readonly stateDir: string;
  readonly xdpMode: 'auto' | 'native' | 'generic';
  /** Tunnels to these own addresses are opened; undefined: none are. */
  readonly decap: OwnTunnels | undefined;
  readonly limits: NodeLimits;
}

export interface NodeConfig {
  readonly cluster: ClusterConfig;
  readonly node: NodePart;
}

/** One thing wrong with a document, named so that an editor can jump to it. */
export interface ConfigProblem {
  readonly file: string;
  /** 1-based; 0 when the file as a whole is meant. */
  readonly line: number;
  readonly column: number;
  /** Such as `services[0].checks[1].timeout_ms`. */
  readonly path: string;
  readonly message: string;
}

export type ConfigResult =
  | { readonly ok: true; readonly config: NodeConfig }
  | { readonly ok: false; readonly problems: readonly ConfigProblem[] };

export type ClusterResult =
  | { readonly ok: true; readonly cluster: ClusterConfig }
  | { readonly ok: false; readonly problems: readonly ConfigProblem[] };
