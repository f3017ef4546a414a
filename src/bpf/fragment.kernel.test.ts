/** Fragments to a VIP: all of a packet reach one backend, by whatever mode, or are dropped by name. */
import fc from 'fast-check';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { FORWARDING_MODES, type ForwardingMode } from '../model/forwarding.ts';
import type { L4Protocol } from '../model/service.ts';
import { forgetFragments, fragmentEntries, makeFragmentsOld } from './fixture-fragments.ts';
import { IPV4, IPV6, PLANS, type Plan } from './fixture-network.ts';
import { Fixture, sentTo, service, towards } from './fixture.ts';
import { fragmentsOf, reassembled } from './packet-fragments.ts';
import { decode, ECHO, ETHERNET_BYTES, icmp, ip, patched, PROTOCOL, tcp, udp } from './packet.ts';

const SEED = 20260612;
const FRAGMENTS_MAX = 16384;

let fixture: Fixture;

beforeAll(async () => {
  fixture = await Fixture.open();
});
afterAll(async () => {
  await fixture.close();
});
afterEach(async () => {
  fixture.forgetFlows();
  forgetFragments(fixture);
  await fixture.program();
});

const payload = Uint8Array.from({ length: 100 }, (_, i) => i);

async function program(plan: Plan, mode: ForwardingMode = 'l2dsr', backends = [1]): Promise<void> {
  const ways = backends.map((n) => {
    return { address: plan.backend(n), mode, forwarding: { dscp: 11 } };
  });
  await fixture.program(
    service({ vip: plan.vip, backends: ways }),
    service({ vip: plan.vip, protocol: 'udp', backends: ways }),
  );
}

function whole(plan: Plan, protocol: L4Protocol, sport = 40000): Uint8Array {
  const fields = { source: plan.client, destination: plan.vip, sport, dport: 80, payload };
  return protocol === 'tcp' ? tcp({ ...fields, flags: 'S' }) : udp(fields);
}

const protocols = ['tcp', 'udp'] as const;

