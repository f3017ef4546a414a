/**
 * ICMP errors to a VIP: to the backend whose flow they quote, or to the supervisor, or dropped. What
 * reaches a backend must never differ from what came but for the MAC addresses.
 */
import { readFileSync } from 'node:fs';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import type { WantedService } from '../dataplane/dataplane.ts';
import { ipJson, runTool } from '../dataplane/ip.ts';
import { PLANS, UPLINK, type Plan } from './fixture-network.ts';
import { Fixture, kernelNowMs, sentTo, service, towards } from './fixture.ts';
import {
  ECHO,
  ETHERNET_BYTES,
  icmp,
  ip,
  patched,
  PROTOCOL,
  tcp,
  udp,
  type IpFields,
} from './packet.ts';

const WAIT = { timeout: 60_000, interval: 20 };
const PROTOCOLS = ['tcp', 'udp'] as const;
type Protocol = (typeof PROTOCOLS)[number];

/** RFC 792 and RFC 4443: every error that quotes the packet it is about. */
const ERRORS = {
  ipv4: [
    { name: 'port unreachable', type: 3, code: 3 },
    { name: 'fragmentation needed', type: 3, code: 4 },
    { name: 'time exceeded', type: 11, code: 0 },
    { name: 'parameter problem', type: 12, code: 0 },
  ],
  ipv6: [
    { name: 'address unreachable', type: 1, code: 3 },
    { name: 'packet too big', type: 2, code: 0 },
    { name: 'time exceeded', type: 3, code: 0 },
    { name: 'parameter problem', type: 4, code: 1 },
  ],
};
/** Of one service, at once. */
const RELAY_BURST = 200;
const RELAY_PER_SECOND = 100;
const SERVICES_MAX = 16;
const ICMP_PACKET_BYTES_MAX = 1280;

/** An IPv6 routing header with a segment left. */
const ROUTE_BEGUN = { protocol: 43, bytes: Uint8Array.of(0, 0, 2, 1, 0, 0, 0, 0) };

let fixture: Fixture;

/** Both services of the VIP, with one backend or with nearly every slot of the ring at another. */
function services(plan: Plan, owner: 'first' | 'second'): WantedService[] {
  const first = { address: plan.backend(1), weight: 1 };
  const second = { address: plan.backend(2), weight: 65535 };
  const backends = owner === 'first' ? [first] : [first, second];
  return PROTOCOLS.map((protocol) => service({ vip: plan.vip, protocol, backends }));
}

/** Builders of one family: packets of a client, and errors about the answers to them. */
function traffic(plan: Plan) {
  const headerBytes = plan.family === 'ipv4' ? 20 : 40;
  const request = (protocol: Protocol, flags = 'S', sport = 40000) => {
    const between = { source: plan.client, destination: plan.vip, sport, dport: 80 };
    return protocol === 'tcp' ? tcp({ ...between, flags }) : udp(between);
  };
  /** What a backend sent, from the IP header on: all of it, or what routers quote of it. */
  const quote = (
    protocol: Protocol,
    change: Partial<IpFields> & { bytes?: number; sport?: number; payload?: Uint8Array } = {},
  ) => {
    const { bytes, sport = 40000, ...fields } = change;
    const between = { source: plan.vip, destination: plan.client, sport: 80, dport: sport };
    const answer = { ...between, payload: new Uint8Array(64).fill(0xa5), ...fields };
    const frame = protocol === 'tcp' ? tcp({ ...answer, flags: 'PA' }) : udp(answer);
    return frame.subarray(ETHERNET_BYTES).slice(0, bytes);
  };
  const [first] = ERRORS[plan.family];
  const { type, code } = first!;
  /** From a router on the way, about `payload`. */
  const error = (payload: Uint8Array, change: Partial<Parameters<typeof icmp>[0]> = {}) =>
    icmp({ source: plan.stranger, destination: plan.vip, type, code, payload, ...change });
  return { headerBytes, request, quote, error };
}

function establish(plan: Plan, protocol: Protocol): void {
  const { request } = traffic(plan);
  fixture.send(request(protocol));
  fixture.send(request(protocol, 'A'));
  expect(fixture.established()).toHaveLength(1);
}

/** New flows go to the second backend from here on. */
async function moveRing(plan: Plan): Promise<void> {
  await fixture.program(...services(plan, 'second'));
  const probe = traffic(plan).request('tcp', 'S', 50000);
  expect(sentTo(fixture.run(probe))).toBe(2);
}

