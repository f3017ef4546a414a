/**
 * Is a flow of this node known at a peer? Pure. Digests are sums over buckets of flows, so this is a
 * statement about the bucket: equal sums mean that every flow that was in it is known there, with
 * the same backend, up to a 64-bit hash; unequal ones that at least one flow is not.
 *
 * Nodes in agreement do not repeat each other's digests, so a peer is heard only now and then. What
 * a comparison said stands until the next one: who differs from what it hears says so.
 */
import type { FlowKnowledge, Survival } from '../model/flow-query.ts';
import { COMPARED_AGO_MS_MAX, SETTLED_MS } from './limits.ts';

/** The last comparison of digests with one peer, by bucket. A view: it changes with every round. */
export interface Comparisons {
  /** When the own digest was taken; -Infinity: never compared. */
  readonly atMs: ArrayLike<number>;
  /** 1: the sums were equal. */
  readonly isEqual: ArrayLike<number>;
}

export interface PeerComparisons extends Comparisons {
  readonly peer: string;
  /** Since when it is heard without a pause, in this life: what was before says nothing of it. */
  readonly aliveSinceMs: number;
}

/** What is known of the peers that are alive. */
export interface Knowledge {
  /** Now, on the clock of all these times. */
  readonly nowMs: number;
  readonly peers: readonly PeerComparisons[];
}

export interface QuestionedFlow {
  readonly bucket: number;
  readonly openedAtMs: number;
  /** Digests leave flows out that are about to end. */
  readonly isClosing: boolean;
}

export function knownAt(flow: QuestionedFlow, peer: PeerComparisons, nowMs: number): FlowKnowledge {
  const comparedMs = peer.atMs[flow.bucket] ?? -Infinity;
  const isUsable = comparedMs >= peer.aliveSinceMs && nowMs - comparedMs <= COMPARED_AGO_MS_MAX;
  // A flow that was too young at that time was in nobody's sum.
  if (!isUsable || flow.isClosing || comparedMs - flow.openedAtMs < SETTLED_MS) return 'unsettled';
  return peer.isEqual[flow.bucket] === 1 ? 'known' : 'differs';
}

/** Any of the peers may be the one that gets the flow's packets, so all have to know it. */
export function survives(flow: QuestionedFlow, { peers, nowMs }: Knowledge): Survival {
  let survival: Survival = peers.length > 0;
  for (const peer of peers) {
    const known = knownAt(flow, peer, nowMs);
    if (known === 'differs') return false;
    if (known === 'unsettled') survival = null;
  }
  return survival;
}