describe.each(PLANS)('$family', (plan) => {
  describe.each(protocols)('%s', (protocol) => {
    test('the first one teaches, the others follow, and nothing changes', async () => {
      await program(plan);
      const fragments = fragmentsOf(whole(plan, protocol), [24, 40]);
      expect(fragments.length).toBe(3);
      for (const frame of fragments) {
        expect(fixture.send(frame)).toMatchObject({
          verdict: 'TX',
          frame: towards(1, frame),
          counted: { fragment_forwarded: 1 },
        });
      }
      expect(fixture.embryonic()).toMatchObject([{ sport: 40000, dport: 80 }]);
    });

    test('they go where the flow goes, and not where the ring does', async () => {
      await program(plan);
      const opened = whole(plan, protocol);
      fixture.send(opened);
      fixture.send(
        protocol === 'tcp'
          ? tcp({ source: plan.client, destination: plan.vip, sport: 40000, dport: 80, flags: 'A' })
          : opened,
      );
      expect(fixture.established()).toHaveLength(1);
      const heavy = { address: plan.backend(2), weight: 65535 };
      await fixture.program(
        ...protocols.map((each) =>
          service({ vip: plan.vip, protocol: each, backends: [plan.backend(1), heavy] }),
        ),
      );
      const fragments = fragmentsOf(opened, [32, 32]);
      expect(fragments.map((frame) => sentTo(fixture.send(frame)))).toEqual([1, 1, 1]);
    });

    test('one that comes before the first is dropped, and comes through after it', async () => {
      await program(plan);
      const [first, second, third] = fragmentsOf(whole(plan, protocol), [32, 32]);
      for (const frame of [third, second]) {
        const outcome = fixture.send(frame!);
        expect(outcome).toMatchObject({ verdict: 'DROP', frame: frame!, counted: { fragment: 1 } });
      }
      const order = [first, third, second, second];
      expect(order.map((frame) => sentTo(fixture.send(frame!)))).toEqual([1, 1, 1, 1]);
    });

    test.each(FORWARDING_MODES)('%s: what arrives is the packet', async (mode) => {
      await program(plan, mode);
      const frame = whole(plan, protocol);
      const sent = fragmentsOf(frame, [24, 48]).map((each) => fixture.send(each));
      for (const { verdict } of sent) expect(verdict).toBe('TX');
      const inner = sent.map((outcome) => unwrapped(outcome.frame, plan, mode));
      const got = decode(reassembled(inner));
      const translated = ['dscp', 'nat', 'full_nat'].includes(mode);
      const destination = translated ? plan.backend(1) : plan.vip;
      expect(got).toMatchObject({ destination, dport: 80, wrongChecksums: [] });
      expect(got.source).toBe(mode === 'full_nat' ? plan.node : plan.client);
      expect(reassembled(inner).subarray(-payload.length)).toEqual(payload);
      if (translated) return;
      expect(reassembled(inner).subarray(ETHERNET_BYTES)).toEqual(
        reassembled(fragmentsOf(frame, [])).subarray(ETHERNET_BYTES),
      );
      // The receiver hashes the outer header: one packet must not be spread over its queues.
      const outer = sent.map((outcome) => outcome.frame.subarray(26, 34).join());
      if (plan.family === 'ipv4') expect(new Set(outer).size).toBe(1);
    });

    test('to another address they pass', async () => {
      await program(plan);
      const away = {
        source: plan.client,
        destination: plan.stranger,
        sport: 1,
        dport: 80,
        payload,
      };
      const frame = protocol === 'tcp' ? tcp({ ...away, flags: 'S' }) : udp(away);
      for (const each of fragmentsOf(frame, [32])) {
        const passed = { verdict: 'PASS', frame: each, counted: { passed: 1 } };
        expect(fixture.send(each)).toMatchObject(passed);
      }
    });
  });

  const l4 = ETHERNET_BYTES + (plan.family === 'ipv4' ? 20 : 40);
  const firsts = [
    { name: 'TCP cut in its header', frame: fragmentsOf(whole(plan, 'tcp'), [16])[0] },
    {
      name: 'TCP cut in its options',
      frame: fragmentsOf(patched(whole(plan, 'tcp'), l4 + 12, 10 << 4), [32])[0],
    },
    {
      name: 'UDP with a length of 7',
      frame: fragmentsOf(patched(whole(plan, 'udp'), l4 + 4, 0, 7), [32])[0],
    },
    { name: 'a length that is no multiple of 8', frame: fragmentsOf(whole(plan, 'udp'), [36])[0] },
  ];
  test.each(firsts)('a first one of $name is malformed', async ({ frame }) => {
    await program(plan);
    // What is missing must not be taken from the padding.
    const padded = Uint8Array.from([...frame!, ...new Uint8Array(40).fill(0x55)]);
    for (const each of [frame!, padded]) {
      const dropped = { verdict: 'DROP', frame: each, counted: { malformed: 1 } };
      expect(fixture.send(each)).toMatchObject(dropped);
    }
  });

  const odd = [
    { name: 'TCP at offset 1 (RFC 1858)', protocol: PROTOCOL.tcp, offset: 1, bytes: 40 },
    { name: 'one beyond the largest packet', protocol: PROTOCOL.udp, offset: 0x1fff, bytes: 40 },
    { name: 'an empty one', protocol: PROTOCOL.udp, offset: 3, bytes: 0 },
  ];
  test.each(odd)('$name is malformed', async ({ protocol, offset, bytes }) => {
    await program(plan);
    const between = { source: plan.client, destination: plan.vip };
    for (const more of bytes > 7 ? [true, false] : [false]) {
      const frame = ip({ ...between, fragment: { offset, more } }, protocol, new Uint8Array(bytes));
      const dropped = { verdict: 'DROP', frame, counted: { malformed: 1 } };
      expect(fixture.send(frame)).toMatchObject(dropped);
    }
  });

  test('an echo request in fragments is dropped, every part of it', async () => {
    await program(plan);
    const { request } = ECHO[plan.family];
    const frame = icmp({ source: plan.client, destination: plan.vip, type: request, payload });
    for (const each of fragmentsOf(frame, [40, 40])) {
      const dropped = { verdict: 'DROP', frame: each, counted: { fragment: 1 } };
      expect(fixture.send(each)).toMatchObject(dropped);
    }
  });

  test('packets with one identification and different ends are different packets', async () => {
    await program(plan, 'l2dsr', [1, 2, 3, 4, 5]);
    const frames = Array.from({ length: 20 }, (_, i) =>
      fragmentsOf(whole(plan, 'udp', 41000 + i), [32, 32], 900 + (i >> 1)),
    );
    // Two with the same identification, one after the other: the later one is meant.
    for (const fragments of frames) {
      const reached = fragments.map((frame) => sentTo(fixture.run(frame)));
      expect(new Set(reached).size).toBe(1);
      expect(reached[0]).toBeDefined();
    }
    const [, other] = fragmentsOf(whole(plan, 'udp'), [32, 32], 12345);
    expect(fixture.send(other!).counted).toEqual({ fragment: 1 });
  });

  test('a fragment that is 30 s late is dropped', async () => {
    await program(plan);
    const [first, second] = fragmentsOf(whole(plan, 'udp'), [32]);
    fixture.send(first!);
    makeFragmentsOld(fixture);
    expect(fixture.send(second!)).toMatchObject({ verdict: 'DROP', counted: { fragment: 1 } });
  });

  test('a fragment for a backend that is gone is dropped', async () => {
    await program(plan);
    const [first, second] = fragmentsOf(whole(plan, 'udp'), [32]);
    fixture.send(first!);
    await program(plan, 'l2dsr', [2]);
    expect(fixture.send(second!)).toMatchObject({ verdict: 'DROP', counted: { fragment: 1 } });
  });

  test('a first fragment that is dropped teaches nothing', async () => {
    await program(plan, 'l2dsr', []);
    const [first, second] = fragmentsOf(whole(plan, 'udp'), [32]);
    expect(fixture.send(first!).counted).toEqual({ no_backend: 1 });
    expect(fixture.send(second!).counted).toEqual({ fragment: 1 });
    expect(fragmentEntries(fixture)).toEqual([]);
  });

  test('a flood of first fragments is bounded, and leaves established flows alone', async () => {
    await program(plan);
    fixture.send(whole(plan, 'udp'));
    fixture.send(whole(plan, 'udp'));
    for (let id = 1; id <= FRAGMENTS_MAX + 2000; id += 1) {
      const [first] = fragmentsOf(whole(plan, 'udp', 1024 + (id % 60000)), [32], id);
      fixture.run(first!);
    }
    expect(fragmentEntries(fixture).length).toBeLessThanOrEqual(FRAGMENTS_MAX);
    expect(fixture.established()).toMatchObject([{ sport: 40000 }]);
  });

  test(`500 packets cut at random come out whole (seed ${SEED})`, async () => {
    await program(plan, 'dscp');
    const cuts = fc.record({
      sizes: fc.array(fc.integer({ min: 3, max: 12 }), { minLength: 1, maxLength: 4 }),
      protocol: fc.constantFrom(...protocols),
      sport: fc.integer({ min: 1, max: 65535 }),
      id: fc.integer({ min: 0, max: 65535 }),
    });
    for (const { sizes, protocol, sport, id } of fc.sample(cuts, { seed: SEED, numRuns: 500 })) {
      const frame = whole(plan, protocol, sport);
      const units = sizes.map((size) => size * 8);
      const inner = fragmentsOf(frame, units, id).map((each) => {
        const { verdict, frame: out } = fixture.run(each);
        expect(verdict).toBe('TX');
        return out;
      });
      expect(decode(reassembled(inner))).toMatchObject({
        destination: plan.backend(1),
        sport,
        dport: 80,
        wrongChecksums: [],
      });
    }
  });
});

