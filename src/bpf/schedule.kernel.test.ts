/** Which service a packet belongs to, and which backend its flow is given to. */
import fc from 'fast-check';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import type { WantedService } from '../dataplane/dataplane.ts';
import type { L4Protocol } from '../model/service.ts';
import { addressFromBytes, type Address } from '../model/address.ts';
import { PLANS, type Plan } from './fixture-network.ts';
import { Fixture, sentTo, service } from './fixture.ts';
import { addressBytes, tcp, udp, type TcpFields } from './packet.ts';

/** Fixed, so that a failure can be seen again; in the name of each test that it decides. */
const SEED = 20260501;

let fixture: Fixture;

beforeAll(async () => {
  fixture = await Fixture.open();
});
afterAll(async () => {
  await fixture.close();
});
afterEach(() => {
  fixture.forgetFlows();
});

/** SYNs from random clients and ports, evenly spread. */
function randomSyns(plan: Plan, count: number): TcpFields[] {
  const uniform = (max: number) => fc.noBias(fc.integer({ min: 1, max }));
  const fields = fc.record({ host: uniform(0xffff), sport: uniform(0xffff) });
  return fc.sample(fields, { seed: SEED, numRuns: count }).map(({ host, sport }) => {
    return { source: client(plan, host), destination: plan.vip, sport, dport: 80, flags: 'S' };
  });
}

function client(plan: Plan, host: number): Address {
  const bytes = addressBytes(plan.client);
  bytes.set([host >> 8, host & 0xff], bytes.length - 2);
  const mapped = new Uint8Array(16).fill(0xff, 10, 12);
  mapped.set(bytes, 16 - bytes.length);
  return addressFromBytes(mapped);
}

function reached(packets: readonly TcpFields[]): (number | undefined)[] {
  return packets.map((fields) => sentTo(fixture.run(tcp(fields))));
}

describe.each(PLANS)('$family: a service is a VIP, a protocol and a port', (plan) => {
  const one = (protocol: L4Protocol, port: number, n: number, vip = plan.vip) =>
    service({ vip, protocol, port, backends: [plan.backend(n)] });

  beforeAll(async () => {
    await fixture.program(
      one('tcp', 80, 1),
      one('tcp', 443, 2),
      one('tcp', 0, 3),
      one('udp', 53, 4),
      one('udp', 80, 5),
      one('tcp', 80, 6, plan.otherVip),
    );
  });

  const rows: readonly { protocol: L4Protocol; dport: number; vip: Address; to: number }[] = [
    { protocol: 'tcp', dport: 80, vip: plan.vip, to: 1 },
    { protocol: 'tcp', dport: 443, vip: plan.vip, to: 2 },
    { protocol: 'tcp', dport: 444, vip: plan.vip, to: 3 },
    { protocol: 'tcp', dport: 1, vip: plan.vip, to: 3 },
    { protocol: 'tcp', dport: 65535, vip: plan.vip, to: 3 },
    { protocol: 'tcp', dport: 53, vip: plan.vip, to: 3 },
    { protocol: 'udp', dport: 53, vip: plan.vip, to: 4 },
    { protocol: 'udp', dport: 80, vip: plan.vip, to: 5 },
    { protocol: 'tcp', dport: 80, vip: plan.otherVip, to: 6 },
  ];

  test.each(rows)('$protocol port $dport of $vip goes to backend $to', (row) => {
    const { protocol, dport, vip: destination } = row;
    const fields = { source: plan.client, destination, sport: 40000, dport };
    const frame = protocol === 'tcp' ? tcp({ ...fields, flags: 'S' }) : udp(fields);
    expect(sentTo(fixture.send(frame))).toBe(row.to);
  });

  const unserved = [
    { name: 'UDP without a service for every port', destination: plan.vip, udpPort: 54 },
    { name: 'another port of the other VIP', destination: plan.otherVip, tcpPort: 81 },
    { name: 'another protocol of the other VIP', destination: plan.otherVip, udpPort: 80 },
  ];

  test.each(unserved)('$name is dropped', ({ destination, tcpPort, udpPort = 0 }) => {
    const fields = { source: plan.client, destination, sport: 40000 };
    const frame =
      tcpPort === undefined
        ? udp({ ...fields, dport: udpPort })
        : tcp({ ...fields, dport: tcpPort, flags: 'S' });
    expect(fixture.send(frame)).toMatchObject({
      verdict: 'DROP',
      frame,
      counted: { no_service: 1 },
    });
  });

  test('a service that is taken away leaves its port to the one for every port', async () => {
    const syn = (dport: number) =>
      tcp({ source: plan.client, destination: plan.vip, sport: 40001, dport, flags: 'S' });
    await fixture.program(one('tcp', 0, 3));
    expect(sentTo(fixture.send(syn(80)))).toBe(3);
    await fixture.program(one('tcp', 443, 2));
    expect(fixture.send(syn(80)).counted).toEqual({ no_service: 1 });
    await fixture.program();
    expect(fixture.send(syn(443))).toMatchObject({ verdict: 'PASS', counted: { passed: 1 } });
  });
});

