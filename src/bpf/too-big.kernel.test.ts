/**
 * What becomes of packets that do not fit the way: answers byte by byte as the RFCs have them, IPv4
 * packets to be cut, and no answer where none may be given.
 */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import { ip, IPV4, IPV6, PLANS, UPLINK, type Plan } from './fixture-network.ts';
import { Fixture, sentTo, service, towards } from './fixture.ts';
import type { ForwardingMode, ForwardingOptions } from '../model/forwarding.ts';
import {
  CLIENT_MAC,
  ETHERNET_BYTES,
  icmp,
  NODE_MAC,
  patched,
  tcp,
  udp,
  type TcpFields,
} from './packet.ts';

const WAIT = { timeout: 60_000, interval: 20 };
const MTU = 1300;
/** Constants of too_big.h, for each CPU. */
const TOO_BIG_BURST = 500;
const CUT_BURST = 256;
const BUCKET_PER_SECOND = { answered: 1000, cut: 2000 };
/** Of ANSWER_BYTES, the rest is headers (RFC 1812, section 4.3.2.3; RFC 4443, section 2.4). */
const QUOTE_BYTES = { ipv4: 576 - 28, ipv6: 1280 - 48 };

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
afterEach(async () => {
  fixture.forgetFlows();
  while (fixture.dataplane.cutOversized() > 0);
  await fixture.program();
});

async function programWay(
  plan: Plan,
  forwarding: ForwardingOptions = { mtuBytes: MTU },
  mode: ForwardingMode = 'l2dsr',
  backend = plan.backend(1),
): Promise<void> {
  const backends = [{ address: backend, mode, forwarding }];
  await fixture.program(
    service({ vip: plan.vip, backends }),
    service({ vip: plan.vip, protocol: 'udp', backends }),
  );
}

/** A segment in an IP packet of so many bytes. */
function segment(plan: Plan, bytes: number, change: Partial<TcpFields> = {}): Uint8Array {
  const headers = (plan.family === 'ipv4' ? 20 : 40) + 20 + (change.options?.length ?? 0);
  const payload = Uint8Array.from({ length: bytes - headers }, (_, i) => i * 31);
  const between = { source: plan.client, destination: plan.vip, sport: 40000, dport: 80 };
  return tcp({ ...between, flags: 'A', dontFragment: true, payload, ...change });
}

/** What a router answers about `frame`. */
function answer(plan: Plan, frame: Uint8Array, mtu: number): Uint8Array {
  const [type, code] = plan.family === 'ipv4' ? [3, 4] : [2, 0];
  const payload = frame.slice(ETHERNET_BYTES, ETHERNET_BYTES + QUOTE_BYTES[plan.family]);
  const between = { source: plan.vip, destination: plan.client, dmac: CLIENT_MAC, smac: NODE_MAC };
  const built = icmp({ ...between, type, code, rest: mtu, payload, dontFragment: true });
  if (plan.family === 'ipv6') return withoutLabel(built);
  return withIpv4Field(withIpv4Field(built, 1, 0xc0), 4, 0, 0);
}

/** The builder's frames have a flow label; an answer has none. */
function withoutLabel(frame: Uint8Array): Uint8Array {
  return patched(frame, ETHERNET_BYTES, 0x60, 0, 0, 0);
}

/** With a byte or two of the IPv4 header changed, and its checksum mended (RFC 1624). */
function withIpv4Field(frame: Uint8Array, at: number, ...bytes: number[]): Uint8Array {
  const copy = patched(patched(frame, ETHERNET_BYTES + at, ...bytes), ETHERNET_BYTES + 10, 0, 0);
  const view = new DataView(copy.buffer);
  let sum = 0;
  for (let word = 0; word < 10; word += 1) sum += view.getUint16(ETHERNET_BYTES + word * 2);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16);
  view.setUint16(ETHERNET_BYTES + 10, 0xffff - sum);
  return copy;
}

