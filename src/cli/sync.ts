/** Composes flow sync from the configuration: which network, which keys, which life of the node. */
import { mkdir } from 'node:fs/promises';
import { networkInterfaces } from 'node:os';
import { join } from 'node:path';
import type { NodeConfig, SyncConfig } from '../config/types.ts';
import type { KernelDataplane } from '../dataplane/kernel.ts';
import { systemClock } from '../lib/clock.ts';
import { SkeinError } from '../lib/errors.ts';
import type { Logger } from '../lib/logger.ts';
import { parseAddress, type Address } from '../model/address.ts';
import { nextIncarnation } from '../peers/incarnation.ts';
import { randomNonce, readKeys } from '../peers/keys.ts';
import type { PeerLink } from '../peers/link.ts';
import { MulticastLink } from '../peers/multicast.ts';
import { TcpSnapshotTransport } from '../peers/snapshot-tcp.ts';
import { FlowSync } from '../peers/sync.ts';
import { UnicastLink } from '../peers/unicast.ts';
import { version } from './version.ts';

export interface SyncParts {
  readonly config: NodeConfig;
  readonly sync: SyncConfig;
  readonly dataplane: KernelDataplane;
  readonly configDigest: () => string;
  readonly logger: Logger;
}

/** Reads keys and counts the node's lives; opens no socket before `start`. Throws a SkeinError. */
export async function createSync(parts: SyncParts): Promise<FlowSync> {
  const { config, sync, dataplane, configDigest, logger } = parts;
  const { cluster, node } = config;
  if (node.syncAddress === undefined) {
    throw new SkeinError('SYNC_ADDRESS', 'the node part has no address for flow sync');
  }
  await mkdir(node.stateDir, { recursive: true });
  const ring = await readKeys(sync.keyFiles);
  for (const warning of ring.warnings) logger.warn(warning);
  const port = portOf(sync, node.syncAddress);
  return new FlowSync({
    node: node.name,
    incarnation: await nextIncarnation(join(node.stateDir, 'incarnation'), systemClock),
    keys: ring.keys,
    cluster: cluster.name,
    softwareVersion: version,
    configDigest,
    table: dataplane.flowTable,
    link: linkOf(sync, node.syncAddress, port),
    snapshots: new TcpSnapshotTransport({ address: node.syncAddress, port }),
    inject: (packet) => {
      dataplane.injectIcmpError(packet);
    },
    clock: systemClock,
    logger,
    joinDeadlineMs: sync.joinDeadlineMs,
    random: Math.random,
    nonce: randomNonce,
  });
}

/** Datagrams and snapshots use one port number, UDP and TCP. */
function portOf(sync: SyncConfig, own: Address): number {
  const listed = sync.peers.find(({ address }) => address === own);
  const port = sync.group?.port ?? listed?.port;
  if (port === undefined) throw new SkeinError('SYNC_ADDRESS', `${own} is not among sync.peers`);
  return port;
}

function linkOf(sync: SyncConfig, own: Address, port: number): PeerLink {
  if (sync.group === undefined) {
    return new UnicastLink({ local: { address: own, port }, peers: sync.peers });
  }
  return new MulticastLink({
    group: sync.group.address,
    port,
    interface: interfaceWith(own),
  });
}

/** Throws a SkeinError when no interface that is up has the address. */
export function interfaceWith(own: Address): string {
  const found = Object.entries(networkInterfaces()).find(([, addresses]) =>
    addresses?.some(({ address }) => parseAddress(address) === own),
  );
  if (found !== undefined) return found[0];
  throw new SkeinError('SYNC_ADDRESS', `no interface that is up has the address ${own}`);
}
