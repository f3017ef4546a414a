/** What is not a plain TCP or UDP packet: dropped by name when it is for a VIP, else left alone. */
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Address } from '../model/address.ts';
import { PLANS, type Plan } from './fixture-network.ts';
import { Fixture, sentTo, service, towards, type CounterName } from './fixture.ts';
import { ECHO, ethernet, ETHERNET_BYTES, icmp, ip, patched, PROTOCOL, tcp, udp } from './packet.ts';

const SEED = 20260502;

let fixture: Fixture;

beforeAll(async () => {
  fixture = await Fixture.open();
  await fixture.program(
    ...PLANS.flatMap(({ vip, backend }) =>
      (['tcp', 'udp'] as const).map((protocol) =>
        service({ vip, protocol, port: 0, backends: [backend(1)] }),
      ),
    ),
  );
});
afterAll(async () => {
  await fixture.close();
});

interface Row {
  readonly name: string;
  readonly frame: Uint8Array;
  readonly why: CounterName;
}

const L3 = ETHERNET_BYTES;

/** The first bytes of a segment and of a datagram. */
const SEGMENT_START = Uint8Array.of(0x9c, 0x40, 0, 80, 0, 0, 0, 1, 0, 0, 0, 0);
const DATAGRAM_START = Uint8Array.of(0x9c, 0x40, 0, 80);

/** Behind the packet there is what would make it a whole one. */
function padded(frame: Uint8Array): Uint8Array {
  return Uint8Array.from([...frame, 0x50, 2, 0xfa, 0xf0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0]);
}

/** Frames that a VIP drops, built for any destination. */
function rows(plan: Plan, destination: Address): Row[] {
  const between = { source: plan.client, destination };
  const ports = { ...between, sport: 40000, dport: 80 };
  const syn = tcp({ ...ports, flags: 'S' });
  const datagram = udp(ports);
  const v4 = plan.family === 'ipv4';
  const l4 = L3 + (v4 ? 20 : 40);
  const { request } = ECHO[plan.family];
  const foreign = plan.family === 'ipv4' ? ECHO.ipv6 : ECHO.ipv4;

  const malformed = [
    { name: 'TCP data offset 4', frame: patched(syn, l4 + 12, 4 << 4) },
    { name: 'TCP data offset 0', frame: patched(syn, l4 + 12, 0) },
    { name: 'TCP data offset beyond the packet', frame: padded(patched(syn, l4 + 12, 6 << 4)) },
    { name: 'TCP cut short, and padding', frame: padded(ip(between, PROTOCOL.tcp, SEGMENT_START)) },
    { name: 'UDP length beyond the packet', frame: padded(patched(datagram, l4 + 4, 0, 9)) },
    {
      name: 'UDP cut short, and padding',
      frame: padded(ip(between, PROTOCOL.udp, DATAGRAM_START)),
    },
    { name: 'UDP length 7', frame: patched(datagram, l4 + 4, 0, 7) },
    { name: 'UDP length 0', frame: patched(datagram, l4 + 4, 0, 0) },
  ];
  const malformed4 = [
    { name: 'IHL 4', frame: patched(syn, L3, 0x44) },
    { name: 'IHL 0', frame: patched(syn, L3, 0x40) },
    { name: 'IHL beyond the frame', frame: patched(syn, L3, 0x4f) },
    { name: 'total length 19', frame: patched(syn, L3 + 2, 0, 19) },
    { name: 'total length 0', frame: patched(syn, L3 + 2, 0, 0) },
    {
      name: 'total length within the options',
      frame: patched(tcp({ ...ports, flags: 'S', options: new Uint8Array(8) }), L3 + 2, 0, 24),
    },
  ];
  const fragments = [
    { name: 'a fragment in between', fragment: { offset: 10, more: true }, bytes: 24 },
    { name: 'the last fragment', fragment: { offset: 185, more: false }, bytes: 24 },
    {
      name: 'a fragment at the largest offset',
      fragment: { offset: 0x1fff, more: false },
      bytes: 7,
    },
  ];
  const protocols = [
    { name: 'GRE', protocol: PROTOCOL.gre },
    { name: 'SCTP', protocol: PROTOCOL.sctp },
    { name: 'IP in IP', protocol: 4 },
    { name: 'IPv6 in IP', protocol: 41 },
    { name: 'ESP', protocol: 50 },
    { name: 'AH', protocol: 51 },
    { name: 'UDP-Lite', protocol: 136 },
    { name: 'protocol 255', protocol: 255 },
  ];
  const icmpTypes = v4 ? [0, 5, 13, 17] : [0, 5, 127, 129, 135];
  const icmpErrors = v4 ? [3, 11, 12] : [1, 2, 3, 4];

  return [
    ...[...malformed, ...(v4 ? malformed4 : [])].map((row) => ({
      ...row,
      why: 'malformed' as const,
    })),
    ...fragments.map(({ name, fragment, bytes }) => ({
      name,
      frame: ip({ ...between, fragment }, PROTOCOL.tcp, new Uint8Array(bytes)),
      why: 'fragment' as const,
    })),
    {
      name: 'a fragment of an echo request',
      frame: icmp({ ...between, type: request, fragment: { offset: 0, more: true } }),
      why: 'fragment',
    },
    ...protocols.map(({ name, protocol }) => ({
      name,
      frame: ip(between, protocol, new Uint8Array(24)),
      why: 'protocol' as const,
    })),
    ...icmpTypes.map((type) => ({
      name: `ICMP type ${type}`,
      frame: icmp({ ...between, type, payload: new Uint8Array(28) }),
      why: 'protocol' as const,
    })),
    ...icmpErrors.map((type) => ({
      name: `ICMP type ${type}`,
      frame: icmp({ ...between, type, payload: new Uint8Array(28) }),
      why: 'icmp_malformed' as const,
    })),
    {
      name: 'an echo request of the other family',
      frame: ip(between, foreign.protocol, Uint8Array.of(foreign.request, 0, 0, 0, 0, 0, 0, 1)),
      why: 'protocol',
    },
  ];
}

