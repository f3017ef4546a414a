/** What becomes of flows, young and old, when their backend drains, fails or is taken away. */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { WantedBackend } from '../dataplane/dataplane.ts';
import type { BackendState, L4Protocol } from '../model/service.ts';
import { PLANS } from './fixture-network.ts';
import { Fixture, sentTo, service } from './fixture.ts';
import { tcp, udp } from './packet.ts';

let fixture: Fixture;

describe.each(PLANS)('$family', (plan) => {
  beforeAll(async () => {
    fixture = await Fixture.open();
  });
  afterAll(async () => {
    await fixture.close();
  });

  const tuple = { source: plan.client, destination: plan.vip, sport: 40000, dport: 80 };
  const packet = (flags: string) => tcp({ ...tuple, flags });
  const datagram = udp(tuple);

  /** The first backend as told, and the second one up. New flows are for the first, if it is up. */
  const program = async (state: BackendState | 'removed', protocol: L4Protocol = 'tcp') => {
    const first: Partial<WantedBackend> & Pick<WantedBackend, 'address'> = {
      address: plan.backend(1),
      weight: 65535,
    };
    const backends = state === 'removed' ? [] : [{ ...first, state }];
    await fixture.program(
      service({ vip: plan.vip, protocol, backends: [...backends, plan.backend(2)] }),
    );
  };

  beforeEach(async () => {
    await fixture.program();
    await program('up');
  });
  afterEach(() => {
    fixture.forgetFlows();
  });

  const rows: readonly {
    name: string;
    sent: readonly string[];
    state: BackendState | 'removed';
    next: string;
    to: 1 | 2;
    counted?: Record<string, number>;
  }[] = [
    { name: 'a SYN sent again', sent: ['S'], state: 'down', next: 'S', to: 2 },
    { name: 'a SYN sent again', sent: ['S'], state: 'draining', next: 'S', to: 2 },
    { name: 'the ACK of a handshake', sent: ['S'], state: 'draining', next: 'A', to: 1 },
    { name: 'the ACK of a handshake', sent: ['S'], state: 'down', next: 'A', to: 1 },
    {
      name: 'the ACK of a handshake',
      sent: ['S'],
      state: 'removed',
      next: 'A',
      to: 2,
      counted: { flow_guessed: 1 },
    },
    { name: 'an established flow', sent: ['S', 'A'], state: 'draining', next: 'A', to: 1 },
    { name: 'an established flow', sent: ['S', 'A'], state: 'down', next: 'A', to: 1 },
    { name: 'a SYN on a flow', sent: ['S', 'A'], state: 'draining', next: 'S', to: 1 },
    {
      name: 'a SYN on a flow',
      sent: ['S', 'A'],
      state: 'down',
      next: 'S',
      to: 2,
      counted: { flow_replaced: 1 },
    },
    {
      name: 'an established flow',
      sent: ['S', 'A'],
      state: 'removed',
      next: 'A',
      to: 2,
      counted: { flow_replaced: 1, flow_guessed: 1 },
    },
    {
      name: 'a SYN on a flow',
      sent: ['S', 'A'],
      state: 'removed',
      next: 'S',
      to: 2,
      counted: { flow_replaced: 1 },
    },
  ];

  test.each(rows)('$name, backend $state: to backend $to', async (row) => {
    for (const flags of row.sent) expect(sentTo(fixture.send(packet(flags)))).toBe(1);
    await program(row.state);
    const outcome = fixture.send(packet(row.next));
    expect(sentTo(outcome)).toBe(row.to);
    expect(outcome.counted).toEqual(row.counted ?? {});
  });

  const datagrams = [
    { sent: 1, state: 'draining', to: 2, counted: {} },
    { sent: 1, state: 'down', to: 2, counted: {} },
    { sent: 2, state: 'draining', to: 1, counted: {} },
    { sent: 2, state: 'down', to: 2, counted: { flow_replaced: 1 } },
    { sent: 2, state: 'removed', to: 2, counted: { flow_replaced: 1 } },
  ] as const;

  test.each(datagrams)('after $sent datagrams, backend $state: to backend $to', async (row) => {
    await program('up', 'udp');
    for (let i = 0; i < row.sent; i += 1) expect(sentTo(fixture.send(datagram))).toBe(1);
    await program(row.state, 'udp');
    const outcome = fixture.send(datagram);
    expect(sentTo(outcome)).toBe(row.to);
    expect(outcome.counted).toEqual(row.counted);
  });

  test.each(['draining', 'down', 'removed'] as const)(
    'a backend %s gets no new flow',
    async (state) => {
      await program(state);
      const sports = Array.from({ length: 500 }, (_, i) => 20000 + i);
      const reached = sports.map((sport) =>
        sentTo(fixture.run(tcp({ ...tuple, sport, flags: 'S' }))),
      );
      expect(new Set(reached)).toEqual(new Set([2]));
    },
  );

  test('a backend that comes up again gets its share of the ring back', async () => {
    const sports = Array.from({ length: 200 }, (_, i) => 20000 + i);
    const reached = () => {
      fixture.forgetFlows();
      return sports.map((sport) => sentTo(fixture.run(tcp({ ...tuple, sport, flags: 'S' }))));
    };
    const before = reached();
    await program('down');
    expect(reached()).not.toEqual(before);
    await program('up');
    expect(reached()).toEqual(before);
  });

  test.each(['draining', 'down'] as const)(
    'all backends %s: new flows are dropped',
    async (state) => {
      const backend = { address: plan.backend(1), state };
      await fixture.program(service({ vip: plan.vip, backends: [backend] }));
      const dropped = { verdict: 'DROP', frame: packet('S'), counted: { no_backend: 1 } };
      expect(fixture.send(packet('S'))).toMatchObject(dropped);
      expect(fixture.embryonic()).toEqual([]);
    },
  );

  test('a service without backends drops by name', async () => {
    await fixture.program(service({ vip: plan.vip, backends: [] }));
    expect(fixture.send(packet('S')).counted).toEqual({ no_backend: 1 });
    expect(fixture.send(packet('A')).counted).toEqual({ no_backend: 1 });
  });
});