function relayed(): Uint8Array[] {
  return fixture.dataplane.flowTable.drainIcmpErrors();
}

/** Every token bucket as it is when nothing was handed to the peers for long. */
function fillBuckets(): void {
  const buckets = fixture.map('relay_buckets');
  for (let index = 0; index < SERVICES_MAX; index += 1) {
    const key = new Uint8Array(Uint32Array.of(index).buffer);
    const bucket = BigUint64Array.of(0n, BigInt(kernelNowMs()));
    buckets.update(key, new Uint8Array(bucket.buffer));
  }
}

describe.each(PLANS)('a node alone, $family', (plan) => {
  const { headerBytes, request, quote, error } = traffic(plan);

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

  describe.each(PROTOCOLS)('quoting %s', (protocol) => {
    test.each(ERRORS[plan.family])('$name goes where the flow goes', async ({ type, code }) => {
      establish(plan, protocol);
      await moveRing(plan);
      const flows = fixture.established();
      const frame = error(quote(protocol), { type, code, rest: 1400 });
      expect(fixture.send(frame)).toMatchObject({
        verdict: 'TX',
        frame: towards(1, frame),
        counted: { icmp_forwarded: 1 },
      });
      expect(fixture.established(), 'an error is no packet of the flow').toEqual(flows);
    });

    test('the error of an embryonic flow goes where the flow goes', async () => {
      fixture.send(request(protocol));
      await moveRing(plan);
      const frame = error(quote(protocol));
      expect(fixture.send(frame)).toMatchObject({
        verdict: 'TX',
        frame: towards(1, frame),
        counted: { icmp_forwarded: 1 },
      });
    });

    test.each([8, 4])('a quote of the IP header and %i bytes is enough', async (bytes) => {
      establish(plan, protocol);
      await moveRing(plan);
      const frame = error(quote(protocol, { bytes: headerBytes + bytes }));
      expect(fixture.send(frame)).toMatchObject({ frame: towards(1, frame), verdict: 'TX' });
    });

    test('the error of a flow that is not known goes where the hash says', async () => {
      const backends = [1, 2, 3, 4, 5].map(plan.backend);
      await fixture.program(service({ vip: plan.vip, protocol, backends }));
      const chosen = new Set<number | undefined>();
      for (let sport = 1; sport <= 50; sport += 1) {
        const frame = error(quote(protocol, { sport }));
        const outcome = fixture.send(frame);
        expect(outcome.counted).toEqual({ icmp_forwarded: 1 });
        expect(fixture.embryonic().filter((flow) => flow.sport === sport)).toEqual([]);
        const backend = sentTo(outcome);
        expect(outcome.frame).toEqual(towards(backend!, frame));
        expect(sentTo(fixture.run(request(protocol, 'S', sport)))).toBe(backend);
        chosen.add(backend);
      }
      expect(chosen.size).toBeGreaterThan(1);
    });
  });

  const options = new Uint8Array(40).fill(1);
  const inIpv4 = [
    { name: 'IP options', frame: error(quote('tcp'), { options }) },
    { name: 'quoted IP options', frame: error(quote('tcp', { options: options.subarray(36) })) },
    { name: 'the longest quoted IP options', frame: error(quote('tcp', { options })) },
    {
      name: 'a quoted first fragment',
      frame: error(quote('tcp', { fragment: { offset: 0, more: true } })),
    },
  ];
  test.each(plan.family === 'ipv4' ? inIpv4 : [])('$name', async ({ frame }) => {
    establish(plan, 'tcp');
    await moveRing(plan);
    expect(fixture.send(frame)).toMatchObject({ verdict: 'TX', frame: towards(1, frame) });
  });

  test('an error of a port that has no service of its own', async () => {
    const any = service({ vip: plan.vip, port: 0, backends: [plan.backend(3)] });
    await fixture.program(any);
    const frame = error(quote('tcp'));
    expect(fixture.send(frame)).toMatchObject({ verdict: 'TX', frame: towards(3, frame) });
  });

  const other = plan.family === 'ipv4' ? 6 : 4;
  const short = [
    { name: 'no quote', quoted: new Uint8Array(0) },
    { name: 'half an IP header', quoted: quote('tcp', { bytes: headerBytes / 2 }) },
    { name: 'an IP header and no ports', quoted: quote('tcp', { bytes: headerBytes }) },
    { name: 'half the ports', quoted: quote('udp', { bytes: headerBytes + 3 }) },
    { name: `a quote of IPv${other}`, quoted: patched(quote('tcp'), 0, (other << 4) | 5) },
    { name: 'a fragment', quoted: quote('udp', { fragment: { offset: 1, more: true } }) },
    { name: 'the last fragment', quoted: quote('udp', { fragment: { offset: 185, more: false } }) },
    ...[PROTOCOL.icmp, PROTOCOL.icmp6, PROTOCOL.gre, PROTOCOL.sctp].map((protocol) => {
      const between = { source: plan.vip, destination: plan.client };
      const quoted = ip(between, protocol, new Uint8Array(16)).subarray(ETHERNET_BYTES);
      return { name: `a quote of protocol ${protocol}`, quoted };
    }),
    ...(plan.family === 'ipv4'
      ? [{ name: 'a quoted header of 16 bytes', quoted: patched(quote('tcp'), 0, 0x44) }]
      : [
          {
            name: 'a quoted route not at its end',
            quoted: quote('tcp', { extensions: [ROUTE_BEGUN] }),
          },
        ]),
    ...(plan.family === 'ipv4'
      ? [{ name: 'ports behind the end', quoted: patched(quote('tcp', { bytes: 60 }), 0, 0x4f) }]
      : []),
  ];
  test.each(short)('$name is malformed', ({ quoted }) => {
    establish(plan, 'tcp');
    const frame = error(quoted);
    expect(fixture.send(frame)).toMatchObject({ verdict: 'DROP', counted: { icmp_malformed: 1 } });
  });

  test.each(['client', 'otherVip', 'node'] as const)(
    'a quote of a packet that the %s sent is forged',
    async (who) => {
      await fixture.program(
        ...services(plan, 'first'),
        service({ vip: plan.otherVip, backends: [plan.backend(1)] }),
      );
      establish(plan, 'tcp');
      const frame = error(quote('tcp', { source: plan[who] }));
      expect(fixture.send(frame)).toMatchObject({ verdict: 'DROP', counted: { icmp_forged: 1 } });
    },
  );

  test('an error of a service that is not there', async () => {
    await fixture.program(service({ vip: plan.vip, port: 443, backends: [plan.backend(1)] }));
    const outcome = fixture.send(error(quote('tcp')));
    expect(outcome).toMatchObject({ verdict: 'DROP', counted: { no_service: 1 } });
  });

  test('an error of a service without a backend', async () => {
    await fixture.program(service({ vip: plan.vip, backends: [] }));
    const outcome = fixture.send(error(quote('tcp')));
    expect(outcome).toMatchObject({ verdict: 'DROP', counted: { no_backend: 1 } });
  });

  test('an error to another address passes', () => {
    const frame = error(quote('tcp'), { destination: plan.node });
    expect(fixture.send(frame)).toMatchObject({ verdict: 'PASS', counted: { passed: 1 } });
  });

  test('nothing is handed to the supervisor', () => {
    fixture.send(error(quote('tcp')));
    fixture.send(error(quote('tcp')), 'skein_relayed');
    expect(relayed()).toEqual([]);
  });

  test('an injected error leaves towards the backend', async () => {
    // A veth end takes frames of XDP once its peer polls: by a program of its own, or by GRO.
    await runTool('ethtool', ['-K', `${UPLINK}-peer`, 'gro', 'on']);
    establish(plan, 'tcp');
    await untilQuiet();
    const before = await received();
    const packet = error(quote('tcp')).subarray(ETHERNET_BYTES);
    fixture.dataplane.injectIcmpError(packet);
    await vi.waitFor(async () => {
      const now = await received();
      expect(now.packets - before.packets).toBe(1);
      expect(now.bytes - before.bytes).toBe(ETHERNET_BYTES + packet.length);
    }, WAIT);
  });

  test('what is injected and is no error of a known flow goes nowhere', async () => {
    await untilQuiet();
    const before = await received();
    const unknown = fixture.count('icmp_unknown');
    fixture.dataplane.injectIcmpError(error(quote('tcp')).subarray(ETHERNET_BYTES));
    fixture.dataplane.injectIcmpError(request('tcp').subarray(ETHERNET_BYTES));
    fixture.dataplane.injectIcmpError(Uint8Array.of(0x45));
    fixture.dataplane.injectIcmpError(new Uint8Array(0));
    await vi.waitFor(() => {
      expect(fixture.count('icmp_unknown') - unknown).toBe(3);
    }, WAIT);
    expect(await received()).toEqual(before);
    expect(fixture.embryonic()).toEqual([]);
  });
});