describe.each(PLANS)('$family', (plan) => {
  test('what fits by a byte is sent, what is too long by one is answered', async () => {
    await programWay(plan);
    const fits = segment(plan, MTU);
    expect(fixture.send(fits)).toMatchObject({ verdict: 'TX', frame: towards(1, fits) });
    const over = segment(plan, MTU + 1);
    expect(fixture.send(over)).toMatchObject({
      verdict: 'TX',
      frame: answer(plan, over, MTU),
      counted: { too_big_answered: 1 },
    });
  });

  const asked = [
    { name: 'an established flow', flags: 'A' },
    { name: 'a SYN with data', flags: 'S' },
    { name: 'an odd length', flags: 'A', bytes: 1499 },
    { name: 'a TTL of 1', flags: 'A', ttl: 1 },
  ];
  test.each(asked)(
    '$name is answered with checksums that hold',
    async ({ name: _, bytes = 1500, ...change }) => {
      await programWay(plan);
      fixture.send(segment(plan, 100, { flags: 'S' }));
      fixture.send(segment(plan, 100));
      const frame = segment(plan, bytes, change);
      const outcome = fixture.send(frame);
      expect(outcome.frame).toEqual(answer(plan, frame, MTU));
      expect(outcome.packet).toMatchObject({
        source: plan.vip,
        destination: plan.client,
        ttl: 64,
        wrongChecksums: [],
      });
    },
  );

  test('a datagram is answered as well', async () => {
    await programWay(plan);
    const between = { source: plan.client, destination: plan.vip, sport: 40000, dport: 80 };
    const frame = udp({ ...between, payload: new Uint8Array(1400).fill(9), dontFragment: true });
    expect(fixture.send(frame).frame).toEqual(answer(plan, frame, MTU));
  });

  test('nothing is counted for the backend', async () => {
    await programWay(plan);
    fixture.send(segment(plan, 1500));
    const { backends } = fixture.dataplane.counters();
    expect(backends.map(({ packets }) => packets)).toEqual([0, 0]);
  });

  test('so many at once, and more as time goes by', async () => {
    await programWay(plan);
    const frame = segment(plan, 1400);
    fixture.send(segment(plan, 100));
    fixture.fillCpuBuckets();
    const limitedBefore = fixture.count('too_big_limited');
    const startMs = performance.now();
    let answered = 0;
    for (; answered < 20_000; answered += 1) {
      if (fixture.run(frame).verdict === 'DROP') break;
    }
    const elapsedMs = performance.now() - startMs;
    expect(fixture.count('too_big_limited')).toBe(limitedBefore + 1);
    expect(answered).toBeGreaterThanOrEqual(TOO_BIG_BURST);
    // The clock that fills the bucket goes in steps of 10 ms.
    const refilled = ((elapsedMs + 20) * BUCKET_PER_SECOND.answered) / 1000;
    expect(answered).toBeLessThanOrEqual(TOO_BIG_BURST + refilled);
    await vi.waitFor(() => {
      expect(fixture.send(frame).counted).toEqual({ too_big_answered: 1 });
    }, WAIT);
  });

  const unanswered = [
    { name: 'a frame to a multicast address', change: { dmac: '01:00:5e:00:00:01' } },
    { name: 'a broadcast frame', change: { dmac: 'ff:ff:ff:ff:ff:ff' } },
    { name: 'a frame from a group', change: { smac: '03:00:00:00:00:01' } },
    ...(plan.family === 'ipv4'
      ? ['0.0.0.0', '127.0.0.1', '224.0.0.1', '239.1.2.3', '240.0.0.1', '255.255.255.255']
      : ['::', '::1', 'ff02::1', 'ff0e::5']
    ).map((source) => ({ name: `a packet from ${source}`, change: { source } })),
  ];
  test.each(unanswered)('$name is dropped', async ({ change }) => {
    await programWay(plan);
    expect(fixture.send(segment(plan, 1400, change))).toMatchObject({
      verdict: 'DROP',
      counted: { too_big: 1 },
    });
  });

  test('an ICMP error is dropped, whatever flow it quotes', async () => {
    await programWay(plan);
    const sent = { source: plan.vip, destination: plan.client, sport: 80, dport: 40000 };
    const payload = tcp({ ...sent, flags: 'A', payload: new Uint8Array(1350) });
    const type = plan.family === 'ipv4' ? 11 : 3;
    const error = icmp({
      source: plan.stranger,
      destination: plan.vip,
      type,
      payload: payload.subarray(ETHERNET_BYTES),
      dontFragment: true,
    });
    expect(fixture.send(error)).toMatchObject({
      verdict: 'DROP',
      counted: { too_big: 1 },
    });
  });

  test('bytes behind a packet that fits are no reason to answer', async () => {
    await programWay(plan);
    const padded = Uint8Array.from([...segment(plan, MTU), 0]);
    expect(fixture.send(padded)).toMatchObject({ verdict: 'DROP', counted: { too_big: 1 } });
  });

  const overheads = [
    { mode: 'ipip', outer: 'ipv4', bytes: 20 },
    { mode: 'gre', outer: 'ipv4', bytes: 24 },
    { mode: 'gue', outer: 'ipv4', bytes: 32 },
    { mode: 'fou', outer: 'ipv4', bytes: 28 },
    { mode: 'ipip', outer: 'ipv6', bytes: 40 },
    { mode: 'gre', outer: 'ipv6', bytes: 44 },
    { mode: 'gue', outer: 'ipv6', bytes: 52 },
    { mode: 'fou', outer: 'ipv6', bytes: 48 },
  ] as const;
  test.each(overheads)('$mode over $outer leaves $bytes bytes less', async (row) => {
    const outer = row.outer === 'ipv4' ? IPV4 : IPV6;
    await programWay(plan, { mtuBytes: 1400 }, row.mode, outer.backend(1));
    const fits = segment(plan, 1400 - row.bytes);
    expect(sentTo(fixture.send(fits))).toBe(1);
    const over = segment(plan, 1400 - row.bytes + 1);
    expect(fixture.send(over).frame).toEqual(answer(plan, over, 1400 - row.bytes));
  });

  test('the MTU of the device is that of the way', async () => {
    await programWay(plan, {});
    const over = segment(plan, 1501);
    expect(fixture.send(over).frame).toEqual(answer(plan, over, 1500));
    await ip([`link set ${UPLINK} mtu 1400`]);
    try {
      await vi.waitFor(() => {
        const frame = segment(plan, 1401);
        expect(fixture.send(frame).frame).toEqual(answer(plan, frame, 1400));
      }, WAIT);
    } finally {
      await ip([`link set ${UPLINK} mtu 1500`]);
    }
  });

  test('the MTU of the route counts, the smaller one of the document more', async () => {
    const host = plan.backend(1);
    // The kernel forwards by the MTU of a route where that is locked, and else by the device's.
    await ip([`route replace ${host} dev ${UPLINK} mtu lock 1380`]);
    try {
      await programWay(plan, { mtuBytes: 1450 });
      const frame = segment(plan, 1381);
      expect(fixture.send(frame).frame).toEqual(answer(plan, frame, 1380));
      await programWay(plan, { mtuBytes: 1360 });
      await vi.waitFor(() => {
        expect(fixture.send(frame).frame).toEqual(answer(plan, frame, 1360));
      }, WAIT);
    } finally {
      await ip([`route del ${host} dev ${UPLINK}`]);
    }
  });
});

