/** The kernel's data plane as its supervisor sees it: programming, restarts, sweeps. */
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import { readSettings } from '../abi/abi.generated.ts';
import {
  ip,
  IPV4,
  neighbourEntries,
  PLANS,
  UPLINK,
  xdpMode,
  type Plan,
} from '../bpf/fixture-network.ts';
import {
  Fixture,
  kernelNowMs,
  prepare,
  release,
  sentTo,
  service,
  TIMEOUTS,
} from '../bpf/fixture.ts';
import { tcp, udp } from '../bpf/packet.ts';
import { silentLogger } from '../lib/logger.ts';
import { address } from '../model/address.ts';
import type { WantedService } from './dataplane.ts';
import { KernelDataplane, type KernelOptions } from './kernel.ts';
import { BpfMap, closeFd, openPinned } from './libbpf.ts';

const WAIT = { timeout: 60_000, interval: 20 };

function segment(plan: Plan, flags: string, sport = 40000): Uint8Array {
  return tcp({ source: plan.client, destination: plan.vip, sport, dport: 80, flags });
}

function datagram(plan: Plan, sport = 40000): Uint8Array {
  return udp({ source: plan.client, destination: plan.vip, sport, dport: 80 });
}

/** Services of both families and protocols, with backends in every state. */
const SERVICES: readonly WantedService[] = PLANS.flatMap(({ vip, otherVip, backend }) => [
  service({
    vip,
    backends: [
      { address: backend(1), weight: 3 },
      { address: backend(2) },
      { address: backend(3), state: 'draining' },
      { address: backend(4), state: 'down' },
    ],
  }),
  service({ vip, protocol: 'udp', affinity: 'client', backends: [backend(1), backend(5)] }),
  service({ vip: otherVip, port: 0, backends: [] }),
]);

