/** nat and full_nat: to the backend, back to the client, health checks and ICMP errors both ways. */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import {
  NAT_FLOW_BYTES,
  NAT_PORT_COUNT,
  NAT_PORT_FIRST,
  PROBE_PORT_FIRST,
  readNatFlow,
  readNatKey,
  writeNatFlow,
  writeNatKey,
} from '../abi/abi.generated.ts';
import type { WantedService } from '../dataplane/dataplane.ts';
import { address } from '../model/address.ts';
import {
  BACKEND_PORT,
  frame,
  network,
  PROTOCOLS,
  quote,
  services,
  type Ends,
  type Protocol,
} from './fixture-nat.ts';
import { PLANS } from './fixture-network.ts';
import { Fixture, kernelNowMs, service, TIMEOUTS } from './fixture.ts';
import { ETHERNET_BYTES, icmp, patched } from './packet.ts';

const NAT_PORT_TRIES = 16;

/** RFC 792, RFC 4443: unreachable, too big, time exceeded. */
const ERRORS = {
  ipv4: [
    { type: 3, code: 3 },
    { type: 3, code: 4 },
    { type: 11, code: 0 },
  ],
  ipv6: [
    { type: 1, code: 4 },
    { type: 2, code: 0 },
    { type: 3, code: 0 },
  ],
};

let fixture: Fixture;

beforeAll(async () => {
  fixture = await Fixture.open();
});
afterAll(async () => {
  await fixture.close();
});

async function programOnly(...wanted: readonly WantedService[]): Promise<void> {
  await fixture.program();
  await fixture.program(...wanted);
}

