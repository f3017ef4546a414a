/** `skein_decap`: what comes out of tunnels, what gets its VIP back, and what stays as it came. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { loadProgram, PROGRAM, readCounters, type BackendCounterName } from '../backend/program.ts';
import type { TakenAddress } from '../backend/duties.ts';
import { testRun, type BpfObject } from '../dataplane/libbpf.ts';
import { address } from '../model/address.ts';
import { build } from './build.ts';
import {
  mended,
  packetOf,
  tunnelled,
  TUNNEL_KINDS,
  TUNNEL_PORTS,
  withTos,
} from './fixture-tunnels.ts';
import { IPV4, IPV6, PLANS } from './fixture-network.ts';
import {
  decode,
  ECHO,
  ETHERNET_BYTES,
  icmp,
  ip,
  patched,
  PROTOCOL,
  tagged,
  tcp,
  udp,
  type IpFields,
} from './packet.ts';

const VERDICTS = ['ABORTED', 'DROP', 'PASS', 'TX'] as const;
const DSCP = 11;
const NO_ECT = 0;
const ECT1 = 1;
const ECT0 = 2;
const CE = 3;
/** Takes tunnels of no kind. */
const PLAIN = { ipv4: address('10.1.0.12'), ipv6: address('2001:db8:1::12') };

let object: BpfObject;

function taken(change: Partial<TakenAddress> & Pick<TakenAddress, 'address'>): TakenAddress {
  const ports = { guePort: TUNNEL_PORTS.gue, fouPort: TUNNEL_PORTS.fou };
  return { tunnels: new Set(), dscps: new Map(), ...ports, ...change };
}

beforeAll(() => {
  build();
  object = loadProgram({
    vips: PLANS.map(({ vip }) => vip),
    addresses: PLANS.flatMap((plan) => [
      taken({
        address: plan.backend(1),
        tunnels: new Set(TUNNEL_KINDS),
        dscps: new Map([[DSCP, plan.vip]]),
      }),
      taken({ address: PLAIN[plan.family] }),
    ]),
  });
});
afterAll(() => {
  object.close();
});

interface Outcome {
  readonly verdict: string | undefined;
  readonly frame: Uint8Array;
  readonly counted: Partial<Record<BackendCounterName, number>>;
}

function counts(): readonly number[] {
  return readCounters(object).map(({ value }) => value);
}

/** Counters that changed, and by how much. */
function countedSince(before: readonly number[]): Outcome['counted'] {
  const changes = readCounters(object)
    .map(({ name, value }, index) => [name, value - (before[index] ?? 0)] as const)
    .filter(([, change]) => change !== 0);
  return Object.fromEntries(changes);
}

function send(frame: Uint8Array): Outcome {
  const before = counts();
  const { verdict, packet } = testRun(object.program(PROGRAM), { packet: frame });
  return { verdict: VERDICTS[verdict], frame: packet.slice(), counted: countedSince(before) };
}

function leaves(frame: Uint8Array, counted: Outcome['counted'] = {}): void {
  expect(send(frame)).toEqual({ verdict: 'PASS', frame, counted });
}

const mixes = TUNNEL_KINDS.flatMap((kind) =>
  PLANS.flatMap((outer) => PLANS.map((inner) => ({ kind, outer, inner }))),
);

