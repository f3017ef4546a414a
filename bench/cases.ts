/**
 * The cases: which program gets which frames of how many flows, what must become of them, and what
 * that may cost. Values only; a new case is a new line here.
 */
import type { FrameName } from './packets.ts';
import { DEFAULT_LIMITS } from './scene.ts';

/**
 * Room for four times the flows of the largest case, as a node that is sized for its peaks has.
 * Floors and flow tables have the same number of entries, and so of buckets: chains are equally long.
 */
const ROOMY = 4_000_000;
const FEW_FLOWS = 16_384;
const MANY_FLOWS = 1_048_576;

/** Tables of floor.bpf.c by their names there; what is not named has a single entry. */
const FLOOR_TABLES = {
  'floor few': { lru: ROOMY, hash: ROOMY },
  'floor many': { lru: ROOMY, hash: ROOMY },
  'floor filling': { lru: ROOMY },
  'floor evicting': { lru: DEFAULT_LIMITS.embryonicFlows },
  'floor evicting 1M': { lru: 1_000_000 },
} as const;

const EMBRYONIC = DEFAULT_LIMITS.embryonicFlows;

type Size = '1' | '16k' | '1M';
const FLOWS: Readonly<Record<Size, number>> = { '1': 1, '16k': FEW_FLOWS, '1M': MANY_FLOWS };
/** IP header; with gue also UDP and four bytes. */
const OUTER_BYTES = { ipip4: 20, ipip6: 40, gue4: 32, gue6: 52 } as const;

const BOTH = { flows4: ROOMY, flows6: ROOMY, embryonic4: EMBRYONIC, embryonic6: EMBRYONIC };

/**
 * Tables of lb.bpf.c. Each set belongs to a copy of the program that shares all other maps. Many flows
 * have a table to themselves, as those of the floors do: beside another million, chains are longer.
 */
const SKEIN_TABLES = {
  'skein few': BOTH,
  'skein many': BOTH,
  'skein many ipip': BOTH,
  'skein many gue': { flows4: ROOMY, embryonic4: EMBRYONIC },
  'skein filling': { flows4: ROOMY, embryonic4: ROOMY },
} as const;

export const TABLES: Readonly<Record<TableSet, Readonly<Record<string, number>>>> = {
  ...FLOOR_TABLES,
  ...SKEIN_TABLES,
};
export type FloorTableSet = keyof typeof FLOOR_TABLES;
export type SkeinTableSet = keyof typeof SKEIN_TABLES;
export type TableSet = FloorTableSet | SkeinTableSet;

export const VERDICT = { drop: 1, pass: 2, tx: 3 } as const;
export type Verdict = keyof typeof VERDICT;

/** What must become of every frame; `counted`: it raises one counter and does nothing else. */
export type Outcome =
  | { readonly kind: 'established' }
  | { readonly kind: 'new' }
  | { readonly kind: 'counted'; readonly counter: string };

export type Subject =
  | {
      readonly kind: 'floor';
      readonly program: 'floor_tx' | 'floor_parse' | 'floor_lru' | 'floor_hash' | 'floor_ipip';
      readonly tables: FloorTableSet;
    }
  | { readonly kind: 'skein'; readonly tables: SkeinTableSet; readonly outcome: Outcome };

/** What a case is compared with: the median of another case, times `atMost` where that is a bar. */
export interface Comparison {
  readonly floor: string;
  readonly atMost?: number;
}

export interface Case {
  readonly name: string;
  readonly what: string;
  readonly subject: Subject;
  readonly frame: FrameName;
  /** Sent once for each flow before `frame` is: what makes it known. */
  readonly opening?: FrameName;
  /** 0: each frame starts a flow of its own. */
  readonly flows: number;
  /** Measured in each round. */
  readonly frames: number;
  /** Unmeasured frames before the first round, to fill a table. */
  readonly fill: number;
  readonly verdict: Verdict;
  /** Bytes that the program puts in front of the packet. */
  readonly growthBytes: number;
  readonly comparison?: Comparison;
}

const FRAMES = 1_000_000;
const NEW_FLOWS = 50_000;

const COMMON = { flows: 1, frames: FRAMES, fill: 0, verdict: 'tx', growthBytes: 0 } as const;
const NEW = { ...COMMON, flows: 0, frames: NEW_FLOWS } as const;

