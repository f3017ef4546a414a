/**
 * What is not plain on the way back by nat and full_nat: replies in fragments, behind IPv6 extension
 * headers, and too big for the way to the client. Requests in fragments as well.
 */
import fc from 'fast-check';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import { SETTINGS_AT } from '../abi/abi.generated.ts';
import { NAT_MODES } from '../model/forwarding.ts';
import { tooBigAnswer } from './expected-answers.ts';
import { forgetFragments, fragmentEntries, makeFragmentsOld } from './fixture-fragments.ts';
import {
  BACKEND_PORT,
  big,
  frame,
  network,
  PROTOCOLS,
  quote,
  services,
  type Change,
  type Ends,
  type Protocol,
} from './fixture-nat.ts';
import { IPV4, PLANS } from './fixture-network.ts';
import { Fixture, service } from './fixture.ts';
import { fragmentsOf, reassembled } from './packet-fragments.ts';
import { decode, ETHERNET_BYTES, icmp, patched, tagged } from './packet.ts';

const SEED = 20260714;
const WAIT = { timeout: 10_000, interval: 20 };
/** Of the way to the client. */
const MTU = 1500;
const SIZES = [32, 24];
const MODES = PLANS.flatMap((plan) => NAT_MODES.map((mode) => ({ plan, mode, ...plan })));

let fixture: Fixture;

beforeAll(async () => {
  fixture = await Fixture.open();
});
afterAll(async () => {
  await fixture.close();
});
beforeEach(() => {
  fixture.fillCpuBuckets();
});
afterEach(() => {
  fixture.forgetFlows();
  forgetFragments(fixture);
  while (fixture.dataplane.cutOversized() > 0);
});

/** Passes, and nothing is learned from it. */
function expectPassed(came: Uint8Array): void {
  expect(fixture.send(came)).toMatchObject({
    verdict: 'PASS',
    frame: came,
    counted: { passed: 1 },
  });
}