describe.each(mixes)('$inner.family in $kind over $outer.family', ({ kind, outer, inner }) => {
  const between: IpFields = { source: outer.node, destination: outer.backend(1) };
  const payload = new Uint8Array(101).map((_, i) => i);
  const clients = { source: inner.client, destination: inner.vip, sport: 40_000, dport: 80 };
  const segment = tcp({ ...clients, flags: 'PA', payload });
  const insides = [
    { what: 'a SYN', frame: tcp({ ...clients, flags: 'S' }) },
    { what: 'data', frame: segment },
    { what: 'a FIN', frame: tcp({ ...clients, flags: 'FA' }) },
    { what: 'a datagram', frame: udp({ ...clients, payload }) },
    { what: 'an empty datagram', frame: udp(clients) },
    {
      what: 'a fragment',
      frame: ip({ ...clients, fragment: { offset: 3, more: true } }, 17, payload),
    },
    { what: 'an echo', frame: icmp({ ...clients, type: ECHO[inner.family].request, payload }) },
    { what: 'no more than a header', frame: ip(clients, 59, new Uint8Array(0)) },
    { what: 'a TTL of 1', frame: tcp({ ...clients, flags: 'A', ttl: 1 }) },
    {
      what: 'IP options or an extension header',
      frame:
        inner.family === 'ipv4'
          ? tcp({ ...clients, flags: 'A', options: Uint8Array.of(1, 1, 1, 0) })
          : tcp({ ...clients, flags: 'A', extensions: [60] }),
    },
    { what: '1,400 bytes', frame: udp({ ...clients, payload: new Uint8Array(1400).fill(7) }) },
  ];

  test.each(insides)('$what comes out as it went in', ({ frame }) => {
    expect(send(tunnelled(kind, between, frame))).toEqual({
      verdict: 'PASS',
      frame,
      counted: { [kind]: 1 },
    });
  });

  test.each([{ vlans: [5] }, { vlans: [5, 4094] }])('VLAN tags $vlans stay', ({ vlans }) => {
    const { verdict, frame } = send(tagged(tunnelled(kind, between, segment), ...vlans));
    expect({ verdict, frame }).toEqual({ verdict: 'PASS', frame: tagged(segment, ...vlans) });
  });

  test('padding behind the packet stays behind it', () => {
    const padded = Uint8Array.of(...tunnelled(kind, between, segment), 9, 9, 9);
    const { frame, counted } = send(padded);
    expect(counted).toEqual({ [kind]: 1 });
    expect(frame).toEqual(Uint8Array.of(...segment, 9, 9, 9));
  });

  test('a packet to another destination is left as it came', () => {
    const foreign = tcp({ ...clients, destination: inner.stranger, flags: 'A' });
    leaves(tunnelled(kind, between, foreign), { not_vip: 1 });
  });

  test('to an address that takes no tunnels, and to a foreign one, it is left as it came', () => {
    leaves(tunnelled(kind, { ...between, destination: PLAIN[outer.family] }, segment));
    leaves(tunnelled(kind, { ...between, destination: outer.backend(2) }, segment));
  });

  test('cut short anywhere, it is left as it came', () => {
    const whole = tunnelled(kind, between, segment);
    for (let bytes = ETHERNET_BYTES; bytes < whole.length; bytes += 1) {
      const cut = whole.slice(0, bytes);
      const { verdict, frame, counted } = send(cut);
      expect({ bytes, verdict, frame }).toEqual({ bytes, verdict: 'PASS', frame: cut });
      expect(Object.keys(counted).filter((name) => name !== 'malformed')).toEqual([]);
    }
    leaves(whole.slice(0, whole.length - 1), { malformed: 1 });
  });

  test('a packet longer than its tunnel is left as it came', () => {
    const at = inner.family === 'ipv4' ? 2 : 4;
    const bytes = packetOf(segment).length + 1 - (inner.family === 'ipv4' ? 0 : 40);
    const longer = patched(segment, ETHERNET_BYTES + at, bytes >> 8, bytes & 0xff);
    leaves(Uint8Array.of(...tunnelled(kind, between, longer), 0, 0), { malformed: 1 });
  });

  test('a packet whose version is not that of its tunnel is left as it came', () => {
    const wrong = patched(segment, ETHERNET_BYTES, inner.family === 'ipv4' ? 0x55 : 0x70);
    const bytes = Uint8Array.of(...tunnelled(kind, between, wrong));
    const { verdict, frame, counted } = send(bytes);
    expect({ verdict, frame }).toEqual({ verdict: 'PASS', frame: bytes });
    expect(Object.keys(counted)).toEqual([kind === 'fou' ? 'unsupported' : 'malformed']);
  });

  test('fragments of the tunnel are left as they came', () => {
    const content = packetOf(tunnelled(kind, between, segment));
    const [header, protocol] =
      outer.family === 'ipv4' ? [20, content[9] ?? 0] : [40, content[6] ?? 0];
    const rest = content.subarray(header);
    const first = ip({ ...between, fragment: { offset: 0, more: true } }, protocol, rest);
    leaves(first, { fragment: 1 });
    const later = ip({ ...between, fragment: { offset: 30, more: false } }, protocol, rest);
    // A later fragment of UDP does not say to which port it goes.
    leaves(later, protocol === PROTOCOL.udp ? {} : { fragment: 1 });
  });

  // Outer, inner, and what is to be: RFC 6040, section 4.2; undefined: dropped.
  const marks = [
    [NO_ECT, NO_ECT, NO_ECT],
    [NO_ECT, ECT0, ECT0],
    [NO_ECT, ECT1, ECT1],
    [NO_ECT, CE, CE],
    [ECT0, NO_ECT, NO_ECT],
    [ECT0, ECT0, ECT0],
    [ECT0, ECT1, ECT1],
    [ECT0, CE, CE],
    [ECT1, NO_ECT, NO_ECT],
    [ECT1, ECT0, ECT1],
    [ECT1, ECT1, ECT1],
    [ECT1, CE, CE],
    [CE, NO_ECT, undefined],
    [CE, ECT0, CE],
    [CE, ECT1, CE],
    [CE, CE, CE],
  ] as const;

  test.each(marks)('ECN %i outside and %i inside is %i after', (outside, inside, after) => {
    const innerTos = (DSCP << 2) | inside;
    const wrapped = withTos(
      tunnelled(kind, between, withTos(segment, innerTos)),
      (40 << 2) | outside,
    );
    const outcome = send(wrapped);
    if (after === undefined) {
      expect(outcome).toMatchObject({ verdict: 'DROP', counted: { congestion: 1 } });
      return;
    }
    expect(outcome).toEqual({
      verdict: 'PASS',
      frame: withTos(segment, (DSCP << 2) | after),
      counted: { [kind]: 1 },
    });
    expect(decode(outcome.frame).wrongChecksums).toEqual([]);
  });
});

