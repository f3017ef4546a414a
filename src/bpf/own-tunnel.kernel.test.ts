/** Tunnels to the node itself, and a node that is itself a backend. */
import { networkInterfaces } from 'node:os';
import fc from 'fast-check';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { ip as runIp, PLANS, type Plan } from './fixture-network.ts';
import { tunnelled, TUNNEL_KINDS } from './fixture-tunnels.ts';
import { Fixture, sentTo, service, towards } from './fixture.ts';
import { fragmentsOf } from './packet-fragments.ts';
import {
  CLIENT_MAC,
  decode,
  ECHO,
  ETHERNET_BYTES,
  icmp,
  ip,
  NODE_MAC,
  patched,
  PROTOCOL,
  tagged,
  tcp,
  udp,
} from './packet.ts';

const SEED = 20260614;
const ADDRESSES = PLANS.map(({ node }) => node);
const DECAP = { addresses: ADDRESSES, guePort: 6080, fouPort: 5555 };
const PROBE_SOCKET = { ipv4: '240.255.255.254', ipv6: 'fd53:6b65:696e::ff:fffe' };

let fixture: Fixture;

async function program(plan: Plan, backend = plan.backend(1)): Promise<void> {
  await fixture.program(
    service({ vip: plan.vip, backends: [backend] }),
    service({ vip: plan.vip, protocol: 'udp', backends: [backend] }),
  );
}

