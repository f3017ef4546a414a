/** The life of a flow: embryonic, established, closing, idle, and what a full table does to it. */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { WantedService } from '../dataplane/dataplane.ts';
import { IPV4, PLANS, type Plan } from './fixture-network.ts';
import { Fixture, kernelNowMs, sentTo, service, TIMEOUTS } from './fixture.ts';
import { PROTOCOL, tcp, udp } from './packet.ts';

let fixture: Fixture;

/** Both services of a VIP, with one backend or with nearly every slot of the ring at another. */
function services(plan: Plan, owner: 'first' | 'second'): WantedService[] {
  const first = { address: plan.backend(1), weight: 1 };
  const second = { address: plan.backend(2), weight: 65535 };
  const backends = owner === 'first' ? [first] : [first, second];
  return (['tcp', 'udp'] as const).map((protocol) =>
    service({ vip: plan.vip, protocol, backends }),
  );
}

describe.each(PLANS)('$family', (plan) => {
  const tuple = { source: plan.client, destination: plan.vip, sport: 40000, dport: 80 };
  const entry = { ...tuple, protocol: PROTOCOL.tcp };
  const packet = (flags: string) => tcp({ ...tuple, flags });
  const datagram = udp(tuple);

  /** New flows go to the second backend from here on, whatever their tuple. */
  const moveRing = async () => {
    await fixture.program(...services(plan, 'second'));
    expect(sentTo(fixture.run(tcp({ ...tuple, sport: 50000, flags: 'S' })))).toBe(2);
  };
  const traffic = () => {
    const all = fixture.dataplane.counters().backends;
    const found = all.find(({ service: id, backend }) => {
      return id.startsWith('tcp/') && backend === plan.backend(1);
    });
    return { opened: found?.flowsOpened ?? 0, active: found?.flowsActive ?? 0 };
  };
  const establish = () => {
    fixture.send(packet('S'));
    fixture.send(packet('A'));
    expect(fixture.established()).toHaveLength(1);
  };

  beforeAll(async () => {
    fixture = await Fixture.open();
  });
  afterAll(async () => {
    await fixture.close();
  });
  beforeEach(async () => {
    await fixture.program(...services(plan, 'first'));
  });
  afterEach(() => {
    fixture.forgetFlows();
  });

  test('a SYN makes an embryonic flow', () => {
    const before = traffic();
    const sentMs = kernelNowMs();
    expect(fixture.send(packet('S'))).toMatchObject({ verdict: 'TX', counted: {} });

    const [flow, ...others] = fixture.embryonic();
    expect(others).toEqual([]);
    expect(flow).toMatchObject({ ...entry, state: 'tcp_syn', guess: false });
    expect(fixture.backendOf(flow!)).toBe(plan.backend(1));
    expect(flow!.openedMs).toBe(flow!.seenMs);
    expect(Math.abs(flow!.seenMs - sentMs), 'by the clock of milliseconds').toBeLessThan(5000);
    expect(fixture.established()).toEqual([]);
    expect(traffic()).toEqual({ opened: before.opened + 1, active: before.active });
  });

  test('the ACK makes it an established one', () => {
    const before = traffic();
    fixture.send(packet('S'));
    const [embryonic] = fixture.embryonic();
    expect(fixture.send(packet('A'))).toMatchObject({ verdict: 'TX', counted: {} });

    expect(fixture.embryonic()).toEqual([]);
    expect(fixture.established()).toMatchObject([
      {
        ...entry,
        owner: embryonic!.owner,
        openedMs: embryonic!.openedMs,
        state: 'tcp_established',
        guess: false,
      },
    ]);
    expect(traffic()).toEqual({ opened: before.opened + 1, active: before.active + 1 });
  });

  test('a SYN that is sent again goes where the first one went', async () => {
    fixture.send(packet('S'));
    await moveRing();
    const { opened } = traffic();
    expect(sentTo(fixture.send(packet('S')))).toBe(1);
    expect(traffic().opened).toBe(opened);
    expect(fixture.embryonic().filter(({ sport }) => sport === tuple.sport)).toHaveLength(1);
    expect(sentTo(fixture.send(packet('A')))).toBe(1);
  });

  test('a mid-flow packet without a record is a guess, embryonic at first', async () => {
    expect(fixture.send(packet('A'))).toMatchObject({
      verdict: 'TX',
      counted: { flow_guessed: 1 },
    });
    expect(fixture.embryonic()).toMatchObject([
      { ...entry, state: 'tcp_established', guess: true },
    ]);
    expect(fixture.established()).toEqual([]);

    await moveRing();
    const next = fixture.send(packet('PA'));
    expect(sentTo(next)).toBe(1);
    expect(next.counted).toEqual({});
    expect(fixture.established()).toMatchObject([
      { ...entry, state: 'tcp_established', guess: true },
    ]);
  });

  test.each(['S', 'SA'])('flags %s leave an established flow as it is', async (flags) => {
    establish();
    await moveRing();
    const outcome = fixture.send(packet(flags));
    expect(sentTo(outcome)).toBe(1);
    expect(outcome.counted).toEqual({});
    expect(fixture.established()).toMatchObject([{ ...entry, state: 'tcp_established' }]);
  });

  test.each(['FA', 'R', 'RA'])('flags %s close a flow, which keeps its backend', async (flags) => {
    establish();
    await moveRing();
    expect(sentTo(fixture.send(packet(flags)))).toBe(1);
    expect(fixture.established()).toMatchObject([{ state: 'tcp_fin' }]);
    expect(sentTo(fixture.send(packet('A')))).toBe(1);
    expect(fixture.established(), 'no packet but a SYN opens it again').toMatchObject([
      { state: 'tcp_fin' },
    ]);
  });

  test('a SYN on a closing flow is scheduled anew', async () => {
    establish();
    fixture.send(packet('FA'));
    await moveRing();
    const before = traffic();
    const outcome = fixture.send(packet('S'));
    expect(sentTo(outcome)).toBe(2);
    expect(outcome.counted).toEqual({ flow_replaced: 1 });
    expect(fixture.established()).toEqual([]);
    expect(traffic().active).toBe(before.active - 1);
    expect(sentTo(fixture.send(packet('A')))).toBe(2);
    expect(fixture.established()).toMatchObject([{ ...entry, state: 'tcp_established' }]);
  });

  test('an embryonic flow that was reset is opened again by a SYN', () => {
    for (const flags of ['S', 'R', 'A']) fixture.send(packet(flags));
    expect(fixture.embryonic()).toMatchObject([{ ...entry, state: 'tcp_fin' }]);
    fixture.send(packet('S'));
    expect(fixture.embryonic()).toMatchObject([{ ...entry, state: 'tcp_syn' }]);
    fixture.send(packet('A'));
    expect(fixture.established()).toMatchObject([{ ...entry, state: 'tcp_established' }]);
  });

  test('a guess made from a FIN is no obstacle to the next flow of its tuple', () => {
    fixture.send(packet('FA'));
    expect(fixture.embryonic()).toMatchObject([{ state: 'tcp_fin', guess: true }]);
    fixture.send(packet('S'));
    fixture.send(packet('A'));
    expect(fixture.established()).toMatchObject([{ ...entry, state: 'tcp_established' }]);
  });

  test('a UDP flow is embryonic, then established, and keeps its backend', async () => {
    expect(fixture.send(datagram)).toMatchObject({ verdict: 'TX', counted: {} });
    const flow = { ...tuple, protocol: PROTOCOL.udp, state: 'udp', guess: false };
    expect(fixture.embryonic()).toMatchObject([flow]);

    await moveRing();
    expect(sentTo(fixture.send(datagram))).toBe(1);
    expect(fixture.established()).toMatchObject([flow]);
    expect(sentTo(fixture.send(datagram))).toBe(1);
  });

  test('TCP and UDP with equal ports are two flows', () => {
    establish();
    fixture.send(datagram);
    fixture.send(datagram);
    const protocols = fixture.established().map(({ protocol }) => protocol);
    expect(new Set(protocols)).toEqual(new Set([PROTOCOL.tcp, PROTOCOL.udp]));
  });

  const lifetimes = [
    { first: 'S', next: 'A', state: 'tcp_syn', timeoutS: TIMEOUTS.tcpSynS },
    { first: 'SA', next: 'A', state: 'tcp_syn_ack', timeoutS: TIMEOUTS.tcpSynAckS },
    { first: 'FA', next: 'A', state: 'tcp_fin', timeoutS: TIMEOUTS.tcpFinS },
    { first: 'A', next: 'A', state: 'tcp_established', timeoutS: TIMEOUTS.tcpS },
    { first: 'udp', next: 'udp', state: 'udp', timeoutS: TIMEOUTS.udpS },
  ];

  test.each(lifetimes)(
    'an embryonic flow in $state holds for $timeoutS s and no longer',
    async ({ first, next, state, timeoutS }) => {
      const build = (which: string) => (which === 'udp' ? datagram : packet(which));
      const again = async (idleMs: number) => {
        await fixture.program(...services(plan, 'first'));
        fixture.forgetFlows();
        fixture.send(build(first));
        const [flow] = fixture.embryonic();
        expect(flow).toMatchObject({ ...tuple, state });
        await moveRing();
        fixture.makeIdle(flow!, idleMs);
        return sentTo(fixture.send(build(next)));
      };
      expect(await again(timeoutS * 1000 - 5000)).toBe(1);
      expect(await again(timeoutS * 1000 + 5000)).toBe(2);
    },
  );

  test('a packet refreshes the time of the last packet, at most once a second', () => {
    establish();
    const [flow] = fixture.established();
    let recent: number | undefined;
    for (let tries = 0; tries < 20; tries += 1) {
      const startMs = kernelNowMs();
      fixture.makeIdle(flow!, 500);
      recent = fixture.established()[0]?.seenMs;
      fixture.send(packet('A'));
      // On a machine that was held up meanwhile a second may have passed.
      if (kernelNowMs() - startMs < 400) break;
    }
    expect(fixture.established()[0]?.seenMs).toBe(recent);

    fixture.makeIdle(flow!, 5000);
    fixture.send(packet('A'));
    expect(kernelNowMs() - fixture.established()[0]!.seenMs).toBeLessThan(4000);
  });
});

