import { describe, expect, test } from 'vitest';
import { PEER_FORGET_MS, PEER_LOST_MS, PEERS_MAX } from './limits.ts';
import { Peers } from './session.ts';

function said(sequence: number, incarnation = 1, node = 'lb2') {
  return { node, incarnation, sequence };
}

describe('a peer', () => {
  test('is new, and what it said before it was heard is not missed', () => {
    const peers = new Peers();
    const heard = peers.heard(said(500), 0, 0);
    expect(heard).toMatchObject({ news: 'new' });
    expect(heard?.peer.gaps.missing).toBe(0);
  });

  test('is believed, and missed, from the datagram on that proves it', () => {
    const peers = new Peers();
    const { peer } = peers.heard(said(500), 0, 0)!;
    peers.heard(said(503), 1, 0);
    expect(peer.isProven).toBe(false);
    peers.prove(peer, 503);
    expect(peer).toMatchObject({ isProven: true });
    expect(peer.gaps.missing).toBe(0);
    peers.heard(said(505), 2, 0);
    expect(peer.gaps.missing).toBe(1);
  });

  test('that starts again is a new one, and must prove itself again', () => {
    const peers = new Peers();
    peers.prove(peers.heard(said(500), 0, 0)!.peer, 500);
    const heard = peers.heard(said(3, 2), 10, 0);
    expect(heard).toMatchObject({ news: 'restarted' });
    expect(heard?.peer).toMatchObject({ isProven: false, incarnation: 2, sinceMs: 10 });
    expect(peers.all()).toHaveLength(1);
  });

  test('does not come back to an earlier life', () => {
    const peers = new Peers();
    peers.heard(said(3, 2), 0, 0);
    expect(peers.heard(said(501, 1), 0, 0)).toBeUndefined();
    expect(peers.find('lb2')).toMatchObject({ incarnation: 2, lastHeardMs: 0 });
  });

  test('is lost when it falls silent, and back when it is heard again', () => {
    const peers = new Peers();
    peers.heard(said(1), 0, 0);
    expect(peers.sweep(PEER_LOST_MS)).toEqual([]);
    expect(peers.sweep(PEER_LOST_MS + 1).map(({ name }) => name)).toEqual(['lb2']);
    expect(peers.sweep(PEER_LOST_MS + 2)).toEqual([]);
    expect(peers.find('lb2')).toMatchObject({ state: 'lost', sinceMs: PEER_LOST_MS + 1 });
    expect(peers.heard(said(2), 9_000, 0)?.news).toBe('back');
    expect(peers.find('lb2')).toMatchObject({ state: 'alive', sinceMs: 9_000 });
  });

  test('that said goodbye has left, and what comes late does not bring it back', () => {
    const peers = new Peers();
    const { peer } = peers.heard(said(10), 0, 0)!;
    expect(peers.goodbye(peer, 10, 0)).toBe(true);
    expect(peers.goodbye(peer, 11, 0)).toBe(false);
    expect(peers.heard(said(9), 1, 0)?.news).toBeUndefined();
    expect(peer.state).toBe('left');
    expect(peers.heard(said(12), 2, 0)?.news).toBe('back');
    expect(peer.state).toBe('alive');
  });

  test('that has been gone for long is forgotten', () => {
    const peers = new Peers();
    peers.heard(said(1, 1, 'lb2'), 0, 0);
    peers.heard(said(1, 1, 'lb3'), 0, 0);
    peers.sweep(PEER_LOST_MS + 1);
    peers.heard(said(2, 1, 'lb3'), PEER_LOST_MS + 2, 0);
    expect(peers.forget(PEER_FORGET_MS)).toEqual([]);
    expect(peers.forget(PEER_FORGET_MS + 2 * PEER_LOST_MS)).toEqual(['lb2']);
    expect(peers.all().map(({ name }) => name)).toEqual(['lb3']);
  });

  test('beyond the limit is not taken in', () => {
    const peers = new Peers();
    for (let node = 0; node < PEERS_MAX; node += 1) peers.heard(said(1, 1, `lb${node}`), 0, 0);
    expect(peers.heard(said(1, 1, 'another'), 0, 0)).toBeUndefined();
    expect(peers.count).toBe(PEERS_MAX);
  });
});
