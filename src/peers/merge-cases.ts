/**
 * What must come out alike in TypeScript and in C, as tables: the merge rule (model/merge.ts) and
 * the hash of a flow (model/flow-hash.ts). A merge case is what a table knows of a flow, what a peer
 * says, and what comes of it. Ages are of one moment; they keep a distance from every threshold, so
 * that a real clock may run in between.
 */
import { address, type Address } from '../model/address.ts';
import { FlowChange, SharedFlowState, type Destination } from '../model/flow-batch.ts';
import type { KnownFlow, SaidFlow } from '../model/merge.ts';

/** Counted in which field of MergeTally. */
export type CaseOutcome = 'added' | 'replaced' | 'refreshed' | 'ignored' | 'removed';

export interface MergeCase {
  readonly name: string;
  readonly known: KnownFlow | undefined;
  readonly said: SaidFlow;
  readonly outcome: CaseOutcome;
  /** What is known afterwards; undefined: nothing. */
  readonly then: KnownFlow | undefined;
}

const { open, refresh, close } = FlowChange;
const { tcpFin, tcpEstablished } = SharedFlowState;

/** LOW is lower by the bytes, HIGH by the letters. */
export const LOW: Address = address('10.0.0.9');
export const HIGH: Address = address('10.0.0.100');

/** Ages in milliseconds: opened, seen. */
function flow(
  backend: Address,
  openedAgoMs: number,
  seenAgoMs: number,
  more: { guess?: boolean; state?: number } = {},
): KnownFlow {
  return { backend, guess: false, state: tcpEstablished, openedAgoMs, seenAgoMs, ...more };
}

function say(change: number, known: KnownFlow): SaidFlow {
  return { ...known, change };
}

const guess = { guess: true };
const fin = { state: tcpFin };

