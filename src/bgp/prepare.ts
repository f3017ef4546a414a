/** What must be so before a daemon is driven: new enough, started, and importing nothing. */
import { SkeinError } from '../lib/errors.ts';
import type { Logger } from '../lib/logger.ts';
import { address } from '../model/address.ts';
import type { BgpSpeaker } from '../model/bgp.ts';
import type { GobgpClient } from './client.ts';
import type { PeerMessage } from './messages.ts';
import { peerAddress, peerMessage } from './peers.ts';

/** Native BFD came with 4.6; another major version is another API. */
const MAJOR = 4;
const MINOR_MIN = 6;

/** Of the discard-only block (RFC 6666), so it can be no router's. */
const PROBE_ADDRESS = address('100::5ce1');

/** A daemon as it was found or started. Its own AS and router id change only with a restart. */
export interface PreparedDaemon {
  /** Such as `4.8.0`. */
  readonly version: string;
  readonly routerId: string;
}

/** Throws a SkeinError: `gobgp_refused` when the daemon is not one that Skein can drive. */
export async function prepare(
  client: GobgpClient,
  speaker: BgpSpeaker,
  logger: Logger,
): Promise<PreparedDaemon> {
  let global = await client.getGlobal();
  if (global.asn === 0) {
    await client.startBgp(speaker.as, speaker.routerId);
    logger.info({ as: speaker.as, routerId: speaker.routerId }, 'gobgpd: BGP started');
    global = await client.getGlobal();
  }
  const version = await daemonVersion(client, speaker.as);
  const problem = versionProblem(version);
  if (problem !== undefined) throw new SkeinError('gobgp_refused', problem);
  await client.importNothing();
  if (global.routerId !== speaker.routerId || global.asn !== speaker.as) {
    logger.warn(
      { running: global, wanted: { asn: speaker.as, routerId: speaker.routerId } },
      'gobgpd was started with another AS or router id: peers are told the wanted AS, the router id stays until gobgpd is restarted',
    );
  }
  return { version, routerId: global.routerId };
}

/** Undefined when the version will do, otherwise a sentence for people. */
export function versionProblem(version: string): string | undefined {
  const [, major, minor] = /^(\d+)\.(\d+)/.exec(version) ?? [];
  if (Number(major) === MAJOR && Number(minor) >= MINOR_MIN) return undefined;
  const found = version === '' ? 'of unknown version' : version;
  return `gobgpd is ${found}: install gobgpd ${MAJOR}.${MINOR_MIN} or newer (of major version ${MAJOR})`;
}

/**
 * No call tells the version. What the daemon would offer to an internal peer does: its software
 * version capability. So such a peer is added, never enabled, read, and removed again.
 */
async function daemonVersion(client: GobgpClient, as: number): Promise<string> {
  const probe = peerMessage(
    {
      address: PROBE_ADDRESS,
      as,
      holdTimeS: 90,
      password: undefined,
      ttlSecurity: false,
      multihopTtl: undefined,
      bfd: undefined,
    },
    as,
    false,
  );
  const { conf } = probe;
  // A supervisor that died between adding and removing has left one.
  if ((await findProbe(client)) === undefined)
    await client.addPeer({ ...probe, conf: conf && { ...conf, adminDown: true } });
  try {
    const found = await findProbe(client);
    const offered = found?.state?.localCap.find(({ softwareVersion }) => softwareVersion !== null);
    return offered?.softwareVersion?.softwareVersion.replace(/^GoBGP\//, '') ?? '';
  } finally {
    await client.deletePeer(PROBE_ADDRESS);
  }
}

async function findProbe(client: GobgpClient): Promise<PeerMessage | undefined> {
  return (await client.listPeers()).find((peer) => peerAddress(peer) === PROBE_ADDRESS);
}
