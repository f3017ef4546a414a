import { describe, expect, test } from 'vitest';
import { address } from '../model/address.ts';
import type { BgpPeer, BgpSpeaker } from '../model/bgp.ts';
import type { PeerMessage } from './messages.ts';
import { peerMessage, peerStatus, planPeers } from './peers.ts';

const AS = 65_001;

const PEER: BgpPeer = {
  address: address('10.0.0.2'),
  as: 65_100,
  holdTimeS: 9,
  password: undefined,
  ttlSecurity: false,
  multihopTtl: undefined,
  bfd: undefined,
};
const BFD_PEER: BgpPeer = { ...PEER, bfd: { intervalMs: 300, multiplier: 3 } };

type State = NonNullable<PeerMessage['state']>;

interface Held {
  readonly session?: State['sessionState'];
  readonly bfd?: NonNullable<State['bfdState']>['sessionState'];
  readonly flops?: number;
  readonly upSinceS?: number;
}

/** The peer as a daemon lists it that took our settings. */
function held(peer: BgpPeer, state: Held = {}): PeerMessage {
  const session = state.session ?? 'SESSION_STATE_ACTIVE';
  const settings = peerMessage(peer, AS, session === 'SESSION_STATE_ESTABLISHED');
  return {
    ...settings,
    state: {
      sessionState: session,
      flops: state.flops ?? 0,
      localCap: [],
      bfdState: { sessionState: state.bfd ?? 'BFD_SESSION_STATE_UNSPECIFIED' },
    },
    timers: {
      config: settings.timers?.config ?? null,
      state: { uptime: state.upSinceS === undefined ? null : { seconds: state.upSinceS } },
    },
    afiSafis: settings.afiSafis.map((family) => ({ ...family, state: { advertised: 2 } })),
  };
}

function speaker(...peers: readonly BgpPeer[]): BgpSpeaker {
  return { as: AS, routerId: address('10.0.0.1'), peers };
}

function kinds(held: readonly PeerMessage[], wanted: BgpSpeaker): readonly string[] {
  return planPeers(held, wanted).map(({ kind }) => kind);
}

describe('a neighbour', () => {
  test('has all the settings of the peer', () => {
    const peer = {
      ...BFD_PEER,
      password: 'secret',
      multihopTtl: 4,
    };
    expect(peerMessage(peer, AS, true)).toEqual({
      conf: {
        neighborAddress: '10.0.0.2',
        peerAsn: 65_100,
        localAsn: AS,
        authPassword: 'secret',
        adminDown: false,
      },
      timers: {
        config: { connectRetry: 2, holdTime: 9, keepaliveInterval: 3, idleHoldTimeAfterReset: 1 },
      },
      ebgpMultihop: { enabled: true, multihopTtl: 4 },
      ttlSecurity: { enabled: false, ttlMin: 0 },
      bfd: {
        enabled: true,
        desiredMinimumTxInterval: 300_000,
        requiredMinimumReceive: 300_000,
        detectionMultiplier: 3,
      },
      afiSafis: [
        { config: { family: { afi: 'AFI_IP', safi: 'SAFI_UNICAST' }, enabled: true } },
        { config: { family: { afi: 'AFI_IP6', safi: 'SAFI_UNICAST' }, enabled: true } },
      ],
    });
  });

  test.each([
    [3, 1],
    [10, 3],
    [90, 30],
    [1, 1],
  ])('with a hold time of %d s keeps alive every %d s', (holdTimeS, keepaliveInterval) => {
    const { timers } = peerMessage({ ...PEER, holdTimeS }, AS, false);
    expect(timers?.config).toMatchObject({ holdTime: holdTimeS, keepaliveInterval });
  });

  test('accepts only TTL 255 under TTL security', () => {
    expect(peerMessage({ ...PEER, ttlSecurity: true }, AS, false).ttlSecurity).toEqual({
      enabled: true,
      ttlMin: 255,
    });
  });
});