export const MERGE_CASES: readonly MergeCase[] = [
  {
    name: 'a flow that is not known is added',
    known: undefined,
    said: say(open, flow(LOW, 5_000, 2_000)),
    outcome: 'added',
    then: flow(LOW, 5_000, 2_000),
  },
  {
    name: 'a refresh of a flow that is not known adds it',
    known: undefined,
    said: say(refresh, flow(LOW, 500_000, 2_000)),
    outcome: 'added',
    then: flow(LOW, 500_000, 2_000),
  },
  {
    name: 'a guess of a flow that is not known is added as a guess',
    known: undefined,
    said: say(open, flow(LOW, 5_000, 2_000, guess)),
    outcome: 'added',
    then: flow(LOW, 5_000, 2_000, guess),
  },
  {
    name: 'the state comes along',
    known: undefined,
    said: say(open, flow(LOW, 5_000, 2_000, fin)),
    outcome: 'added',
    then: flow(LOW, 5_000, 2_000, fin),
  },
  {
    name: 'the close of a flow that is not known does nothing',
    known: undefined,
    said: say(close, flow(LOW, 5_000, 2_000)),
    outcome: 'ignored',
    then: undefined,
  },

  {
    name: 'seen later on the same backend: the age is brought up to date',
    known: flow(LOW, 50_000, 20_000),
    said: say(refresh, flow(LOW, 50_000, 5_000)),
    outcome: 'refreshed',
    then: flow(LOW, 50_000, 5_000),
  },
  {
    name: 'seen earlier on the same backend: nothing new',
    known: flow(LOW, 50_000, 5_000),
    said: say(refresh, flow(LOW, 50_000, 20_000)),
    outcome: 'ignored',
    then: flow(LOW, 50_000, 5_000),
  },
  {
    name: 'a new life on the same backend takes the new opening',
    known: flow(LOW, 500_000, 300_000, fin),
    said: say(open, flow(LOW, 5_000, 2_000)),
    outcome: 'refreshed',
    then: flow(LOW, 5_000, 2_000),
  },
  {
    name: 'an earlier life on the same backend changes no opening',
    known: flow(LOW, 5_000, 2_000),
    said: say(refresh, flow(LOW, 500_000, 300_000)),
    outcome: 'ignored',
    then: flow(LOW, 5_000, 2_000),
  },
  {
    name: 'a flow seen to close is closing from now on',
    known: flow(LOW, 50_000, 20_000),
    said: say(refresh, flow(LOW, 50_000, 5_000, fin)),
    outcome: 'refreshed',
    then: flow(LOW, 50_000, 5_000, fin),
  },
  {
    name: 'a closing flow stays so within its life',
    known: flow(LOW, 50_000, 20_000, fin),
    said: say(refresh, flow(LOW, 50_000, 5_000)),
    outcome: 'refreshed',
    then: flow(LOW, 50_000, 5_000, fin),
  },

  {
    name: 'a record replaces a guess on another backend, and the activity is kept',
    known: flow(LOW, 5_000, 1_000, guess),
    said: say(open, flow(HIGH, 50_000, 20_000)),
    outcome: 'replaced',
    then: flow(HIGH, 50_000, 1_000),
  },
  {
    name: 'a record replaces a guess that was right',
    known: flow(LOW, 5_000, 1_000, guess),
    said: say(open, flow(LOW, 50_000, 20_000)),
    outcome: 'replaced',
    then: flow(LOW, 50_000, 1_000),
  },
  {
    name: 'a record opened after the guess replaces it',
    known: flow(LOW, 50_000, 20_000, guess),
    said: say(open, flow(HIGH, 5_000, 2_000)),
    outcome: 'replaced',
    then: flow(HIGH, 5_000, 2_000),
  },
  {
    name: 'a guess never replaces a record, however new',
    known: flow(HIGH, 500_000, 300_000),
    said: say(open, flow(LOW, 5_000, 2_000, guess)),
    outcome: 'ignored',
    then: flow(HIGH, 500_000, 300_000),
  },
  {
    name: 'a guess on the same backend tells that the flow is alive',
    known: flow(LOW, 500_000, 300_000),
    said: say(refresh, flow(LOW, 5_000, 2_000, guess)),
    outcome: 'refreshed',
    then: flow(LOW, 500_000, 2_000),
  },
  {
    name: 'between two guesses the later one wins',
    known: flow(LOW, 50_000, 2_000, guess),
    said: say(open, flow(HIGH, 5_000, 2_000, guess)),
    outcome: 'replaced',
    then: flow(HIGH, 5_000, 2_000, guess),
  },

  {
    name: 'different backends: opened later wins',
    known: flow(LOW, 50_000, 2_000),
    said: say(open, flow(HIGH, 5_000, 3_000)),
    outcome: 'replaced',
    then: flow(HIGH, 5_000, 3_000),
  },
  {
    name: 'different backends: opened earlier loses, even if seen later',
    known: flow(HIGH, 5_000, 3_000),
    said: say(refresh, flow(LOW, 50_000, 2_000)),
    outcome: 'ignored',
    then: flow(HIGH, 5_000, 3_000),
  },
  {
    name: 'opened a second later is later, whichever address is lower',
    known: flow(LOW, 6_000, 2_000),
    said: say(open, flow(HIGH, 5_000, 2_000)),
    outcome: 'replaced',
    then: flow(HIGH, 5_000, 2_000),
  },
  {
    name: 'opened at the same time: the lower address wins over the known one',
    known: flow(HIGH, 5_000, 2_000),
    said: say(open, flow(LOW, 5_000, 2_000)),
    outcome: 'replaced',
    then: flow(LOW, 5_000, 2_000),
  },
  {
    name: 'opened at the same time: the lower address stays',
    known: flow(LOW, 5_000, 2_000),
    said: say(open, flow(HIGH, 5_000, 2_000)),
    outcome: 'ignored',
    then: flow(LOW, 5_000, 2_000),
  },
  {
    name: 'opened at nearly the same time counts as the same time',
    known: flow(HIGH, 5_000, 2_000),
    said: say(open, flow(LOW, 5_050, 2_000)),
    outcome: 'replaced',
    then: flow(LOW, 5_050, 2_000),
  },

  {
    name: 'a close removes the flow',
    known: flow(LOW, 5_000, 3_000),
    said: say(close, flow(LOW, 5_000, 100)),
    outcome: 'removed',
    then: undefined,
  },
  {
    name: 'a close removes the flow on whatever backend it is known',
    known: flow(HIGH, 5_000, 3_000),
    said: say(close, flow(LOW, 5_000, 100)),
    outcome: 'removed',
    then: undefined,
  },
  {
    name: 'a close removes a guess, though that has no opening of its own',
    known: flow(HIGH, 4_000, 3_000, guess),
    said: say(close, flow(LOW, 50_000, 100)),
    outcome: 'removed',
    then: undefined,
  },
  {
    name: 'a close removes an earlier life too',
    known: flow(HIGH, 500_000, 300_000),
    said: say(close, flow(LOW, 5_000, 100)),
    outcome: 'removed',
    then: undefined,
  },
  {
    name: 'a close removes a later life that was opened before it',
    known: flow(HIGH, 5_000, 4_000),
    said: say(close, flow(LOW, 500_000, 100)),
    outcome: 'removed',
    then: undefined,
  },
  {
    name: 'the close of an earlier life leaves a flow alone that was opened after it',
    known: flow(LOW, 5_000, 4_500),
    said: say(close, flow(LOW, 50_000, 6_000)),
    outcome: 'ignored',
    then: flow(LOW, 5_000, 4_500),
  },
  {
    name: 'a flow opened right after the close of an earlier life is another',
    known: flow(LOW, 5_000, 4_500),
    said: say(close, flow(LOW, 50_000, 5_200)),
    outcome: 'ignored',
    then: flow(LOW, 5_000, 4_500),
  },
  {
    name: 'a close may seem a little earlier than the opening of the flow that it ends',
    known: flow(LOW, 5_000, 5_000),
    said: say(close, flow(LOW, 5_050, 5_050)),
    outcome: 'removed',
    then: undefined,
  },
  {
    name: 'a flow that was seen after the close is alive',
    known: flow(LOW, 500_000, 2_000),
    said: say(close, flow(LOW, 500_000, 300_000)),
    outcome: 'ignored',
    then: flow(LOW, 500_000, 2_000),
  },
  {
    name: 'the last packet of a flow may be seen a little after its close',
    known: flow(LOW, 500_000, 2_000),
    said: say(close, flow(LOW, 500_000, 2_500)),
    outcome: 'removed',
    then: undefined,
  },
];

