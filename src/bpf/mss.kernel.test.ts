/** The MSS option of SYNs: lowered, added, or left alone, and nothing else in the packet changed. */
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import type { ForwardingOptions, ForwardingMode } from '../model/forwarding.ts';
import { IPV4, IPV6, PLANS, type Plan } from './fixture-network.ts';
import { Fixture, service, towards, type Outcome } from './fixture.ts';
import { decode, ETHERNET_BYTES, patched, tcp, type TcpFields } from './packet.ts';

const NOP = 1;
const END = 0;
const SACK_PERMITTED = [4, 2];
const TIMESTAMPS = [8, 10, 0, 0, 0, 7, 0, 0, 0, 0];
const WINDOW_SCALE = [3, 3, 7];
/** RFC 9293, section 3.7.1: what a host without the option is taken for. */
const MSS_DEFAULT = { ipv4: 536, ipv6: 1220 };

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

function mss(value: number): number[] {
  return [2, 4, value >> 8, value & 0xff];
}

interface Way {
  readonly mode?: ForwardingMode;
  readonly forwarding: ForwardingOptions;
  readonly outer?: Plan;
}

async function clampedBy(plan: Plan, { mode = 'l2dsr', forwarding, outer = plan }: Way) {
  const backends = [{ address: outer.backend(1), mode, forwarding }];
  // Another use of the slot: an MTU that changes takes effect within a second.
  await fixture.program();
  await fixture.program(service({ vip: plan.vip, backends }));
}

function syn(plan: Plan, tcpOptions: readonly number[], change: Partial<TcpFields> = {}) {
  const between = { source: plan.client, destination: plan.vip, sport: 40000, dport: 80 };
  return tcp({ ...between, flags: 'S', tcpOptions: Uint8Array.from(tcpOptions), ...change });
}

/** The packet is `expected`, but for its MAC addresses, and its checksums hold. */
function expectSent(outcome: Outcome, expected: Uint8Array): void {
  expect(outcome).toMatchObject({ verdict: 'TX', frame: towards(1, expected) });
  expect(outcome.packet.wrongChecksums).toEqual([]);
}

