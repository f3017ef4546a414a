/** VLAN tags: off on the way in, the same on what passes or is answered, the backend's on the way out. */
import { networkInterfaces } from 'node:os';
import fc from 'fast-check';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { encodeVlanDevice } from '../abi/abi.generated.ts';
import { interfaceIndex } from '../dataplane/libbpf.ts';
import { FORWARDING_MODES, type ForwardingOptions } from '../model/forwarding.ts';
import { address } from '../model/address.ts';
import {
  backendMac,
  ELSEWHERE_BACKEND_MAC,
  lookAlike,
  PLANS,
  UPLINK,
  type Plan,
} from './fixture-network.ts';
import { Fixture, service, towards } from './fixture.ts';
import { fragmentsOf } from './packet-fragments.ts';
import {
  CLIENT_MAC,
  decode,
  ECHO,
  ethernet,
  ETHERNET_BYTES,
  icmp,
  NODE_MAC,
  patched,
  readdressed,
  tagged,
  tcp,
  udp,
} from './packet.ts';

const SEED = 20260613;
const QINQ = 0x88a8;
/** Tags as `tagged` takes them: with priority, of either Ethertype, one or two. */
const TAGS: readonly (readonly number[])[] = [
  [100],
  [0],
  [0xe000 | 4094],
  [(QINQ * 0x10000 + 7) >>> 0],
  [(QINQ * 0x10000 + 0x6007) >>> 0, 100],
  [5, 6],
];
const SOCKET = { ipv4: address('240.255.255.254'), ipv6: address('fd53:6b65:696e::ff:fffe') };

let fixture: Fixture;

beforeAll(async () => {
  fixture = await Fixture.open();
});
afterAll(async () => {
  await fixture.close();
});
afterEach(async () => {
  fixture.forgetFlows();
  await fixture.program();
});

async function program(plan: Plan, forwarding: ForwardingOptions = {}): Promise<void> {
  const backends = [{ address: plan.backend(1), forwarding }];
  await fixture.program(
    service({ vip: plan.vip, backends }),
    service({ vip: plan.vip, protocol: 'udp', backends }),
  );
}