function floor(
  name: string,
  what: string,
  program: Extract<Subject, { kind: 'floor' }>['program'],
  tables: FloorTableSet,
  flows = 1,
): Case {
  const subject = { kind: 'floor', program, tables } as const;
  return { ...COMMON, name, what, subject, frame: 'tcp4_ack', flows };
}

function floorOfNew(name: string, what: string, tables: FloorTableSet, fill: number): Case {
  const subject = { kind: 'floor', program: 'floor_lru', tables } as const;
  return { ...NEW, name, what, subject, frame: 'tcp4_syn', fill };
}

/** What a tunnel cannot do without. */
function floorOfTunnel(size: Size): Case {
  const flows = FLOWS[size];
  const tables = size === '1M' ? 'floor many' : 'floor few';
  return {
    ...floor(`floor-ipip-${size}`, 'LRU lookup, outer IPv4 header', 'floor_ipip', tables, flows),
    growthBytes: OUTER_BYTES.ipip4,
  };
}

interface Established {
  readonly name: string;
  readonly what: string;
  /** With a million flows. */
  readonly manyIn: SkeinTableSet;
  readonly opening: FrameName;
  readonly frame: FrameName;
}

const TCP4 = {
  name: 'tcp4',
  what: 'TCP over IPv4',
  manyIn: 'skein many',
  opening: 'tcp4_syn',
  frame: 'tcp4_ack',
} as const;
const TCP6 = {
  name: 'tcp6',
  what: 'TCP over IPv6',
  manyIn: 'skein many',
  opening: 'tcp6_syn',
  frame: 'tcp6_ack',
} as const;
const UDP4 = {
  ...TCP4,
  name: 'udp4',
  what: 'UDP over IPv4',
  opening: 'udp4',
  frame: 'udp4',
} as const;

function established(kind: Established, size: Size): Case {
  const flows = FLOWS[size];
  const tables = size === '1M' ? kind.manyIn : 'skein few';
  return {
    ...COMMON,
    name: `${kind.name}-${size}`,
    what: `${kind.what}, established`,
    subject: { kind: 'skein', tables, outcome: { kind: 'established' } },
    opening: kind.opening,
    frame: kind.frame,
    flows,
    comparison: { floor: `floor-lru-${size}`, atMost: size === '1M' ? 1.2 : 1.8 },
  };
}

interface Tunnel extends Established {
  readonly growthBytes: number;
  /** Bars with a million flows, and with fewer. */
  readonly atMost: { readonly few: number; readonly many: number };
}

const IPIP_BARS = { few: 1.7, many: 1.2 };
/** The floor is IPv4: IPv6 has a longer key and twice the header to write. */
const IPIP6_BARS = { few: 1.8, many: 1.3 };
const GUE_BARS = { few: 2, many: 2 };
const IPIP4: Tunnel = {
  name: 'ipip4',
  what: 'TCP over IPv4 by ipip',
  manyIn: 'skein many ipip',
  opening: 'ipip4_syn',
  frame: 'ipip4_ack',
  growthBytes: OUTER_BYTES.ipip4,
  atMost: IPIP_BARS,
};
const IPIP6: Tunnel = {
  name: 'ipip6',
  what: 'TCP over IPv6 by ipip',
  manyIn: 'skein many ipip',
  opening: 'ipip6_syn',
  frame: 'ipip6_ack',
  growthBytes: OUTER_BYTES.ipip6,
  atMost: IPIP6_BARS,
};
const GUE4: Tunnel = {
  name: 'gue4',
  what: 'TCP over IPv4 by gue',
  manyIn: 'skein many gue',
  opening: 'gue4_syn',
  frame: 'gue4_ack',
  growthBytes: OUTER_BYTES.gue4,
  atMost: GUE_BARS,
};
const GUE6: Tunnel = {
  name: 'gue6',
  what: 'TCP over IPv6 by gue',
  manyIn: 'skein many gue',
  opening: 'gue6_syn',
  frame: 'gue6_ack',
  growthBytes: OUTER_BYTES.gue6,
  atMost: GUE_BARS,
};

function tunnelled(kind: Tunnel, size: Size): Case {
  const { growthBytes, atMost } = kind;
  const comparison = {
    floor: `floor-ipip-${size}`,
    atMost: size === '1M' ? atMost.many : atMost.few,
  };
  return { ...established(kind, size), growthBytes, comparison };
}

