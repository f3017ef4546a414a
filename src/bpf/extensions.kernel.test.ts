/** IPv6 extension headers and IPv4 options to a VIP: what is behind them gets what it always gets. */
import fc from 'fast-check';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import type { ForwardingMode } from '../model/forwarding.ts';
import { IPV4, IPV6, PLANS } from './fixture-network.ts';
import { Fixture, sentTo, service, towards } from './fixture.ts';
import {
  CLIENT_MAC,
  decode,
  ECHO,
  ETHERNET_BYTES,
  icmp,
  NODE_MAC,
  patched,
  tcp,
  udp,
  type Extension,
  type IpFields,
} from './packet.ts';

const SEED = 20260611;
const HOP_BY_HOP = 0;
const ROUTING = 43;
const FRAGMENT = 44;
const OPTIONS = 60;
const IPV6_BYTES = 40;
/** Offset from the start of the frame at which the transport's header may begin at most. */
const L4_OFFSET_MAX = 0x3ff;

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

const program = async (plan: typeof IPV6, mode: ForwardingMode = 'l2dsr') => {
  const backends = [{ address: plan.backend(1), mode, forwarding: { dscp: 11 } }];
  await fixture.program(
    service({ vip: plan.vip, backends }),
    service({ vip: plan.vip, protocol: 'udp', backends }),
  );
};

function options(bytes: number): Extension {
  return {
    protocol: OPTIONS,
    bytes: Uint8Array.of(0, bytes / 8 - 1, ...new Uint8Array(bytes - 2)),
  };
}

function route(segmentsLeft: number, type = 2): Extension {
  return { protocol: ROUTING, bytes: Uint8Array.of(0, 0, type, segmentsLeft, 0, 0, 0, 0) };
}

/** A fragment header of a packet that is whole (RFC 6946). */
const ATOMIC = { protocol: FRAGMENT, bytes: Uint8Array.of(0, 0, 0, 0, 1, 2, 3, 4) };
const EIGHT = new Array<number>(8).fill(OPTIONS);

interface Walked {
  readonly name: string;
  readonly extensions: readonly (number | Extension)[];
  /** False: too long for an ICMP error, which has another IPv6 header before or after it. */
  readonly quotable?: boolean;
}

const walked: readonly Walked[] = [
  { name: 'hop-by-hop options', extensions: [HOP_BY_HOP] },
  { name: 'destination options', extensions: [OPTIONS] },
  { name: 'a route at its end', extensions: [ROUTING] },
  { name: 'a route of unknown type at its end', extensions: [route(0, 199)] },
  { name: 'a fragment that is the whole packet', extensions: [ATOMIC] },
  { name: 'two such fragments', extensions: [ATOMIC, ATOMIC] },
  { name: 'one of each', extensions: [HOP_BY_HOP, OPTIONS, ROUTING, ATOMIC, OPTIONS] },
  { name: 'eight', extensions: EIGHT },
  { name: 'a long one', extensions: [options(512)] },
  { name: 'one as long as can be', extensions: [options(L4_OFFSET_MAX - 54 - 1)], quotable: false },
];

const refused = [
  { name: 'nine', extensions: [...EIGHT, OPTIONS], why: 'ip_options' },
  { name: 'one that is too long', extensions: [options(1024)], why: 'ip_options' },
  {
    name: 'several that are too long',
    extensions: [options(512), options(512)],
    why: 'ip_options',
  },
  { name: 'a route with a segment left', extensions: [route(1)], why: 'ip_options' },
  { name: 'an unknown route not at its end', extensions: [route(3, 199)], why: 'ip_options' },
  { name: 'hop-by-hop options not in front', extensions: [OPTIONS, HOP_BY_HOP], why: 'ip_options' },
  {
    name: 'no next header',
    extensions: [{ protocol: 59, bytes: new Uint8Array(8) }],
    why: 'protocol',
  },
  { name: 'an authentication header', extensions: [OPTIONS, 51], why: 'protocol' },
] as const;

const tuple = { source: IPV6.client, destination: IPV6.vip, sport: 40000, dport: 80 };
const payload = Uint8Array.of(1, 2, 3, 4, 5);

