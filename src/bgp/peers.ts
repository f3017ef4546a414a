/** Peers as GoBGP neighbours, the difference between held and wanted ones, and their status. Pure. */
import { parseAddress } from '../model/address.ts';
import type {
  BfdOptions,
  BfdState,
  BgpPeer,
  BgpSpeaker,
  PeerStatus,
  SessionState,
} from '../model/bgp.ts';
import {
  IPV4_UNICAST,
  IPV6_UNICAST,
  type PeerMessage,
  type PeerSettingsMessage,
} from './messages.ts';

/** The shortest that gobgpd keeps to: a router that returns is called again within about 2 s. */
const CONNECT_RETRY_S = 2;

/** After a reset, which is what the loss of BFD does; the default of 30 s would be an outage. */
const IDLE_AFTER_RESET_S = 1;

const TTL_SECURITY_MIN = 255;
const MICROSECONDS_PER_MS = 1_000;

export type PeerChange =
  /** `renew`: delete and add. */
  | { readonly kind: 'add' | 'update' | 'renew'; readonly peer: PeerSettingsMessage }
  | { readonly kind: 'delete'; readonly address: string };

/**
 * BFD follows the session: on while it is established, off otherwise, and a peer that lost one is
 * made anew. For before GoBGP 4.9, BFD that goes down when its session is gone already leaves a
 * reset behind, which kills the next session at birth, and with a router whose BFD follows BGP the
 * one after that, for ever (issue 3561). A new peer also calls at once instead of after 5 s.
 */
export function planPeers(held: readonly PeerMessage[], wanted: BgpSpeaker): readonly PeerChange[] {
  const heldByAddress = new Map(held.map((peer) => [peerAddress(peer), peer]));
  const wantedAddresses = new Set<string>(wanted.peers.map((peer) => peer.address));
  const changes: PeerChange[] = [];
  for (const address of heldByAddress.keys()) {
    // One without a plain address is not ours, and gobgpd panics when told to delete such a one.
    if (wantedAddresses.has(address) || parseAddress(address) === undefined) continue;
    changes.push({ kind: 'delete', address });
  }
  for (const wantedPeer of wanted.peers) {
    const heldPeer = heldByAddress.get(wantedPeer.address);
    const established = sessionState(heldPeer) === 'established';
    const lost = !established && (heldPeer?.state?.flops ?? 0) > 0;
    const peer = peerMessage(wantedPeer, wanted.as, established);
    if (heldPeer === undefined) changes.push({ kind: 'add', peer });
    else if (lost && wantedPeer.bfd !== undefined) changes.push({ kind: 'renew', peer });
    else if (settingsKey(heldPeer) !== settingsKey(peer)) changes.push({ kind: 'update', peer });
  }
  return changes;
}

/**
 * The local AS is said for every peer, so that it is right even under a daemon that was started
 * with another one: gobgpd cannot change its own without a restart.
 */
export function peerMessage(
  peer: BgpPeer,
  localAs: number,
  established: boolean,
): PeerSettingsMessage {
  return {
    conf: {
      neighborAddress: peer.address,
      peerAsn: peer.as,
      localAsn: localAs,
      authPassword: peer.password ?? '',
      adminDown: false,
    },
    timers: {
      config: {
        connectRetry: CONNECT_RETRY_S,
        holdTime: peer.holdTimeS,
        keepaliveInterval: Math.max(1, Math.floor(peer.holdTimeS / 3)),
        idleHoldTimeAfterReset: IDLE_AFTER_RESET_S,
      },
    },
    ebgpMultihop: {
      enabled: peer.multihopTtl !== undefined,
      multihopTtl: peer.multihopTtl ?? 0,
    },
    ttlSecurity: {
      enabled: peer.ttlSecurity,
      ttlMin: peer.ttlSecurity ? TTL_SECURITY_MIN : 0,
    },
    bfd: bfdMessage(established ? peer.bfd : undefined),
    afiSafis: [IPV4_UNICAST, IPV6_UNICAST].map((family) => ({ config: { family, enabled: true } })),
  };
}