describe('reconcile', () => {
  let fixture: Fixture;

  beforeAll(async () => {
    fixture = await Fixture.open();
  });
  afterAll(async () => {
    await fixture.close();
  });

  test('a second call with the same services is a no-op', async () => {
    const first = await fixture.program(...SERVICES);
    expect(first.writes).toBeGreaterThan(0);
    expect([...first.programmed]).toEqual(SERVICES.map(({ id }) => id));
    const second = fixture.dataplane.reconcile(SERVICES, TIMEOUTS);
    expect(second).toEqual({ programmed: first.programmed, writes: 0, failures: [] });
  });

  test('other timeouts reach the program at once', async () => {
    await fixture.program(...SERVICES);
    fixture.send(segment(IPV4, 'S'));
    const [flow] = fixture.embryonic();
    fixture.makeIdle(flow!, 100_000);
    const opened = () =>
      fixture.dataplane.counters().backends.reduce((sum, { flowsOpened }) => sum + flowsOpened, 0);
    const before = opened();
    const longer = { ...TIMEOUTS, tcpSynS: 200 };
    expect(fixture.dataplane.reconcile(SERVICES, longer).failures).toEqual([]);
    fixture.send(segment(IPV4, 'S'));
    expect(opened(), 'the flow still holds').toBe(before);
    fixture.forgetFlows();
  });

  test('every backend that is up or not has a private address of its own', async () => {
    await fixture.program(...SERVICES);
    const addresses = SERVICES.flatMap(({ id, backends }) =>
      backends.map((each) => fixture.dataplane.probeAddress(id, each.address)),
    );
    expect(addresses).not.toContain(undefined);
    expect(new Set(addresses).size).toBe(addresses.length);
    const [first] = SERVICES;
    expect(fixture.dataplane.probeAddress(first!.id, IPV4.unrouted)).toBeUndefined();
  });

  test('the kernel is asked to keep the backends resolved, and asked no more when they go', async () => {
    const managed = async () => {
      await fixture.dataplane.settled();
      const entries = [...(await neighbourEntries()).values()];
      return entries.filter((entry) => 'managed' in entry).map(({ dst }) => dst);
    };
    fixture.dataplane.reconcile([], TIMEOUTS);
    expect(await managed()).toEqual([]);
    const wanted = PLANS.map(({ vip, backend, unrouted, routed }) =>
      service({ vip, backends: [backend(6), routed, unrouted] }),
    );
    fixture.dataplane.reconcile(wanted, TIMEOUTS);
    const hops = PLANS.flatMap(({ backend, router }) => [backend(6), router]);
    expect(new Set(await managed()), 'a router is, for what is behind it').toEqual(new Set(hops));

    await ip([`neigh del ${IPV4.backend(6)} dev ${UPLINK}`]);
    await fixture.dataplane.maintain();
    expect(await managed(), 'an entry that was lost is put back').toContain(IPV4.backend(6));
    fixture.dataplane.reconcile([], TIMEOUTS);
    expect(await managed()).toEqual([]);
  });

  test('with nat the default gateways are kept resolved, for replies to clients', async () => {
    const gateways = ['10.1.0.250', '2001:db8:1::fa'];
    await ip(gateways.map((each) => `route add default via ${each}`));
    const backends = [{ address: IPV4.backend(6), mode: 'nat' as const }];
    fixture.dataplane.reconcile([service({ vip: IPV4.vip, backends })], TIMEOUTS);
    await fixture.dataplane.settled();
    const entries = await neighbourEntries();
    for (const each of gateways) expect(entries.get(each)).toHaveProperty('managed');
    fixture.dataplane.reconcile([], TIMEOUTS);
    await fixture.dataplane.settled();
    await ip(gateways.map((each) => `route del default via ${each}`));
    expect([...(await neighbourEntries()).keys()]).not.toContain(gateways[0]);
  });

  test('a write that failed is made good by the next call', async () => {
    await fixture.program(service({ vip: IPV4.otherVip, backends: [IPV4.backend(2)] }));
    const records = fixture.map('services');
    const filler = fillUp(records);
    const wanted = [
      service({ vip: IPV4.vip, backends: [IPV4.backend(1)] }),
      service({ vip: IPV4.otherVip, backends: [IPV4.backend(2)] }),
    ];
    // More often than there are slots: none may be lost on the way.
    for (let i = 0; i < 100; i += 1) {
      const failed = fixture.dataplane.reconcile(wanted, TIMEOUTS);
      expect([...failed.programmed]).toEqual([wanted[1]!.id]);
      expect(failed.failures.join()).toContain('E2BIG');
    }
    expect(fixture.send(segment(IPV4, 'S'))).toMatchObject({ verdict: 'PASS' });
    const other = tcp({
      source: IPV4.client,
      destination: IPV4.otherVip,
      sport: 1,
      dport: 80,
      flags: 'S',
    });
    expect(sentTo(fixture.send(other)), 'what was programmed works on').toBe(2);

    for (const key of filler) records.delete(key);
    expect((await fixture.program(...wanted)).programmed.size).toBe(2);
    expect(sentTo(fixture.send(segment(IPV4, 'S')))).toBe(1);
    expect(fixture.dataplane.reconcile(wanted, TIMEOUTS).writes).toBe(0);
    fixture.forgetFlows();
  });

  test('all VIPs at once can be replaced, though the maps have no room for both', async () => {
    const { services: limit } = fixture.options.limits;
    const many = (net: number) =>
      Array.from({ length: limit }, (_, i) =>
        service({ vip: address(`192.0.${net}.${i + 1}`), backends: [] }),
      );
    for (const net of [3, 4, 3]) {
      const result = fixture.dataplane.reconcile(many(net), TIMEOUTS);
      expect(result.failures).toEqual([]);
      expect(result.programmed.size).toBe(limit);
    }
    await fixture.program();
  });
});

/** Takes all the room that is left; returns the keys. */
function fillUp(map: BpfMap): Uint8Array[] {
  const filler: Uint8Array[] = [];
  for (;;) {
    const key = new Uint8Array(map.keyBytes).fill(0xee);
    new DataView(key.buffer).setUint32(0, filler.length);
    try {
      map.update(key, new Uint8Array(map.valueBytes));
    } catch {
      return filler;
    }
    filler.push(key);
  }
}

