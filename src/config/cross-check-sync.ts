/** The nodes of `sync` can hear each other, and this node knows which of them it is. */
import { familyOf, type Address, type Family } from '../model/address.ts';
import type { Report } from './problems.ts';
import { eachRepeated } from './repeated.ts';
import type { ClusterRemains, NodeDocument } from './schema.ts';

type Sync = NonNullable<ClusterRemains['sync']>;

/** `sync` is undefined where there is none, and `node` when the node part does not fit its schema. */
export function crossCheckSync(
  sync: Sync | undefined,
  node: NodeDocument | undefined,
  report: Report,
): void {
  if (sync === undefined) return;
  eachRepeated(sync.key_files ?? [], (index) => {
    report('cluster', { path: ['sync', 'key_files', index], message: 'is listed twice' });
  });
  const peers = (sync.peers ?? []).map((peer) => peer?.address);
  // A node finds its own port by its address, so two nodes cannot share one.
  eachRepeated(peers, (index, first) => {
    const message = `is already the address of peers[${first}]`;
    report('cluster', { path: ['sync', 'peers', index], message });
  });
  const oneFamily = checkFamilies(peers, report);
  if (node !== undefined && oneFamily) checkNode(sync, node, report);
}

/** True when all peers are of one family. */
function checkFamilies(peers: readonly (Address | undefined)[], report: Report): boolean {
  const first = peers.findIndex((peer) => peer !== undefined);
  const family = familyOrNone(peers[first]);
  let oneFamily = true;
  for (const [index, peer] of peers.entries()) {
    if (peer === undefined || familyOf(peer) === family) continue;
    oneFamily = false;
    const message = `must be of the same family as peers[${first}], or they cannot hear each other`;
    report('cluster', { path: ['sync', 'peers', index], message });
  }
  return oneFamily;
}

function checkNode({ group, peers }: Sync, node: NodeDocument, report: Report): void {
  const known = peers?.find((peer) => peer !== undefined);
  // With both it is not known which of them is meant.
  if (group !== undefined && peers !== undefined) return;
  const family = familyOrNone((group ?? known)?.address);
  if (family === undefined) return;
  const say = (message: string) => {
    report('node', { path: ['sync_address'], message });
  };
  const own = node.sync_address ?? node[family];
  if (own === undefined) {
    say(`is required, because the nodes sync by ${family} and this node has none to take it from`);
  } else if (familyOf(own) !== family) {
    say(`must be an address of the family that the nodes sync by, ${family}`);
  } else if (peers?.every((peer) => peer !== undefined && peer.address !== own) === true) {
    const none = 'is none of sync.peers in the cluster document';
    const given = node.sync_address !== undefined;
    say(given ? none : `is required, because the ${family} of this node, ${own}, ${none}`);
  }
}

function familyOrNone(address: Address | undefined): Family | undefined {
  return address && familyOf(address);
}