function opened(family: 4 | 6, tables: 'skein few' | 'skein filling'): Case {
  const filling = tables === 'skein filling';
  return {
    ...NEW,
    name: `tcp${family}-new${filling ? '-filling' : ''}`,
    what: `TCP over IPv${family}, new flows, ${filling ? 'table filling' : 'table full'}`,
    subject: { kind: 'skein', tables, outcome: { kind: 'new' } },
    frame: `tcp${family}_new`,
    fill: filling ? 0 : 2 * EMBRYONIC,
    comparison: { floor: filling ? 'floor-new-filling' : 'floor-new', atMost: 1.5 },
  };
}

function counted(
  name: string,
  what: string,
  frame: FrameName,
  verdict: Verdict,
  counter: string,
): Case {
  const outcome = { kind: 'counted', counter } as const;
  const subject = { kind: 'skein', tables: 'skein few', outcome } as const;
  return { ...COMMON, name, what, subject, frame, verdict };
}

export const CASES: readonly Case[] = [
  floor('floor-tx', 'an empty program', 'floor_tx', 'floor few'),
  floor('floor-parse', 'headers read, MACs swapped', 'floor_parse', 'floor few'),
  floor('floor-lru-1', 'the same with an LRU lookup', 'floor_lru', 'floor few'),
  floor('floor-lru-16k', 'the same with an LRU lookup', 'floor_lru', 'floor few', FEW_FLOWS),
  floor('floor-lru-1M', 'the same with an LRU lookup', 'floor_lru', 'floor many', MANY_FLOWS),
  floor('floor-hash-1', 'the same with a hash lookup', 'floor_hash', 'floor few'),
  floor('floor-hash-16k', 'the same with a hash lookup', 'floor_hash', 'floor few', FEW_FLOWS),
  floor('floor-hash-1M', 'the same with a hash lookup', 'floor_hash', 'floor many', MANY_FLOWS),
  floorOfNew('floor-new', 'new flows, table full', 'floor evicting', 2 * EMBRYONIC),
  floorOfNew('floor-new-full-1M', 'new flows, table full', 'floor evicting 1M', 2_000_000),
  floorOfNew('floor-new-filling', 'new flows, table filling', 'floor filling', 0),
  established(TCP4, '1'),
  established(TCP4, '16k'),
  established(TCP4, '1M'),
  established(TCP6, '1'),
  established(TCP6, '16k'),
  established(TCP6, '1M'),
  established(UDP4, '1'),
  established(UDP4, '16k'),
  floorOfTunnel('1'),
  floorOfTunnel('16k'),
  floorOfTunnel('1M'),
  tunnelled(IPIP4, '1'),
  tunnelled(IPIP4, '16k'),
  tunnelled(IPIP4, '1M'),
  tunnelled(IPIP6, '1'),
  tunnelled(IPIP6, '1M'),
  tunnelled(GUE4, '1'),
  tunnelled(GUE4, '16k'),
  tunnelled(GUE4, '1M'),
  tunnelled(GUE6, '1'),
  opened(4, 'skein few'),
  opened(6, 'skein few'),
  opened(4, 'skein filling'),
  counted('other-tcp4', 'TCP over IPv4, no VIP', 'tcp4_no_vip', 'pass', 'passed'),
  counted('other-tcp6', 'TCP over IPv6, no VIP', 'tcp6_no_vip', 'pass', 'passed'),
  counted('no-service', 'a VIP, a port without service', 'tcp4_no_service', 'drop', 'no_service'),
  counted('echo4', 'ICMP echo to a VIP, answered', 'echo4', 'tx', 'echo_reply'),
  counted('echo6', 'ICMPv6 echo to a VIP, answered', 'echo6', 'tx', 'echo_reply'),
];

/** The cases whose names begin with `prefix`, and the floors that they are compared with. */
export function chosenCases(prefix: string): Case[] {
  const chosen = CASES.filter(({ name }) => name.startsWith(prefix));
  const floors = new Set(chosen.flatMap(({ comparison }) => comparison?.floor ?? []));
  return CASES.filter((each) => chosen.includes(each) || floors.has(each.name));
}