describe.each(PLANS)('nat, $family', (plan) => {
  const { asked, sent, reply, answered, toBackend, fromBackend, toClient, headerBytes } =
    network(plan);

  beforeEach(async () => {
    await programOnly(...services(plan, 'nat'));
  });
  afterEach(() => {
    fixture.forgetFlows();
  });

  describe.each(PROTOCOLS)('%s', (protocol) => {
    test.each([0, 1, 61, 1000])('%i bytes go to the backend and its port', (bytes) => {
      const payload = new Uint8Array(bytes).fill(0xa7);
      const outcome = fixture.send(frame(protocol, asked, { payload, ttl: 9 }));
      expect(outcome.verdict).toBe('TX');
      expect(outcome.frame).toEqual(frame(protocol, sent, { payload, ttl: 9, ...toBackend }));
      expect(outcome.packet.wrongChecksums).toEqual([]);
    });

    test.each([0, 1, 61, 1000])('%i bytes come back from the VIP, without a flow', (bytes) => {
      const payload = new Uint8Array(bytes).fill(0x5c);
      const came = frame(protocol, reply, { payload, ttl: 61, ...fromBackend });
      expect(fixture.send(came)).toMatchObject({
        verdict: 'TX',
        frame: frame(protocol, answered, { payload, ttl: 60, ...toClient }),
        counted: { nat_reply: 1 },
      });
    });

    test('a reply that has been through too many routers is dropped', () => {
      for (const ttl of [0, 1]) {
        const came = frame(protocol, reply, { ttl });
        expect(fixture.send(came)).toMatchObject({ verdict: 'DROP', counted: { ttl: 1 } });
      }
      const last = fixture.send(frame(protocol, reply, { ttl: 2 }));
      expect(last.frame).toEqual(frame(protocol, answered, { ttl: 1, ...toClient }));
    });

    const lost = [
      { client: plan.unrouted, why: 'no_route' },
      { client: plan.unresolved, why: 'no_neighbour' },
    ];
    test.each(lost)('a reply to $client is dropped as $why', ({ client, why }) => {
      const came = frame(protocol, { ...reply, destination: client });
      expect(fixture.send(came)).toMatchObject({ verdict: 'DROP', counted: { [why]: 1 } });
    });

    test.each(ERRORS[plan.family])('an error about a reply goes to the backend: %o', (error) => {
      fixture.send(frame(protocol, asked, { flags: 'S' }));
      const between = { source: plan.stranger, destination: plan.vip, rest: 1400, ...error };
      for (const bytes of [undefined, headerBytes + 18, headerBytes + 8, headerBytes + 4]) {
        const came = icmp({ ...between, payload: quote(protocol, answered, bytes) });
        const to = { ...between, destination: plan.backend(1), ...toBackend };
        const expected = icmp({ ...to, payload: quote(protocol, reply, bytes) });
        expect(fixture.send(came)).toMatchObject({
          verdict: 'TX',
          frame: expected,
          counted: { icmp_forwarded: 1 },
        });
      }
    });

    test.each(ERRORS[plan.family])('an error on the way goes on to the client: %o', (error) => {
      for (const bytes of [undefined, headerBytes + 8]) {
        const between = { destination: sent.source, rest: 1300, ...error };
        const payload = quote(protocol, sent, bytes);
        const told = quote(protocol, asked, bytes);
        for (const [from, seen] of [
          [plan.backend(1), plan.vip],
          [plan.stranger, plan.stranger],
        ] as const) {
          const came = icmp({ ...between, source: from, ttl: 60, payload });
          expect(fixture.send(came)).toMatchObject({
            verdict: 'TX',
            frame: icmp({ ...between, source: seen, ttl: 59, payload: told, ...toClient }),
            counted: { nat_error: 1 },
          });
        }
      }
    });
  });

  test('the padding of a frame is no part of a quote', () => {
    fixture.send(frame('tcp', asked, { flags: 'S' }));
    const [error] = ERRORS[plan.family];
    const between = { source: plan.stranger, destination: plan.vip, ...error! };
    const pad = (bytes: Uint8Array) =>
      Uint8Array.from([...bytes, ...new Array<number>(24).fill(9)]);
    const came = pad(icmp({ ...between, payload: quote('tcp', answered, headerBytes + 8) }));
    const to = { ...between, destination: plan.backend(1), ...toBackend };
    const expected = pad(icmp({ ...to, payload: quote('tcp', reply, headerBytes + 8) }));
    expect(fixture.send(came).frame).toEqual(expected);
  });

  test('a UDP checksum of 0 stays 0, and one that comes out as 0 is sent as all ones', () => {
    const none = fixture.send(frame('udp', reply, { checksum: false }));
    expect(none.frame).toEqual(frame('udp', answered, { checksum: false, ttl: 63, ...toClient }));
    const trial = frame('udp', answered, { payload: Uint8Array.of(0, 0) });
    const payload = trial.slice(-4, -2);
    const zero = fixture.send(frame('udp', reply, { payload }));
    expect([...zero.frame.slice(-4, -2)]).toEqual([0xff, 0xff]);
    expect(zero.frame).toEqual(frame('udp', answered, { payload, ttl: 63, ...toClient }));
  });

  // Only IPv4 has them.
  test.each(plan.family === 'ipv4' ? [12] : [])('%i bytes of IP options stay', (bytes) => {
    const options = new Uint8Array(bytes).fill(1);
    const outcome = fixture.send(frame('tcp', reply, { options }));
    expect(outcome.frame).toEqual(frame('tcp', answered, { options, ttl: 63, ...toClient }));
  });

  const strangers: readonly (readonly [string, Partial<Ends>])[] = [
    ['another port of the backend', { sport: BACKEND_PORT + 1 }],
    ['another host', { source: plan.backend(2) }],
    ['to this node', { destination: plan.node, dport: NAT_PORT_FIRST }],
  ];
  test.each(strangers)('%s: passes as it came', (_, change) => {
    const came = frame('tcp', { ...reply, ...change });
    expect(fixture.send(came)).toMatchObject({
      verdict: 'PASS',
      frame: came,
      counted: { passed: 1 },
    });
  });

  test('errors about something else pass as they came', () => {
    const [error] = ERRORS[plan.family];
    const between = { source: plan.stranger, destination: sent.source, ...error! };
    for (const payload of [
      quote('tcp', { ...sent, dport: BACKEND_PORT + 1 }),
      quote('tcp', { ...sent, source: plan.stranger }),
      quote('tcp', sent, headerBytes + 3),
    ]) {
      const came = icmp({ ...between, payload });
      expect(fixture.send(came)).toMatchObject({ verdict: 'PASS', frame: came });
    }
  });

  test('with no port of its own the backend is sent to that of the service', async () => {
    await programOnly(...services(plan, 'nat', {}));
    const there = { ...sent, dport: 80 };
    expect(fixture.send(frame('tcp', asked)).frame).toEqual(frame('tcp', there, toBackend));
    const back = fixture.send(frame('tcp', { ...reply, sport: 80 }));
    expect(back.frame).toEqual(frame('tcp', answered, { ttl: 63, ...toClient }));
  });

  test('replies pass when nothing is translated any more', async () => {
    await fixture.program(service({ vip: plan.vip, backends: [plan.backend(1)] }));
    const came = frame('tcp', reply);
    expect(fixture.send(came)).toMatchObject({ verdict: 'PASS', frame: came });
    expect(fixture.map('nat_sources').lookup(new Uint8Array(20))).toBeUndefined();
  });

  test('a supervisor that comes later goes on, and takes away what is not wanted', async () => {
    await fixture.restart();
    expect(fixture.send(frame('tcp', reply)).counted).toEqual({ nat_reply: 1 });
    await fixture.program(...services(plan, 'nat', { port: BACKEND_PORT + 1 }));
    expect(fixture.send(frame('tcp', reply)).verdict).toBe('PASS');
    const moved = fixture.send(frame('tcp', { ...reply, sport: BACKEND_PORT + 1 }));
    expect(moved.counted).toEqual({ nat_reply: 1 });
  });

  describe('two VIPs on one port of a backend', () => {
    beforeEach(async () => {
      const backends = [
        { address: plan.backend(1), mode: 'nat' as const, forwarding: { port: BACKEND_PORT } },
      ];
      await programOnly(
        ...[plan.vip, plan.otherVip].map((vip) => service({ vip, port: 80, backends })),
      );
    });

    test.each([plan.vip, plan.otherVip])('the flow to %s tells them apart', (vip) => {
      fixture.send(frame('tcp', { ...asked, destination: vip }, { flags: 'S' }));
      for (const flags of ['SA', 'A']) {
        const { frame: back } = fixture.send(frame('tcp', reply, { flags }));
        const from = { ...answered, source: vip };
        expect(back).toEqual(frame('tcp', from, { flags, ttl: 63, ...toClient }));
        fixture.send(frame('tcp', { ...asked, destination: vip }, { flags: 'A' }));
      }
    });

    test('a reply without a flow is dropped', () => {
      expect(fixture.send(frame('tcp', reply))).toMatchObject({
        verdict: 'DROP',
        counted: { nat_unknown: 1 },
      });
    });
  });

  describe('a service that takes every port', () => {
    beforeEach(async () => {
      const backends = [
        { address: plan.backend(1), mode: 'nat' as const, forwarding: { port: BACKEND_PORT } },
      ];
      await programOnly(service({ vip: plan.vip, port: 0, backends }));
    });
    const open = { ...asked, dport: 443 };
    const back = { ...reply, sport: 443 };
    const answer = { ...answered, sport: 443 };

    test('keeps the port', () => {
      const out = fixture.send(frame('tcp', open));
      expect(out.frame).toEqual(frame('tcp', { ...sent, dport: 443 }, toBackend));
      const { frame: came } = fixture.send(frame('tcp', back));
      expect(came).toEqual(frame('tcp', answer, { ttl: 63, ...toClient }));
    });

    test('a SYN-ACK needs no flow', () => {
      const { frame: came } = fixture.send(frame('tcp', back, { flags: 'SA' }));
      expect(came).toEqual(frame('tcp', answer, { flags: 'SA', ttl: 63, ...toClient }));
    });

    test.each(['S', 'A'])("the backend's own connections pass: %s", (flags) => {
      const own = frame('tcp', { ...back, sport: 50_000, dport: 443 }, { flags });
      expect(fixture.send(own)).toMatchObject({ verdict: 'PASS', frame: own });
    });
  });
});