describe.each(PLANS)('$family: a restart', (plan) => {
  let fixture: Fixture;

  beforeEach(async () => {
    fixture = await Fixture.open();
  });
  afterEach(async () => {
    await fixture.close();
  });

  const probeAddresses = () =>
    SERVICES.flatMap(({ id, backends }) =>
      backends.map((each) => fixture.dataplane.probeAddress(id, each.address)),
    );

  test('a first start adopts nothing', () => {
    expect(fixture.dataplane.status().adopted).toBe(false);
    expect(fixture.dataplane.adoptedServices()).toEqual([]);
  });

  test('what was programmed is known again', async () => {
    await fixture.program(...SERVICES);
    const addresses = probeAddresses();
    await fixture.restart();
    expect(fixture.dataplane.status().adopted).toBe(true);
    const adopted = new Map(fixture.dataplane.adoptedServices().map((each) => [each.id, each]));
    expect(adopted.size).toBe(SERVICES.length);
    for (const wanted of SERVICES) expect(adopted.get(wanted.id)).toMatchObject(wanted);
    expect(probeAddresses(), 'the same slots').toEqual(addresses);
  });

  test('whether the supervisor before was in service is known, and outlives further writes', async () => {
    expect(fixture.dataplane.status().wasInService).toBe(false);
    fixture.dataplane.setInService(true);
    await fixture.program(...SERVICES);
    await fixture.restart();
    expect(fixture.dataplane.status().wasInService).toBe(true);
    await fixture.program(...SERVICES);
    await fixture.restart();
    expect(fixture.dataplane.status().wasInService).toBe(true);
    const settings = () =>
      readSettings(new DataView(fixture.map('settings').lookup(new Uint8Array(4))!.buffer));
    fixture.dataplane.setInService(false);
    await fixture.restart();
    expect(fixture.dataplane.status().wasInService).toBe(false);
    // Said before anything is programmed, it leaves the rest as it was: timeouts of 0 would end all flows.
    const before = settings();
    fixture.dataplane.setInService(true);
    expect(settings()).toEqual({ ...before, inService: 1 });
    expect(before.timeoutMs.every((each) => each > 0)).toBe(true);
  });

  test('flows, counters and forwarding go on, before and after the first reconcile', async () => {
    await fixture.program(...SERVICES);
    fixture.send(segment(plan, 'S'));
    const owner = sentTo(fixture.send(segment(plan, 'A')));
    const { backends } = fixture.dataplane.counters();
    await fixture.restart();

    expect(sentTo(fixture.send(segment(plan, 'A')))).toBe(owner);
    const packets = (all: typeof backends) => all.reduce((sum, each) => sum + each.packets, 0);
    expect(packets(fixture.dataplane.counters().backends)).toBe(packets(backends) + 1);
    expect(fixture.send(segment(plan, 'S', 999)).verdict).toBe('TX');

    const result = await fixture.program(...SERVICES);
    expect(result.programmed.size).toBe(SERVICES.length);
    const outcome = fixture.send(segment(plan, 'A'));
    expect(sentTo(outcome)).toBe(owner);
    expect(outcome.counted).toEqual({});
    expect(fixture.dataplane.reconcile(SERVICES, TIMEOUTS).writes).toBe(0);
  });

  test('services that are wanted no more are taken away', async () => {
    await fixture.program(...SERVICES);
    await fixture.restart();
    await fixture.program(SERVICES.at(-1)!);
    expect(fixture.send(segment(plan, 'S'))).toMatchObject({ verdict: 'PASS' });
    await fixture.restart();
    expect(fixture.dataplane.adoptedServices().map(({ id }) => id)).toEqual([SERVICES.at(-1)!.id]);
  });

  test('a slot that was used before the restart has a new generation after it', async () => {
    const limits = { services: 2, backends: 1, flows: 64, embryonicFlows: 64 };
    await fixture.close();
    fixture = await Fixture.open({ limits });
    const only = (n: number) => service({ vip: plan.vip, backends: [plan.backend(n)] });
    await fixture.program(only(1));
    fixture.send(segment(plan, 'S'));
    fixture.send(segment(plan, 'A'));
    const [flow] = fixture.established();
    await fixture.program();
    await fixture.restart();
    await fixture.program(only(2));
    expect(flow?.owner).toBe('slot 0, generation 1');
    expect(fixture.backendOf(flow!)).toBeUndefined();
    expect(fixture.send(segment(plan, 'A')).counted).toMatchObject({ flow_replaced: 1 });
    const [young] = fixture.embryonic();
    expect(young?.owner).toBe('slot 0, generation 2');
  });

  test('other limits make other maps, and the old ones go', async () => {
    await fixture.program(...SERVICES);
    const [before] = folders(fixture.options);
    await fixture.restart({ limits: { ...fixture.options.limits, flows: 512 } });
    const [after, ...others] = folders(fixture.options);
    expect(after).not.toBe(before);
    expect(others).toEqual([]);
    expect(fixture.dataplane.status().adopted).toBe(false);
    expect(fixture.dataplane.adoptedServices()).toEqual([]);
    await fixture.program(...SERVICES);
    expect(fixture.send(segment(plan, 'S')).verdict).toBe('TX');
  });
});