export interface HashCase {
  readonly destination: Destination;
  readonly client: Address;
  readonly clientPort: number;
  readonly backend: Address;
  /** 64 bits. */
  readonly key: bigint;
  readonly term: bigint;
  readonly bucket: number;
}

export const HASH_CASES: readonly HashCase[] = [
  {
    destination: { vip: address('192.0.2.1'), protocol: 'tcp', port: 443 },
    client: address('198.51.100.7'),
    clientPort: 40_000,
    backend: LOW,
    key: 0x4f40a9c5e1efd115n,
    term: 0xdc83b9899ff150dan,
    bucket: 317,
  },
  {
    destination: { vip: address('192.0.2.1'), protocol: 'udp', port: 53 },
    client: address('198.51.100.7'),
    clientPort: 40_000,
    backend: LOW,
    key: 0xe2361772cd11c067n,
    term: 0x579a1cb55da08807n,
    bucket: 904,
  },
  {
    destination: { vip: address('2001:db8::1'), protocol: 'tcp', port: 443 },
    client: address('2001:db8:c::7'),
    clientPort: 65_535,
    backend: HIGH,
    key: 0x9a1863f94aafe713n,
    term: 0xca6eda763577344dn,
    bucket: 616,
  },
  {
    destination: { vip: address('255.255.255.255'), protocol: 'tcp', port: 65_535 },
    client: address('255.255.255.255'),
    clientPort: 65_535,
    backend: address('2001:db8::b'),
    key: 0xf6dc7f77ca036166n,
    term: 0xe62edc51c7809ee0n,
    bucket: 987,
  },
];