describe('IPv6 on a way that does not take 1,280 bytes', () => {
  const plan = IPV6;

  test('is told 1,280, and dropped where that does not help', async () => {
    await programWay(plan, { mtuBytes: 1300 }, 'ipip');
    const over = segment(plan, 1281);
    expect(fixture.send(over).frame).toEqual(answer(plan, over, 1280));
    expect(fixture.send(segment(plan, 1280)).counted).toEqual({ too_big: 1 });
    expect(sentTo(fixture.send(segment(plan, 1260)))).toBe(1);
  });
});

describe('IPv4', () => {
  const plan = IPV4;

  test('the quote has the IP options, and an answer has none', async () => {
    await programWay(plan);
    const frame = segment(plan, 1400, { options: Uint8Array.of(148, 4, 0, 0) });
    expect(fixture.send(frame).frame).toEqual(answer(plan, frame, MTU));
  });

  test.each([{ bytes: 577 }, { bytes: 600 }])('$bytes bytes into 576', async ({ bytes }) => {
    await programWay(plan, { mtuBytes: 576 });
    const frame = segment(plan, bytes);
    const outcome = fixture.send(frame);
    expect(outcome.frame).toEqual(answer(plan, frame, 576));
    expect(outcome.frame).toHaveLength(ETHERNET_BYTES + 576);
  });

  test('a short packet is quoted in whole words', async () => {
    await programWay(plan, { mtuBytes: 576 }, 'gue', IPV6.backend(1));
    const frame = segment(plan, 527);
    const whole = frame.subarray(0, ETHERNET_BYTES + 524);
    const outcome = fixture.send(frame);
    expect(outcome.frame).toEqual(answer(plan, whole, 524));
    expect(outcome.packet.wrongChecksums).toEqual([]);
  });

  test('a packet that may be cut is handed to the supervisor', async () => {
    await programWay(plan);
    const frame = segment(plan, 1500, { dontFragment: false });
    expect(fixture.send(frame)).toMatchObject({ verdict: 'DROP', counted: { too_big_cut: 1 } });
    expect(fixture.dataplane.cutOversized()).toBe(1);
    expect(fixture.dataplane.cutOversized()).toBe(0);
  });

  const cut = [
    { bytes: MTU + 1, fragments: 2 },
    { bytes: 1500, fragments: 2 },
    { bytes: 2048, fragments: 2 },
  ];
  test.each(cut)('$bytes bytes come back and go the way of fragments', async (row) => {
    await programWay(plan);
    fixture.send(segment(plan, 100, { flags: 'S' }));
    fixture.send(segment(plan, 100));
    const seen = () => {
      const [first] = fixture.dataplane.counters().backends;
      return fixture.count('fragment') + (first?.packets ?? 0);
    };
    const before = { seen: seen(), tooBig: fixture.count('too_big') };
    fixture.send(segment(plan, row.bytes, { dontFragment: false }));
    expect(fixture.dataplane.cutOversized()).toBe(1);
    await vi.waitFor(() => {
      expect(seen() - before.seen).toBe(row.fragments);
    }, WAIT);
    expect(fixture.count('too_big'), 'they fit').toBe(before.tooBig);
  });

  test('a packet that is too long even for that is dropped', async () => {
    await programWay(plan);
    const longest = segment(plan, 2048, { dontFragment: false });
    expect(fixture.send(longest).counted).toEqual({ flow_guessed: 1, too_big_cut: 1 });
    const longer = segment(plan, 2049, { dontFragment: false });
    expect(fixture.send(longer).counted).toMatchObject({ too_big: 1 });
  });

  test('so many at once', async () => {
    await programWay(plan);
    const frame = segment(plan, 1500, { dontFragment: false });
    fixture.send(frame);
    fixture.fillCpuBuckets();
    const startMs = performance.now();
    let handedOver = 0;
    for (; handedOver < 2000; handedOver += 1) {
      const { counted } = fixture.send(frame);
      if (counted.too_big_limited === 1) break;
    }
    const refilled = ((performance.now() - startMs + 20) * BUCKET_PER_SECOND.cut) / 1000;
    expect(handedOver).toBeGreaterThanOrEqual(CUT_BURST);
    expect(handedOver).toBeLessThanOrEqual(CUT_BURST + refilled);
  });

  test('a supervisor that is dead: its buffer fills, and no packet waits for it', async () => {
    await programWay(plan);
    const frame = segment(plan, 1500, { dontFragment: false });
    let handedOver = 0;
    for (; handedOver < 5000; handedOver += 1) {
      if (handedOver % 100 === 0) fixture.fillCpuBuckets();
      const { counted } = fixture.send(frame);
      if (counted.too_big_limited === 1) break;
    }
    // 1 MiB of records of 2 KiB and a header.
    expect(handedOver).toBeGreaterThan(400);
    expect(handedOver).toBeLessThan(512);
    while (fixture.dataplane.cutOversized() > 0);
    expect(fixture.send(frame).counted).toEqual({ too_big_cut: 1 });
  });
});