describe.each(PLANS)('full_nat, $family', (plan) => {
  const { asked, answered, toBackend, fromBackend, toClient, headerBytes } = network(plan);
  const backend = plan.backend(1);
  /** As the backend sees it. */
  const away = (sport: number): Ends => {
    return { source: plan.node, sport, destination: backend, dport: BACKEND_PORT };
  };
  const home = (dport: number): Ends => {
    return { source: backend, sport: BACKEND_PORT, destination: plan.node, dport };
  };
  const portOf = (ends: Ends, protocol: Protocol = 'tcp', flags = 'PA') => {
    const outcome = fixture.send(frame(protocol, ends, { flags }));
    expect(outcome.verdict).toBe('TX');
    return outcome.packet.sport;
  };

  beforeEach(async () => {
    await programOnly(...services(plan, 'full_nat'));
  });
  afterEach(() => {
    fixture.forgetFlows();
    const flows = fixture.map('nat_flows');
    for (const { key } of entries()) flows.delete(key);
  });

  function entries() {
    const found: { key: Uint8Array; value: Uint8Array }[] = [];
    const map = fixture.map('nat_flows');
    map.readAll((keys, values, count) => {
      for (let i = 0; i < count; i += 1) {
        const at = (view: DataView, bytes: number) =>
          new Uint8Array(view.buffer, view.byteOffset + i * bytes, bytes).slice();
        found.push({ key: at(keys, map.keyBytes), value: at(values, map.valueBytes) });
      }
    });
    return found;
  }

  describe.each(PROTOCOLS)('%s', (protocol) => {
    test('packets come from the node, always from the same port', () => {
      const first = fixture.send(frame(protocol, asked, { flags: 'S' }));
      const { sport, wrongChecksums } = first.packet;
      expect(first.frame).toEqual(frame(protocol, away(sport), { flags: 'S', ...toBackend }));
      expect(wrongChecksums).toEqual([]);
      expect(sport).toBeGreaterThanOrEqual(NAT_PORT_FIRST);
      expect(sport).toBeLessThan(NAT_PORT_FIRST + NAT_PORT_COUNT);
      for (let i = 0; i < 3; i += 1) expect(portOf(asked, protocol)).toBe(sport);
    });

    test('replies come back to the client', () => {
      const sport = portOf(asked, protocol);
      const came = frame(protocol, home(sport), { ttl: 33, ...fromBackend });
      expect(fixture.send(came)).toMatchObject({
        verdict: 'TX',
        frame: frame(protocol, answered, { ttl: 32, ...toClient }),
        counted: { nat_reply: 1 },
      });
    });

    test.each(ERRORS[plan.family])('an error about a reply goes to the backend: %o', (error) => {
      const sport = portOf(asked, protocol);
      const between = { source: plan.stranger, destination: plan.vip, rest: 1400, ...error };
      for (const bytes of [undefined, headerBytes + 8, headerBytes + 4]) {
        const came = icmp({ ...between, payload: quote(protocol, answered, bytes) });
        const to = { ...between, destination: backend, ...toBackend };
        const expected = icmp({ ...to, payload: quote(protocol, home(sport), bytes) });
        expect(fixture.send(came)).toMatchObject({ verdict: 'TX', frame: expected });
      }
    });

    test.each(ERRORS[plan.family])('an error on the way goes on to the client: %o', (error) => {
      const sport = portOf(asked, protocol);
      const between = { source: plan.stranger, rest: 1300, ttl: 60, ...error };
      const payload = quote(protocol, away(sport));
      const came = icmp({ ...between, destination: plan.node, payload });
      const to = { ...between, destination: asked.source, ttl: 59, ...toClient };
      expect(fixture.send(came)).toMatchObject({
        verdict: 'TX',
        frame: icmp({ ...to, payload: quote(protocol, asked) }),
        counted: { nat_error: 1 },
      });
    });
  });

  test('an error about a flow that another node translates is dropped by name', () => {
    fixture.send(frame('tcp', asked));
    for (const { key } of entries()) fixture.map('nat_flows').delete(key);
    const [error] = ERRORS[plan.family];
    const between = { source: plan.stranger, destination: plan.vip, ...error! };
    const came = icmp({ ...between, payload: quote('tcp', answered) });
    expect(fixture.send(came)).toMatchObject({ verdict: 'DROP', counted: { nat_unknown: 1 } });
    expect(entries(), 'an error opens no flow').toEqual([]);
  });

  test('every client has a port of its own', () => {
    const ports = new Set<number>();
    for (let port = 1; port <= 300; port += 1) ports.add(portOf({ ...asked, sport: port }));
    expect(ports.size).toBe(300);
    for (const { key, value } of entries()) {
      const { natPort } = readNatKey(new DataView(key.buffer));
      const { clientPort } = readNatFlow(new DataView(value.buffer));
      const { frame: back } = fixture.send(frame('tcp', home(natPort)));
      const to = { ...answered, dport: clientPort };
      expect(back).toEqual(frame('tcp', to, { ttl: 63, ...toClient }));
    }
  });

  const strangers: readonly (readonly [string, (port: number) => Partial<Ends>])[] = [
    ['another port of the node', (port) => ({ dport: port + 1 })],
    ['a port beyond the range', () => ({ dport: NAT_PORT_FIRST + NAT_PORT_COUNT })],
    ['another port of the backend', () => ({ sport: BACKEND_PORT + 1 })],
    ['another host', () => ({ source: plan.backend(2) })],
  ];
  test.each(strangers)('%s: passes as it came', (_, change) => {
    const port = portOf(asked);
    const came = frame('tcp', { ...home(port), ...change(port) });
    expect(fixture.send(came)).toMatchObject({ verdict: 'PASS', frame: came });
  });

  /** Takes the ports that the client of `asked` could have, for flows seen `idleMs` ago. */
  function occupy(idleMs: number, state: number): number {
    const first = portOf(asked);
    const [entry] = entries();
    const { key, value } = entry!;
    const map = fixture.map('nat_flows');
    map.delete(key);
    for (let i = 0; i < NAT_PORT_TRIES; i += 1) {
      const natPort = NAT_PORT_FIRST + ((first - NAT_PORT_FIRST + i) % NAT_PORT_COUNT);
      const [nextKey, nextValue] = [key.slice(), value.slice()];
      const [keyView, valueView] = [new DataView(nextKey.buffer), new DataView(nextValue.buffer)];
      writeNatKey(keyView, 0, { ...readNatKey(keyView), natPort });
      const flow = readNatFlow(valueView);
      const seenMs = (kernelNowMs() - idleMs) >>> 0;
      writeNatFlow(valueView, 0, { ...flow, clientPort: 1 + i, seenMs, state });
      expect(nextValue).toHaveLength(NAT_FLOW_BYTES);
      map.update(nextKey, nextValue);
    }
    return first;
  }

  const ESTABLISHED = 3;
  const FIN = 2;
  test('without a free port a flow is dropped by name', () => {
    // Not quite now: the clock of the programs ticks every 10 ms.
    occupy(1000, ESTABLISHED);
    expect(fixture.send(frame('tcp', asked))).toMatchObject({
      verdict: 'DROP',
      counted: { nat_no_port: 1 },
    });
    expect(portOf({ ...asked, sport: 1 }), 'flows that have one keep it').toBeGreaterThan(0);
  });

  test('the port of a flow idle for longer than its state allows is taken over', () => {
    const first = occupy((TIMEOUTS.tcpFinS + 2) * 1000, FIN);
    expect(portOf(asked)).toBe(first);
    const { frame: back } = fixture.send(frame('tcp', home(first)));
    expect(back, 'and its replies with it').toEqual(
      frame('tcp', answered, { ttl: 63, ...toClient }),
    );
  });

  test.each(['client', 'backend'])('a flow that the %s closes is over sooner', (who) => {
    const port = portOf(asked);
    const fin = who === 'client' ? frame('tcp', asked, { flags: 'FA' }) : undefined;
    fixture.send(fin ?? frame('tcp', home(port), { flags: 'FA' }));
    const [entry] = entries();
    expect(readNatFlow(new DataView(entry!.value.buffer)).state).toBe(FIN);
  });

  test('replies to the node pass when nothing is translated any more', async () => {
    const port = portOf(asked);
    await fixture.program();
    const came = frame('tcp', home(port));
    expect(fixture.send(came)).toMatchObject({ verdict: 'PASS', frame: came });
  });
});