describe.each(PLANS)('$family: shares', (plan) => {
  const WEIGHTS = [1, 2, 3, 4, 10];
  /** Of chi-square with 4 degrees of freedom, 1 value in 1,000 is larger. */
  const CHI_SQUARE_MAX = 18.47;
  const TUPLES = 10_000;

  test(`10,000 flows follow the weights (seed ${SEED})`, async () => {
    const backends = WEIGHTS.map((weight, i) => ({ address: plan.backend(i + 1), weight }));
    await fixture.program(service({ vip: plan.vip, backends }));
    const counts = WEIGHTS.map(() => 0);
    for (const n of reached(randomSyns(plan, TUPLES))) {
      counts[(n ?? 0) - 1] = (counts[(n ?? 0) - 1] ?? 0) + 1;
    }
    const sum = WEIGHTS.reduce((total, weight) => total + weight, 0);
    const chiSquare = WEIGHTS.reduce((total, weight, i) => {
      const expected = (TUPLES * weight) / sum;
      return total + ((counts[i] ?? 0) - expected) ** 2 / expected;
    }, 0);
    expect(chiSquare, `flows by backend: ${counts.join(', ')}`).toBeLessThan(CHI_SQUARE_MAX);
  });
});

describe.each(PLANS)('$family: affinity', (plan) => {
  const backends = [1, 2, 3, 4, 5, 6, 7, 8].map((n) => plan.backend(n));
  const everyPort = (affinity: 'client' | 'flow'): WantedService[] => [
    service({ vip: plan.vip, port: 0, affinity, backends }),
    service({ vip: plan.vip, port: 8080, affinity, backends }),
    service({ vip: plan.otherVip, port: 0, affinity, backends }),
    service({ vip: plan.vip, protocol: 'udp', port: 0, affinity, backends }),
  ];
  /** One client's flows to every service, from many ports. */
  const frames = (source: Address) =>
    Array.from({ length: 40 }, (_, i) => {
      const fields = { source, sport: 30000 + i, dport: i % 2 === 0 ? 8080 : 1000 + i };
      return [
        tcp({ ...fields, destination: plan.vip, flags: 'S' }),
        tcp({ ...fields, destination: plan.otherVip, flags: 'S' }),
        udp({ ...fields, destination: plan.vip }),
      ];
    }).flat();
  const backendsOf = (source: Address) =>
    new Set(frames(source).map((frame) => sentTo(fixture.run(frame))));

  test('client: one backend for all flows of a client, whatever the service', async () => {
    await fixture.program(...everyPort('client'));
    const owners = Array.from({ length: 64 }, (_, i) => backendsOf(client(plan, 500 + i)));
    expect(owners.map(({ size }) => size)).toEqual(owners.map(() => 1));
    expect(new Set(owners.flatMap((each) => [...each])), 'clients are spread').toEqual(
      new Set([1, 2, 3, 4, 5, 6, 7, 8]),
    );
  });

  test('flow: the flows of a client are spread', async () => {
    await fixture.program(...everyPort('flow'));
    expect(backendsOf(plan.client)).toEqual(new Set([1, 2, 3, 4, 5, 6, 7, 8]));
  });
});

describe.each(PLANS)('$family: two nodes', (plan) => {
  const numbers = [1, 2, 3, 4, 5];
  const made = (order: readonly number[]) =>
    order.map((n) => ({ address: plan.backend(n), weight: n }));
  const other = service({ vip: plan.otherVip, backends: [plan.backend(9), plan.backend(8)] });

  test(`with equal services in another order agree on every flow (seed ${SEED})`, async () => {
    const syns = randomSyns(plan, 1000);
    await fixture.program(service({ vip: plan.vip, backends: made(numbers) }), other);
    const here = reached(syns);

    await fixture.close();
    fixture = await Fixture.open();
    await fixture.program(other);
    await fixture.program(other, service({ vip: plan.vip, backends: made(numbers.toReversed()) }));
    expect(reached(syns)).toEqual(here);
    expect(new Set(here)).toEqual(new Set(numbers));
  });

  test('of different releases agree as well', async () => {
    // A change here moves the flows of a cluster whose nodes are upgraded one after the other.
    const golden = { ipv4: '352422525354422454525335', ipv6: '553315545133443451534421' };
    await fixture.program(service({ vip: plan.vip, backends: made(numbers) }));
    const sports = Array.from({ length: 24 }, (_, i) => 1000 + i * 997);
    const syns = sports.map((sport): TcpFields => {
      return { source: plan.client, destination: plan.vip, sport, dport: 80, flags: 'S' };
    });
    expect(reached(syns).join('')).toBe(golden[plan.family]);
  });
});
