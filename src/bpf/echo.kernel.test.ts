/** Echo requests to a VIP are answered by the node itself, with checksums that hold. */
import { afterAll, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import { PLANS } from './fixture-network.ts';
import { Fixture, service } from './fixture.ts';
import {
  CLIENT_MAC,
  decode,
  ECHO,
  ETHERNET_BYTES,
  icmp,
  NODE_MAC,
  patched,
  type IcmpFields,
} from './packet.ts';

/** Of each CPU, so many at once and then a second: see kernel.ts. */
const ECHO_PER_SECOND = 1000;
const WAIT = { timeout: 60_000, interval: 20 };

let fixture: Fixture;

beforeAll(async () => {
  fixture = await Fixture.open();
  // Without a backend: the answer is the node's, and it does not depend on one.
  await fixture.program(...PLANS.map(({ vip }) => service({ vip, backends: [] })));
});
afterAll(async () => {
  await fixture.close();
});
beforeEach(() => {
  fixture.fillCpuBuckets();
});

describe.each(PLANS)('$family', (plan) => {
  const { request, reply } = ECHO[plan.family];
  const headers = plan.family === 'ipv4' ? 20 : 40;
  const rows: readonly ({ name: string } & Partial<IcmpFields>)[] = [
    { name: 'no payload' },
    { name: 'an even payload', payload: Uint8Array.of(1, 2, 3, 4) },
    { name: 'an odd payload', payload: Uint8Array.of(1, 2, 3, 4, 5) },
    { name: '1,400 bytes', payload: new Uint8Array(1400).map((_, i) => i) },
    { name: 'all ones', rest: 0xffffffff, payload: new Uint8Array(64).fill(0xff) },
    { name: 'all zeroes', rest: 0, payload: new Uint8Array(64) },
    { name: 'a TTL of 1', ttl: 1 },
    { name: 'a TTL of 255', ttl: 255 },
    { name: 'a code that is not 0', code: 7 },
    { name: 'IP options', options: Uint8Array.of(148, 4, 0, 0) },
  ];
  const ownRows = rows.filter(({ options }) => options === undefined || plan.family === 'ipv4');

  test.each(ownRows)('$name', ({ name: _, ...fields }) => {
    const asked = { type: request, source: plan.client, destination: plan.vip, ...fields };
    const answered = {
      ...asked,
      type: reply,
      code: 0,
      source: plan.vip,
      destination: plan.client,
      ttl: 64,
      dmac: CLIENT_MAC,
      smac: NODE_MAC,
    };
    const outcome = fixture.send(icmp(asked));
    expect(outcome).toMatchObject({ verdict: 'TX', counted: { echo_reply: 1 } });
    expect(outcome.packet.wrongChecksums).toEqual([]);
    // Compared without, since 0 and all ones are both right where the rest sums to zero.
    const checksumAt = ETHERNET_BYTES + headers + (fields.options?.length ?? 0) + 2;
    const blank = (frame: Uint8Array) => patched(frame, checksumAt, 0, 0);
    expect(blank(outcome.frame)).toEqual(blank(icmp(answered)));
  });

  test('every checksum comes out right', () => {
    for (let rest = 0, sent = 0; rest < 0x10000; rest += 37, sent += 1) {
      if (sent % ECHO_PER_SECOND === 0) fixture.fillCpuBuckets();
      const asked = { type: request, source: plan.client, destination: plan.vip, rest };
      const { verdict, frame } = fixture.run(icmp({ ...asked, ttl: rest & 0xff }));
      expect(verdict).toBe('TX');
      expect(decode(frame).wrongChecksums, `for identifier and sequence ${rest}`).toEqual([]);
    }
  });

  test('a wrong checksum stays wrong', () => {
    const asked = icmp({ type: request, source: plan.client, destination: plan.vip });
    const last = asked.length - 1;
    asked[last] = (asked[last] ?? 0) ^ 0x55;
    const { packet } = fixture.send(asked);
    expect(packet.wrongChecksums).toEqual([plan.family === 'ipv4' ? 'icmp' : 'icmp6']);
  });

  test('so many at once are answered, and more as time goes by', async () => {
    const asked = icmp({ source: plan.client, destination: plan.vip, type: request });
    const limitedBefore = fixture.count('echo_limited');
    const startMs = performance.now();
    let answered = 0;
    for (; answered < 20_000; answered += 1) {
      if (fixture.run(asked).verdict === 'DROP') break;
    }
    // The clock that fills the bucket goes in steps of 10 ms.
    const refilled = ((performance.now() - startMs + 20) * ECHO_PER_SECOND) / 1000;
    expect(answered).toBeGreaterThanOrEqual(ECHO_PER_SECOND);
    expect(answered).toBeLessThanOrEqual(ECHO_PER_SECOND + refilled);
    expect(fixture.count('echo_limited')).toBe(limitedBefore + 1);
    await vi.waitFor(() => {
      expect(fixture.send(asked).counted).toEqual({ echo_reply: 1 });
    }, WAIT);
  });

  test('an answer, and a request to another address, are not answered', () => {
    const between = { source: plan.client, destination: plan.vip };
    expect(fixture.send(icmp({ ...between, type: reply })).counted).toEqual({ protocol: 1 });
    const elsewhere = icmp({ ...between, destination: plan.stranger, type: request });
    expect(fixture.send(elsewhere)).toMatchObject({
      verdict: 'PASS',
      frame: elsewhere,
      counted: { passed: 1 },
    });
  });
});