describe.each(walked)('$name', ({ extensions, quotable = true }) => {
  test('TCP and UDP go to the backend as they are', async () => {
    await program(IPV6);
    for (const frame of [
      tcp({ ...tuple, flags: 'S', extensions }),
      udp({ ...tuple, payload, extensions }),
    ]) {
      const outcome = fixture.send(frame);
      expect(outcome).toMatchObject({ verdict: 'TX', frame: towards(1, frame), counted: {} });
      expect(outcome.packet.wrongChecksums).toEqual([]);
    }
  });

  test('they are packets of the flow that others without them are of', async () => {
    await program(IPV6);
    fixture.send(tcp({ ...tuple, flags: 'S' }));
    fixture.send(tcp({ ...tuple, flags: 'A', extensions }));
    fixture.send(tcp({ ...tuple, flags: 'FA', extensions }));
    expect(fixture.embryonic()).toEqual([]);
    expect(fixture.established()).toMatchObject([{ state: 'tcp_fin', sport: 40000 }]);
  });

  test('an echo request is answered', async () => {
    await program(IPV6);
    const asked = icmp({ ...tuple, type: ECHO.ipv6.request, payload, extensions });
    const outcome = fixture.send(asked);
    expect(outcome).toMatchObject({ verdict: 'TX', counted: { echo_reply: 1 } });
    const ends = { source: IPV6.vip, destination: IPV6.client, dmac: CLIENT_MAC, smac: NODE_MAC };
    expect(outcome.frame).toEqual(icmp({ ...ends, type: ECHO.ipv6.reply, payload, extensions }));
  });

  const none: typeof extensions = [];
  const errors = [
    { name: 'an error', outside: extensions, quoted: none },
    { name: 'what an error quotes', outside: none, quoted: extensions },
  ];
  // A quote has no room for the longest.
  test.each(quotable ? errors : [])('$name goes where the flow goes', async (row) => {
    await program(IPV6);
    const ends = { source: IPV6.vip, destination: IPV6.client, sport: 80, dport: 40000 };
    const quote = tcp({ ...ends, flags: 'A', extensions: row.quoted });
    const error = icmp({
      source: IPV6.stranger,
      destination: IPV6.vip,
      type: 3,
      payload: quote.subarray(ETHERNET_BYTES),
      extensions: row.outside,
    });
    expect(fixture.send(error)).toMatchObject({
      verdict: 'TX',
      frame: towards(1, error),
      counted: { icmp_forwarded: 1 },
    });
  });

  test('the checksums are right after a change of the destination', async () => {
    await program(IPV6, 'dscp');
    for (const frame of [
      tcp({ ...tuple, flags: 'S', payload, extensions }),
      udp({ ...tuple, payload, extensions }),
    ]) {
      const { verdict, packet } = fixture.send(frame);
      expect(verdict).toBe('TX');
      const { protocol, sport, dport } = decode(frame);
      expect(packet).toMatchObject({ destination: IPV6.backend(1), wrongChecksums: [] });
      expect(packet).toMatchObject({ protocol, sport, dport });
    }
  });

  test('to another address they pass', async () => {
    await program(IPV6);
    const frame = tcp({ ...tuple, destination: IPV6.stranger, flags: 'S', extensions });
    expect(fixture.send(frame)).toMatchObject({ verdict: 'PASS', frame, counted: { passed: 1 } });
  });

  test('cut at every length they are malformed', async () => {
    await program(IPV6);
    const whole = tcp({ ...tuple, flags: 'S', extensions });
    const step = whole.length > 200 ? 13 : 1;
    for (let length = ETHERNET_BYTES + IPV6_BYTES; length < whole.length; length += step) {
      const bytes = length - ETHERNET_BYTES - IPV6_BYTES;
      const cut = patched(whole.subarray(0, length), ETHERNET_BYTES + 4, bytes >> 8, bytes & 0xff);
      // Padding must not be taken for what is missing.
      for (const frame of [cut, Uint8Array.from([...cut, ...new Uint8Array(64).fill(0x55)])]) {
        const outcome = fixture.send(frame);
        expect(outcome, `at ${length} bytes`).toMatchObject({ verdict: 'DROP', frame });
        expect(outcome.counted).toEqual({ malformed: 1 });
      }
    }
  });
});

describe.each(refused)('$name', ({ extensions, why }) => {
  const frame = tcp({ ...tuple, flags: 'S', extensions });

  test(`to a VIP: ${why}`, async () => {
    await program(IPV6);
    const dropped = { verdict: 'DROP', frame, counted: { [why]: 1 } };
    expect(fixture.send(frame)).toMatchObject(dropped);
  });

  test('to another address they pass', async () => {
    await program(IPV6);
    const elsewhere = tcp({ ...tuple, destination: IPV6.stranger, flags: 'S', extensions });
    expect(fixture.send(elsewhere)).toMatchObject({ verdict: 'PASS', frame: elsewhere });
  });
});

