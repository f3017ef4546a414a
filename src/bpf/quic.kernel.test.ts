/** QUIC by connection ID: which packets name their backend, and that a change of address is none. */
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import type { BackendState } from '../model/service.ts';
import type { QuicRouting } from '../model/quic.ts';
import { PLANS } from './fixture-network.ts';
import { Fixture, sentTo, service } from './fixture.ts';
import { udp } from './packet.ts';

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

const LB: QuicRouting = { layout: 'quic_lb', idBytes: 3, configId: 2 };
const KATRAN: QuicRouting = { layout: 'katran', idBytes: 4, configId: 0 };
const V1 = [0, 0, 0, 1];
const V2 = [0x6b, 0x33, 0x43, 0xcf];
const REST = [9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9];

/** A short header: the connection ID follows at once. */
const short = (...cid: readonly number[]) => [0x43, ...cid, ...REST];
const long = (first: number, version: readonly number[], ...cid: readonly number[]) => [
  first,
  ...version,
  cid.length,
  ...cid,
  8,
  ...REST,
];
/** Config ID 2 in the upper three bits, and five that say the length. */
const lb = (...id: readonly number[]) => [0x48, ...id, 7, 7, 7, 7];

describe.each(PLANS)('$family', (plan) => {
  const IDS = ['0a0001', '0a0002', '0a0003'];
  const program = async (
    quic: QuicRouting = LB,
    ids: readonly string[] = IDS,
    states: readonly BackendState[] = ['up', 'up', 'up'],
  ) => {
    const backends = ids.map((serverId, n) => ({
      address: plan.backend(n + 1),
      serverId,
      state: states[n] ?? 'up',
    }));
    await fixture.program(service({ vip: plan.vip, protocol: 'udp', port: 443, quic, backends }));
  };
  const send = (payload: readonly number[], sport: number, source = plan.client) =>
    fixture.send(
      udp({
        source,
        destination: plan.vip,
        sport,
        dport: 443,
        payload: Uint8Array.from(payload),
      }),
    );
  const routed = { quic_routed: 1 };

  test('a short header goes to the backend that it names, from any port', async () => {
    await program();
    for (const [n, last] of [1, 2, 3].entries()) {
      for (let sport = 1; sport <= 8; sport += 1) {
        const outcome = send(short(...lb(0x0a, 0, last)), 1000 * n + sport);
        expect(sentTo(outcome)).toBe(n + 1);
        expect(outcome.counted).toEqual(routed);
      }
    }
  });

  test('a connection that changes its address stays, on its new flow too', async () => {
    await program();
    const packet = short(...lb(0x0a, 0, 2));
    for (const source of [plan.client, plan.stranger]) {
      for (let i = 0; i < 3; i += 1) expect(sentTo(send(packet, 5555, source))).toBe(2);
    }
    expect(fixture.established().map((flow) => fixture.backendOf(flow))).toEqual([
      plan.backend(2),
      plan.backend(2),
    ]);
  });

  test('two connections of one flow each stay on their own backend', async () => {
    await program();
    for (let i = 0; i < 3; i += 1) {
      expect(sentTo(send(short(...lb(0x0a, 0, 1)), 77))).toBe(1);
      expect(sentTo(send(short(...lb(0x0a, 0, 3)), 77))).toBe(3);
    }
  });

  const byHash: readonly { name: string; payload: readonly number[] }[] = [
    { name: 'an Initial of version 1', payload: long(0xc3, V1, ...lb(0x0a, 0, 1)) },
    { name: '0-RTT of version 1', payload: long(0xd3, V1, ...lb(0x0a, 0, 1)) },
    { name: 'an Initial of version 2', payload: long(0xd3, V2, ...lb(0x0a, 0, 1)) },
    { name: 'an unknown version', payload: long(0xe3, [1, 2, 3, 4], ...lb(0x0a, 0, 1)) },
    { name: 'a server that is not known', payload: short(...lb(0x0a, 0, 9)) },
    { name: 'another config ID', payload: short(0x28, 0x0a, 0, 1, 7, 7) },
    { name: 'an ID that is not routable', payload: short(0xe8, 0x0a, 0, 1, 7, 7) },
    { name: 'a connection ID that is too short', payload: [0x43, 0x48, 0x0a, 0] },
    { name: 'a long header with a short ID', payload: long(0xe3, V1, 0x48, 0x0a, 0) },
    { name: 'a long header that is cut', payload: [0xe3, 0, 0, 0, 1] },
    { name: 'a single byte', payload: [0x43] },
    { name: 'nothing', payload: [] },
  ];

  test.each(byHash)('$name goes the way of its flow', async ({ payload }) => {
    await program();
    const backends = new Set<number | undefined>();
    for (let sport = 1; sport <= 24; sport += 1) {
      const [first, again] = [send(payload, sport), send(payload, sport)];
      expect([first.verdict, first.counted, again.counted]).toEqual(['TX', {}, {}]);
      expect(sentTo(again)).toBe(sentTo(first));
      backends.add(sentTo(first));
    }
    expect(backends.size).toBe(3);
  });

  test('Handshake packets have the ID that the server made', async () => {
    await program();
    for (const [type, version] of [
      [0xe3, V1],
      [0xf3, V2],
    ] as const) {
      const outcome = send(long(type, version, ...lb(0x0a, 0, 3)), 4242);
      expect([sentTo(outcome), outcome.counted]).toEqual([3, routed]);
      fixture.forgetFlows();
    }
  });

  test('a draining backend keeps its connections, one that is down does not', async () => {
    await program(LB, IDS, ['draining', 'down', 'up']);
    // From an address that is new: a flow like others, known from its second packet on.
    for (let i = 0; i < 4; i += 1) expect(sentTo(send(short(...lb(0x0a, 0, 1)), 1))).toBe(1);
    expect(fixture.established().map((flow) => fixture.backendOf(flow))).toEqual([plan.backend(1)]);
    expect(sentTo(send(short(...lb(0x0a, 0, 2)), 2))).toBe(3);
  });

  test('an ID that moves to another backend, and one that is gone', async () => {
    await program();
    await program(LB, ['0a0003', '0a0001']);
    expect(sentTo(send(short(...lb(0x0a, 0, 3)), 1))).toBe(1);
    expect(sentTo(send(short(...lb(0x0a, 0, 1)), 2))).toBe(2);
    expect(send(short(...lb(0x0a, 0, 2)), 3).counted).toEqual({});
    await fixture.restart();
    await program(LB, ['0a0003', '0a0001']);
    expect(sentTo(send(short(...lb(0x0a, 0, 1)), 4))).toBe(2);
  });

  test.each([
    { version: 1, cid: [0x40 | (0xabcd >> 10), (0xabcd >> 2) & 0xff, (0xabcd & 3) << 6], to: 1 },
    { version: 2, cid: [0x80, 0xab, 0xcd, 0xef], to: 2 },
    { version: 3, cid: [0xc0, 0xde, 0xad, 0xbe, 0xef], to: 3 },
  ])("katran's layout, version $version", async ({ cid, to }) => {
    await program(KATRAN, ['0000abcd', '00abcdef', 'deadbeef']);
    for (let sport = 1; sport <= 8; sport += 1) {
      expect(sentTo(send(short(...cid, 1, 2, 3), sport))).toBe(to);
    }
  });

  test('it holds for the flows that are there, from the next packet on', async () => {
    const backends = [1, 2, 3].map((n) => ({ address: plan.backend(n) }));
    await fixture.program(service({ vip: plan.vip, protocol: 'udp', port: 443, backends }));
    const packet = (last: number) => short(...lb(0x0a, 0, last));
    const own = sentTo(send(packet(1), 1)) ?? 0;
    const other = (own % 3) + 1;
    for (let i = 0; i < 2; i += 1) expect(sentTo(send(packet(other), 1))).toBe(own);
    await program();
    expect(sentTo(send(packet(other), 1))).toBe(other);
    expect(sentTo(send(packet(own), 1))).toBe(own);
  });

  test('without routing by ID it is UDP like any other', async () => {
    await program();
    const backends = [1, 2, 3].map((n) => ({ address: plan.backend(n) }));
    await fixture.program(service({ vip: plan.vip, protocol: 'udp', port: 443, backends }));
    expect(send(short(...lb(0x0a, 0, 1)), 1).counted).toEqual({});
  });
});
