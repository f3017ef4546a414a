/**
 * The merge rule: what a flow table makes of a row that a peer sends. Pure, and the only place in
 * TypeScript that decides it; the data plane has the same rule in C, and both must pass the table
 * in peers/merge-cases.ts. All ages are of one moment, so the older opening has the greater age.
 *
 * 1. A close removes the life that it speaks of, earlier ones, and any that was opened before it:
 *    its time is when the closed flow was last seen. But not a flow that was seen after it: a node
 *    that only forgot an idle flow must not end it where it is alive. A guess has no opening.
 * 2. A record that is no guess replaces a guess; a guess never replaces one.
 * 3. Different backends: the flow opened later wins. Opened within SAME_LIFE_MS of each other the
 *    lower address wins, so that every node decides alike.
 * 4. Same backend: the later `seen` is kept, and the earlier opening of the same life.
 */
import { addressBytes, type Address } from './address.ts';
import { FlowChange, SharedFlowState } from './flow-batch.ts';

/** Openings of one flow, told by two nodes, differ by the time their messages took. */
export const SAME_LIFE_MS = 100;

/** Last packets of a flow that is closed can be seen by another node a little after the close. */
export const CLOSE_SEEN_SLACK_MS = 1_000;

export interface KnownFlow {
  readonly backend: Address;
  readonly guess: boolean;
  /** One of SharedFlowState. */
  readonly state: number;
  readonly openedAgoMs: number;
  readonly seenAgoMs: number;
}

export interface SaidFlow extends KnownFlow {
  /** One of FlowChange. */
  readonly change: number;
}

export type Merged =
  | { readonly outcome: 'added' | 'replaced' | 'refreshed'; readonly flow: KnownFlow }
  | { readonly outcome: 'removed' }
  | { readonly outcome: 'ignored' };

const IGNORED: Merged = { outcome: 'ignored' };

export function mergeFlow(known: KnownFlow | undefined, said: SaidFlow): Merged {
  if (said.change === FlowChange.close) {
    return known !== undefined && closeApplies(known, said) ? { outcome: 'removed' } : IGNORED;
  }
  if (known === undefined) return { outcome: 'added', flow: recordOf(said) };
  if (known.guess !== said.guess) return mergeWithGuess(known, said);
  if (known.backend === said.backend) return mergeSame(known, said);
  return wins(said, known) ? { outcome: 'replaced', flow: recordOf(said) } : IGNORED;
}

export type FlowAges = Pick<KnownFlow, 'openedAgoMs' | 'seenAgoMs'>;

/** Whether a close with these ages ends the flow; seen longer than the slack after it, it is alive. */
export function closeApplies(
  flow: FlowAges & { readonly guess: boolean },
  close: FlowAges,
  seenSlackMs = CLOSE_SEEN_SLACK_MS,
): boolean {
  const isOtherLife = flow.openedAgoMs + SAME_LIFE_MS < close.openedAgoMs;
  const isYounger = !flow.guess && isOtherLife && flow.openedAgoMs < close.seenAgoMs;
  return !isYounger && flow.seenAgoMs + seenSlackMs >= close.seenAgoMs;
}

/** One of the two is a guess. What the guess saw of the flow still counts. */
function mergeWithGuess(known: KnownFlow, said: SaidFlow): Merged {
  const seenAgoMs = Math.min(known.seenAgoMs, said.seenAgoMs);
  if (known.guess) return { outcome: 'replaced', flow: { ...recordOf(said), seenAgoMs } };
  if (known.backend !== said.backend || seenAgoMs === known.seenAgoMs) return IGNORED;
  return { outcome: 'refreshed', flow: { ...known, seenAgoMs } };
}

function mergeSame(known: KnownFlow, said: SaidFlow): Merged {
  const seenAgoMs = Math.min(known.seenAgoMs, said.seenAgoMs);
  if (said.openedAgoMs + SAME_LIFE_MS < known.openedAgoMs) {
    return { outcome: 'refreshed', flow: { ...recordOf(said), seenAgoMs } };
  }
  const sameLife = said.openedAgoMs <= known.openedAgoMs + SAME_LIFE_MS;
  const openedAgoMs = sameLife ? Math.max(known.openedAgoMs, said.openedAgoMs) : known.openedAgoMs;
  const state = sameLife ? stateOf(known, said) : known.state;
  if (seenAgoMs === known.seenAgoMs && openedAgoMs === known.openedAgoMs && state === known.state) {
    return IGNORED;
  }
  return { outcome: 'refreshed', flow: { ...known, state, openedAgoMs, seenAgoMs } };
}

/** A flow that is closing stays so; else who saw it last knows best. */
function stateOf(known: KnownFlow, said: KnownFlow): number {
  if (known.state === SharedFlowState.tcpFin || said.state === SharedFlowState.tcpFin) {
    return SharedFlowState.tcpFin;
  }
  return said.seenAgoMs < known.seenAgoMs ? said.state : known.state;
}

function wins(said: KnownFlow, known: KnownFlow): boolean {
  const laterByMs = known.openedAgoMs - said.openedAgoMs;
  if (Math.abs(laterByMs) > SAME_LIFE_MS) return laterByMs > 0;
  return isLower(said.backend, known.backend);
}

/** By the 16 bytes of `addressBytes`, the first byte first. */
function isLower(one: Address, other: Address): boolean {
  return Buffer.compare(addressBytes(one), addressBytes(other)) < 0;
}

function recordOf(said: SaidFlow): KnownFlow {
  const { backend, guess, state, openedAgoMs, seenAgoMs } = said;
  return { backend, guess, state, openedAgoMs, seenAgoMs };
}
