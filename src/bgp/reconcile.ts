/** One pass that makes a daemon equal to what is wanted. Must keep no state: the daemon has it. */
import type { Clock } from '../lib/clock.ts';
import { errorMessage, SkeinError } from '../lib/errors.ts';
import type { Logger } from '../lib/logger.ts';
import type { DesiredBgp } from '../model/bgp.ts';
import type { GobgpClient } from './client.ts';
import { IPV4_UNICAST, IPV6_UNICAST, type PeerMessage } from './messages.ts';
import { planRoutes, prefixOf } from './paths.ts';
import { peerAddress, planPeers, type PeerChange } from './peers.ts';

/** Calls under way at a time. Peers one by one: gobgpd's BFD takes its orders from a short queue. */
const PATH_CALLS_MAX = 32;
const PEER_CALLS_MAX = 1;

export interface Pass {
  readonly peers: readonly PeerMessage[];
  /** Prefixes of wanted routes that the daemon holds as wanted, sorted. */
  readonly announced: readonly string[];
  /** What could not be done, one sentence each; empty when the daemon is as wanted. */
  readonly failures: readonly string[];
}

/**
 * Withdrawals go first, because clients are waiting for them; then routes; then peers, so that a
 * session that comes up finds every route. Throws when the daemon is lost on the way.
 */
export async function reconcile(
  client: GobgpClient,
  desired: DesiredBgp,
  clock: Clock,
  logger: Logger,
): Promise<Pass> {
  const [peers, ipv4, ipv6] = await Promise.all([
    client.listPeers(),
    client.listLocalPaths(IPV4_UNICAST),
    client.listLocalPaths(IPV6_UNICAST),
  ]);
  const plan = planRoutes([...ipv4, ...ipv6], desired.routes);
  const peerChanges = planPeers(peers, desired.speaker);
  const age = { seconds: Math.floor(clock.wallMs() / 1_000) };

  const withdrawn = await applyAll(plan.withdraw, PATH_CALLS_MAX, (path) =>
    client.deletePath(path),
  );
  const announced = await applyAll(plan.announce, PATH_CALLS_MAX, (path) =>
    client.addPath({ ...path, age }),
  );
  const changed = await applyAll(peerChanges, PEER_CALLS_MAX, (change) =>
    applyPeer(client, change),
  );

  if (withdrawn.done.length + announced.done.length + changed.done.length > 0) {
    logger.info(
      {
        withdrawn: withdrawn.done.map(prefixOf),
        announced: announced.done.map(prefixOf),
        peers: changed.done.map(describePeerChange),
      },
      'gobgpd: updated',
    );
  }
  return {
    peers: changed.done.length > 0 ? await client.listPeers() : peers,
    announced: [...plan.kept, ...announced.done.map(prefixOf)].sort(),
    failures: [...plan.rejected, ...withdrawn.failures, ...announced.failures, ...changed.failures],
  };
}

interface Applied<Change> {
  readonly done: readonly Change[];
  readonly failures: readonly string[];
}

/** Failures of single calls are collected, so that one bad route keeps no other from its place. */
async function applyAll<Change>(
  changes: readonly Change[],
  callsMax: number,
  apply: (change: Change) => Promise<void>,
): Promise<Applied<Change>> {
  const done: Change[] = [];
  const failures: string[] = [];
  for (let start = 0; start < changes.length; start += callsMax) {
    const batch = changes.slice(start, start + callsMax).map(async (change) => {
      try {
        await apply(change);
        done.push(change);
      } catch (error) {
        if (!(error instanceof SkeinError) || error.code !== 'gobgp_rejected') throw error;
        failures.push(errorMessage(error));
      }
    });
    // Not `all`: when the daemon is lost, no call of this batch may be left on its way.
    const lost = (await Promise.allSettled(batch)).find(({ status }) => status === 'rejected');
    if (lost?.status === 'rejected') throw lost.reason;
  }
  return { done, failures };
}

async function applyPeer(client: GobgpClient, change: PeerChange): Promise<void> {
  switch (change.kind) {
    case 'add':
      await client.addPeer(change.peer);
      return;
    case 'update':
      await client.updatePeer(change.peer);
      return;
    case 'renew':
      await client.deletePeer(peerAddress(change.peer));
      await client.addPeer(change.peer);
      return;
    case 'delete':
      await client.deletePeer(change.address);
      return;
  }
}

/** Never the peer itself: it has the password in it. */
function describePeerChange(change: PeerChange): string {
  return `${change.kind} ${change.kind === 'delete' ? change.address : peerAddress(change.peer)}`;
}