describe.each(MODES)('$mode, $family', ({ plan, mode }) => {
  const { asked, answered, sent, toBackend, fromBackend, toClient } = network(plan);
  const backend = plan.backend(1);

  beforeEach(async () => {
    await fixture.program();
    await fixture.program(...services(plan, mode));
  });

  /** Opens a flow; what the backend sends then. */
  function opened(protocol: Protocol): Ends {
    const { verdict, packet } = fixture.send(frame(protocol, asked, { flags: 'S' }));
    expect(verdict).toBe('TX');
    const { source: destination, sport: dport } = packet;
    return { source: backend, sport: BACKEND_PORT, destination, dport };
  }

  /** What the client gets of a reply, one router later. */
  function toldClient(protocol: Protocol, change: Change = {}): Uint8Array {
    return frame(protocol, answered, { ...change, ttl: 63, ...toClient });
  }

  describe.each(PROTOCOLS)('%s', (protocol) => {
    test('every fragment of a reply comes from the VIP', () => {
      const parts = fragmentsOf(frame(protocol, opened(protocol), fromBackend), SIZES);
      const expected = fragmentsOf(toldClient(protocol), SIZES);
      expect(parts).toHaveLength(3);
      parts.forEach((part, n) => {
        expect(fixture.send(part)).toMatchObject({
          verdict: 'TX',
          frame: expected[n],
          counted: { nat_reply: 1, fragment_forwarded: 1 },
        });
      });
    });

    test('every fragment of a request goes to the backend and its port', () => {
      const { destination: client, dport: port } = opened(protocol);
      const there = { ...sent, source: client, sport: port };
      const [first, second, third] = fragmentsOf(frame(protocol, asked), SIZES);
      expect(fixture.send(third!).counted).toEqual({ fragment: 1 });
      const expected = fragmentsOf(frame(protocol, there, toBackend), SIZES);
      [first, second, third].forEach((part, n) => {
        expect(fixture.send(part!)).toMatchObject({
          verdict: 'TX',
          frame: expected[n],
          counted: { fragment_forwarded: 1 },
        });
      });
    });

    test('a fragment that comes before the first passes, and goes to the client after it', () => {
      const [first, second, third] = fragmentsOf(frame(protocol, opened(protocol)), SIZES);
      for (const part of [third, second]) expectPassed(part!);
      for (const part of [first, third, second, second]) {
        expect(fixture.send(part!).counted).toEqual({ nat_reply: 1, fragment_forwarded: 1 });
      }
    });

    const extensions = plan.family === 'ipv6' ? [[0], [60], [0, 43, 60], [0, 60, 60]] : [];
    test.each(extensions)('behind extension headers %o %o %o', (...chain) => {
      const came = frame(protocol, opened(protocol), { extensions: chain, ...fromBackend });
      expect(fixture.send(came)).toMatchObject({
        verdict: 'TX',
        frame: toldClient(protocol, { extensions: chain }),
        counted: { nat_reply: 1 },
      });
    });

    // IPv6 has no such options.
    test.each(plan.family === 'ipv4' ? [4, 12] : [])('%i bytes of IP options stay', (bytes) => {
      const options = new Uint8Array(bytes).fill(1);
      const reply = opened(protocol);
      const { frame: whole } = fixture.send(frame(protocol, reply, { options }));
      expect(whole).toEqual(toldClient(protocol, { options }));
      const came = fragmentsOf(frame(protocol, reply, { options }), SIZES);
      const told = fragmentsOf(toldClient(protocol, { options }), SIZES);
      expect(came.map((part) => fixture.send(part).frame)).toEqual(told);
    });

    test('one that is too big is answered from the node, with what the backend sent', () => {
      const reply = opened(protocol);
      const fits = big(plan, protocol, reply, MTU, { dontFragment: true });
      expect(fixture.send(fits).counted).toEqual({ nat_reply: 1 });
      const over = big(plan, protocol, reply, MTU + 1, { dontFragment: true, ...fromBackend });
      expect(fixture.send(over)).toMatchObject({
        verdict: 'TX',
        frame: tooBigAnswer(over, MTU, plan.node),
        counted: { too_big_answered: 1 },
      });
    });
  });

  test('a datagram without a checksum has none in its fragments either', () => {
    const parts = fragmentsOf(frame('udp', opened('udp'), { checksum: false }), SIZES);
    const expected = fragmentsOf(toldClient('udp', { checksum: false }), SIZES);
    expect(parts.map((part) => fixture.send(part).frame)).toEqual(expected);
  });

  test('a fragment that is 30 s late passes', () => {
    const [first, second] = fragmentsOf(frame('udp', opened('udp')), SIZES);
    fixture.send(first!);
    makeFragmentsOld(fixture);
    expectPassed(second!);
  });

  test('fragments of what is no reply pass, and so they do when their identification was of one', () => {
    const reply = opened('udp');
    const other = { ...reply, sport: BACKEND_PORT + 1 };
    const ours = fragmentsOf(frame('udp', reply), SIZES);
    const others = fragmentsOf(frame('udp', other), SIZES);
    others.forEach(expectPassed);
    expect(fragmentEntries(fixture)).toEqual([]);
    for (const part of ours) expect(fixture.send(part).verdict).toBe('TX');
    others.forEach(expectPassed);
    expectPassed(ours[1]!);
    for (const part of ours) expect(fixture.send(part).verdict).toBe('TX');
  });

  const strangers: readonly (readonly [string, Partial<Ends>])[] = [
    ['another host', { source: plan.backend(2) }],
    ['to the node, of no flow', { destination: plan.node, dport: 20_001 }],
    ['to the node, of no port of ours', { destination: plan.node, dport: 53 }],
  ];
  test.each(strangers)('fragments and extension headers of %s pass', (_, change) => {
    const stranger = { ...opened('udp'), ...change };
    fragmentsOf(frame('udp', stranger), SIZES).forEach(expectPassed);
    if (plan.family === 'ipv6') expectPassed(frame('udp', stranger, { extensions: [0, 60] }));
    expect(fragmentEntries(fixture)).toEqual([]);
  });

  const l4 = ETHERNET_BYTES + network(plan).headerBytes;
  test('what cannot be put together passes', () => {
    const reply = opened('tcp');
    for (const came of [
      // Cut in its header, and in no multiple of 8; TCP at offset 1 (RFC 1858).
      fragmentsOf(frame('tcp', reply), [16])[0],
      fragmentsOf(frame('tcp', reply), [36])[0],
      fragmentsOf(patched(frame('tcp', reply), l4 + 12, 15 << 4), [40])[0],
      fragmentsOf(frame('tcp', reply), [8])[1],
    ]) {
      expectPassed(came!);
    }
  });

  test('ICMP in fragments passes', () => {
    const { source, destination } = opened('udp');
    const [type, payload] = [plan.family === 'ipv4' ? 3 : 1, quote('udp', sent)];
    fragmentsOf(icmp({ source, destination, type, payload }), SIZES).forEach(expectPassed);
  });

  test('fragments are dropped when what their first one was of is gone', async () => {
    const [first, second] = fragmentsOf(frame('udp', opened('udp')), SIZES);
    expect(fixture.send(first!).verdict).toBe('TX');
    if (mode === 'full_nat') fixture.forgetFlows();
    else await fixture.program(...services(plan, mode, { port: BACKEND_PORT + 1 }));
    expect(fixture.send(second!)).toMatchObject({
      verdict: 'DROP',
      frame: second!,
      counted: { fragment: 1 },
    });
  });

  test('of a first one that cannot go on, the others are dropped by the same name', () => {
    const parts = fragmentsOf(frame('udp', opened('udp'), { ttl: 1 }), SIZES);
    for (const part of parts) expect(fixture.send(part).counted).toEqual({ ttl: 1 });
  });

  test(`200 replies cut at random come out whole (seed ${SEED})`, () => {
    const cuts = fc.record({
      sizes: fc.array(fc.integer({ min: 3, max: 8 }), { minLength: 1, maxLength: 3 }),
      protocol: fc.constantFrom(...PROTOCOLS),
      id: fc.integer({ min: 0, max: 65535 }),
    });
    const replies = { tcp: opened('tcp'), udp: opened('udp') };
    for (const { sizes, protocol, id } of fc.sample(cuts, { seed: SEED, numRuns: 200 })) {
      const units = sizes.map((size) => size * 8);
      const parts = fragmentsOf(frame(protocol, replies[protocol]), units, id);
      const whole = reassembled(parts.map((part) => fixture.run(part).frame));
      expect(decode(whole)).toMatchObject({ ...answered, wrongChecksums: [] });
    }
  });

  // In IPv4 it may be cut: see below.
  test.each(plan.family === 'ipv6' ? [1600] : [])('a fragment of %i bytes is answered', (bytes) => {
    const payload = new Uint8Array(3000).fill(7);
    const [first] = fragmentsOf(frame('udp', opened('udp'), { payload }), [bytes]);
    expect(fixture.send(first!).frame).toEqual(tooBigAnswer(first!, MTU, plan.node));
  });

  test('an answer has the VLAN tags of the reply', () => {
    const over = big(plan, 'tcp', opened('tcp'), MTU + 1, { dontFragment: true, ...fromBackend });
    const outcome = fixture.send(tagged(over, 5));
    expect(outcome.frame).toEqual(tagged(tooBigAnswer(over, MTU, plan.node), 5));
  });

  test('answers have a limit that is counted', () => {
    const over = big(plan, 'tcp', opened('tcp'), MTU + 1, { dontFragment: true });
    fixture.fillCpuBuckets('empty');
    const limited = { verdict: 'DROP', counted: { too_big_limited: 1 } };
    expect(fixture.send(over)).toMatchObject(limited);
  });

  // With full_nat that is where the reply went.
  test.each(mode === 'nat' ? [plan.node] : [])('a node without %s answers nothing', () => {
    const over = big(plan, 'tcp', opened('tcp'), MTU + 1, { dontFragment: true });
    const settings = fixture.map('settings');
    const key = new Uint8Array(4);
    const value = settings.lookup(key)!.slice();
    const { node4, probeSource4 } = SETTINGS_AT;
    settings.update(key, value.slice().fill(0, node4, probeSource4));
    const outcome = fixture.send(over);
    settings.update(key, value);
    expect(outcome).toMatchObject({ verdict: 'DROP', counted: { no_source: 1 } });
  });

  test('an error that is too big is dropped', () => {
    const { destination, dport } = opened('tcp');
    const ends = { ...sent, source: destination, sport: dport };
    const whole = big(plan, 'tcp', ends, MTU - 20).subarray(ETHERNET_BYTES);
    const [type, source] = [plan.family === 'ipv4' ? 11 : 3, plan.stranger];
    const error = icmp({ source, destination, type, payload: whole, dontFragment: true });
    expect(fixture.send(error)).toMatchObject({ verdict: 'DROP', counted: { too_big: 1 } });
  });

  // Only IPv6 has them.
  test.each(plan.family === 'ipv6' ? [[0], [60]] : [])(
    'an error behind extension header %i goes to the client',
    (extension) => {
      const { destination, dport } = opened('tcp');
      const between = { source: plan.stranger, type: 1, code: 4, extensions: [extension] };
      const payload = quote('tcp', { ...sent, source: destination, sport: dport });
      const told = { ...between, destination: asked.source, payload: quote('tcp', asked), ttl: 63 };
      expect(fixture.send(icmp({ ...between, destination, payload }))).toMatchObject({
        verdict: 'TX',
        frame: icmp({ ...told, ...toClient }),
        counted: { nat_error: 1 },
      });
    },
  );
});

