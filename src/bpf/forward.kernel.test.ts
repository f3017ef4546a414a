/** Which frames leave, by which next hop, and that nothing in them changes but the MAC addresses. */
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest';
import type { ForwardingMode } from '../model/forwarding.ts';
import {
  ELSEWHERE_BACKEND_MAC,
  ELSEWHERE_MAC,
  ip,
  PLANS,
  UPLINK,
  backendMac,
} from './fixture-network.ts';
import { Fixture, sentTo, service, towards } from './fixture.ts';
import { readdressed, tcp, udp } from './packet.ts';

/** The program asks for a next hop again after a second. */
const WAIT = { timeout: 60_000, interval: 20 };

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

describe.each(PLANS)('$family', (plan) => {
  const toVip = { source: plan.client, destination: plan.vip, sport: 40000, dport: 80 };
  const syn = tcp({ ...toVip, flags: 'S' });

  const frames = [
    { name: 'a SYN', frame: syn },
    { name: 'a SYN with a TTL of 1', frame: tcp({ ...toVip, flags: 'S', ttl: 1 }) },
    { name: 'an odd payload', frame: tcp({ ...toVip, flags: 'S', payload: new Uint8Array(3) }) },
    {
      name: 'a packet of 1500 bytes',
      frame: tcp({
        ...toVip,
        flags: 'S',
        payload: new Uint8Array(plan.family === 'ipv4' ? 1460 : 1440),
      }),
    },
    { name: 'a datagram', frame: udp({ ...toVip, payload: new Uint8Array(9).fill(7) }) },
    { name: 'a datagram without a checksum', frame: udp({ ...toVip, checksum: false }) },
    {
      name: 'padding behind the packet',
      frame: Uint8Array.from([...syn, ...new Uint8Array(6).fill(0xee)]),
    },
  ];

  test.each(frames)(
    '$name leaves with other MAC addresses and nothing else changed',
    async (row) => {
      await fixture.program(
        service({ vip: plan.vip, backends: [plan.backend(1)] }),
        service({ vip: plan.vip, protocol: 'udp', backends: [plan.backend(1)] }),
      );
      expect(fixture.send(row.frame)).toMatchObject({
        verdict: 'TX',
        frame: towards(1, row.frame),
        counted: {},
      });
    },
  );

  test('a backend at another interface is reached by a redirect', async () => {
    await fixture.program(service({ vip: plan.vip, backends: [plan.elsewhere] }));
    expect(fixture.send(syn)).toMatchObject({
      verdict: 'REDIRECT',
      frame: readdressed(syn, { dmac: ELSEWHERE_BACKEND_MAC, smac: ELSEWHERE_MAC }),
      counted: {},
    });
  });

  const unreachable = [
    { name: 'without a route', backend: plan.unrouted, why: 'no_route' },
    { name: 'behind a router', backend: plan.routed, why: 'not_on_link' },
    {
      name: 'behind a router not resolved yet',
      backend: plan.routedUnresolved,
      why: 'not_on_link',
    },
    { name: 'that nobody answers for', backend: plan.unresolved, why: 'no_neighbour' },
  ];

  test.each(unreachable)('a backend $name is dropped as $why', async ({ backend, why }) => {
    await fixture.program(service({ vip: plan.vip, backends: [backend] }));
    const dropped = { verdict: 'DROP', frame: syn, counted: { [why]: 1 } };
    expect(fixture.send(syn)).toMatchObject(dropped);
    expect(fixture.send(syn), 'and the next one by the same name').toMatchObject(dropped);
  });

  test('a backend is reached once its MAC address is known', async () => {
    await fixture.program(service({ vip: plan.vip, backends: [plan.unresolved] }));
    expect(fixture.send(syn).verdict).toBe('DROP');
    const mac = backendMac(9);
    await ip([`neigh replace ${plan.unresolved} lladdr ${mac} dev ${UPLINK} nud permanent`]);
    await vi.waitFor(() => {
      expect(fixture.send(syn)).toMatchObject({ verdict: 'TX', frame: towards(9, syn) });
    }, WAIT);
  });

  test('a MAC address that is lost stays in use until there is another', async () => {
    await fixture.program(service({ vip: plan.vip, backends: [plan.backend(1)] }));
    expect(sentTo(fixture.send(syn))).toBe(1);

    await ip([`neigh del ${plan.backend(1)} dev ${UPLINK}`]);
    const reached = new Set<number | undefined>();
    await vi.waitFor(() => {
      const outcome = fixture.send(syn);
      reached.add(sentTo(outcome));
      expect(outcome.counted).toEqual({ neighbour_stale: 1 });
    }, WAIT);
    expect([...reached], 'no packet was lost on the way').toEqual([1]);

    const mac = backendMac(2);
    await ip([`neigh replace ${plan.backend(1)} lladdr ${mac} dev ${UPLINK} nud permanent`]);
    await vi.waitFor(() => {
      expect(sentTo(fixture.send(syn))).toBe(2);
    }, WAIT);
  });

  test('packets, bytes and the next hop are shown for the backend', async () => {
    await fixture.program(service({ vip: plan.vip, backends: [plan.backend(1)] }));
    for (const { frame } of frames.slice(0, 3)) fixture.send(frame);
    expect(fixture.dataplane.counters().backends).toEqual([
      {
        service: service({ vip: plan.vip, backends: [] }).id,
        backend: plan.backend(1),
        packets: 3,
        bytes: frames.slice(0, 3).reduce((sum, { frame }) => sum + frame.length, 0),
        flowsOpened: 1,
        flowsActive: 0,
        nextHop: backendMac(1),
      },
    ]);
  });
});