describe('tunnels with what nodes do not send', () => {
  const between = { source: IPV4.node, destination: IPV4.backend(1) };
  const clients = { source: IPV4.client, destination: IPV4.vip, sport: 40_000, dport: 80 };
  const segment = tcp({ ...clients, flags: 'A' });
  const afterIp = ETHERNET_BYTES + 20;
  const gre = tunnelled('gre', between, segment);
  const gue = tunnelled('gue', between, segment);
  const fou = tunnelled('fou', between, segment);
  const ipip = tunnelled('ipip', between, segment);
  const rows = [
    { what: 'GRE with a checksum', frame: patched(gre, afterIp, 0x80), counted: 'unsupported' },
    { what: 'GRE with a key', frame: patched(gre, afterIp, 0x20), counted: 'unsupported' },
    { what: 'GRE version 1', frame: patched(gre, afterIp + 1, 1), counted: 'unsupported' },
    {
      what: 'Ethernet in GRE',
      frame: patched(gre, afterIp + 2, 0x65, 0x58),
      counted: 'unsupported',
    },
    {
      what: 'a GUE control message',
      frame: patched(gue, afterIp + 8, 0x20),
      counted: 'unsupported',
    },
    {
      what: 'GUE of another variant',
      frame: patched(gue, afterIp + 8, 0x40),
      counted: 'unsupported',
    },
    { what: 'GUE with extensions', frame: patched(gue, afterIp + 8, 0x01), counted: 'unsupported' },
    { what: 'GUE with flags', frame: patched(gue, afterIp + 10, 0x80), counted: 'unsupported' },
    { what: 'TCP in GUE', frame: patched(gue, afterIp + 9, 6), counted: 'unsupported' },
    { what: 'no IP packet in FOU', frame: patched(fou, afterIp + 8, 0x20), counted: 'unsupported' },
    {
      what: 'outer IP options',
      frame: tunnelled('ipip', { ...between, options: Uint8Array.of(1, 1, 1, 0) }, segment),
      counted: 'unsupported',
    },
    {
      what: 'an outer header with a wrong checksum',
      frame: patched(ipip, ETHERNET_BYTES + 8, 63),
      counted: 'malformed',
    },
    {
      what: 'an outer length beyond the frame',
      frame: mended(patched(ipip, ETHERNET_BYTES + 2, 0x10, 0)),
      counted: 'malformed',
    },
    {
      what: 'a UDP length beyond the packet',
      frame: patched(fou, afterIp + 4, 1),
      counted: 'malformed',
    },
    {
      what: 'a UDP length short of the packet',
      frame: patched(fou, afterIp + 4, 0, 40),
      counted: 'malformed',
    },
  ];

  test.each(rows)('$what is left as it came', ({ frame, counted }) => {
    leaves(frame, { [counted]: 1 });
  });

  test('datagrams to other ports, and what is no IP, are left as they came', () => {
    leaves(udp({ ...between, sport: 1, dport: 53, payload: packetOf(segment) }));
    leaves(patched(segment, 12, 0x08, 0x06));
    leaves(patched(ipip, ETHERNET_BYTES, 0x44));
  });

  test('each address has ports of its own', () => {
    const other = loadProgram({
      vips: [IPV4.vip],
      addresses: [taken({ address: IPV4.backend(1), tunnels: new Set(['gue']), guePort: 7000 })],
    });
    try {
      const toPort = (port: number) => patched(gue, afterIp + 2, port >> 8, port & 0xff);
      const run = (frame: Uint8Array) => testRun(other.program(PROGRAM), { packet: frame }).packet;
      expect(run(toPort(7000))).toEqual(segment);
      expect(run(gue)).toEqual(gue);
    } finally {
      other.close();
    }
  });
});

