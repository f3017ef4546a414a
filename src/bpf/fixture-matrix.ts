/** The packets that the matrix sends: each with the flow that it is of and what came before it. */
import type { End, FlowTuple } from './expected.ts';
import type { Plan } from './fixture-network.ts';
import { packetOf, withTos } from './fixture-tunnels.ts';
import { fragmentsOf } from './packet-fragments.ts';
import { ECHO, icmp, PROTOCOL, tagged, tcp, udp, type IpFields } from './packet.ts';

/** Of no protocol that tshark knows. */
export const PORT = 7373;
export const CLIENT_PORT = 40_123;
/** Hop-by-hop options, a routing header at its end, destination options. */
const EXTENSIONS = [0, 43, 60];
/** Of a packet whose first fragment never comes. */
const STRAY_ID = 4711;
const VLAN = 5;
const SERVICE_VLAN = (0x88a8 << 16) | 300;
/** More than any way of 1,500 bytes takes. */
const TOO_BIG = 1600;

export interface Case {
  readonly protocol: 'tcp' | 'udp' | 'icmp';
  readonly kind: string;
  readonly frame: Uint8Array;
  readonly flow: FlowTuple;
  /** VLAN tags that it came with. */
  readonly tags?: readonly number[];
  /** Sent before it. */
  readonly before: readonly Uint8Array[];
  /** Forwarded as its mode says, or answered with an echo or an MTU, or dropped under this name. */
  readonly outcome: 'forwarded' | 'echoed' | 'told' | { readonly drop: string };
}

export function cases(plan: Plan): Case[] {
  return [...segments(plan), ...datagrams(plan), ...echoes(plan), ...errors(plan)];
}

function between(plan: Plan) {
  return { source: plan.routed, destination: plan.vip, sport: CLIENT_PORT, dport: PORT };
}

function flowOf(plan: Plan, protocol: 'tcp' | 'udp'): FlowTuple {
  return { ...between(plan), protocol: PROTOCOL[protocol] };
}

function bytesOf(count: number): Uint8Array {
  return Uint8Array.from({ length: count }, (_, i) => (i * 37 + 11) & 0xff);
}

function segments(plan: Plan): Case[] {
  const ends = between(plan);
  const flow = flowOf(plan, 'tcp');
  const syn = tcp({ ...ends, flags: 'S' });
  const data = tcp({ ...ends, flags: 'PA', payload: bytesOf(101) });
  const one = (kind: string, frame: Uint8Array, change: Partial<Case> = {}): Case => {
    return { protocol: 'tcp', kind, frame, flow, before: [], outcome: 'forwarded', ...change };
  };
  return [
    one('SYN', syn),
    one('data', data, { before: [syn] }),
    one('data of a flow that was not seen', data),
    one('an even number of bytes', tcp({ ...ends, flags: 'A', payload: bytesOf(64) })),
    one('a full segment', tcp({ ...ends, flags: 'A', payload: bytesOf(1200) }), { before: [syn] }),
    one('FIN', tcp({ ...ends, flags: 'FA' }), { before: [syn] }),
    one('RST', tcp({ ...ends, flags: 'R' }), { before: [syn] }),
    one('the last hop', tcp({ ...ends, flags: 'A', ttl: 1 })),
    one('DSCP and ECN', withTos(data, 0xb9)),
    one('congestion', withTos(data, 0x03)),
    one('padding', Uint8Array.from([...syn, 0, 0, 0, 0, 0, 0])),
    one('IP options', tcp({ ...ends, ...optionsOf(plan), flags: 'PA', payload: bytesOf(33) })),
    ...parts(tcp({ ...ends, flags: 'PA', payload: bytesOf(150) })).map((part) =>
      one(part.kind, part.frame, part),
    ),
    ...inVlans(data).map((each) => one(each.kind, each.frame, { tags: each.tags })),
    ...tooBig(plan, (dontFragment) =>
      tcp({ ...ends, flags: 'A', payload: bytesOf(TOO_BIG), dontFragment }),
    ).map(({ kind, frame, outcome }) => one(kind, frame, { before: [syn], outcome })),
  ];
}