/** What the kernel says by itself, which are reports of multicast groups (MLD), has arrived. */
async function untilQuiet(): Promise<void> {
  const counters = readFileSync(`/proc/net/dev_snmp6/${UPLINK}`, 'utf8');
  const reports = Number(/^Icmp6OutMLDv2Reports\s+(\d+)/m.exec(counters)?.[1] ?? 0);
  await vi.waitFor(async () => {
    expect((await received()).packets).toBeGreaterThanOrEqual(reports);
  }, WAIT);
}

/** What the other end of the uplink has received. */
async function received(): Promise<{ packets: number; bytes: number }> {
  const [link] = (await ipJson(['-s', 'link', 'show', `${UPLINK}-peer`])) as [
    { stats64: { rx: { packets: number; bytes: number } } },
  ];
  const { packets, bytes } = link.stats64.rx;
  return { packets, bytes };
}

describe.each(PLANS)('a node with peers, $family', (plan) => {
  const { request, quote, error } = traffic(plan);

  beforeAll(async () => {
    fixture = await Fixture.open({ sharing: true });
  });
  afterAll(async () => {
    await fixture.close();
  });
  beforeEach(async () => {
    await fixture.program(
      ...services(plan, 'first'),
      service({ vip: plan.otherVip, backends: [plan.backend(1)] }),
    );
    fillBuckets();
    relayed();
  });
  afterEach(() => {
    fixture.forgetFlows();
  });

  test.each(PROTOCOLS)('the error of a known %s flow goes to its backend', (protocol) => {
    establish(plan, protocol);
    const frame = error(quote(protocol));
    expect(fixture.send(frame)).toMatchObject({ verdict: 'TX', frame: towards(1, frame) });
    expect(relayed()).toEqual([]);
  });

  test.each(PROTOCOLS)(
    'the error of an unknown %s flow is handed to the supervisor',
    (protocol) => {
      const frames = [1, 2, 3].map((sport) => error(quote(protocol, { sport })));
      for (const frame of frames) {
        expect(fixture.send(frame)).toMatchObject({
          verdict: 'DROP',
          counted: { icmp_relayed: 1 },
        });
      }
      expect(relayed()).toEqual(frames.map((frame) => frame.slice(ETHERNET_BYTES)));
      expect(relayed(), 'once').toEqual([]);
    },
  );

  test('the longest error is handed over whole, and a longer one cut', () => {
    const shell = error(quote('tcp', { payload: new Uint8Array(0) })).length - ETHERNET_BYTES;
    for (const over of [0, 1, 100]) {
      const payload = new Uint8Array(ICMP_PACKET_BYTES_MAX - shell + over).fill(7);
      const frame = error(quote('tcp', { payload }));
      expect(fixture.send(frame).counted).toEqual({ icmp_relayed: 1 });
      const end = ETHERNET_BYTES + ICMP_PACKET_BYTES_MAX;
      expect(relayed()).toEqual([frame.slice(ETHERNET_BYTES, end)]);
    }
  });

  test('what no peer could place either is not handed over', () => {
    const elsewhere = { source: plan.client };
    expect(fixture.send(error(quote('tcp', elsewhere))).counted).toEqual({ icmp_forged: 1 });
    const noQuote = error(new Uint8Array(0));
    expect(fixture.send(noQuote).counted).toEqual({ icmp_malformed: 1 });
    const noService = error(patched(quote('tcp'), traffic(plan).headerBytes, 0, 81));
    expect(fixture.send(noService).counted).toEqual({ no_service: 1 });
    expect(relayed()).toEqual([]);
  });

  test('so many at once, and more as time goes by', async () => {
    const frame = error(quote('tcp'));
    fillBuckets();
    const startMs = kernelNowMs();
    let handedOver = 0;
    for (; handedOver < 10_000; handedOver += 1) {
      const { counted } = fixture.send(frame);
      if (counted.icmp_limited === 1) break;
      expect(counted).toEqual({ icmp_relayed: 1 });
    }
    // One more for what the clock of milliseconds leaves open.
    const refilled = ((kernelNowMs() - startMs) * RELAY_PER_SECOND) / 1000 + 1;
    expect(handedOver).toBeGreaterThanOrEqual(RELAY_BURST);
    expect(handedOver).toBeLessThanOrEqual(RELAY_BURST + refilled);
    expect(relayed().length).toBeGreaterThan(0);

    await vi.waitFor(() => {
      expect(fixture.send(frame).counted).toEqual({ icmp_relayed: 1 });
    }, WAIT);
  });

  test('each service has its own bound', () => {
    const frame = error(quote('tcp'));
    // One after the other, without a pause in which the bucket fills again.
    let { counted } = fixture.send(frame);
    for (let sent = 1; sent < 10_000 && counted.icmp_limited === undefined; sent += 1) {
      ({ counted } = fixture.send(frame));
    }
    expect(counted).toEqual({ icmp_limited: 1 });
    const other = error(quote('tcp', { source: plan.otherVip }), { destination: plan.otherVip });
    expect(fixture.send(other).counted).toEqual({ icmp_relayed: 1 });
  });

  test('a supervisor that does not listen costs errors, and no news of flows', () => {
    const { flowTable } = fixture.dataplane;
    flowTable.drainChanges(1);
    // What the test before left may be more than one call takes.
    while (relayed().length > 0);
    const frame = error(quote('tcp'));
    let handedOver = 0;
    for (let sent = 0; sent < 1_000; sent += 1) {
      if (sent % RELAY_BURST === 0) fillBuckets();
      const { counted, verdict } = fixture.send(frame);
      expect(verdict).toBe('DROP');
      handedOver += counted.icmp_relayed ?? 0;
    }
    expect(handedOver).toBeLessThan(1_000);
    expect(flowTable.drainChanges(1).lost).toBe(0);
    let taken = 0;
    for (let count = relayed().length; count > 0; count = relayed().length) taken += count;
    expect(taken).toBe(handedOver);
    fillBuckets();
    expect(fixture.send(frame).counted).toEqual({ icmp_relayed: 1 });
  });

  describe('from a peer', () => {
    test.each(PROTOCOLS)('the error of a known %s flow goes to its backend', (protocol) => {
      establish(plan, protocol);
      const frame = error(quote(protocol));
      expect(fixture.send(frame, 'skein_relayed')).toMatchObject({
        verdict: 'TX',
        frame: towards(1, frame),
        counted: { icmp_forwarded: 1 },
      });
    });

    test('the error of an unknown flow is dropped and handed to nobody', () => {
      const outcome = fixture.send(error(quote('tcp')), 'skein_relayed');
      expect(outcome).toMatchObject({ verdict: 'DROP', counted: { icmp_unknown: 1 } });
      expect(relayed()).toEqual([]);
    });

    const between = { source: plan.client, destination: plan.vip };
    const others = [
      { name: 'a SYN', frame: request('tcp') },
      { name: 'a datagram', frame: request('udp') },
      { name: 'an echo request', frame: icmp({ ...between, type: ECHO[plan.family].request }) },
      { name: 'another protocol', frame: ip(between, PROTOCOL.gre, new Uint8Array(8)) },
      { name: 'an error to no VIP', frame: error(quote('tcp'), { destination: plan.node }) },
      { name: 'no IP', frame: patched(request('tcp'), 12, 0x08, 0x06) },
    ];
    test.each(others)('$name is dropped', ({ frame }) => {
      establish(plan, 'tcp');
      const flows = fixture.established();
      const outcome = fixture.send(frame, 'skein_relayed');
      expect(outcome).toMatchObject({ verdict: 'DROP', counted: { icmp_unknown: 1 } });
      expect(fixture.established()).toEqual(flows);
      expect(fixture.embryonic()).toEqual([]);
    });

    test('a quote that is malformed or forged is dropped as such', () => {
      const malformed = fixture.send(error(new Uint8Array(0)), 'skein_relayed');
      expect(malformed.counted).toEqual({ icmp_malformed: 1 });
      const forged = fixture.send(error(quote('tcp', { source: plan.client })), 'skein_relayed');
      expect(forged.counted).toEqual({ icmp_forged: 1 });
    });
  });
});