describe.each(PLANS)('DSCP over $family', (plan) => {
  const own = plan.backend(1);
  const from = { source: plan.client, destination: own, sport: 40_000, dport: 80 };
  const to = { ...from, destination: plan.vip };
  const payload = new Uint8Array(65).map((_, i) => 255 - i);
  const echo = { type: ECHO[plan.family].request, payload };
  const rows = [
    {
      what: 'TCP',
      marked: tcp({ ...from, flags: 'PA', payload }),
      back: tcp({ ...to, flags: 'PA', payload }),
    },
    { what: 'UDP', marked: udp({ ...from, payload }), back: udp({ ...to, payload }) },
    { what: 'an echo', marked: icmp({ ...from, ...echo }), back: icmp({ ...to, ...echo }) },
  ];

  test.each(rows)(
    '$what gets the VIP back, and loses the mark but not its ECN',
    ({ marked, back }) => {
      for (const ecn of [NO_ECT, ECT1, ECT0, CE]) {
        expect(send(withTos(marked, (DSCP << 2) | ecn))).toEqual({
          verdict: 'PASS',
          frame: withTos(back, ecn),
          counted: { dscp: 1 },
        });
      }
    },
  );

  test('every checksum comes out right', () => {
    for (let sport = 1; sport < 0x10000; sport += 97) {
      for (const frame of [udp({ ...from, sport, payload }), tcp({ ...from, sport, flags: 'A' })]) {
        const outcome = testRun(object.program(PROGRAM), { packet: withTos(frame, DSCP << 2) });
        expect(decode(outcome.packet)).toMatchObject({ destination: plan.vip, wrongChecksums: [] });
      }
    }
  });

  test('a datagram whose checksum comes out as 0 says all ones', () => {
    const frames = Array.from({ length: 0x10000 }, (_, word) =>
      udp({ ...from, payload: Uint8Array.of(word >> 8, word & 0xff) }),
    );
    // The one whose checksum differs from 0 by what the new destination changes.
    const zero = frames.find((frame) => {
      const back = udp({ ...to, payload: frame.subarray(-2) });
      return (
        back[ETHERNET_BYTES + (plan.family === 'ipv4' ? 26 : 46)] === 0xff &&
        back[ETHERNET_BYTES + (plan.family === 'ipv4' ? 27 : 47)] === 0xff
      );
    });
    const { frame } = send(withTos(zero!, DSCP << 2));
    expect(frame).toEqual(udp({ ...to, payload: zero!.subarray(-2) }));
  });

  test('fragments get it too, and fit together again', () => {
    const whole = packetOf(udp({ ...from, payload })).subarray(plan.family === 'ipv4' ? 20 : 40);
    const parts = [
      { offset: 0, more: true, bytes: whole.subarray(0, 24) },
      { offset: 3, more: true, bytes: whole.subarray(24, 48) },
      { offset: 6, more: false, bytes: whole.subarray(48) },
    ];
    const headers = ETHERNET_BYTES + (plan.family === 'ipv4' ? 20 : 48);
    const joined = parts.flatMap(({ offset, more, bytes }) => {
      const sent = ip({ ...from, fragment: { offset, more } }, PROTOCOL.udp, bytes);
      const { verdict, frame, counted } = send(withTos(sent, DSCP << 2));
      expect({ verdict, counted }).toEqual({ verdict: 'PASS', counted: { dscp: 1 } });
      expect(decode(frame).destination).toBe(plan.vip);
      return [...frame.subarray(headers)];
    });
    const again = ip(to, PROTOCOL.udp, Uint8Array.from(joined));
    expect(again).toEqual(udp({ ...to, payload }));
  });

  test('VLAN tags stay', () => {
    const [{ marked, back }] = rows as [(typeof rows)[0]];
    expect(send(tagged(withTos(marked, DSCP << 2), 7)).frame).toEqual(tagged(back, 7));
  });

  test('another DSCP, or another address, stays as it came', () => {
    leaves(withTos(tcp({ ...from, flags: 'A' }), (DSCP + 1) << 2));
    leaves(tcp({ ...from, flags: 'A' }));
    leaves(withTos(tcp({ ...from, destination: plan.backend(2), flags: 'A' }), DSCP << 2));
    leaves(withTos(tcp({ ...from, destination: PLAIN[plan.family], flags: 'A' }), DSCP << 2));
  });

  test('what is neither TCP nor UDP nor ICMP stays as it came', () => {
    const sctp = withTos(ip(from, PROTOCOL.sctp, payload), DSCP << 2);
    leaves(sctp, { dscp_unsupported: 1 });
  });

  test('cut short anywhere, nothing is dropped', () => {
    const whole = withTos(tcp({ ...from, flags: 'A' }), DSCP << 2);
    for (let bytes = ETHERNET_BYTES; bytes < whole.length; bytes += 1) {
      expect(send(whole.slice(0, bytes)).verdict).toBe('PASS');
    }
  });
});