function datagrams(plan: Plan): Case[] {
  const ends = between(plan);
  const flow = flowOf(plan, 'udp');
  const payload = bytesOf(101);
  const first = udp({ ...ends, payload });
  const one = (kind: string, frame: Uint8Array, change: Partial<Case> = {}): Case => {
    return { protocol: 'udp', kind, frame, flow, before: [], outcome: 'forwarded', ...change };
  };
  return [
    one('first', first),
    one('second', first, { before: [first] }),
    one('empty', udp(ends)),
    one('an even number of bytes', udp({ ...ends, payload: bytesOf(1200) })),
    one('without a checksum', udp({ ...ends, payload, checksum: false })),
    one('a checksum of all ones', allOnes(ends)),
    one('DSCP and ECN', withTos(first, 0x2a)),
    one('IP options', udp({ ...ends, ...optionsOf(plan), payload })),
    ...parts(udp({ ...ends, payload: bytesOf(150) })).map((part) =>
      one(part.kind, part.frame, part),
    ),
    ...inVlans(first).map((each) => one(each.kind, each.frame, { tags: each.tags })),
    ...tooBig(plan, (dontFragment) =>
      udp({ ...ends, payload: bytesOf(TOO_BIG), dontFragment }),
    ).map(({ kind, frame, outcome }) => one(kind, frame, { outcome })),
  ];
}

/** Cut by its sender, or by a router: only the first part has ports, and the others go where that went. */
function parts(frame: Uint8Array): Pick<Case, 'kind' | 'frame' | 'before' | 'outcome'>[] {
  const [first, second, last] = fragmentsOf(frame, [64, 32]);
  const [, , stray] = fragmentsOf(frame, [64, 32], STRAY_ID);
  if (!first || !second || !last || !stray) return [];
  const forwarded = 'forwarded' as const;
  return [
    { kind: 'first fragment', frame: first, before: [], outcome: forwarded },
    { kind: 'second fragment', frame: second, before: [first], outcome: forwarded },
    { kind: 'last fragment', frame: last, before: [first], outcome: forwarded },
    {
      kind: 'a fragment without the first',
      frame: stray,
      before: [],
      outcome: { drop: 'fragment' },
    },
  ];
}

/** Tags are taken off: what leaves has those of its backend. */
function inVlans(
  frame: Uint8Array,
): { readonly kind: string; readonly frame: Uint8Array; readonly tags: readonly number[] }[] {
  return [[VLAN], [SERVICE_VLAN, VLAN]].map((tags) => {
    return { kind: `in ${tags.length} VLAN`, frame: tagged(frame, ...tags), tags };
  });
}

/** Whoever sent it is told, unless it may be cut. */
function tooBig(
  plan: Plan,
  frame: (dontFragment: boolean) => Uint8Array,
): Pick<Case, 'kind' | 'frame' | 'outcome'>[] {
  const told = { kind: 'too big', frame: frame(true), outcome: 'told' as const };
  const cut = { kind: 'too big, to be cut', frame: frame(false) };
  return plan.family === 'ipv4' ? [told, { ...cut, outcome: { drop: 'too_big_cut' } }] : [told];
}

/** Two bytes are such that the sum is 0, which is sent as all ones (RFC 768). */
function allOnes(ends: Parameters<typeof udp>[0]): Uint8Array {
  const zero = udp({ ...ends, payload: bytesOf(4) });
  const sum = zero.length - 4 - 2;
  const found = ((zero[sum] ?? 0) << 8) | (zero[sum + 1] ?? 0);
  return udp({ ...ends, payload: Uint8Array.of(...bytesOf(4), found >> 8, found & 0xff) });
}

/** Eight bytes of options, or one of each extension header that is walked. */
function optionsOf(plan: Plan): Pick<IpFields, 'options' | 'extensions'> {
  if (plan.family === 'ipv6') return { extensions: EXTENSIONS };
  return { options: Uint8Array.of(7, 7, 4, 0, 0, 0, 0, 0) };
}