describe('a node that opens tunnels', () => {
  beforeAll(async () => {
    fixture = await Fixture.open({ decap: DECAP });
  });
  afterAll(async () => {
    await fixture.close();
  });
  afterEach(async () => {
    fixture.forgetFlows();
    await fixture.program();
  });

  const pairs = PLANS.flatMap((inner) => PLANS.map((outer) => ({ inner, outer })));
  describe.each(pairs)('$inner.family in $outer.family', ({ inner, outer }) => {
    const between = { source: outer.stranger, destination: outer.node };
    const tuple = { source: inner.client, destination: inner.vip, sport: 40000, dport: 80 };
    const syn = tcp({ ...tuple, flags: 'S', payload: Uint8Array.of(1, 2, 3) });

    describe.each(TUNNEL_KINDS)('%s', (kind) => {
      test('what is for a VIP is balanced as if it had come without', async () => {
        await program(inner);
        const sent = { verdict: 'TX', counted: { decapsulated: 1 } };
        for (const frame of [
          syn,
          tcp({ ...tuple, flags: 'A' }),
          udp({ ...tuple, payload: Uint8Array.of(7) }),
        ]) {
          const outcome = fixture.send(tunnelled(kind, between, frame));
          expect(outcome).toMatchObject({ ...sent, frame: towards(1, frame) });
        }
        expect(fixture.established()).toMatchObject([{ sport: 40000, protocol: PROTOCOL.tcp }]);
        expect(sentTo(fixture.send(tcp({ ...tuple, flags: 'A' })))).toBe(1);
      });

      test('what is refused is refused by name', async () => {
        await program(inner);
        const closed = tunnelled(kind, between, tcp({ ...tuple, dport: 81, flags: 'S' }));
        const counted = { decapsulated: 1, no_service: 1 };
        expect(fixture.send(closed)).toMatchObject({ verdict: 'DROP', counted });
      });

      test('tags outside are those of an answer', async () => {
        await program(inner);
        const { request, reply } = ECHO[inner.family];
        const asked = icmp({ ...tuple, type: request });
        const outcome = fixture.send(tagged(tunnelled(kind, between, asked), 100));
        const ends = { source: inner.vip, destination: inner.client };
        const macs = { dmac: CLIENT_MAC, smac: NODE_MAC };
        const counted = { decapsulated: 1, echo_reply: 1 };
        const frame = tagged(icmp({ ...ends, ...macs, type: reply }), 100);
        expect(outcome).toMatchObject({ verdict: 'TX', counted, frame });
      });

      test('fragments inside are followed', async () => {
        await program(inner);
        const datagram = udp({ ...tuple, payload: new Uint8Array(60) });
        for (const part of fragmentsOf(datagram, [24])) {
          const outcome = fixture.send(tunnelled(kind, between, part));
          const counted = { decapsulated: 1, fragment_forwarded: 1 };
          expect(outcome).toMatchObject({ verdict: 'TX', counted, frame: towards(1, part) });
        }
      });

      test('everything else stays as it came', async () => {
        await program(inner);
        const away = tcp({ ...tuple, destination: inner.stranger, flags: 'S' });
        const whole = tunnelled(kind, between, syn);
        const nested = tunnelled(kind, { source: inner.stranger, destination: inner.node }, syn);
        const frames = [
          tunnelled(kind, between, away),
          tunnelled(kind, between, nested),
          tunnelled(kind, { ...between, destination: outer.stranger }, syn),
          tunnelled(kind, { ...between, fragment: { offset: 0, more: true } }, syn),
          tunnelled(kind, { ...between, fragment: { offset: 5, more: false } }, syn),
          whole.subarray(0, whole.length - 1),
        ];
        for (const frame of [...frames, ...frames.map((each) => tagged(each, 5, 6))]) {
          const passed = { verdict: 'PASS', frame, counted: { passed: 1 } };
          expect(fixture.send(frame)).toMatchObject(passed);
        }
      });
    });

    test('other datagrams and protocols to the node stay as they came', async () => {
      await program(inner);
      const frames = [
        udp({ ...between, sport: 5, dport: 53 }),
        udp({ ...between, sport: 5, dport: 6080 }),
        udp({ ...between, sport: 5, dport: 5555, payload: Uint8Array.of(0x45) }),
        ip(between, PROTOCOL.sctp, new Uint8Array(40)),
        tcp({ ...between, sport: 5, dport: 22, flags: 'S' }),
      ];
      for (const frame of frames) {
        const passed = { verdict: 'PASS', frame, counted: { passed: 1 } };
        expect(fixture.send(frame)).toMatchObject(passed);
      }
    });

    test(`2,000 tunnels with a byte changed pass as they came or name a drop (seed ${SEED})`, async () => {
      await program(inner);
      const rows = fc.record({
        kind: fc.constantFrom(...TUNNEL_KINDS),
        at: fc.integer({ min: ETHERNET_BYTES, max: ETHERNET_BYTES + 120 }),
        value: fc.integer({ min: 0, max: 255 }),
        tags: fc.constantFrom<readonly number[]>([], [9], [9, 8]),
      });
      const seen = new Set<string>();
      for (const { kind, at, value, tags } of fc.sample(rows, { seed: SEED, numRuns: 2000 })) {
        const whole = tunnelled(kind, between, syn);
        const frame = tagged(patched(whole, Math.min(at, whole.length - 1), value), ...tags);
        const outcome = fixture.send(frame);
        seen.add(outcome.verdict);
        switch (outcome.verdict) {
          case 'PASS':
            expect(outcome).toMatchObject({ frame, counted: { passed: 1 } });
            break;
          case 'DROP':
            expect(Object.keys(outcome.counted).length).toBeGreaterThan(0);
            break;
          default:
            expect(outcome.verdict).toBe('TX');
        }
      }
      expect(seen).toEqual(new Set(['PASS', 'DROP', 'TX']));
    });
  });

  test.each(PLANS)('$family: an answer to a health check still comes back', async (plan) => {
    await program(plan);
    const { id } = service({ vip: plan.vip, protocol: 'udp', backends: [] });
    const via = fixture.dataplane.probeAddress(id, plan.backend(1))!;
    const asked = { source: PROBE_SOCKET[plan.family], destination: via, sport: 40000, dport: 80 };
    const { sport } = fixture.send(udp(asked), 'skein_probe').packet;
    const answer = udp({ source: plan.vip, destination: plan.node, sport: 80, dport: sport });
    expect(fixture.send(answer).counted).toEqual({ probe_reply: 1 });
  });

  test('the next supervisor opens what its document says', async () => {
    const [plan] = PLANS;
    const syn = tcp({
      source: plan!.client,
      destination: plan!.vip,
      sport: 1,
      dport: 80,
      flags: 'S',
    });
    const frame = tunnelled('ipip', { source: plan!.stranger, destination: plan!.node }, syn);
    await fixture.restart({ decap: { ...DECAP, addresses: [plan!.otherVip] } });
    await program(plan!);
    expect(fixture.send(frame)).toMatchObject({ verdict: 'PASS', frame });
    await fixture.restart({ decap: DECAP });
    await program(plan!);
    expect(fixture.send(frame)).toMatchObject({ verdict: 'TX', frame: towards(1, syn) });
  });
});

