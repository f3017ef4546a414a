/** Which new flows a service takes: rules by longest prefix, hits, a rate, and what reloads do. */
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { address, parsePrefix, type Address } from '../model/address.ts';
import { ADMIT_ALL, ruleText, type SourceRule } from '../model/admission.ts';
import { PLANS } from './fixture-network.ts';
import { Fixture, service } from './fixture.ts';
import { tcp } from './packet.ts';

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

describe.each(PLANS)('$family', (plan) => {
  const isV4 = plan.family === 'ipv4';
  /** Two nets, one within the other, and a host of the inner one. */
  const nets = isV4
    ? { wide: '10.0.0.0/8', narrow: '10.20.0.0/16', host: '10.20.0.9', all: '0.0.0.0/0' }
    : { wide: '2001:db8::/32', narrow: '2001:db8:20::/48', host: '2001:db8:20::9', all: '::/0' };
  const sources = isV4
    ? { outside: '192.0.2.7', wide: '10.1.2.3', narrow: '10.20.1.1', host: '10.20.0.9' }
    : {
        outside: '2001:db9::7',
        wide: '2001:db8:1::3',
        narrow: '2001:db8:20:1::1',
        host: '2001:db8:20::9',
      };

  const rule = (text: string): SourceRule => {
    const prefix = parsePrefix(nets[text.slice(1) as keyof typeof nets]);
    return { prefix: prefix!, admits: text.startsWith('+') };
  };
  const program = async (...rules: readonly string[]) => {
    const admission = { ...ADMIT_ALL, sources: rules.map(rule) };
    await fixture.program(service({ vip: plan.vip, admission, backends: [plan.backend(1)] }));
  };
  const from = (source: Address, flags = 'S', sport = 40000) =>
    fixture.send(tcp({ source, destination: plan.vip, sport, dport: 80, flags }));

  const rows: readonly { rules: string[]; admitted: (keyof typeof sources)[] }[] = [
    { rules: [], admitted: ['outside', 'wide', 'narrow', 'host'] },
    { rules: ['+wide'], admitted: ['wide', 'narrow', 'host'] },
    { rules: ['-wide'], admitted: ['outside'] },
    { rules: ['-wide', '+narrow'], admitted: ['narrow', 'host'] },
    { rules: ['+wide', '-narrow'], admitted: ['wide'] },
    { rules: ['+wide', '-narrow', '+host'], admitted: ['wide', 'host'] },
    { rules: ['-host'], admitted: ['outside', 'wide', 'narrow'] },
    { rules: ['+all', '-wide'], admitted: ['outside'] },
    { rules: ['-all', '+host'], admitted: ['host'] },
  ];

  test.each(rows)('$rules admit $admitted', async ({ rules, admitted }) => {
    await program(...rules);
    for (const [name, source] of Object.entries(sources)) {
      const passes = (admitted as string[]).includes(name);
      expect(from(address(source)), name).toMatchObject(
        passes
          ? { verdict: 'TX', counted: {} }
          : { verdict: 'DROP', counted: { source_denied: 1 } },
      );
    }
    if (rules.length === 0) return;
    await program();
    for (const source of Object.values(sources)) {
      expect(from(address(source), 'S', 40001).verdict).toBe('TX');
    }
  });

  test('each rule counts the flows that it decided on, a packet of a flow is no hit', async () => {
    await fixture.program();
    await program('+wide', '-narrow');
    from(address(sources.wide));
    for (const flags of ['A', 'A', 'F']) from(address(sources.wide), flags);
    from(address(sources.narrow));
    from(address(sources.host));
    from(address(sources.outside));
    const hits = fixture.dataplane
      .counters()
      .sources.map((each) => `${ruleText(each)}: ${each.hits}`);
    expect(hits.sort()).toEqual([`allow ${nets.wide}: 1`, `deny ${nets.narrow}: 2`]);
  });

  test('rules and their hits outlive the supervisor', async () => {
    await fixture.program();
    await program('-narrow');
    from(address(sources.narrow));
    await fixture.restart();
    const { writes } = await fixture.program(
      service({
        vip: plan.vip,
        admission: { ...ADMIT_ALL, sources: [rule('-narrow')] },
        backends: [plan.backend(1)],
      }),
    );
    // The ring is made anew, since what it was made from is not known.
    expect(writes).toBe(1);
    expect(from(address(sources.narrow)).counted).toEqual({ source_denied: 1 });
    expect(fixture.dataplane.counters().sources).toMatchObject([{ hits: 2 }]);
  });

  test('rules of one service are none of another', async () => {
    const closed = { ...ADMIT_ALL, sources: [rule('-all')] };
    const backends = [plan.backend(1)];
    await fixture.program(
      service({ vip: plan.vip, admission: closed, backends }),
      service({ vip: plan.otherVip, backends }),
    );
    const to = (destination: Address) =>
      fixture.send(tcp({ source: plan.client, destination, sport: 1, dport: 80, flags: 'S' }));
    expect([to(plan.vip).verdict, to(plan.otherVip).verdict]).toEqual(['DROP', 'TX']);
  });

  test('the sweeper removes flows that are denied meanwhile, and no others', async () => {
    await program();
    for (const source of [sources.wide, sources.narrow]) {
      from(address(source));
      from(address(source), 'A');
    }
    expect(fixture.established()).toHaveLength(2);
    await program('-narrow');
    expect(from(address(sources.narrow), 'A').verdict).toBe('TX');
    await fixture.dataplane.maintain();
    expect(fixture.established()).toHaveLength(1);
    expect(from(address(sources.wide), 'A').verdict).toBe('TX');
    expect(from(address(sources.narrow), 'A').counted).toEqual({ source_denied: 1 });
  });

  test('a rate that is no whole number for each tick of the clock is kept under a flood', async () => {
    // At 199 a second 1.99 come with a tick: what is left over must count.
    const [newFlowsPerS, newFlowsBurst] = [199, 2000];
    const admission = { sources: [], newFlowsPerS, newFlowsBurst };
    await fixture.program();
    await fixture.program(service({ vip: plan.vip, admission, backends: [plan.backend(1)] }));
    let port = 0;
    /** Up to the first refusal after `untilMs`: how many were taken, and when the refused one was sent. */
    const flood = (untilMs: number) => {
      for (let taken = 0; ;) {
        port = (port % 60_000) + 1;
        const beforeMs = performance.now();
        if (from(plan.client, 'S', port).verdict === 'TX') taken += 1;
        else if (beforeMs >= untilMs) return { taken, beforeMs, afterMs: performance.now() };
      }
    };
    const first = flood(0);
    expect(first.taken).toBeGreaterThanOrEqual(newFlowsBurst);
    const last = flood(first.afterMs + 1500);
    // The clock goes in steps of 10 ms; a burst outlasts a machine that stands still for seconds.
    const leastS = (last.beforeMs - first.afterMs) / 1000;
    const mostS = (last.afterMs - first.beforeMs) / 1000;
    expect(last.taken).toBeGreaterThan(newFlowsPerS * leastS * 0.9 - 5);
    expect(last.taken).toBeLessThan(newFlowsPerS * mostS + 5);
  });

  test('so many new flows at once, and flows that are known go on', async () => {
    const admission = { sources: [], newFlowsPerS: 1, newFlowsBurst: 5 };
    await fixture.program();
    await fixture.program(service({ vip: plan.vip, admission, backends: [plan.backend(1)] }));
    const startMs = performance.now();
    const verdicts = Array.from({ length: 12 }, (_, n) => from(plan.client, 'S', 1 + n).verdict);
    const taken = verdicts.filter((verdict) => verdict === 'TX').length;
    const refilled = (performance.now() - startMs) / 1000 + 1;
    expect(taken).toBeGreaterThanOrEqual(5);
    expect(taken).toBeLessThanOrEqual(5 + refilled);
    expect(from(plan.client, 'A', 1).verdict).toBe('TX');
    expect(from(plan.client, 'A', 1).counted).toEqual({});
  });
});