/** The node answers by itself, whatever the modes of its backends. */
function echoes(plan: Plan): Case[] {
  const { request, reply } = ECHO[plan.family];
  const ends = { source: plan.routed, destination: plan.vip };
  const flow = flowOf(plan, 'tcp');
  const one = (kind: string, frame: Uint8Array, outcome: Case['outcome']): Case => {
    return { protocol: 'icmp', kind, frame, flow, before: [], outcome };
  };
  const payload = bytesOf(56);
  const echo = icmp({ ...ends, type: request, payload });
  return [
    one('echo', echo, 'echoed'),
    ...inVlans(echo).map((each) => ({
      ...one(`echo ${each.kind}`, each.frame, 'echoed'),
      ...each,
    })),
    ...parts(echo)
      .slice(0, 1)
      .map((part) => one('an echo in fragments', part.frame, { drop: 'fragment' })),
    one('an empty echo', icmp({ ...ends, type: request, ttl: 3 }), 'echoed'),
    one(
      'an odd echo',
      icmp({ ...ends, ...optionsOf(plan), type: request, payload: bytesOf(7) }),
      'echoed',
    ),
    one('an echo reply', icmp({ ...ends, type: reply, payload }), { drop: 'protocol' }),
    one('an unknown message', icmp({ ...ends, type: 200, payload }), { drop: 'protocol' }),
  ];
}

/** Every error of RFC 792 and RFC 4443: type, code, and what the second word says. */
const ERRORS = {
  ipv4: [
    ...[0, 1, 2, 3, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15].map((code) => [3, code, 0] as const),
    [3, 4, 1400],
    [11, 0, 0],
    [11, 1, 0],
    [12, 0, 0x14000000],
  ],
  ipv6: [
    ...[0, 1, 2, 3, 4, 5, 6].map((code) => [1, code, 0] as const),
    [2, 0, 1400],
    [3, 0, 0],
    [3, 1, 0],
    [4, 0, 6],
    [4, 1, 6],
    [4, 2, 6],
  ],
} as const;
/** As little as a router may quote: the IP header and eight bytes. */
const LEAST = { ipv4: 28, ipv6: 48 };

/** Goes on to the client, or is answered with an MTU, or passes as it came, or is dropped under this name. */
export interface Reply {
  readonly kind: string;
  readonly frame: Uint8Array;
  readonly outcome: 'returned' | 'told' | 'passed' | { readonly drop: string };
}

/**
 * What comes from a backend of nat and full_nat, and errors about what it got, to whom it takes for the
 * client; in this order, since first fragments teach.
 */
export function replies(protocol: 'tcp' | 'udp', from: End, to: End, plan: Plan): Reply[] {
  const ends = { source: from.address, sport: from.port, destination: to.address, dport: to.port };
  const asked = { source: to.address, sport: to.port, destination: from.address, dport: from.port };
  const payload = bytesOf(101);
  const isTcp = protocol === 'tcp';
  const quote = packetOf(
    isTcp ? tcp({ ...asked, flags: 'PA', payload }) : udp({ ...asked, payload }),
  );
  const answers = isTcp
    ? [
        { kind: 'SYN and ACK', frame: tcp({ ...ends, flags: 'SA' }) },
        { kind: 'data', frame: tcp({ ...ends, flags: 'PA', payload }) },
        { kind: 'options', frame: tcp({ ...ends, ...optionsOf(plan), flags: 'A', payload }) },
        { kind: 'FIN', frame: tcp({ ...ends, flags: 'FA', ttl: 2 }) },
      ]
    : [
        { kind: 'a datagram', frame: udp({ ...ends, payload }) },
        { kind: 'without a checksum', frame: udp({ ...ends, payload, checksum: false }) },
        { kind: 'a checksum of all ones', frame: allOnes(ends) },
        { kind: 'options', frame: udp({ ...ends, ...optionsOf(plan), payload }) },
      ];
  const long = (bytes: number, dontFragment: boolean) => {
    const fields = { ...ends, payload: bytesOf(bytes), dontFragment };
    return isTcp ? tcp({ ...fields, flags: 'PA' }) : udp(fields);
  };
  const messages = ERRORS[plan.family].flatMap(([type, code, rest]) =>
    [plan.stranger, from.address].flatMap((source) =>
      [quote, quote.slice(0, LEAST[plan.family])].map((cut) => {
        const fields = { source, destination: to.address, type, code, rest, payload: cut };
        const kind = `error ${type}/${code} from ${source}, ${cut.length} bytes`;
        return { kind, frame: icmp(fields) };
      }),
    ),
  );
  return [
    ...[...answers, ...messages].map((each): Reply => ({ ...each, outcome: 'returned' })),
    ...partsOfReply(long(150, false)),
    ...tooBig(plan, (dontFragment) => long(TOO_BIG, dontFragment)).map(replyOf),
  ];
}