describe.each(PLANS)('$family, a flow that is established', (plan) => {
  const toVip = { source: plan.client, destination: plan.vip, sport: 40000, dport: 80 };
  const ack = tcp({ ...toVip, flags: 'A', dontFragment: true, payload: new Uint8Array(1400) });
  const program = (forwarding = {}, mode: ForwardingMode = 'l2dsr') => {
    const backends = [{ address: plan.backend(1), mode, forwarding }];
    return fixture.program(service({ vip: plan.vip, backends }));
  };
  const establish = async () => {
    await program();
    fixture.send(tcp({ ...toVip, flags: 'S' }));
    fixture.send(ack);
    expect(fixture.established()).toHaveLength(1);
  };
  const plainly = { verdict: 'TX', frame: towards(1, ack), counted: {} };

  test('nothing in its packets changes but the MAC addresses', async () => {
    await establish();
    for (const flags of ['A', 'PA', 'FA', 'R'] as const) {
      const frame = tcp({ ...toVip, flags, payload: new Uint8Array(5).fill(1) });
      expect(fixture.send(frame)).toMatchObject({ ...plainly, frame: towards(1, frame) });
    }
  });

  test('another mode holds from the next packet on', async () => {
    await establish();
    const outerBytes = { ipip: plan.family === 'ipv4' ? 20 : 40, dscp: 0 };
    for (const mode of ['ipip', 'dscp'] as const) {
      await program({ dscp: 9 }, mode);
      const { verdict, frame } = fixture.send(ack);
      expect([verdict, frame.length]).toEqual(['TX', ack.length + outerBytes[mode]]);
      expect(frame).not.toEqual(towards(1, ack));
      await program();
      expect(fixture.send(ack)).toMatchObject(plainly);
    }
  });

  const ways = [
    { name: 'a smaller MTU', forwarding: { mtuBytes: 1280 }, counted: { too_big_answered: 1 } },
    { name: 'a VLAN', forwarding: { vlan: 9 }, counted: {} },
  ];
  test.each(ways)('$name holds within a second, and its end', async ({ forwarding, counted }) => {
    await establish();
    await program(forwarding);
    await vi.waitFor(() => {
      const outcome = fixture.send(ack);
      expect(outcome).toMatchObject({ verdict: 'TX', counted });
      expect(outcome.frame).not.toEqual(towards(1, ack));
    }, WAIT);
    await program();
    await vi.waitFor(() => {
      expect(fixture.send(ack)).toMatchObject(plainly);
    }, WAIT);
  });
});