describe.each(PLANS)('$family', (plan) => {
  test.each(rows(plan, plan.vip))('$name to a VIP is dropped: $why', ({ frame, why }) => {
    expect(fixture.send(frame)).toMatchObject({ verdict: 'DROP', frame, counted: { [why]: 1 } });
  });

  test.each(rows(plan, plan.stranger))('$name to another address passes', ({ frame }) => {
    expect(fixture.send(frame)).toMatchObject({ verdict: 'PASS', frame, counted: { passed: 1 } });
  });

  const headers = plan.family === 'ipv4' ? 20 : 40;
  const options = plan.family === 'ipv4' ? new Uint8Array(12) : new Uint8Array(0);
  /** `l4Bytes`: what must be there of the header after IP. */
  const whole = (destination: Address) => {
    const between = { source: plan.client, destination };
    const ports = { ...between, sport: 40000, dport: 80, payload: new Uint8Array(5) };
    const { request } = ECHO[plan.family];
    return [
      { name: 'TCP', frame: tcp({ ...ports, flags: 'S' }) },
      { name: 'UDP', frame: udp(ports) },
      {
        name: 'an echo request',
        frame: icmp({ ...between, type: request }),
      },
      {
        name: 'TCP after options',
        frame: tcp({ ...ports, flags: 'S', options }),
      },
    ];
  };

  test.each(whole(plan.vip))('$name to a VIP, cut at every length', (row) => {
    for (let length = ETHERNET_BYTES; length <= row.frame.length; length += 1) {
      const cut = row.frame.subarray(0, length);
      const outcome = fixture.send(cut);
      const expected =
        length < ETHERNET_BYTES + headers
          ? { verdict: 'PASS', counted: { passed: 1 } }
          : length < row.frame.length
            ? { verdict: 'DROP', counted: { malformed: 1 } }
            : { verdict: 'TX' };
      expect(outcome, `at ${length} bytes`).toMatchObject(expected);
      if (outcome.verdict !== 'TX') expect(outcome.frame).toEqual(cut);
    }
  });

  test.each(whole(plan.stranger))('$name to another address, cut at every length', (row) => {
    for (let length = ETHERNET_BYTES; length <= row.frame.length; length += 1) {
      const cut = row.frame.subarray(0, length);
      expect(fixture.send(cut), `at ${length} bytes`).toMatchObject({
        verdict: 'PASS',
        frame: cut,
        counted: { passed: 1 },
      });
    }
  });

  const inner = tcp({
    source: plan.client,
    destination: plan.vip,
    sport: 40000,
    dport: 80,
    flags: 'S',
  });
  const notIp = [
    { name: 'ARP', etherType: 0x0806 },
    { name: 'LLDP', etherType: 0x88cc },
    { name: 'MPLS', etherType: 0x8847 },
    { name: 'the other IP version', etherType: plan.family === 'ipv4' ? 0x86dd : 0x0800 },
  ];

  test.each(notIp)('a frame whose Ethertype says $name passes', ({ etherType }) => {
    const frame = ethernet({}, etherType, inner.subarray(ETHERNET_BYTES), new Uint8Array(40));
    expect(fixture.send(frame)).toMatchObject({ verdict: 'PASS', frame, counted: { passed: 1 } });
  });

  test('TCP options and urgent data are no reason to drop', () => {
    const frame = tcp({
      source: plan.client,
      destination: plan.vip,
      sport: 41000,
      dport: 80,
      flags: 'S',
      payload: new Uint8Array(40).fill(1),
    });
    const longHeader = patched(frame, ETHERNET_BYTES + headers + 12, 15 << 4);
    const outcome = fixture.send(longHeader);
    expect(sentTo(outcome)).toBe(1);
    expect(outcome.frame).toEqual(towards(1, longHeader));
  });
});

test('an IPv4 header with options goes to the backend as it is', () => {
  const [plan] = PLANS;
  const frame = tcp({
    source: plan!.client,
    destination: plan!.vip,
    sport: 42000,
    dport: 80,
    flags: 'S',
    options: Uint8Array.of(1, 1, 1, 1, 7, 7, 4, 0, 0, 0, 0, 0),
  });
  expect(fixture.send(frame)).toMatchObject({ verdict: 'TX', frame: towards(1, frame) });
});

test(`2,000 frames to no VIP pass as they are (seed ${SEED})`, () => {
  const etherType = fc.constantFrom(0x0800, 0x86dd, 0x0806, 0x8100, 0);
  const bytes = fc.uint8Array({ minLength: 0, maxLength: 200, size: 'max' });
  const parts = fc.tuple(etherType, bytes, fc.boolean());
  const before = fixture.count('passed');
  for (const [type, payload, plausible] of fc.sample(parts, { seed: SEED, numRuns: 2000 })) {
    // Half of them get as far as the header of TCP or UDP.
    const version = type === 0x86dd ? [0x60] : [0x45, 0, 0, 200, 0, 0, 0, 0, 64, 17];
    const long = payload.length >= 60;
    const body = plausible && long ? patched(payload, 0, ...version) : payload;
    const frame = ethernet({}, type, body);
    expect(fixture.run(frame)).toEqual({ verdict: 'PASS', frame });
  }
  expect(fixture.count('passed') - before).toBe(2000);
});