describe('a full table of established flows', () => {
  const FLOWS = 8;
  const tuple = (sport: number) => {
    return { source: IPV4.client, destination: IPV4.vip, sport, dport: 80 };
  };
  const send = (sport: number, flags: string) => fixture.send(tcp({ ...tuple(sport), flags }));

  beforeAll(async () => {
    const limits = { services: 4, backends: 8, flows: FLOWS, embryonicFlows: 1024 };
    fixture = await Fixture.open({ limits });
    await fixture.program(...services(IPV4, 'first'));
    for (let sport = 1; sport <= FLOWS; sport += 1) {
      send(sport, 'S');
      expect(send(sport, 'A').counted).toEqual({});
    }
  });
  afterAll(async () => {
    await fixture.close();
  });

  test('a newcomer is counted, forwarded and sticky', async () => {
    expect(send(1000, 'S')).toMatchObject({ verdict: 'TX', counted: {} });
    expect(send(1000, 'A')).toMatchObject({ verdict: 'TX', counted: { flow_table_full: 1 } });
    await fixture.program(...services(IPV4, 'second'));
    expect(sentTo(send(1000, 'A'))).toBe(1);
    expect(fixture.established()).toHaveLength(FLOWS);
  });

  test('a newcomer stays embryonic for as long as it has packets', () => {
    const newcomer = () => fixture.embryonic().find(({ sport }) => sport === 1000)!;
    expect(newcomer().state).toBe('tcp_established');
    fixture.makeIdle(newcomer(), TIMEOUTS.tcpSynS * 1000 + 5000);
    expect(sentTo(send(1000, 'A'))).toBe(1);
    expect(kernelNowMs() - newcomer().seenMs).toBeLessThan(5000);
  });

  test('a flow that ends makes room', () => {
    const [ended] = fixture.established();
    fixture.map(ended!.table).delete(ended!.key);
    expect(send(1000, 'A').counted).toEqual({});
    expect(fixture.established().map(({ sport }) => sport)).toContain(1000);
  });

  test('what was established before is found as ever', () => {
    for (const { sport } of fixture.established()) {
      expect(send(sport, 'A')).toMatchObject({ verdict: 'TX', counted: {} });
    }
  });
});