/** `held` is undefined while the daemon is away or has not been told of the peer. */
export function peerStatus(
  peer: BgpPeer,
  held: PeerMessage | undefined,
  wallMs: number,
): PeerStatus {
  const session = sessionState(held);
  const upSinceS = held?.timers?.state?.uptime?.seconds;
  const established = session === 'established' && upSinceS !== undefined;
  return {
    address: peer.address,
    as: peer.as,
    session,
    bfd: peer.bfd === undefined ? 'off' : bfdState(held),
    uptimeS: established ? Math.max(0, Math.floor(wallMs / 1_000 - upSinceS)) : undefined,
    advertised: (held?.afiSafis ?? []).reduce(
      (sum, { state }) => sum + (state?.advertised ?? 0),
      0,
    ),
  };
}

/** Canonical, as `BgpPeer.address` is; empty for a neighbour without an address (unnumbered). */
export function peerAddress(peer: PeerSettingsMessage): string {
  const text = peer.conf?.neighborAddress ?? '';
  return parseAddress(text) ?? text;
}

function bfdMessage(bfd: BfdOptions | undefined): PeerSettingsMessage['bfd'] {
  const intervalUs = (bfd?.intervalMs ?? 0) * MICROSECONDS_PER_MS;
  return {
    enabled: bfd !== undefined,
    desiredMinimumTxInterval: intervalUs,
    requiredMinimumReceive: intervalUs,
    detectionMultiplier: bfd?.multiplier ?? 0,
  };
}

/** Everything that we set. What is switched off is equal however it is parametrised. */
function settingsKey(peer: PeerSettingsMessage): string {
  const { conf, timers, ebgpMultihop, ttlSecurity, bfd, afiSafis } = peer;
  const timer = timers?.config;
  return JSON.stringify([
    [conf?.peerAsn, conf?.localAsn, conf?.authPassword, conf?.adminDown],
    [timer?.connectRetry, timer?.holdTime, timer?.keepaliveInterval, timer?.idleHoldTimeAfterReset],
    ebgpMultihop?.enabled === true && ebgpMultihop.multihopTtl,
    ttlSecurity?.enabled === true && ttlSecurity.ttlMin,
    bfd?.enabled === true && [
      bfd.desiredMinimumTxInterval,
      bfd.requiredMinimumReceive,
      bfd.detectionMultiplier,
    ],
    afiSafis
      .filter(({ config }) => config?.enabled === true)
      .map(({ config }) => `${config?.family?.afi} ${config?.family?.safi}`)
      .sort(),
  ]);
}

function sessionState(held: PeerMessage | undefined): SessionState {
  switch (held?.state?.sessionState) {
    case 'SESSION_STATE_IDLE':
      return 'idle';
    case 'SESSION_STATE_CONNECT':
      return 'connect';
    case 'SESSION_STATE_ACTIVE':
      return 'active';
    case 'SESSION_STATE_OPENSENT':
      return 'opensent';
    case 'SESSION_STATE_OPENCONFIRM':
      return 'openconfirm';
    case 'SESSION_STATE_ESTABLISHED':
      return 'established';
    case 'SESSION_STATE_UNSPECIFIED':
    case undefined:
      return 'unknown';
  }
}

function bfdState(held: PeerMessage | undefined): BfdState {
  switch (held?.state?.bfdState?.sessionState) {
    case 'BFD_SESSION_STATE_UP':
      return 'up';
    case 'BFD_SESSION_STATE_INIT':
      return 'init';
    case 'BFD_SESSION_STATE_ADMIN_DOWN':
      return 'admin_down';
    case 'BFD_SESSION_STATE_DOWN':
    case 'BFD_SESSION_STATE_UNSPECIFIED':
    case undefined:
      return 'down';
  }
}