describe.each(PLANS)('$family', (plan) => {
  const tuple = { source: plan.client, destination: plan.vip, sport: 40000, dport: 80 };
  const syn = tcp({ ...tuple, flags: 'S', payload: Uint8Array.of(1, 2, 3) });

  describe.each(TAGS.map((tags) => ({ tags, text: tags.map((tag) => tag.toString(16)).join() })))(
    'tagged $text',
    ({ tags }) => {
      test('a packet goes to an untagged backend without tags', async () => {
        await program(plan);
        const outcome = fixture.send(tagged(syn, ...tags));
        expect(outcome).toMatchObject({ verdict: 'TX', frame: towards(1, syn), counted: {} });
      });

      test('a packet goes to a backend with the tag of that', async () => {
        await program(plan, { vlan: 300 });
        const outcome = fixture.send(tagged(syn, ...tags));
        const frame = tagged(towards(1, syn), 300);
        expect(outcome).toMatchObject({ verdict: 'TX', frame, counted: {} });
      });

      test('an echo request is answered with the same tags', async () => {
        await program(plan, { vlan: 300 });
        const { request, reply } = ECHO[plan.family];
        const outcome = fixture.send(tagged(icmp({ ...tuple, type: request }), ...tags));
        const answered = {
          source: plan.vip,
          destination: plan.client,
          dmac: CLIENT_MAC,
          smac: NODE_MAC,
        };
        expect(outcome).toMatchObject({
          verdict: 'TX',
          frame: tagged(icmp({ ...answered, type: reply }), ...tags),
          counted: { echo_reply: 1 },
        });
      });

      test('what is not for a VIP passes as it came', async () => {
        await program(plan);
        const others = [plan.stranger, lookAlike(plan.vip, plan.stranger), plan.node];
        for (const destination of others) {
          for (const inner of [
            tcp({ ...tuple, destination, flags: 'S' }),
            udp({ ...tuple, destination, dport: 61000 }),
            icmp({ source: plan.client, destination, type: ECHO[plan.family].request }),
            ...fragmentsOf(udp({ ...tuple, destination, payload: new Uint8Array(40) }), [24]),
          ]) {
            const frame = tagged(inner, ...tags);
            const passed = { verdict: 'PASS', frame, counted: { passed: 1 } };
            expect(fixture.send(frame)).toMatchObject(passed);
          }
        }
      });

      test('fragments and drops are as without', async () => {
        await program(plan);
        const datagram = udp({ ...tuple, payload: new Uint8Array(60) });
        for (const each of fragmentsOf(datagram, [24])) {
          const outcome = fixture.send(tagged(each, ...tags));
          expect(outcome).toMatchObject({ frame: towards(1, each), verdict: 'TX' });
        }
        const none = tagged(
          tcp({ ...tuple, destination: plan.vip, flags: 'S', dport: 81 }),
          ...tags,
        );
        expect(fixture.send(none)).toMatchObject({ verdict: 'DROP', counted: { no_service: 1 } });
      });
    },
  );

  test('tags are no part of a flow', async () => {
    await program(plan);
    fixture.send(tagged(syn, 100));
    fixture.send(tcp({ ...tuple, flags: 'A' }));
    fixture.send(tagged(tcp({ ...tuple, flags: 'FA' }), 7, 8));
    expect(fixture.embryonic()).toEqual([]);
    expect(fixture.established()).toMatchObject([{ state: 'tcp_fin' }]);
  });

  test.each(FORWARDING_MODES)('%s: the frame that leaves is tagged, and no other', async (mode) => {
    const send = async (vlan: number) => {
      await fixture.program();
      const backends = [{ address: plan.backend(1), mode, forwarding: { vlan, dscp: 3 } }];
      await fixture.program(service({ vip: plan.vip, backends }));
      return fixture.send(syn);
    };
    const plain = await send(0);
    expect(plain.verdict).toBe('TX');
    const withTag = await send(4094);
    expect(withTag).toMatchObject({ verdict: 'TX', frame: tagged(plain.frame, 4094) });
  });

  test('the largest packet still goes to a backend behind a tag', async () => {
    await program(plan, { vlan: 300 });
    const bytes = 1500 - (plan.family === 'ipv4' ? 40 : 60);
    const large = tcp({ ...tuple, flags: 'S', payload: new Uint8Array(bytes) });
    const outcome = fixture.send(tagged(large, 5, 6));
    expect(outcome).toMatchObject({ verdict: 'TX', frame: tagged(towards(1, large), 300) });
  });

  test('the answer to a packet that is too big has the tags of that', async () => {
    await program(plan, { mtuBytes: 1300 });
    const large = tcp({ ...tuple, flags: 'A', payload: new Uint8Array(1350) });
    // Do not fragment: in IPv6 nobody may.
    const whole = plan.family === 'ipv4' ? patched(large, ETHERNET_BYTES + 6, 0x40) : large;
    const plain = fixture.send(whole);
    expect(plain).toMatchObject({ verdict: 'TX' });
    expect(plain.counted).toMatchObject({ too_big_answered: 1 });
    expect(plain.packet).toMatchObject({ destination: plan.client, dmac: CLIENT_MAC });
    for (const tags of TAGS) {
      const outcome = fixture.send(tagged(whole, ...tags));
      expect(outcome).toMatchObject({ verdict: 'TX', frame: tagged(plain.frame, ...tags) });
    }
  });

  test('a route by a VLAN device leads to the interface below it, with its tag', async () => {
    const key = new Uint8Array(Uint32Array.of(interfaceIndex(UPLINK)).buffer);
    const lowerIfindex = interfaceIndex('elsewhere');
    const devices = fixture.map('vlan_devices');
    devices.update(key, encodeVlanDevice({ lowerIfindex, vlan: 77 }));
    try {
      await program(plan);
      const outcome = fixture.send(syn);
      const frame = tagged(towards(1, syn), 77);
      expect(outcome).toMatchObject({ verdict: 'REDIRECT', frame });
      await fixture.program();
      // What the document says of the backend goes before what the route says.
      await program(plan, { vlan: 0 });
      expect(fixture.send(syn)).toMatchObject({ verdict: 'REDIRECT', frame: towards(1, syn) });
    } finally {
      devices.delete(key);
    }
  });

  test('a backend at another interface is reached by a redirect, tagged', async () => {
    const backends = [{ address: plan.elsewhere, forwarding: { vlan: 9 } }];
    await fixture.program(service({ vip: plan.vip, backends }));
    const outcome = fixture.send(tagged(syn, 100));
    const macs = { dmac: ELSEWHERE_BACKEND_MAC, smac: '02:00:00:00:00:02' };
    const frame = tagged(readdressed(syn, macs), 9);
    expect(outcome).toMatchObject({ verdict: 'REDIRECT', frame });
  });

  test('a health check leaves with the tag of its backend, and its answer may have any', async () => {
    await program(plan, { vlan: 300 });
    const { id } = service({ vip: plan.vip, backends: [] });
    const destination = fixture.dataplane.probeAddress(id, plan.backend(1));
    const asked = {
      source: SOCKET[plan.family],
      destination: destination!,
      sport: 40000,
      dport: 80,
    };
    const out = fixture.send(tcp({ ...asked, flags: 'S' }), 'skein_probe');
    expect(out).toMatchObject({ verdict: 'REDIRECT', counted: { probe_sent: 1 } });
    const inside = Uint8Array.from([...out.frame.subarray(0, 12), ...out.frame.subarray(16)]);
    expect(out.frame).toEqual(tagged(inside, 300));
    const { sport, destination: vip, dmac } = decode(inside);
    expect({ vip, dmac }).toEqual({ vip: plan.vip, dmac: backendMac(1) });

    const socketMac = networkInterfaces()['skein-probe0']?.[0]?.mac;
    for (const tags of [[], ...TAGS]) {
      const between = { source: plan.vip, destination: plan.node, sport: 80, dport: sport };
      const back = fixture.send(tagged(tcp({ ...between, flags: 'SA' }), ...tags));
      expect(back).toMatchObject({ verdict: 'REDIRECT', counted: { probe_reply: 1 } });
      expect(back.packet).toMatchObject({ destination: SOCKET[plan.family], dport: 40000 });
      expect(back.packet).toMatchObject({ dmac: socketMac, wrongChecksums: [] });
    }
  });

  test.each(['nat', 'full_nat'] as const)('%s: a tagged reply goes to the client', async (mode) => {
    const client = plan.backend(5);
    const backends = [{ address: plan.backend(1), mode, forwarding: { vlan: 300 } }];
    await fixture.program(service({ vip: plan.vip, backends }));
    await fixture.program(
      service({ vip: plan.vip, backends }),
      // For the neighbour entry of the client.
      service({ vip: plan.otherVip, backends: [client] }),
    );
    const asked = fixture.send(tagged(tcp({ ...tuple, source: client, flags: 'S' }), 7));
    expect(asked.verdict).toBe('TX');
    const inside = Uint8Array.from([...asked.frame.subarray(0, 12), ...asked.frame.subarray(16)]);
    expect(asked.frame).toEqual(tagged(inside, 300));
    const { source, sport } = decode(inside);
    const between = { source: plan.backend(1), destination: source, sport: 80, dport: sport };
    const reply = fixture.send(tagged(tcp({ ...between, flags: 'SA' }), 300));
    expect(reply).toMatchObject({ verdict: 'TX', counted: { nat_reply: 1 } });
    expect(reply.packet).toMatchObject({ source: plan.vip, destination: client, sport: 80 });
    expect(reply.packet).toMatchObject({ dport: 40000, dmac: backendMac(5), wrongChecksums: [] });

    const foreign = tagged(tcp({ ...between, sport: 81, flags: 'A' }), 300, 7);
    expect(fixture.send(foreign)).toMatchObject({ verdict: 'PASS', frame: foreign });
  });

  test('cut at every length, a tagged frame passes as it came or is dropped by name', async () => {
    await program(plan);
    for (const destination of [plan.vip, plan.stranger, lookAlike(plan.vip, plan.stranger)]) {
      const whole = tagged(tcp({ ...tuple, destination, flags: 'S' }), 100, 7);
      for (let length = 14; length < whole.length; length += 1) {
        const frame = whole.subarray(0, length);
        const outcome = fixture.send(frame);
        if (outcome.verdict === 'PASS') {
          expect(outcome).toMatchObject({ frame, counted: { passed: 1 } });
        } else {
          expect(destination, `at ${length} bytes`).toBe(plan.vip);
          expect(outcome).toMatchObject({ verdict: 'DROP', counted: { malformed: 1 } });
        }
      }
    }
  });

  test(`3,000 tagged frames to no VIP pass as they came (seed ${SEED})`, async () => {
    await program(plan);
    const tag = fc.oneof(
      fc.integer({ min: 0, max: 0xffff }),
      fc.integer({ min: 0, max: 0xffff }).map((tci) => QINQ * 0x10000 + tci),
    );
    const rows = fc.record({
      tags: fc.array(tag, { minLength: 1, maxLength: 3 }),
      type: fc.constantFrom(0x0800, 0x86dd, 0x0806, 0x88cc, 0),
      bytes: fc.uint8Array({ minLength: 0, maxLength: 120, size: 'max' }),
      // Others look like the VIP's for the filter, are the node's own, or nobody's.
      destination: fc.constantFrom(plan.node, lookAlike(plan.vip, plan.stranger), plan.stranger),
      kind: fc.constantFrom('random', 'tcp', 'udp', 'echo', 'fragment'),
      options: fc.boolean(),
    });
    for (const row of fc.sample(rows, { seed: SEED, numRuns: 3000 })) {
      const fields = { ...tuple, destination: row.destination, payload: row.bytes };
      const many = row.options && plan.family === 'ipv6' ? { extensions: [0, 60] } : {};
      const some = row.options && plan.family === 'ipv4' ? { options: new Uint8Array(8) } : many;
      const fragment = { offset: 2, more: true };
      const inner = {
        random: () => ethernet({}, row.type, row.bytes),
        tcp: () => tcp({ ...fields, ...some, flags: 'PA' }),
        udp: () => udp({ ...fields, ...some, dport: 61001 }),
        echo: () => icmp({ ...fields, ...some, type: ECHO[plan.family].request }),
        fragment: () => udp({ ...fields, ...some, fragment }),
      }[row.kind]();
      const frame = tagged(inner, ...row.tags);
      expect(fixture.run(frame), JSON.stringify(row)).toEqual({ verdict: 'PASS', frame });
    }
  });
});