describe.each(['nat', 'full_nat'] as const)('%s', (mode) => {
  test('an ICMP error is translated, with what it quotes behind extension headers', async () => {
    await program(IPV6, mode);
    fixture.send(tcp({ ...tuple, flags: 'S' }));
    for (const extensions of [[], [OPTIONS], [HOP_BY_HOP, ROUTING, options(64)]]) {
      const ends = { source: IPV6.vip, destination: IPV6.client, sport: 80, dport: 40000 };
      const quote = tcp({ ...ends, flags: 'A', payload, extensions }).subarray(ETHERNET_BYTES);
      const between = { source: IPV6.stranger, destination: IPV6.vip, extensions };
      const error = icmp({ ...between, type: 3, payload: quote });
      const outcome = fixture.send(error);
      expect(outcome).toMatchObject({ verdict: 'TX', counted: { icmp_forwarded: 1 } });
      expect(outcome.packet).toMatchObject({ destination: IPV6.backend(1), wrongChecksums: [] });
      const quoted = Uint8Array.from([
        ...outcome.frame.subarray(0, ETHERNET_BYTES),
        ...outcome.frame.subarray(-quote.length),
      ]);
      expect(decode(quoted)).toMatchObject({
        source: IPV6.backend(1),
        destination: mode === 'nat' ? IPV6.client : IPV6.node,
        sport: 80,
        wrongChecksums: [],
      });
    }
  });
});

describe.each(PLANS)('an ICMP error to a backend by DSCP, $family', (plan) => {
  const some: Partial<IpFields> =
    plan.family === 'ipv4' ? { options: new Uint8Array(40).fill(1) } : { extensions: [OPTIONS] };

  test.each([
    { name: 'plain', fields: {} },
    { name: 'with options', fields: some },
  ])(
    '$name: the destination changes and nothing behind it but the checksum',
    async ({ fields }) => {
      await program(plan, 'dscp');
      const ends = { source: plan.vip, destination: plan.client, sport: 80, dport: 40000 };
      const quote = tcp({ ...ends, flags: 'A' }).subarray(ETHERNET_BYTES);
      const type = plan.family === 'ipv4' ? 11 : 3;
      const between = { source: plan.stranger, destination: plan.vip };
      const error = icmp({ ...between, type, payload: quote, ...fields });
      const outcome = fixture.send(error);
      expect(outcome).toMatchObject({ verdict: 'TX', counted: { icmp_forwarded: 1 } });
      expect(outcome.packet).toMatchObject({ destination: plan.backend(1), wrongChecksums: [] });
      expect(outcome.frame.subarray(-quote.length - 4)).toEqual(error.subarray(-quote.length - 4));
    },
  );
});

test('TCP, UDP and echo with IPv4 options through DSCP and back', async () => {
  await program(IPV4, 'dscp');
  const between = { ...tuple, source: IPV4.client, destination: IPV4.vip };
  for (const length of [4, 20, 40]) {
    const fields = { ...between, payload, options: new Uint8Array(length).fill(1) };
    for (const frame of [tcp({ ...fields, flags: 'S' }), udp(fields)]) {
      const { packet } = fixture.send(frame);
      expect(packet).toMatchObject({ destination: IPV4.backend(1), wrongChecksums: [] });
    }
    const asked = icmp({ ...fields, type: ECHO.ipv4.request });
    expect(fixture.send(asked).packet).toMatchObject({ source: IPV4.vip, wrongChecksums: [] });
  }
});

test(`1,000 random chains end as their walk says (seed ${SEED})`, async () => {
  await program(IPV6);
  const one = fc.oneof(
    fc.constantFrom(HOP_BY_HOP, OPTIONS, ROUTING, FRAGMENT).map((protocol): Extension => {
      return { protocol, bytes: Uint8Array.of(0, 0, 0, 0, 1, 2, 3, 4) };
    }),
    fc.integer({ min: 1, max: 60 }).map((units) => options(units * 8)),
    fc.integer({ min: 0, max: 1 }).map((left) => route(left)),
  );
  const chains = fc.array(one, { minLength: 1, maxLength: 11, size: 'max' });
  const seen = new Set<boolean>();
  for (const extensions of fc.sample(chains, { seed: SEED, numRuns: 1000 })) {
    const frame = tcp({ ...tuple, flags: 'S', extensions });
    const good = isWalkable(extensions);
    seen.add(good);
    const outcome = fixture.send(frame);
    const text = extensions.map(({ protocol, bytes }) => `${protocol}/${bytes.length}`).join(' ');
    expect(sentTo(outcome), text).toBe(good ? 1 : undefined);
    if (good) expect(outcome.frame).toEqual(towards(1, frame));
    else expect(outcome).toMatchObject({ verdict: 'DROP', frame });
  }
  expect(seen).toEqual(new Set([true, false]));
});

function isWalkable(chain: readonly Extension[]): boolean {
  const length = chain.reduce((sum, { bytes }) => sum + bytes.length, 0);
  return (
    chain.length <= 8 &&
    54 + length <= L4_OFFSET_MAX &&
    chain.slice(1).every(({ protocol }) => protocol !== HOP_BY_HOP) &&
    chain.every(({ protocol, bytes }) => protocol !== ROUTING || bytes[3] === 0)
  );
}
