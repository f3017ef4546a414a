/** The way of a health check: out by skein_probe, and the backend's answer back by skein_lb. */
import { networkInterfaces } from 'node:os';
import { afterAll, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import { PROBE_PORT_COUNT, PROBE_PORT_FIRST } from '../abi/abi.generated.ts';
import type { WantedService } from '../dataplane/dataplane.ts';
import { address, addressBytes, addressFromBytes, type Address } from '../model/address.ts';
import { backendMac, lookAlike, PLANS, type Plan } from './fixture-network.ts';
import { Fixture, service } from './fixture.ts';
import { decode, ECHO, icmp, NODE_MAC, patched, tcp, udp, type TcpFields } from './packet.ts';

const WAIT = { timeout: 90_000, interval: 50 };
const SOCKET = { ipv4: address('240.255.255.254'), ipv6: address('fd53:6b65:696e::ff:fffe') };

let fixture: Fixture;
let socketMac: string;

async function open(change: Parameters<typeof Fixture.open>[0] = {}): Promise<void> {
  fixture = await Fixture.open(change);
  socketMac = networkInterfaces()['skein-probe0']![0]!.mac;
}

/** TCP and UDP on the VIP with three backends. */
function services(plan: Plan): WantedService[] {
  const backends = [1, 2, 3].map((n) => plan.backend(n));
  return (['tcp', 'udp'] as const).map((protocol) =>
    service({ vip: plan.vip, protocol, backends }),
  );
}

/** The address that stands for the `n`th backend. */
function privateAddress(plan: Plan, n: number, of = services(plan)[0]!): Address {
  const found = fixture.dataplane.probeAddress(of.id, plan.backend(n));
  if (found === undefined) throw new Error(`no private address for backend ${n}`);
  return found;
}

describe.each(PLANS)('$family', (plan) => {
  beforeAll(async () => {
    await open();
  });
  afterAll(async () => {
    await fixture.close();
  });
  beforeEach(async () => {
    await fixture.program(...services(plan));
  });

  const socket = SOCKET[plan.family];
  const to = (destination: Address) => {
    return { source: socket, destination, sport: 40000, dport: 80 };
  };
  const out = (n: number, change: Partial<TcpFields> = {}) => {
    return { ...to(privateAddress(plan, n)), ...change };
  };
  const send = (frame: Uint8Array) => fixture.send(frame, 'skein_probe');
  /** The port that stands for the socket's own on the way to backend `n`. */
  const portOf = (n: number, sport: number) => {
    const { verdict, frame } = fixture.run(
      tcp({ ...out(n, { sport }), flags: 'S' }),
      'skein_probe',
    );
    expect(verdict).toBe('REDIRECT');
    return decode(frame).sport;
  };
  /** Between the node and the VIP, as the backend sees it. */
  const away = (sport: number) => ({ source: plan.node, destination: plan.vip, sport, dport: 80 });
  const macs = (n: number) => ({ dmac: backendMac(n), smac: NODE_MAC });

  const payloads = [0, 1, 2, 3, 1000, 1001].map((bytes) => ({
    bytes,
    payload: new Uint8Array(bytes).map((_, i) => i * 7 + 1),
  }));

  test.each(payloads)('a segment with $bytes bytes leaves for the VIP on its backend', (row) => {
    const flags = row.bytes === 0 ? 'S' : 'PA';
    const fields = { flags, ttl: 33, payload: row.payload };
    const outcome = send(tcp({ ...out(2), ...fields }));
    expect(outcome).toMatchObject({ verdict: 'REDIRECT', counted: { probe_sent: 1 } });
    const { sport, wrongChecksums } = outcome.packet;
    expect(outcome.frame).toEqual(tcp({ ...away(sport), ...fields, ...macs(2) }));
    expect(wrongChecksums).toEqual([]);
    expect(sport).toBeGreaterThanOrEqual(PROBE_PORT_FIRST);
    expect(sport).toBeLessThan(PROBE_PORT_FIRST + PROBE_PORT_COUNT);
  });

  test.each(payloads)('a datagram with $bytes bytes leaves for the VIP on its backend', (row) => {
    const of = services(plan)[1];
    const destination = privateAddress(plan, 3, of);
    const outcome = send(udp({ ...out(3), destination, payload: row.payload }));
    expect(outcome).toMatchObject({ verdict: 'REDIRECT', counted: { probe_sent: 1 } });
    const { sport } = outcome.packet;
    expect(outcome.frame).toEqual(udp({ ...away(sport), payload: row.payload, ...macs(3) }));
  });

  test('a UDP checksum of 0 stays 0, and one that comes out as 0 is sent as all ones', () => {
    const destination = privateAddress(plan, 1, services(plan)[1]);
    const datagram = { ...out(1), destination };
    const none = send(udp({ ...datagram, checksum: false }));
    const { sport } = none.packet;
    const expected = { ...away(sport), ...macs(1) };
    expect(none.frame).toEqual(udp({ ...expected, checksum: false }));

    // A word that is what the checksum would be without it brings the sum to zero.
    const trial = udp({ ...expected, payload: Uint8Array.of(0, 0) });
    const payload = trial.slice(-4, -2);
    const zero = send(udp({ ...datagram, payload }));
    expect([...zero.frame.slice(-4, -2)]).toEqual([0xff, 0xff]);
    expect(zero.frame).toEqual(udp({ ...expected, payload }));
  });

  test.each(payloads)('an answer with $bytes bytes comes back to the socket', ({ payload }) => {
    const sport = portOf(1, 40000);
    const fields = { flags: 'SA', ttl: 61, payload, smac: backendMac(1) };
    const outcome = fixture.send(
      tcp({ ...fields, source: plan.vip, destination: plan.node, sport: 80, dport: sport }),
    );
    expect(outcome).toMatchObject({ verdict: 'REDIRECT', counted: { probe_reply: 1 } });
    expect(outcome.frame).toEqual(
      tcp({
        ...fields,
        source: privateAddress(plan, 1),
        destination: socket,
        sport: 80,
        dport: 40000,
        dmac: socketMac,
      }),
    );
  });

  test('an answer by UDP comes back, with a checksum and without', () => {
    const destination = privateAddress(plan, 2, services(plan)[1]);
    for (const checksum of [true, false]) {
      const asked = send(udp({ ...out(2), destination, checksum })).packet;
      const answer = { checksum, smac: backendMac(2), payload: Uint8Array.of(9) };
      const between = { source: plan.vip, destination: plan.node, sport: 80, dport: asked.sport };
      const outcome = fixture.send(udp({ ...between, ...answer }));
      expect(outcome).toMatchObject({ verdict: 'REDIRECT', counted: { probe_reply: 1 } });
      const back = { source: destination, destination: socket, sport: 80, dport: 40000 };
      expect(outcome.frame).toEqual(udp({ ...back, ...answer, dmac: socketMac }));
    }
  });

  /** An echo between the socket's end and backend `n`, or between the node and the VIP. */
  const { request, reply } = ECHO[plan.family];
  const echo = (id: number, payload: Uint8Array) => ({ rest: (id << 16) | 7, payload });
  const identifier = ({ frame }: { readonly frame: Uint8Array }) => {
    const at = plan.family === 'ipv4' ? 14 + 20 + 4 : 14 + 40 + 4;
    return new DataView(frame.buffer, frame.byteOffset).getUint16(at);
  };

  test.each(payloads)('an echo with $bytes bytes goes to the VIP and back', ({ payload }) => {
    const between = { source: socket, destination: privateAddress(plan, 2) };
    const asked = send(icmp({ ...between, type: request, ...echo(0xbeef, payload), ttl: 33 }));
    expect(asked).toMatchObject({ verdict: 'REDIRECT', counted: { probe_sent: 1 } });
    expect(asked.packet.wrongChecksums).toEqual([]);
    const id = identifier(asked);
    expect(id).toBeGreaterThanOrEqual(PROBE_PORT_FIRST);
    expect(id).toBeLessThan(PROBE_PORT_FIRST + PROBE_PORT_COUNT);
    const atBackend = { source: plan.node, destination: plan.vip, ...macs(2) };
    expect(asked.frame).toEqual(
      icmp({ ...atBackend, type: request, ...echo(id, payload), ttl: 33 }),
    );

    const answer = { source: plan.vip, destination: plan.node, smac: backendMac(2), type: reply };
    const back = fixture.send(icmp({ ...answer, ...echo(id, payload) }));
    expect(back).toMatchObject({ verdict: 'REDIRECT', counted: { probe_reply: 1 } });
    expect(back.frame).toEqual(
      icmp({
        source: privateAddress(plan, 2),
        destination: socket,
        smac: backendMac(2),
        dmac: socketMac,
        type: reply,
        ...echo(0xbeef, payload),
      }),
    );
  });

  test('echoes from equal identifiers to backends of one VIP do not collide', () => {
    const ids = [1, 2, 3].map((n) => {
      const between = { source: socket, destination: privateAddress(plan, n) };
      return identifier(send(icmp({ ...between, type: request, ...echo(5, Uint8Array.of(n)) })));
    });
    expect(new Set(ids).size).toBe(3);
    ids.forEach((id, i) => {
      const answer = { source: plan.vip, destination: plan.node, type: reply };
      const { frame } = fixture.send(icmp({ ...answer, ...echo(id, Uint8Array.of(0)) }));
      expect(decode(frame)).toMatchObject({ source: privateAddress(plan, i + 1) });
      expect(identifier({ frame })).toBe(5);
    });
  });

  const notReplies = [
    { name: 'an identifier that no check has', change: { id: PROBE_PORT_FIRST - 1 } },
    { name: 'another source', change: { source: plan.client } },
    { name: 'another destination', change: { destination: plan.stranger } },
    { name: 'a request', change: { type: request } },
  ];

  test.each(notReplies)('$name makes no echo reply of a check, and passes', ({ change }) => {
    const between = { source: socket, destination: privateAddress(plan, 1) };
    const asked = send(icmp({ ...between, type: request, ...echo(9, new Uint8Array(8)) }));
    const { id = identifier(asked), ...fields }: { id?: number } = change;
    const answer = { source: plan.vip, destination: plan.node, type: reply, ...fields };
    const frame = icmp({ ...answer, ...echo(id, new Uint8Array(8)) });
    expect(fixture.send(frame)).toMatchObject({ verdict: 'PASS', frame, counted: { passed: 1 } });
  });

  test('the sum of an echo that comes out as 0 is all ones, which is as right', () => {
    const between = { source: socket, destination: privateAddress(plan, 1) };
    const at = (payload: Uint8Array) =>
      send(icmp({ ...between, type: request, ...echo(5, payload) }));
    // A word that is what the checksum would be without it brings the sum to zero.
    const trial = at(Uint8Array.of(0, 0)).frame;
    const sum = plan.family === 'ipv4' ? 14 + 20 + 2 : 14 + 40 + 2;
    const zero = at(trial.slice(sum, sum + 2));
    expect([...zero.frame.slice(sum, sum + 2)]).toEqual([0xff, 0xff]);
    expect(zero.packet.wrongChecksums).toEqual([]);
  });

  test('checks from equal ports to backends of one VIP do not collide', () => {
    const sports = Array.from({ length: 200 }, (_, i) => 45000 + i);
    const checks = sports.flatMap((sport) => [1, 2, 3].map((n) => ({ n, sport })));
    const ports = checks.map(({ n, sport }) => portOf(n, sport));
    expect(new Set(ports).size).toBe(checks.length);
    expect(
      checks.map(({ n, sport }) => portOf(n, sport)),
      'every packet of a check has its port',
    ).toEqual(ports);
    checks.forEach(({ n, sport }, i) => {
      const answer = { source: plan.vip, destination: plan.node, sport: 80, dport: ports[i]! };
      const { verdict, frame } = fixture.run(tcp({ ...answer, flags: 'A' }));
      expect(verdict).toBe('REDIRECT');
      expect(decode(frame)).toMatchObject({ source: privateAddress(plan, n), dport: sport });
    });
  });

  test('a check is no flow, and no traffic of the backend', () => {
    fixture.forgetFlows();
    send(tcp({ ...out(1), flags: 'S' }));
    send(tcp({ ...out(1), flags: 'A' }));
    expect([...fixture.embryonic(), ...fixture.established()]).toEqual([]);
  });

  test.each(['down', 'draining'] as const)(
    'a backend %s is checked like any other',
    async (state) => {
      const backend = { address: plan.backend(4), state };
      const [of] = [service({ vip: plan.otherVip, backends: [backend] })];
      await fixture.program(...services(plan), of);
      const outcome = send(
        tcp({ ...out(1), destination: privateAddress(plan, 4, of), flags: 'S' }),
      );
      expect(outcome).toMatchObject({ verdict: 'REDIRECT', counted: { probe_sent: 1 } });
      expect(outcome.packet).toMatchObject({ destination: plan.otherVip, ...macs(4) });
    },
  );

  const unreachable = [
    { backend: plan.unrouted, why: 'no_route' },
    { backend: plan.routed, why: 'not_on_link' },
    { backend: plan.unresolved, why: 'no_neighbour' },
  ];

  test.each(unreachable)('a check to $backend is dropped as $why', async ({ backend, why }) => {
    const of = service({ vip: plan.otherVip, backends: [backend] });
    await fixture.program(of);
    const destination = fixture.dataplane.probeAddress(of.id, backend)!;
    const outcome = send(tcp({ ...to(destination), flags: 'S' }));
    expect(outcome).toMatchObject({ verdict: 'DROP', counted: { [why]: 1 } });
  });
  const slot = (n: number, base = plan) => {
    const bytes = addressBytes(base.family === 'ipv4' ? address('240.0.0.0') : SOCKET.ipv6);
    bytes.set([n >> 16, (n >> 8) & 0xff, n & 0xff], 13);
    return addressFromBytes(bytes);
  };
  const unknown = [
    { name: 'a slot never used', destination: slot(40) },
    { name: 'a slot beyond the map', destination: slot(70_000) },
    { name: 'an address outside of the range', destination: plan.stranger },
    { name: "the sockets' own address", destination: socket },
  ];

  test.each(unknown)('$name is no backend', ({ destination }) => {
    const frame = tcp({ ...to(destination), flags: 'S' });
    expect(send(frame)).toMatchObject({ verdict: 'DROP', frame, counted: { probe_unknown: 1 } });
  });

  test('a backend that was removed is no backend', async () => {
    const destination = privateAddress(plan, 3);
    await fixture.program(service({ vip: plan.vip, backends: [plan.backend(1)] }));
    const frame = tcp({ ...to(destination), flags: 'S' });
    expect(send(frame)).toMatchObject({ verdict: 'DROP', frame, counted: { probe_unknown: 1 } });
  });

  test('a slot of the other family is no backend', async () => {
    const other = PLANS.find(({ family }) => family !== plan.family)!;
    await fixture.program(...services(other));
    const used = privateAddress(other, 1, services(other)[0]);
    const [high = 0, mid = 0, low = 0] = addressBytes(used).slice(-3);
    const destination = slot((high << 16) | (mid << 8) | low);
    const frame = tcp({ ...to(destination), flags: 'S' });
    expect(send(frame)).toMatchObject({ verdict: 'DROP', frame, counted: { probe_unknown: 1 } });
  });

  test('what is neither TCP, UDP nor an echo request, or is broken, is dropped', () => {
    const destination = privateAddress(plan, 1);
    const between = { source: socket, destination };
    const syn = tcp({ ...out(1), flags: 'S' });
    const frames = [
      icmp({ ...between, type: reply }),
      icmp({ ...between, type: request }).slice(0, -1),
      tcp({ ...out(1), flags: 'S', fragment: { offset: 0, more: true } }),
      syn.slice(0, -1),
      patched(syn, 12, 0x08, 0x06),
    ];
    for (const frame of frames) {
      expect(send(frame)).toMatchObject({ verdict: 'DROP', frame, counted: { probe_unknown: 1 } });
    }
  });

  const strangers = [
    {
      name: 'a port that no check has',
      change: { dport: PROBE_PORT_FIRST + PROBE_PORT_COUNT - 1 },
    },
    { name: 'a port below the range', change: { dport: PROBE_PORT_FIRST - 1 } },
    { name: 'a port above the range', change: { dport: PROBE_PORT_FIRST + PROBE_PORT_COUNT } },
    { name: 'another source', change: { source: plan.client } },
    { name: 'another source port', change: { sport: 81 } },
    { name: 'another destination', change: { destination: plan.stranger } },
  ];

  test.each(strangers)('$name is no answer, and passes', ({ change }) => {
    const dport = portOf(1, 40000);
    const answer = { source: plan.vip, destination: plan.node, sport: 80, dport };
    const frame = tcp({ ...answer, ...change, flags: 'SA' });
    expect(fixture.send(frame)).toMatchObject({ verdict: 'PASS', frame, counted: { passed: 1 } });
  });

  test('an answer of another protocol is no answer', () => {
    const dport = portOf(1, 40000);
    const frame = udp({ source: plan.vip, destination: plan.node, sport: 80, dport });
    expect(fixture.send(frame)).toMatchObject({ verdict: 'PASS', frame, counted: { passed: 1 } });
  });

  test('ports run out, and come free when checks fall silent', async () => {
    const destination = privateAddress(plan, 1);
    const packets = (sport: number) => tcp({ ...to(destination), sport, flags: 'A' });
    const busy = Array.from({ length: 3 * PROBE_PORT_COUNT }, (_, i) => 1000 + i);
    const late = packets(60_000);
    const frames = busy.map(packets);
    await vi.waitFor(() => {
      // All at work at the same time, each with a packet in the last two seconds.
      for (const frame of frames) fixture.run(frame, 'skein_probe');
      expect(send(late)).toMatchObject({
        verdict: 'DROP',
        frame: late,
        counted: { probe_no_port: 1 },
      });
    }, WAIT);

    const kept = frames.map((frame) => fixture.run(frame, 'skein_probe'));
    const first = kept.findIndex(({ verdict }) => verdict === 'REDIRECT');
    const before = decode(kept[first]!.frame).sport;
    await vi.waitFor(() => {
      expect(portOf(1, busy[first]!), 'a check that goes on keeps its port').toBe(before);
      expect(send(late)).toMatchObject({ verdict: 'REDIRECT', counted: { probe_sent: 1 } });
    }, WAIT);
    expect(portOf(1, busy[first]!)).toBe(before);
    expect(decode(fixture.run(late, 'skein_probe').frame).sport).not.toBe(before);
  });
});

describe.each(PLANS)('$family, a node whose address looks like a VIP to the filter', (plan) => {
  const node = lookAlike(plan.vip, plan.node);

  beforeAll(async () => {
    await open({ [plan.family]: node });
    await fixture.program(...services(plan));
  });
  afterAll(async () => {
    await fixture.close();
  });

  test('gets the answers to its checks', () => {
    const between = { source: SOCKET[plan.family], destination: privateAddress(plan, 1) };
    const asked = fixture.send(
      tcp({ ...between, sport: 40000, dport: 80, flags: 'S' }),
      'skein_probe',
    );
    const answer = { source: plan.vip, destination: node, sport: 80 };
    expect(fixture.send(tcp({ ...answer, dport: asked.packet.sport, flags: 'SA' }))).toMatchObject({
      verdict: 'REDIRECT',
      counted: { probe_reply: 1 },
    });
  });
});