describe.each(PLANS)('two VIPs on one port of a backend, $family', (plan) => {
  const { asked, answered, reply, toClient } = network(plan);

  beforeEach(async () => {
    const forwarding = { port: BACKEND_PORT };
    const backends = [{ address: plan.backend(1), mode: 'nat' as const, forwarding }];
    const vips = [plan.vip, plan.otherVip];
    await fixture.program();
    await fixture.program(...vips.map((vip) => service({ vip, protocol: 'udp', backends })));
  });

  test.each([plan.vip, plan.otherVip])('the flow to %s tells the fragments apart', (vip) => {
    fixture.send(frame('udp', { ...asked, destination: vip }));
    const told = frame('udp', { ...answered, source: vip }, { ttl: 63, ...toClient });
    const parts = fragmentsOf(frame('udp', reply), SIZES);
    expect(parts.map((part) => fixture.send(part).frame)).toEqual(fragmentsOf(told, SIZES));
  });

  test('without a flow all of them are dropped by name', () => {
    for (const part of fragmentsOf(frame('udp', reply), SIZES)) {
      expect(fixture.send(part).counted).toEqual({ nat_unknown: 1 });
    }
  });
});

describe.each(PLANS)('what a first fragment taught is of no use, $family', (plan) => {
  const { asked, reply } = network(plan);
  const elsewhere = services({ ...plan, vip: plan.otherVip }, 'nat');

  test('where its VIP is one no longer', async () => {
    await fixture.program(...elsewhere, ...services(plan, 'nat', { port: BACKEND_PORT + 1 }));
    const [first, second] = fragmentsOf(frame('udp', asked), SIZES);
    expect(fixture.send(first!).verdict).toBe('TX');
    await fixture.program(...elsewhere);
    expectPassed(second!);
  });

  test('where its client is a VIP now', async () => {
    await fixture.program(...elsewhere);
    const [first, second] = fragmentsOf(frame('udp', reply), SIZES);
    expect(fixture.send(first!).counted).toMatchObject({ nat_reply: 1 });
    await fixture.program(...elsewhere, service({ vip: plan.routed, backends: [plan.backend(2)] }));
    expect(fixture.send(second!).counted).toEqual({ fragment: 1 });
    await fixture.program();
  });
});