function folders({ bpffs }: KernelOptions): string[] {
  return readdirSync(bpffs, { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map(({ name }) => name);
}

describe('without a supervisor', () => {
  let options: KernelOptions;

  beforeAll(async () => {
    options = await prepare();
    const dataplane = await KernelDataplane.open(options, silentLogger);
    const services = [service({ vip: IPV4.vip, backends: [IPV4.backend(1)] })];
    expect(dataplane.reconcile(services, TIMEOUTS).failures).toEqual([]);
    await dataplane.close('keep');
  });
  afterAll(async () => {
    await (await KernelDataplane.open(options, silentLogger)).close('detach');
    await release(options);
  });

  test('the programs stay where they are', async () => {
    expect(await xdpMode(UPLINK)).toBe('native');
    expect(await xdpMode('skein-probe1')).toBe('native');
  });

  test('the clock goes on', async () => {
    const path = join(options.bpffs, folders(options)[0]!, 'clock');
    const fd = openPinned(path)!;
    const clock = new BpfMap('clock', fd, 4, 24, 1);
    const read = () => Buffer.from(clock.lookup(new Uint8Array(4))!).toString('hex');
    const before = read();
    await vi.waitFor(() => {
      expect(read()).not.toBe(before);
    }, WAIT);
    closeFd(fd);
  });

  test('the backends are still kept resolved', async () => {
    const entries = Object.fromEntries(await neighbourEntries());
    expect(entries).toHaveProperty([IPV4.backend(1), 'managed']);
  });
});

describe('maintain', () => {
  let fixture: Fixture;

  beforeAll(async () => {
    fixture = await Fixture.open();
    const services = PLANS.flatMap(({ vip, backend }) =>
      (['tcp', 'udp'] as const).map((protocol) =>
        service({ vip, protocol, backends: [backend(1)] }),
      ),
    );
    await fixture.program(...services);
  });
  afterAll(async () => {
    await fixture.close();
  });
  afterEach(() => {
    fixture.forgetFlows();
  });

  const timeoutS: Readonly<Record<string, number>> = {
    tcp_established: TIMEOUTS.tcpS,
    tcp_fin: TIMEOUTS.tcpFinS,
    udp: TIMEOUTS.udpS,
  };
  /** Six flows of each state and family. */
  const makeFlows = () => {
    for (const plan of PLANS) {
      for (let sport = 1; sport <= 6; sport += 1) {
        for (const flags of ['S', 'A']) fixture.run(segment(plan, flags, sport));
        for (const flags of ['S', 'A', 'FA']) fixture.run(segment(plan, flags, 100 + sport));
        for (let i = 0; i < 2; i += 1) fixture.run(datagram(plan, sport));
      }
    }
    return fixture.established();
  };

  test('exactly the idle flows go, whatever their state and family', async () => {
    const flows = makeFlows();
    expect(flows).toHaveLength(2 * 3 * 6);
    expect(new Set(flows.map(({ state }) => state))).toEqual(new Set(Object.keys(timeoutS)));
    // Half of them have been idle for a little longer than they may.
    const idle = flows.filter(({ sport }) => sport % 2 === 0);
    for (const flow of flows) {
      const limitMs = timeoutS[flow.state]! * 1000;
      fixture.makeIdle(flow, limitMs + (idle.includes(flow) ? 2000 : -20_000));
    }
    const before = fixture.count('flow_expired');
    expect(await fixture.dataplane.maintain()).toEqual({
      scanned: flows.length,
      expired: idle.length,
    });
    expect(fixture.count('flow_expired') - before).toBe(idle.length);
    const left = fixture.established();
    expect(left).toHaveLength(flows.length - idle.length);
    expect(left.filter(({ sport }) => sport % 2 === 0)).toEqual([]);
    expect(await fixture.dataplane.maintain()).toEqual({ scanned: left.length, expired: 0 });
  });

  test('tables and active flows are counted', async () => {
    const active = () =>
      fixture.dataplane.counters().backends.reduce((sum, { flowsActive }) => sum + flowsActive, 0);
    const before = active();
    const flows = makeFlows();
    expect(active()).toBe(before + flows.length);
    await fixture.dataplane.maintain();
    expect(fixture.dataplane.counters().tables).toEqual([
      { name: 'flows4', entries: 18, capacity: 4096 },
      { name: 'flows6', entries: 18, capacity: 4096 },
    ]);
    for (const flow of flows) fixture.makeIdle(flow, 2_000_000);
    await fixture.dataplane.maintain();
    expect(active()).toBe(before);
    expect(fixture.dataplane.counters().tables.map(({ entries }) => entries)).toEqual([0, 0]);
  });

  test('a flow seen in this very moment is not idle, though its clock may be ahead', async () => {
    makeFlows();
    for (const flow of fixture.established()) fixture.makeIdle(flow, -50);
    expect((await fixture.dataplane.maintain()).expired).toBe(0);
  });

  test('in a table that is nearly full brief flows go early, and those that last stay', async () => {
    const crowd = (count: number) => {
      for (let sport = 1; sport <= count; sport += 1) {
        for (const flags of ['S', 'A']) fixture.run(segment(IPV4, flags, sport));
      }
      return fixture.established();
    };
    const idleMs = TIMEOUTS.tcpSynS * 1000 + 2000;
    const makeIdle = (flows: ReturnType<typeof crowd>) => {
      for (const flow of flows) fixture.makeIdle(flow, idleMs, flow.sport <= 5 ? 1000 : 999);
    };
    makeIdle(crowd(3000));
    expect(await fixture.dataplane.maintain()).toEqual({ scanned: 3000, expired: 0 });
    fixture.forgetFlows();

    makeIdle(crowd(3800));
    // The first walk finds the table full, and the second one makes room.
    expect((await fixture.dataplane.maintain()).expired).toBe(0);
    expect((await fixture.dataplane.maintain()).expired).toBe(3795);
    expect(
      fixture
        .established()
        .map(({ sport }) => sport)
        .sort(),
    ).toEqual([1, 2, 3, 4, 5]);

    // There is room again, so that brief ones have their time.
    makeIdle(crowd(100));
    expect((await fixture.dataplane.maintain()).expired).toBe(0);
  });

  test('flows are stamped by the clock that the sweep reads', () => {
    makeFlows();
    for (const { seenMs } of fixture.established()) {
      expect(Math.abs(kernelNowMs() - seenMs)).toBeLessThan(5000);
    }
  });
});