test('a jumbo frame, of which the program sees the beginning only', () => {
  const payload = new Uint8Array(8000);
  const clients = { source: IPV4.client, destination: IPV4.vip, sport: 1, dport: 2, payload };
  const between = { source: IPV6.node, destination: IPV6.backend(1) };
  const before = counts();
  const packet = tunnelled('gue', between, udp(clients));
  // Repeated once, since the kernel does not hand so long a frame back.
  expect(testRun(object.program(PROGRAM), { packet, repeat: 1 }).verdict).toBe(2);
  expect(countedSince(before)).toEqual({ gue: 1 });
});

test('a datagram without a checksum gets none', () => {
  const from = {
    source: IPV4.client,
    destination: IPV4.backend(1),
    sport: 1,
    dport: 2,
    checksum: false,
  };
  const { frame } = send(withTos(udp(from), DSCP << 2));
  expect(frame).toEqual(udp({ ...from, destination: IPV4.vip }));
});

test('a fragment header on a whole IPv6 packet makes it no fragment', () => {
  const from = { source: IPV6.client, destination: IPV6.backend(1), sport: 1, dport: 2 };
  const whole = packetOf(udp(from)).subarray(40);
  const fragment = { offset: 0, more: false };
  const sent = withTos(ip({ ...from, fragment }, PROTOCOL.udp, whole), DSCP << 2);
  const back = packetOf(udp({ ...from, destination: IPV6.vip })).subarray(40);
  const { frame } = send(sent);
  expect(frame).toEqual(ip({ ...from, destination: IPV6.vip, fragment }, PROTOCOL.udp, back));
});