describe.each(NAT_MODES)('IPv4 without DF, %s', (mode) => {
  const { asked, reply } = network(IPV4);

  beforeEach(async () => {
    await fixture.program();
    await fixture.program(...services(IPV4, mode));
  });

  /** As the backend sends it. */
  function opened(): Ends {
    const { source: destination, sport: dport } = fixture.send(frame('udp', asked)).packet;
    return { ...reply, destination, dport };
  }

  const seen = () => fixture.count('nat_reply') + fixture.count('passed');

  test.each([MTU + 1, 2048])(
    'a reply of %i bytes is cut, and all of it goes back',
    async (bytes) => {
      const before = { seen: seen(), passed: fixture.count('passed') };
      const cut = { verdict: 'DROP', counted: { too_big_cut: 1 } };
      expect(fixture.send(big(IPV4, 'udp', opened(), bytes))).toMatchObject(cut);
      expect(fixture.dataplane.cutOversized()).toBe(1);
      await vi.waitFor(() => {
        expect(seen() - before.seen).toBe(2);
      }, WAIT);
      expect(fixture.count('passed')).toBe(before.passed);
    },
  );

  test('a first fragment is cut, and those that fit need not wait for it', async () => {
    const payload = new Uint8Array(2000).fill(3);
    const [first, last] = fragmentsOf(frame('udp', opened(), { payload }), [1600]);
    const before = seen();
    expect(fixture.send(first!).counted).toEqual({ too_big_cut: 1 });
    expect(fixture.send(last!).counted).toEqual({ nat_reply: 1, fragment_forwarded: 1 });
    expect(fixture.dataplane.cutOversized()).toBe(1);
    await vi.waitFor(() => {
      expect(seen() - before).toBe(3);
    }, WAIT);
  });

  test('of a request as well', () => {
    opened();
    const payload = new Uint8Array(2000).fill(3);
    const [first, last] = fragmentsOf(frame('udp', asked, { payload }), [1600]);
    expect(fixture.send(first!).counted).toEqual({ too_big_cut: 1 });
    expect(fixture.send(last!).counted).toEqual({ fragment_forwarded: 1 });
  });
});
