/** What this node wants to say by BGP, and what its speaker reports. */
import type { Address, Prefix } from './address.ts';

export interface BfdOptions {
  /** Desired transmit and required receive interval (RFC 5880). */
  readonly intervalMs: number;
  readonly multiplier: number;
}

export interface BgpPeer {
  readonly address: Address;
  readonly as: number;
  readonly holdTimeS: number;
  /** TCP MD5 key (RFC 2385), already read from its file; undefined: none. */
  readonly password: string | undefined;
  /** Generalised TTL security (RFC 5082): accept only packets that arrive with TTL 255. */
  readonly ttlSecurity: boolean;
  /** TTL of an eBGP multihop session; undefined: directly connected. */
  readonly multihopTtl: number | undefined;
  readonly bfd: BfdOptions | undefined;
}

export interface BgpSpeaker {
  readonly as: number;
  /** Dotted quad. */
  readonly routerId: Address;
  readonly peers: readonly BgpPeer[];
}

export interface Route {
  readonly prefix: Prefix;
  /** Of the prefix's own family, or IPv6 for an IPv4 prefix (RFC 8950). */
  readonly nextHop: Address;
  readonly communities: readonly string[];
  readonly largeCommunities: readonly string[];
  readonly med: number | undefined;
}

/** The whole of what is wanted: an announcer works out the difference by itself. */
export interface DesiredBgp {
  readonly speaker: BgpSpeaker;
  readonly routes: readonly Route[];
}

export type SessionState =
  'idle' | 'connect' | 'active' | 'opensent' | 'openconfirm' | 'established' | 'unknown';
export type BfdState = 'off' | 'admin_down' | 'down' | 'init' | 'up';

export interface PeerStatus {
  readonly address: Address;
  readonly as: number;
  readonly session: SessionState;
  readonly bfd: BfdState;
  /** Seconds since the session came up; undefined unless established. */
  readonly uptimeS: number | undefined;
  readonly advertised: number;
}

export interface BgpStatus {
  /** `connected`: the daemon is driven. The others say why it is not. */
  readonly daemon: 'connecting' | 'connected' | 'unreachable' | 'refused';
  /** One sentence for people: the last error, or the version in use. */
  readonly detail: string;
  /** Daemon version, such as `4.8.0`, once known. */
  readonly version: string | undefined;
  readonly peers: readonly PeerStatus[];
  /** Prefixes that the daemon has confirmed. */
  readonly announced: readonly string[];
  /** Times that the daemon was lost and everything was put back. */
  readonly resyncs: number;
}