describe.each(PLANS)('health checks, $family', (plan) => {
  const { fromBackend, toBackend } = network(plan);
  const socket =
    plan.family === 'ipv4' ? address('240.255.255.254') : address('fd53:6b65:696e::ff:fffe');

  describe.each(['nat', 'full_nat'] as const)('%s', (mode) => {
    test.each([
      { asked: 80, there: BACKEND_PORT },
      { asked: 9000, there: 9000 },
    ])('port $asked is asked for at $there, and answered by it', async ({ asked, there }) => {
      const wanted = services(plan, mode);
      await programOnly(...wanted);
      const stands = fixture.dataplane.probeAddress(wanted[0]!.id, plan.backend(1))!;
      const ends = { source: socket, sport: 45000, destination: stands, dport: asked };
      const out = fixture.send(frame('tcp', ends, { flags: 'S' }), 'skein_probe');
      expect(out).toMatchObject({ verdict: 'REDIRECT', counted: { probe_sent: 1 } });
      const { sport } = out.packet;
      expect(sport).toBeGreaterThanOrEqual(PROBE_PORT_FIRST);
      const away = { source: plan.node, sport, destination: plan.backend(1), dport: there };
      expect(out.frame).toEqual(frame('tcp', away, { flags: 'S', ...toBackend }));

      const reply = { source: plan.backend(1), sport: there, destination: plan.node, dport: sport };
      const back = fixture.send(frame('tcp', reply, { flags: 'SA', ...fromBackend }));
      expect(back).toMatchObject({ verdict: 'REDIRECT', counted: { probe_reply: 1 } });
      const home = { source: stands, sport: asked, destination: socket, dport: 45000 };
      expect(back.packet).toMatchObject({ ...home, wrongChecksums: [] });
      expect(back.frame.slice(ETHERNET_BYTES)).toEqual(
        frame('tcp', home, { flags: 'SA' }).slice(ETHERNET_BYTES),
      );
    });
  });
});

