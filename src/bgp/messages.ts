/** The shapes of proto/gobgp.proto as proto-loader gives and takes them. */

export interface FamilyMessage {
  readonly afi: 'AFI_UNSPECIFIED' | 'AFI_IP' | 'AFI_IP6';
  readonly safi: 'SAFI_UNSPECIFIED' | 'SAFI_UNICAST';
}

export const IPV4_UNICAST: FamilyMessage = { afi: 'AFI_IP', safi: 'SAFI_UNICAST' };
export const IPV6_UNICAST: FamilyMessage = { afi: 'AFI_IP6', safi: 'SAFI_UNICAST' };

export interface GlobalMessage {
  /** 0: the daemon has not been started as a speaker yet. */
  readonly asn: number;
  readonly routerId: string;
}

export interface NlriMessage {
  readonly prefix?: { readonly prefix: string; readonly prefixLen: number };
}

export interface LargeCommunityMessage {
  readonly globalAdmin: number;
  readonly localData1: number;
  readonly localData2: number;
}

/** At most one member is set; none when the attribute is of a kind that Skein does not use. */
export interface AttributeMessage {
  readonly origin?: { readonly origin: number };
  readonly nextHop?: { readonly nextHop: string };
  readonly multiExitDisc?: { readonly med: number };
  readonly communities?: { readonly communities: readonly number[] };
  readonly largeCommunities?: { readonly communities: readonly LargeCommunityMessage[] };
  readonly mpReach?: {
    readonly family: FamilyMessage | null;
    readonly nextHops: readonly string[];
    readonly nlris: readonly NlriMessage[];
  };
}

export interface TimestampMessage {
  readonly seconds: number;
}

export interface PathMessage {
  readonly nlri: NlriMessage | null;
  readonly pattrs: readonly AttributeMessage[];
  readonly family: FamilyMessage | null;
  readonly identifier: number;
  readonly age?: TimestampMessage | null;
  /** Only read: empty for a route that was injected through the API. */
  readonly neighborIp?: string;
}

/** What is set on a peer, and what is read back of it. */
export interface PeerSettingsMessage {
  readonly conf: {
    readonly neighborAddress: string;
    readonly peerAsn: number;
    readonly localAsn: number;
    readonly authPassword: string;
    readonly adminDown: boolean;
  } | null;
  readonly timers: {
    readonly config: {
      readonly connectRetry: number;
      readonly holdTime: number;
      readonly keepaliveInterval: number;
      readonly idleHoldTimeAfterReset: number;
    } | null;
  } | null;
  readonly ebgpMultihop: { readonly enabled: boolean; readonly multihopTtl: number } | null;
  readonly ttlSecurity: { readonly enabled: boolean; readonly ttlMin: number } | null;
  readonly bfd: {
    readonly enabled: boolean;
    readonly desiredMinimumTxInterval: number;
    readonly requiredMinimumReceive: number;
    readonly detectionMultiplier: number;
  } | null;
  readonly afiSafis: readonly {
    readonly config: { readonly family: FamilyMessage | null; readonly enabled: boolean } | null;
  }[];
}

/** A peer as the daemon lists it. */
export interface PeerMessage extends PeerSettingsMessage {
  readonly state: {
    readonly sessionState:
      | 'SESSION_STATE_UNSPECIFIED'
      | 'SESSION_STATE_IDLE'
      | 'SESSION_STATE_CONNECT'
      | 'SESSION_STATE_ACTIVE'
      | 'SESSION_STATE_OPENSENT'
      | 'SESSION_STATE_OPENCONFIRM'
      | 'SESSION_STATE_ESTABLISHED';
    /** Sessions lost since the peer was added. */
    readonly flops: number;
    readonly localCap: readonly {
      readonly softwareVersion: { readonly softwareVersion: string } | null;
    }[];
    readonly bfdState: {
      readonly sessionState:
        | 'BFD_SESSION_STATE_UNSPECIFIED'
        | 'BFD_SESSION_STATE_UP'
        | 'BFD_SESSION_STATE_DOWN'
        | 'BFD_SESSION_STATE_ADMIN_DOWN'
        | 'BFD_SESSION_STATE_INIT';
    } | null;
  } | null;
  readonly timers:
    | (NonNullable<PeerSettingsMessage['timers']> & {
        readonly state: { readonly uptime: TimestampMessage | null } | null;
      })
    | null;
  readonly afiSafis: readonly (PeerSettingsMessage['afiSafis'][number] & {
    readonly state: { readonly advertised: number } | null;
  })[];
}