test('IPv6 fragments of one packet may name different protocols', async () => {
  await program(IPV6);
  const [first, second] = fragmentsOf(whole(IPV6, 'udp'), [32]);
  fixture.send(first!);
  const other = patched(second!, ETHERNET_BYTES + 40, 60);
  expect(fixture.send(other)).toMatchObject({ verdict: 'TX', frame: towards(1, other) });
});

test('IPv4 fragments of TCP and UDP with one identification are of different packets', async () => {
  await program(IPV4);
  const [first] = fragmentsOf(whole(IPV4, 'udp'), [32]);
  const [, second] = fragmentsOf(whole(IPV4, 'tcp'), [32]);
  fixture.send(first!);
  expect(fixture.send(second!)).toMatchObject({ verdict: 'DROP', counted: { fragment: 1 } });
});

test('extension headers stand before and after that of a fragment', async () => {
  await program(IPV6);
  const fields = { source: IPV6.client, destination: IPV6.vip, sport: 40000, dport: 80, payload };
  const first = udp({ ...fields, extensions: [0], fragment: { offset: 0, more: true } });
  const cut = patched(first.subarray(0, -4), ETHERNET_BYTES + 4, 0, first.length - 4 - 54);
  expect(fixture.send(cut)).toMatchObject({ verdict: 'TX', frame: towards(1, cut) });
  const later = udp({ ...fields, extensions: [0], fragment: { offset: 13, more: false } });
  expect(fixture.send(later)).toMatchObject({ verdict: 'TX', frame: towards(1, later) });
});

/** The packet as the backend gets it, in an Ethernet frame. */
function unwrapped(frame: Uint8Array, { family }: Plan, mode: ForwardingMode): Uint8Array {
  const outer = family === 'ipv4' ? 20 : 40;
  const shims: Partial<Record<ForwardingMode, number>> = { ipip: 0, gre: 4, gue: 12, fou: 8 };
  const shim = shims[mode];
  if (shim === undefined) return frame;
  return Uint8Array.from([
    ...frame.subarray(0, ETHERNET_BYTES),
    ...frame.subarray(ETHERNET_BYTES + outer + shim),
  ]);
}
