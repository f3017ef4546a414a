/**
 * Who is there: the peers by name, which life each is in, whether it is alive, and what is missing of
 * it. Pure. Must never be told of a datagram that was not authenticated.
 */
import { Gaps } from './gaps.ts';
import { PEER_FORGET_MS, PEER_LOST_MS, PEERS_MAX } from './limits.ts';
import type { Envelope, Hello } from './message.ts';

/** `left` said goodbye; `lost` fell silent. */
export type PeerState = 'alive' | 'lost' | 'left';

export interface Peer {
  readonly name: string;
  incarnation: number;
  state: PeerState;
  /** When it came into this state, or began this life. */
  sinceMs: number;
  lastHeardMs: number;
  /**
   * It has said something that only one could say who hears this life of ours. Until then what comes
   * in its name may be a recording.
   */
  isProven: boolean;
  gaps: Gaps;
  /** The latest, and when it came. */
  hello: Hello | undefined;
  helloAtMs: number;
  /** Its sequence: what it says after that, it says alive. */
  goodbyeAt: number;
  /** How many of our datagrams it had not got when it last said. */
  lagDatagrams: number;
  datagrams: number;
  flows: number;
  malformed: number;
}

/** `new`: not known so far. `restarted`: in a later life. `back`: heard again after silence. */
export type PeerNews = 'new' | 'restarted' | 'back';

export interface Heard {
  readonly peer: Peer;
  readonly news: PeerNews | undefined;
}

export class Peers {
  readonly #peers = new Map<string, Peer>();
  /** The same, for those who go through all of them every tick. */
  #all: readonly Peer[] = [];

  all(): readonly Peer[] {
    return this.#all;
  }

  get count(): number {
    return this.#peers.size;
  }

  alive(): readonly Peer[] {
    return this.#all.filter(({ state }) => state === 'alive');
  }

  find(name: string): Peer | undefined {
    return this.#peers.get(name);
  }

  /** A datagram of this peer. Undefined: there are too many peers, or it is of an earlier life. */
  heard(envelope: Envelope, nowMs: number, spreadMs: number): Heard | undefined {
    const known = this.#peers.get(envelope.node);
    if (known === undefined) {
      if (this.#peers.size >= PEERS_MAX) return undefined;
      const peer = newPeer(envelope, nowMs);
      this.#peers.set(envelope.node, peer);
      this.#all = [...this.#peers.values()];
      note(peer, envelope, nowMs, spreadMs);
      return { peer, news: 'new' };
    }
    if (envelope.incarnation < known.incarnation) return undefined;
    if (envelope.incarnation > known.incarnation) {
      Object.assign(known, newPeer(envelope, nowMs));
      note(known, envelope, nowMs, spreadMs);
      return { peer: known, news: 'restarted' };
    }
    note(known, envelope, nowMs, spreadMs);
    const hasLeft = known.state === 'left' && envelope.sequence <= known.goodbyeAt;
    if (known.state === 'alive' || hasLeft) return { peer: known, news: undefined };
    enter(known, 'alive', nowMs);
    return { peer: known, news: 'back' };
  }

  /** It is live: from this datagram on it is believed, and missed. */
  prove(peer: Peer, sequence: number): void {
    peer.isProven = true;
    peer.gaps = new Gaps(sequence);
  }

  /** Returns whether that is news. */
  goodbye(peer: Peer, sequence: number, nowMs: number): boolean {
    const isNews = peer.state !== 'left';
    peer.goodbyeAt = Math.max(peer.goodbyeAt, sequence);
    enter(peer, 'left', nowMs);
    return isNews;
  }

  /** Finds peers that fell silent; returns those. */
  sweep(nowMs: number): Peer[] {
    const silent = this.alive().filter(({ lastHeardMs }) => nowMs - lastHeardMs > PEER_LOST_MS);
    for (const peer of silent) enter(peer, 'lost', nowMs);
    return silent;
  }

  /** Takes out those that have been gone for long; returns their names. */
  forget(nowMs: number): string[] {
    const gone = this.#all.filter(
      ({ state, sinceMs }) => state !== 'alive' && nowMs - sinceMs > PEER_FORGET_MS,
    );
    for (const { name } of gone) this.#peers.delete(name);
    this.#all = [...this.#peers.values()];
    return gone.map(({ name }) => name);
  }
}

/** What it said before is not missed: it could not be asked for. */
function newPeer(envelope: Envelope, nowMs: number): Peer {
  return {
    name: envelope.node,
    incarnation: envelope.incarnation,
    state: 'alive',
    sinceMs: nowMs,
    lastHeardMs: nowMs,
    isProven: false,
    gaps: new Gaps(envelope.sequence - 1),
    hello: undefined,
    helloAtMs: 0,
    goodbyeAt: 0,
    lagDatagrams: 0,
    datagrams: 0,
    flows: 0,
    malformed: 0,
  };
}

function note(peer: Peer, { sequence }: Envelope, nowMs: number, spreadMs: number): void {
  peer.lastHeardMs = nowMs;
  peer.datagrams += 1;
  peer.gaps.note(sequence, nowMs, spreadMs);
}

function enter(peer: Peer, state: PeerState, nowMs: number): void {
  if (peer.state === state) return;
  peer.state = state;
  peer.sinceMs = nowMs;
}