describe('the plan for peers', () => {
  test('adds, deletes, and leaves alone', () => {
    const other = { ...PEER, address: address('2001:db8::2') };
    const plan = planPeers(
      [held(PEER), held(other)],
      speaker(PEER, { ...PEER, address: address('10.0.0.3') }),
    );
    expect(plan).toMatchObject([
      { kind: 'delete', address: '2001:db8::2' },
      { kind: 'add', peer: { conf: { neighborAddress: '10.0.0.3' } } },
    ]);
  });

  test('leaves alone a peer without a plain address, which gobgpd could not delete', () => {
    const listed = held(PEER);
    const conf = listed.conf && { ...listed.conf, neighborAddress: 'invalid IP' };
    expect(planPeers([{ ...listed, conf }], speaker())).toEqual([]);
  });

  test('knows a peer whose address is written in another way', () => {
    const peer = { ...PEER, address: address('2001:db8::2') };
    const listed = held(peer);
    const conf = listed.conf && { ...listed.conf, neighborAddress: '2001:DB8:0::2' };
    expect(planPeers([{ ...listed, conf }], speaker(peer))).toEqual([]);
  });

  test.each<[string, Partial<BgpPeer>]>([
    ['AS', { as: 65_101 }],
    ['hold time', { holdTimeS: 30 }],
    ['password', { password: 'secret' }],
    ['TTL security', { ttlSecurity: true }],
    ['multihop', { multihopTtl: 2 }],
  ])('updates a peer with another %s', (_, change) => {
    expect(kinds([held(PEER)], speaker({ ...PEER, ...change }))).toEqual(['update']);
    expect(kinds([held({ ...PEER, ...change })], speaker(PEER))).toEqual(['update']);
  });

  test('updates every peer when the local AS changes', () => {
    expect(kinds([held(PEER)], { ...speaker(PEER), as: 65_002 })).toEqual(['update']);
  });

  test('sees no difference in the parameters of what is switched off', () => {
    const listed = {
      ...held(PEER),
      bfd: {
        enabled: false,
        desiredMinimumTxInterval: 1_000_000,
        requiredMinimumReceive: 1_000_000,
        detectionMultiplier: 3,
      },
      ebgpMultihop: { enabled: false, multihopTtl: 1 },
    };
    expect(planPeers([listed], speaker(PEER))).toEqual([]);
  });

  test('switches BFD on with the session', () => {
    const waiting = held(BFD_PEER);
    expect(planPeers([waiting], speaker(BFD_PEER))).toEqual([]);
    const up = {
      ...waiting,
      state: held(BFD_PEER, { session: 'SESSION_STATE_ESTABLISHED' }).state,
    };
    expect(planPeers([up], speaker(BFD_PEER))).toMatchObject([
      { kind: 'update', peer: { bfd: { enabled: true } } },
    ]);
  });

  test.each([
    [1, 'SESSION_STATE_IDLE', ['renew']],
    [1, 'SESSION_STATE_ESTABLISHED', []],
    [0, 'SESSION_STATE_IDLE', []],
  ] as const)('after %d lost sessions in %s does %j to a peer with BFD', (flops, session, plan) => {
    expect(kinds([held(BFD_PEER, { flops, session })], speaker(BFD_PEER))).toEqual(plan);
    expect(kinds([held(PEER, { flops, session })], speaker(PEER))).toEqual([]);
  });

  test('makes a peer anew without BFD', () => {
    const lost = held(BFD_PEER, { flops: 1, session: 'SESSION_STATE_IDLE' });
    expect(planPeers([lost], speaker(BFD_PEER))).toMatchObject([
      { kind: 'renew', peer: { bfd: { enabled: false } } },
    ]);
  });
});

describe('the status of a peer', () => {
  test('of an established one has its age and its routes', () => {
    const listed = held(BFD_PEER, {
      session: 'SESSION_STATE_ESTABLISHED',
      bfd: 'BFD_SESSION_STATE_UP',
      upSinceS: 1_000,
    });
    expect(peerStatus(BFD_PEER, listed, 1_007_900)).toEqual({
      address: '10.0.0.2',
      as: 65_100,
      session: 'established',
      bfd: 'up',
      uptimeS: 7,
      advertised: 4,
    });
  });

  test('has no negative age when the clocks differ', () => {
    const listed = held(PEER, { session: 'SESSION_STATE_ESTABLISHED', upSinceS: 1_000 });
    expect(peerStatus(PEER, listed, 999_000).uptimeS).toBe(0);
  });

  test('of one that the daemon does not know is unknown', () => {
    expect(peerStatus(BFD_PEER, undefined, 0)).toMatchObject({
      session: 'unknown',
      bfd: 'down',
      uptimeS: undefined,
      advertised: 0,
    });
  });

  test('has BFD off when none is wanted', () => {
    expect(peerStatus(PEER, held(PEER, { bfd: 'BFD_SESSION_STATE_DOWN' }), 0).bfd).toBe('off');
  });
});