describe.each(PLANS)('$family, two slots', (plan) => {
  const tuple = { source: plan.client, destination: plan.vip, sport: 40000, dport: 80 };
  const packet = (flags: string) => tcp({ ...tuple, flags });
  const only = (n: number) => service({ vip: plan.vip, backends: [plan.backend(n)] });

  beforeAll(async () => {
    const limits = { services: 2, backends: 2, flows: 64, embryonicFlows: 64 };
    fixture = await Fixture.open({ limits });
  });
  afterAll(async () => {
    await fixture.close();
  });

  test('a flow does not match the next owner of its slot', async () => {
    await fixture.program(only(1));
    for (const flags of ['S', 'A']) expect(sentTo(fixture.send(packet(flags)))).toBe(1);
    const [flow] = fixture.established();
    expect(flow?.owner).toBe('slot 0, generation 1');

    await fixture.program(only(2));
    await fixture.program(only(3));
    // Nearly every slot of the ring is the fourth's: only by mistake would the flow go to 3.
    const fourth = { address: plan.backend(4), weight: 65535 };
    await fixture.program(service({ vip: plan.vip, backends: [plan.backend(3), fourth] }));
    const third = fixture.dataplane.counters().backends[0];
    expect(third).toMatchObject({ backend: plan.backend(3), packets: 0, flowsActive: 0 });

    const outcome = fixture.send(packet('A'));
    expect(sentTo(outcome)).toBe(4);
    expect(outcome.counted).toEqual({ flow_replaced: 1, flow_guessed: 1 });
    fixture.send(packet('A'));
    const [renewed] = fixture.established();
    expect(fixture.backendOf(renewed!)).toBe(plan.backend(4));
  });
});