function partsOfReply(frame: Uint8Array): Reply[] {
  return parts(frame).map(({ kind, frame: part, outcome }) => {
    return { kind, frame: part, outcome: outcome === 'forwarded' ? 'returned' : 'passed' };
  });
}

function replyOf({ kind, frame, outcome }: Pick<Case, 'kind' | 'frame' | 'outcome'>): Reply {
  if (outcome === 'forwarded' || outcome === 'echoed') throw new TypeError(`${kind}: ${outcome}`);
  return { kind, frame, outcome };
}

/** From a router on the way to the client, about what a backend sent to it. */
function errors(plan: Plan): Case[] {
  return (['tcp', 'udp'] as const).flatMap((protocol) => {
    const flow = flowOf(plan, protocol);
    const opening = protocol === 'tcp' ? tcp({ ...between(plan), flags: 'S' }) : udp(between(plan));
    const answer = { source: plan.vip, destination: plan.routed, sport: PORT, dport: CLIENT_PORT };
    const sent = { ...answer, payload: bytesOf(90), ttl: 7 };
    const quote = packetOf(protocol === 'tcp' ? tcp({ ...sent, flags: 'PA' }) : udp(sent));
    const ends = { source: plan.stranger, destination: plan.vip };
    return ERRORS[plan.family].flatMap(([type, code, rest]) =>
      [quote, quote.slice(0, LEAST[plan.family])].flatMap((payload) =>
        [[opening], []].map((before): Case => {
          const frame = icmp({ ...ends, type, code, rest, payload });
          const of = `${payload.length} bytes of a ${protocol} flow`;
          const kind = `error ${type}/${code}, ${of} that is ${before.length > 0 ? 'known' : 'unknown'}`;
          return { protocol: 'icmp', kind, frame, flow, before, outcome: 'forwarded' };
        }),
      ),
    );
  });
}

/** SYNs whose MSS is to be `mss` at most: with a higher one, a lower one, none, at odd places, without room. */
export function synsOf(plan: Plan): { readonly kind: string; readonly frame: Uint8Array }[] {
  const ends = between(plan);
  const syn = (...options: number[]) =>
    tcp({ ...ends, flags: 'S', tcpOptions: Uint8Array.from(options) });
  const stamps = [8, 10, 0, 0, 0, 9, 0, 0, 0, 0];
  return [
    { kind: 'higher', frame: syn(2, 4, 5, 180) },
    { kind: 'higher, behind others', frame: syn(4, 2, ...stamps, 2, 4, 0x23, 0x28, 1, 3, 3, 7) },
    { kind: 'higher, at an odd place', frame: syn(1, 2, 4, 5, 180, 3, 3, 7) },
    { kind: 'lower', frame: syn(2, 4, 1, 0) },
    { kind: 'none', frame: syn() },
    { kind: 'none, behind others', frame: syn(4, 2, ...stamps) },
    { kind: 'no room', frame: syn(...stamps, ...stamps, ...stamps, ...stamps) },
    { kind: 'none, with data', frame: tcp({ ...ends, flags: 'S', payload: bytesOf(31) }) },
    // Behind IPv6 extension headers one is lowered, and none is put in.
    {
      kind: 'higher, behind IP options',
      frame: tcp({
        ...ends,
        ...optionsOf(plan),
        flags: 'S',
        tcpOptions: Uint8Array.of(2, 4, 5, 180),
      }),
    },
  ];
}
