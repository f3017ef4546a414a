/** An address is a VIP or not: the filter may err on one side only, and its errors have no effect. */
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { addressBytes, addressFromBytes, familyOf } from '../model/address.ts';
import { lookAlike, PLANS } from './fixture-network.ts';
import { Fixture, service } from './fixture.ts';
import { ECHO, icmp, ip, PROTOCOL, tcp, udp } from './packet.ts';

const SEED = 20260503;
const VIPS = 256;

let fixture: Fixture;

beforeAll(async () => {
  const limits = { services: VIPS, backends: VIPS, flows: 1024, embryonicFlows: 1024 };
  fixture = await Fixture.open({ limits });
});
afterAll(async () => {
  await fixture.close();
});

describe.each(PLANS)('$family', (plan) => {
  test(`each of ${VIPS} VIPs is known as one (seed ${SEED})`, async () => {
    const length = plan.family === 'ipv4' ? 4 : 16;
    const unicast = fc.noBias(fc.uint8Array({ minLength: length, maxLength: length }));
    const vips = fc.sample(unicast, { seed: SEED, numRuns: VIPS }).map((random) => {
      const bytes = plan.family === 'ipv4' ? addressBytes(plan.vip) : new Uint8Array(16);
      bytes.set(random, 16 - length);
      return addressFromBytes(bytes);
    });
    expect(new Set(vips).size).toBe(VIPS);
    expect(vips.every((vip) => familyOf(vip) === plan.family)).toBe(true);
    await fixture.program(...vips.map((vip) => service({ vip, backends: [] })));
    for (const vip of vips) {
      const frame = tcp({ source: plan.client, destination: vip, sport: 1, dport: 81, flags: 'S' });
      expect(fixture.send(frame).counted, vip).toEqual({ no_service: 1 });
    }
  });

  test('what only looks like a VIP passes', async () => {
    await fixture.program(service({ vip: plan.vip, backends: [plan.backend(1)] }));
    const between = { source: plan.client, destination: lookAlike(plan.vip, plan.stranger) };
    const ports = { ...between, sport: 40000, dport: 80 };
    const frames = [
      tcp({ ...ports, flags: 'S' }),
      tcp({ ...ports, flags: 'A' }),
      udp(ports),
      icmp({ ...between, type: ECHO[plan.family].request }),
      ip(between, PROTOCOL.gre, new Uint8Array(8)),
      tcp({ ...ports, flags: 'S', fragment: { offset: 0, more: true } }),
    ];
    for (const frame of frames) {
      expect(fixture.send(frame)).toMatchObject({ verdict: 'PASS', frame, counted: { passed: 1 } });
    }
    expect(fixture.embryonic()).toEqual([]);
  });

  test('an address that is a VIP no more passes', async () => {
    const stays = service({ vip: plan.otherVip, backends: [plan.backend(1)] });
    await fixture.program(stays, service({ vip: plan.vip, backends: [plan.backend(1)] }));
    await fixture.program(stays);
    const frame = tcp({
      source: plan.client,
      destination: plan.vip,
      sport: 40000,
      dport: 80,
      flags: 'S',
    });
    expect(fixture.send(frame)).toMatchObject({ verdict: 'PASS', frame, counted: { passed: 1 } });
  });

  test('what is sent from a VIP, as by a backend, passes', async () => {
    await fixture.program(service({ vip: plan.vip, backends: [plan.backend(1)] }));
    const answer = { source: plan.vip, destination: plan.client, sport: 80, dport: 40000 };
    const frame = tcp({ ...answer, flags: 'SA' });
    expect(fixture.send(frame)).toMatchObject({ verdict: 'PASS', frame, counted: { passed: 1 } });
  });
});