describe.each(PLANS)('dscp, $family', (plan) => {
  const tosAt = ETHERNET_BYTES + 1;

  test('an error about a reply goes to the backend, what it quotes as it came', async () => {
    const backends = [
      { address: plan.backend(1), mode: 'dscp' as const, forwarding: { dscp: 10 } },
    ];
    await programOnly(service({ vip: plan.vip, backends }));
    const { answered, asked, toBackend } = network(plan);
    fixture.send(frame('tcp', asked, { flags: 'S' }));
    const [error] = ERRORS[plan.family];
    const fields = { source: plan.stranger, payload: quote('tcp', answered), ...error! };
    const outcome = fixture.send(icmp({ ...fields, destination: plan.vip }));
    expect(outcome.packet).toMatchObject({ destination: plan.backend(1), wrongChecksums: [] });
    const plain = icmp({ ...fields, destination: plan.backend(1), ...toBackend });
    const dscp = plan.family === 'ipv4' ? [10 << 2] : [0x80 | (plain[tosAt] ?? 0)];
    const expected = patched(plain, tosAt - (plan.family === 'ipv4' ? 0 : 1), ...dscp);
    const from = ETHERNET_BYTES + (plan.family === 'ipv4' ? 12 : 8);
    expect(outcome.frame.slice(from)).toEqual(expected.slice(from));
  });
});