describe.each(PLANS)('$family', (plan) => {
  const lowered = [
    { name: 'alone', before: [], after: [] },
    { name: 'first', before: [], after: [...SACK_PERMITTED, ...TIMESTAMPS] },
    { name: 'last', before: [NOP, NOP, ...TIMESTAMPS], after: [] },
    { name: 'at an odd byte', before: [NOP], after: [...WINDOW_SCALE] },
    { name: 'at an odd byte, later', before: [...WINDOW_SCALE], after: [END] },
    { name: 'in full options', before: Array<number>(36).fill(NOP), after: [] },
  ];
  test.each(lowered)('a higher one is lowered: $name', async ({ before, after }) => {
    await clampedBy(plan, { forwarding: { mssBytes: 1200 } });
    for (const high of [1201, 1460, 0xffff, 1200 + 256]) {
      const outcome = fixture.send(syn(plan, [...before, ...mss(high), ...after]));
      expectSent(outcome, syn(plan, [...before, ...mss(1200), ...after]));
      expect(outcome.counted).toEqual({ mss_clamped: 1 });
    }
  });

  test('the SYN of another flow state, and with data, is clamped too', async () => {
    await clampedBy(plan, { forwarding: { mssBytes: 1200 } });
    for (const change of [{ payload: new Uint8Array(33).fill(5) }, { flags: 'SA' }]) {
      const outcome = fixture.send(syn(plan, mss(1460), change));
      expectSent(outcome, syn(plan, mss(1200), change));
    }
  });

  const left = [
    { name: 'an equal one', options: mss(1200) },
    { name: 'a lower one', options: mss(700) },
    { name: 'one of 0', options: mss(0) },
    { name: 'a wrong length', options: [2, 3, 5, END] },
    { name: 'no length', options: [5, 0, ...mss(1460), NOP, NOP] },
    { name: 'a length beyond the header', options: [NOP, NOP, 2, 4] },
    { name: 'an option that runs over the end', options: [8, 10, 0, 0] },
    { name: 'a kind without room for its length', options: [NOP, NOP, NOP, 8] },
  ];
  test.each(left)('$name stays as it is', async ({ options }) => {
    await clampedBy(plan, { forwarding: { mssBytes: 1200 } });
    const frame = syn(plan, options);
    const outcome = fixture.send(frame);
    expectSent(outcome, frame);
    expect(outcome.counted).toEqual({});
  });

  test('what is no SYN stays as it is', async () => {
    await clampedBy(plan, { forwarding: { mssBytes: 1200 } });
    fixture.send(syn(plan, mss(1460)));
    for (const flags of ['A', 'A', 'PA', 'FA', 'R']) {
      const frame = syn(plan, mss(1460), { flags });
      expect(fixture.send(frame).frame).toEqual(towards(1, frame));
    }
  });

  const added = [
    { name: 'no options', options: [] },
    { name: 'timestamps', options: [NOP, NOP, ...TIMESTAMPS] },
    { name: 'an end', options: [END, 0, 0, 0] },
    { name: 'an option behind the end', options: [END, 0, 0, 0, ...mss(1460)] },
    { name: '36 bytes of options', options: Array<number>(36).fill(NOP) },
  ];
  test.each(added)('a missing one is added: $name', async ({ options }) => {
    await clampedBy(plan, { forwarding: { mssBytes: 1400 } });
    for (const payloadBytes of [0, 1, 1000]) {
      const change = { payload: new Uint8Array(payloadBytes).fill(0x5a) };
      const outcome = fixture.send(syn(plan, options, change));
      expectSent(outcome, syn(plan, [...mss(MSS_DEFAULT[plan.family]), ...options], change));
      expect(outcome.counted).toEqual({ mss_clamped: 1 });
    }
  });

  test('what is added is no more than the bound', async () => {
    await clampedBy(plan, { forwarding: { mssBytes: 536 } });
    expectSent(fixture.send(syn(plan, [])), syn(plan, mss(536)));
  });

  test('a header that is full stays as it is', async () => {
    await clampedBy(plan, { forwarding: { mssBytes: 1200 } });
    const frame = syn(plan, Array<number>(40).fill(NOP));
    const outcome = fixture.send(frame);
    expectSent(outcome, frame);
    expect(outcome.counted).toEqual({ mss_no_room: 1 });
  });

  test('a SYN with data that would not fit any more stays as it is', async () => {
    const headers = plan.family === 'ipv4' ? 40 : 60;
    await clampedBy(plan, { forwarding: { mssBytes: 1400, mtuBytes: 1400 } });
    const payload = (bytes: number) => ({ payload: new Uint8Array(bytes).fill(1) });
    const fits = payload(1400 - headers - 4);
    const added = syn(plan, mss(MSS_DEFAULT[plan.family]), fits);
    expectSent(fixture.send(syn(plan, [], fits)), added);
    const over = syn(plan, [], payload(1400 - headers - 3));
    const outcome = fixture.send(over);
    expectSent(outcome, over);
    expect(outcome.counted).toEqual({ mss_no_room: 1 });
  });

  test('without a clamp nothing happens', async () => {
    await clampedBy(plan, { forwarding: { mtuBytes: 1400 } });
    const frame = syn(plan, mss(1460));
    expectSent(fixture.send(frame), frame);
  });

  test('the way counts where it takes less than the number', async () => {
    const headers = plan.family === 'ipv4' ? 40 : 60;
    await clampedBy(plan, { forwarding: { mssBytes: 1400, mtuBytes: 1400 } });
    expectSent(fixture.send(syn(plan, mss(1460))), syn(plan, mss(1400 - headers)));
  });

  const ways = [
    { mode: 'l2dsr', outer: plan, overhead: 0 },
    { mode: 'ipip', outer: IPV4, overhead: 20 },
    { mode: 'gue', outer: IPV4, overhead: 32 },
    { mode: 'gre', outer: IPV6, overhead: 44 },
    { mode: 'fou', outer: IPV6, overhead: 48 },
  ] as const;
  test.each(ways)(
    'what fits through $mode over $outer.family',
    async ({ mode, outer, overhead }) => {
      const headers = plan.family === 'ipv4' ? 40 : 60;
      const fits = 1500 - overhead - headers;
      await clampedBy(plan, { mode, outer, forwarding: { mssBytes: 'path' } });
      for (const options of [mss(1460 + 40), []]) {
        const { frame, counted } = fixture.send(syn(plan, options));
        expect(counted).toEqual({ mss_clamped: 1 });
        const value = options.length > 0 ? fits : Math.min(fits, MSS_DEFAULT[plan.family]);
        const inner = syn(plan, mss(value)).subarray(ETHERNET_BYTES);
        expect(frame.subarray(ETHERNET_BYTES + overhead)).toEqual(inner);
      }
    },
  );

  test('the sum of what a UDP tunnel carries follows', async () => {
    await clampedBy(plan, { mode: 'gue', outer: IPV6, forwarding: { mssBytes: 1000 } });
    for (const options of [mss(1460), []]) {
      expect(decode(fixture.send(syn(plan, options)).frame).wrongChecksums).toEqual([]);
    }
  });
});

describe('IPv4', () => {
  const plan = IPV4;
  const options = Uint8Array.of(148, 4, 0, 0);

  test('the IP header may have options', async () => {
    await clampedBy(plan, { forwarding: { mssBytes: 500 } });
    expectSent(fixture.send(syn(plan, mss(1460), { options })), syn(plan, mss(500), { options }));
    expectSent(fixture.send(syn(plan, [], { options })), syn(plan, mss(500), { options }));
    const full = new Uint8Array(40).fill(NOP);
    expectSent(
      fixture.send(syn(plan, [], { options: full })),
      syn(plan, mss(500), { options: full }),
    );
  });

  test('a wrong checksum stays wrong', async () => {
    await clampedBy(plan, { forwarding: { mssBytes: 500 } });
    for (const tcpOptions of [mss(1460), []]) {
      const frame = syn(plan, tcpOptions, { payload: Uint8Array.of(1, 2, 3, 4) });
      const broken = patched(frame, frame.length - 1, 5);
      expect(fixture.send(broken).packet.wrongChecksums).toEqual(['tcp']);
    }
  });
});