describe.each(PLANS)('a node that is a backend, $family', (plan) => {
  const tuple = { source: plan.client, destination: plan.vip, sport: 40000, dport: 80 };
  const local = service({ vip: plan.vip, backends: [plan.node] });

  beforeAll(async () => {
    fixture = await Fixture.open({ decap: DECAP });
    await program(plan, plan.node);
  });
  afterAll(async () => {
    await fixture.close();
  });
  afterEach(() => {
    fixture.forgetFlows();
  });

  test('its packets go to the kernel as they came, and their flows are known', () => {
    const frames = [
      tcp({ ...tuple, flags: 'S' }),
      tcp({ ...tuple, flags: 'A' }),
      tagged(tcp({ ...tuple, flags: 'A' }), 100),
      tagged(tcp({ ...tuple, flags: 'FA' }), 7, 8),
    ];
    for (const frame of frames) {
      expect(fixture.send(frame)).toMatchObject({ verdict: 'PASS', frame, counted: {} });
    }
    expect(fixture.established()).toMatchObject([{ state: 'tcp_fin', sport: 40000 }]);
    const { backends } = fixture.dataplane.counters();
    expect(backends.find((each) => each.service === local.id)).toMatchObject({ packets: 4 });
  });

  test('fragments go to the kernel, which puts them together', () => {
    const datagram = udp({ ...tuple, payload: new Uint8Array(60) });
    for (const frame of fragmentsOf(datagram, [24])) {
      const outcome = fixture.send(frame);
      const counted = { fragment_forwarded: 1 };
      expect(outcome).toMatchObject({ verdict: 'PASS', frame, counted });
    }
  });

  test('a packet that came in a tunnel goes to the kernel without it, with its tags', () => {
    const between = { source: plan.stranger, destination: plan.node };
    const syn = tcp({ ...tuple, flags: 'S' });
    const outcome = fixture.send(tagged(tunnelled('gue', between, syn), 100));
    const counted = { decapsulated: 1 };
    expect(outcome).toMatchObject({ verdict: 'PASS', frame: tagged(syn, 100), counted });
    expect(decode(syn).wrongChecksums).toEqual([]);
  });

  test('its health checks go to the VIP, once the host has that', async () => {
    const probe = () => fixture.dataplane.probeAddress(local.id, plan.node);
    expect(probe()).toBeUndefined();
    const length = plan.family === 'ipv4' ? 32 : 128;
    await runIp([`addr add ${plan.vip}/${length} dev lo`]);
    try {
      expect(Object.keys(networkInterfaces())).toContain('lo');
      expect(probe()).toBe(plan.vip);
    } finally {
      await runIp([`addr del ${plan.vip}/${length} dev lo`]);
    }
    expect(probe()).toBeUndefined();
  });
});

test.each(PLANS)('$family: a node that opens no tunnels lets all of them pass', async (plan) => {
  fixture = await Fixture.open();
  try {
    await program(plan);
    const between = { source: plan.stranger, destination: plan.node };
    const syn = tcp({
      source: plan.client,
      destination: plan.vip,
      sport: 1,
      dport: 80,
      flags: 'S',
    });
    for (const kind of TUNNEL_KINDS) {
      const frame = tunnelled(kind, between, syn);
      const passed = { verdict: 'PASS', frame, counted: { passed: 1 } };
      expect(fixture.send(frame)).toMatchObject(passed);
    }
  } finally {
    await fixture.close();
  }
});
