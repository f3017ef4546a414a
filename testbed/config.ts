/**
 * The configuration for a topology: the cluster document for every supervisor and `skein backend`, and
 * a node part for every supervisor, as config/README.md describes them. `clusterDocument` and `nodeDocument` are pure.
 */
import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, renameSync, writeFileSync } from 'node:fs';
import { stringify } from 'yaml';
import { address } from '../src/model/address.ts';
import type { BirdOptions } from './bird.ts';
import { BPFFS, FILES } from './places.ts';
import {
  CONSOLE_PORT,
  ECHO_PORT,
  HTTP_PORT,
  NODE_AS,
  ROUTER_AS,
  UDP_ECHO_PORT,
  type Named,
  type NodeSite,
  type Topology,
} from './topology.ts';

export const GOBGP_PORT = 50051;
export const SYNC_PORT = 7483;
export const SYNC_GROUP = address('239.83.75.78');

/** A document or a part of one, in the vocabulary of config/README.md. */
export type Document = Readonly<Record<string, unknown>>;

export type StandardService = 'web' | 'echo' | 'udp-echo';

export interface ConfigOptions {
  /** By backend name; others have weight 1. */
  readonly weights?: Readonly<Record<string, number>>;
  /** Names of backends that get no new flows. */
  readonly draining?: readonly string[];
  /** Names of the backends that are in the document; default: all there are. */
  readonly backends?: readonly string[];
  /** On the first VIP of each family. Default: `web` and `echo`. */
  readonly standardServices?: readonly StandardService[];
  /** More services, as the document has them; they may use the group `web`. */
  readonly services?: readonly Document[];
  /** Default 500, which is also what an answer may take. */
  readonly checkIntervalMs?: number;
  /** Default 1. */
  readonly need?: number;
  /** Default 500. */
  readonly drainMs?: number;
  /** The router's side of the sessions is configured alike. */
  readonly bgp?: BirdOptions;
  /** How the nodes share their flows. Default `multicast`. */
  readonly sync?: 'multicast' | 'unicast' | 'off';
  /** Has the last word on the cluster document. */
  readonly patch?: (document: Document) => Document;
}

export interface ConfigFiles {
  readonly config: string;
  readonly node: string;
}

/** The cluster document, as a host has it. */
export function documentFile(host: Named): string {
  return `${FILES}/${host.name}/skein.yaml`;
}

export function configFiles(node: NodeSite): ConfigFiles {
  return { config: documentFile(node), node: `${FILES}/${node.name}/node.yaml` };
}

/**
 * Every node has a copy of its own, so that a scenario can change them one after the other; every
 * managed backend has one that follows along.
 */
export function writeConfig(
  shape: Topology,
  options: ConfigOptions = {},
  nodes: readonly NodeSite[] = shape.nodes,
): void {
  mkdirSync(FILES, { recursive: true });
  if (options.bgp?.password !== undefined) {
    writeWhole(passwordFile(), `${options.bgp.password}\n`, 0o600);
  }
  // A key for each configuration would cut a running node off from one that starts.
  if (!existsSync(syncKeyFile())) {
    writeWhole(syncKeyFile(), `${randomBytes(32).toString('base64')}\n`, 0o600);
  }
  const document = stringify(clusterDocument(shape, options));
  for (const host of [...nodes, ...shape.backends.filter(({ managed }) => managed)]) {
    mkdirSync(`${FILES}/${host.name}`, { recursive: true });
    writeWhole(documentFile(host), document);
  }
  for (const node of nodes) writeWhole(configFiles(node).node, stringify(nodeDocument(node)));
}

export function clusterDocument(shape: Topology, options: ConfigOptions = {}): Document {
  const wanted = options.standardServices ?? ['web', 'echo'];
  const document = {
    cluster: 'testbed',
    drain_ms: options.drainMs ?? 500,
    bgp: { as: NODE_AS, peers: [peerDocument(shape, options.bgp ?? {})] },
    ...syncDocument(shape, options.sync ?? 'multicast'),
    backends: { web: backendDocuments(shape, options) },
    services: [
      ...wanted.map((name) => serviceDocument(shape, name, options)),
      ...(options.services ?? []),
    ],
  };
  return options.patch === undefined ? document : options.patch(document);
}

export function nodeDocument(node: NodeSite): Document {
  return {
    node: node.name,
    interfaces: ['eth0'],
    ipv4: node.ipv4,
    ipv6: node.ipv6,
    gobgp: `127.0.0.1:${GOBGP_PORT}`,
    console: `${node.management}:${CONSOLE_PORT}`,
    bpffs: `${BPFFS}/${node.name}`,
    sync_address: node.ipv4,
    state_dir: `${FILES}/${node.name}/state`,
    // Several nodes share one machine, and no scenario holds more than twenty thousand connections.
    limits: { services: 256, backends: 1024, flows: 65_536, embryonic_flows: 16_384 },
  };
}

function peerDocument(shape: Topology, bgp: BirdOptions): Document {
  const bfd = 'bfd' in bgp ? bgp.bfd : { intervalMs: 50, multiplier: 3 };
  return {
    address: shape.router.ipv4,
    as: ROUTER_AS,
    hold_time_s: bgp.holdTimeS ?? 9,
    ...(bgp.password === undefined ? {} : { password_file: passwordFile() }),
    ...(bgp.ttlSecurity === undefined ? {} : { ttl_security: bgp.ttlSecurity }),
    ...(bfd === undefined
      ? {}
      : { bfd: { interval_ms: bfd.intervalMs, multiplier: bfd.multiplier } }),
  };
}

function syncDocument(shape: Topology, how: 'multicast' | 'unicast' | 'off'): Document {
  if (how === 'off') return {};
  const peers = shape.nodes.map(({ ipv4 }) => `${ipv4}:${SYNC_PORT}`);
  const ways = how === 'unicast' ? { peers } : { group: `${SYNC_GROUP}:${SYNC_PORT}` };
  return { sync: { ...ways, key_files: [syncKeyFile()] } };
}

function backendDocuments(shape: Topology, options: ConfigOptions): readonly Document[] {
  return shape.backends
    .filter((backend) => options.backends?.includes(backend.name) !== false)
    .map((backend) => ({
      name: backend.name,
      address: backend.ipv4,
      weight: options.weights?.[backend.name] ?? 1,
      drain: options.draining?.includes(backend.name) === true,
    }));
}

/** UDP has no check of its own kind: the backend's HTTP server stands in for it. */
function serviceDocument(shape: Topology, name: StandardService, options: ConfigOptions): Document {
  const [first] = shape.vips;
  const ports = { web: HTTP_PORT, echo: ECHO_PORT, 'udp-echo': UDP_ECHO_PORT };
  const http = { type: 'http', port: HTTP_PORT, path: '/healthz' };
  const intervalMs = options.checkIntervalMs ?? 500;
  return {
    name,
    vip: [first?.ipv4, first?.ipv6],
    protocol: name === 'udp-echo' ? 'udp' : 'tcp',
    port: ports[name],
    backends: 'web',
    need: options.need ?? 1,
    checks: [{ ...(name === 'echo' ? { type: 'tcp' } : http), interval_ms: intervalMs }],
  };
}

function syncKeyFile(): string {
  return `${FILES}/sync.key`;
}

function passwordFile(): string {
  return `${FILES}/router.key`;
}

/** In one step, since a supervisor may be watching the file. */
function writeWhole(path: string, text: string, mode = 0o644): void {
  writeFileSync(`${path}.new`, text, { mode });
  renameSync(`${path}.new`, path);
}
