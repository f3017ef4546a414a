/** The pure parts of the page. What it looks like in a browser is page.browser.test.ts. */
import { describe, expect, test } from 'vitest';
import type { BgpStatus } from '../model/bgp.ts';
import { REFUSALS } from '../reports/report.ts';
import type { NodeSnapshot, TrafficSnapshot } from '../snapshot.ts';
import { fixtureSnapshot } from './fixture.ts';
import { connectionBanners, snapshotBanners } from './public/banners.js';
import { age, bytes, compact, exact, latency, percent, plural, span } from './public/format.js';
import { delayMs } from './public/poll.js';
import { Rates, trafficRate } from './public/rates.js';
import { refusalHelp, reportCounters } from './public/reports.js';
import { matches } from './public/services.js';
import { verdictOnOthers } from './public/sources.js';
import { sparklinePaths } from './public/sparkline.js';
import { split as splitPeers } from './public/peers.js';
import { groupsOf, rejectCounters } from './public/sync-counters.js';
import { split } from './public/vips.js';
import {
  backendCondition,
  configCondition,
  dueShares,
  gateCondition,
  overall,
  peerCondition,
  serviceCondition,
  syncedCondition,
  vipCondition,
} from './public/words.js';

const START_MS = 1_760_000_000_000;

describe('numbers for people', () => {
  test.each([
    [0, '0'],
    [0.4, '0.4'],
    [9.96, '10'],
    [999, '999'],
    [999.6, '1.00k'],
    [12_345, '12.3k'],
    [99_960, '100k'],
    [999_600, '1.00M'],
    [1_239_000, '1.24M'],
    [5e18, '5000P'],
    [undefined, '–'],
  ])('compact(%s) is %s', (value, text) => {
    expect(compact(value)).toBe(text);
  });

  test.each([
    [0, '0 B'],
    [950, '950 B'],
    [12_345, '12.3 kB'],
    [1_240_000_000, '1.24 GB'],
  ])('bytes(%s) is %s', (value, text) => {
    expect(bytes(value)).toBe(text);
  });

  test.each([
    [0, '0.0%'],
    [0.256, '25.6%'],
    [0.99949, '99.9%'],
    [1, '100%'],
    [undefined, '–'],
  ])('percent(%s) is %s', (value, text) => {
    expect(percent(value)).toBe(text);
  });

  test.each([
    [-5, '0 s'],
    [59_999, '59 s'],
    [60_000, '1 min'],
    [3_600_000, '1 h'],
    [11_520_000, '3 h 12 min'],
    [1_051_200_000, '12 d 4 h'],
  ])('span(%s) is %s', (ms, text) => {
    expect(span(ms)).toBe(text);
  });

  test('the rest', () => {
    expect(exact(1_234_567)).toBe('1,234,567');
    expect([latency(0.44), latency(12.2)]).toEqual(['0.4 ms', '12 ms']);
    expect([plural(1, 'route'), plural(2000, 'route')]).toEqual(['1 route', '2,000 routes']);
    expect([age(0, START_MS), age(START_MS - 4000, START_MS)]).toEqual(['–', '4 s']);
  });
});

describe('the overall verdict', () => {
  const usual = fixtureSnapshot('no-sync');
  const bgp = usual.bgp!;
  const vips = (...announced: readonly boolean[]): NodeSnapshot['vips'] =>
    announced.map((announce, index) => ({
      ...usual.vips[0]!,
      address: `192.0.2.${index}`,
      announce,
      confirmed: announce,
    }));
  const with_ = (change: Partial<NodeSnapshot>): NodeSnapshot => ({ ...usual, ...change });
  const allPeersUp: BgpStatus = { ...bgp, peers: bgp.peers.slice(0, 2) };
  const noPeersUp: BgpStatus = { ...bgp, peers: bgp.peers.slice(2) };

  test.each([
    ['all', with_({ vips: vips(true, true), bgp: allPeersUp }), 'ok', 'Announcing 2 of 2 VIPs', ''],
    [
      'some',
      with_({ vips: vips(true, false), bgp: allPeersUp }),
      'warn',
      'Announcing 1 of 2 VIPs',
      'withheld: 192.0.2.1',
    ],
    [
      'none',
      with_({ vips: vips(false, false, false), bgp: allPeersUp }),
      'bad',
      'Announcing 0 of 3 VIPs',
      'withheld: 192.0.2.0, 192.0.2.1 and 1 more',
    ],
    [
      'a peer is away',
      with_({ vips: vips(true) }),
      'warn',
      'Announcing 1 of 1 VIP',
      '1 of 3 BGP sessions down',
    ],
    [
      'nobody hears it',
      with_({ vips: vips(true), bgp: noPeersUp }),
      'bad',
      'Announcing 1 of 1 VIP',
      'no BGP session is established',
    ],
    [
      'the daemon is away',
      with_({ vips: vips(true), bgp: { ...bgp, daemon: 'unreachable', detail: 'refused' } }),
      'bad',
      'Announcing 1 of 1 VIP',
      'the BGP daemon is not driven: refused',
    ],
    [
      'not yet confirmed',
      with_({
        vips: vips(true, true).map((vip) => ({ ...vip, confirmed: vip.address === '192.0.2.0' })),
        bgp: allPeersUp,
      }),
      'warn',
      'Announcing 2 of 2 VIPs',
      '1 route not confirmed yet',
    ],
    [
      'no BGP',
      with_({ vips: vips(true), bgp: null }),
      'ok',
      '1 of 1 VIP ready',
      'BGP is not configured: static routes lead here',
    ],
    ['no VIP', with_({ vips: [] }), 'idle', 'No VIP is configured', ''],
    [
      'stopping',
      fixtureSnapshot('stopping'),
      'warn',
      'Stopping: every VIP is withdrawn',
      'its flows move to the other nodes',
    ],
  ])('%s', (_, snapshot, tone, text, details) => {
    expect(overall(snapshot)).toEqual({ tone, text, details: details === '' ? [] : [details] });
  });
});

describe('peers', () => {
  const usual = fixtureSnapshot('usual');
  const status = usual.peers!;
  const [peer] = status.peers;
  const fine = fixtureSnapshot('usual').peers!.peers.slice(0, 1);
  const told = (change: Partial<NodeSnapshot>) =>
    overall({ ...fixtureSnapshot('usual'), vips: [], ...change });

  test('that are lost or differ are in the overall verdict, those that left are not', () => {
    const details = ['1 of 4 peers lost', '1 peer with another configuration'];
    expect(told({}).details).toEqual(details);
    const left = status.peers.filter(({ state }) => state === 'left');
    expect(left).toHaveLength(1);
    expect(told({ peers: { ...status, peers: [...fine, ...left] } }).details).toEqual([]);
  });

  test('in trouble make a good verdict a warning, and a bad one no better', () => {
    const { bgp, vips } = fixtureSnapshot('usual');
    const up = { bgp: { ...bgp!, peers: bgp!.peers.slice(0, 2) }, vips: vips.slice(0, 1) };
    expect(told({ ...up, peers: { ...status, peers: fine } }).tone).toBe('ok');
    expect(told(up).tone).toBe('warn');
    expect(told({ ...up, bgp: { ...bgp!, peers: [] } }).tone).toBe('bad');
  });

  test.each([
    [{}, 'ok alive', 'ok synced', 'ok same'],
    [{ synced: false }, 'ok alive', 'warn joining', 'ok same'],
    [{ drift: true }, 'ok alive', 'ok synced', 'warn differs'],
    [{ state: 'lost' }, 'bad lost', 'idle unknown', 'ok same'],
    [{ state: 'left' }, 'idle left', 'idle unknown', 'ok same'],
    [
      { softwareVersion: null, configDigest: null, synced: false },
      'ok alive',
      'idle unknown',
      'idle unknown',
    ],
  ] as const)('with %j', (change, ...expected) => {
    const changed = { ...peer!, ...change };
    const conditions = [peerCondition, syncedCondition, configCondition].map((of) => of(changed));
    expect(conditions.map(({ tone, word }) => `${tone} ${word}`)).toEqual(expected);
  });

  const open = { open: true } as const;
  const waiting = 'waiting for the flows of the other nodes';
  test.each([
    [open, 'snapshot', 'ok', 'synced', 'took over the flows of a peer'],
    [open, 'alone', 'ok', 'synced', 'no other node was there'],
    [open, 'first', 'ok', 'synced', 'all nodes started together'],
    [open, 'deadline', 'warn', 'not synced', 'did not come in time'],
    [{ open: false, reason: 'listening' }, null, 'warn', 'joining', `${waiting}: listening`],
    [{ open: false, reason: 'snapshot' }, null, 'warn', 'joining', `${waiting}: a snapshot`],
    [{ open: false, reason: 'snapshot', percent: 99.9 }, null, 'warn', 'joining', 'way, 99%'],
  ] as const)('the gate %j by %s', (gate, syncedBy, tone, word, reason) => {
    const changed = { ...status, gate, self: { ...status.self, syncedBy } };
    const condition = gateCondition(changed, false);
    expect(condition).toMatchObject({ tone, word });
    expect(condition.reason).toContain(reason);
    expect(condition.reason).not.toContain('meanwhile');
  });

  test('a node that kept its flows says that it announces while those of others come', () => {
    const changed = { ...status, gate: { open: false, reason: 'listening' } as const };
    expect(gateCondition(changed, true).reason).toContain('announces meanwhile');
  });

  test('up to eight are in the order of their names', () => {
    const { open: shown, rest } = splitPeers(status.peers.toReversed());
    expect(shown).toEqual(status.peers);
    expect(rest).toEqual([]);
  });

  test('of many those come first that need attention', () => {
    const many = fixtureSnapshot('forty').peers!.peers;
    const { open: shown, rest } = splitPeers(many);
    expect(shown[0]?.drift).toBe(true);
    expect([shown.length, rest.length]).toEqual([8, 6]);
    expect(new Set([...shown, ...rest])).toEqual(new Set(many));
  });

  test('everything that is counted is shown, with its rate and what it means', () => {
    const rates = new Rates();
    rates.add(fixtureSnapshot('usual', START_MS));
    const later = fixtureSnapshot('usual', START_MS + 10_000);
    rates.add(later);
    const groups = groupsOf(later.peers!, rates);
    const all = [...groups.flatMap(({ counters }) => counters)];
    const { counters, merged, dropped, repair, icmp, queues } = later.peers!;
    const keys = [counters, merged, dropped, repair, icmp, queues].flatMap((each) =>
      Object.keys(each),
    );
    expect(all).toHaveLength(keys.length + 1);
    expect(all.filter(({ help }) => help === '')).toEqual([]);
    const sent = all.find(({ name }) => name === 'flows_sent');
    expect(sent?.perS).toBeCloseTo(2930, 0);
    expect(groups.at(-1)?.counters.every(({ perS }) => perS === undefined)).toBe(true);
    const rejected = rejectCounters(later.peers!, rates);
    expect(rejected).toHaveLength(Object.keys(later.peers!.rejects).length);
    expect(rejected.find(({ name }) => name === 'forged')).toMatchObject({ value: 3, perS: 0 });
  });

  test('a rate is unknown where a peer restarted, or was not there before', () => {
    const rates = new Rates();
    rates.add(fixtureSnapshot('no-sync', START_MS));
    rates.add(fixtureSnapshot('usual', START_MS + 1000));
    expect(rates.of(({ peers }) => peers?.counters.flowsSent)).toBeUndefined();
    rates.add({ ...usual, takenAtMs: START_MS + 2000, peers: { ...status, peers: fine } });
    const received = ({ peers }: NodeSnapshot) => peers?.peers[0]?.flowsReceived;
    expect(rates.of(received)).toBeUndefined();
  });
});

describe('states in words', () => {
  const [vip] = fixtureSnapshot('usual').vips;
  const [service] = fixtureSnapshot('usual').services;
  const [backend] = service!.backends;
  const { bgp } = fixtureSnapshot('usual');

  test.each([
    [{ announce: true, confirmed: true }, 'announced', ''],
    [
      { announce: true, confirmed: false },
      'announcing',
      'waiting for the BGP daemon to confirm the route',
    ],
    [{ announce: false, reason: 'no_services', explanation: 'because' }, 'withheld', 'because'],
    [{ announce: false, reason: null, explanation: null }, 'withheld', 'not decided yet'],
  ])('a VIP with %j is %s', (change, word, reason) => {
    expect(vipCondition({ ...vip!, ...change }, bgp)).toMatchObject({ word, reason });
  });

  test('a VIP that waits for its first checks is no alarm, one without backends is', () => {
    const tone = (reason: string) => vipCondition({ ...vip!, announce: false, reason }, bgp).tone;
    expect([tone('checks_pending'), tone('not_synced')]).toEqual(['warn', 'warn']);
    expect(tone('too_few_backends')).toBe('bad');
  });

  test.each([
    [{ state: 'up', programmed: true }, 'up'],
    [{ state: 'up', programmed: false }, 'not in maps'],
    [{ state: 'unknown', programmed: true }, 'checking'],
    [{ state: 'down', programmed: true }, 'down'],
  ] as const)('a service with %j is %s', (change, word) => {
    expect(serviceCondition({ ...service!, ...change }).word).toBe(word);
  });

  test.each([
    [{ health: 'up', state: 'up' }, 'up'],
    [{ health: 'up', state: 'down' }, 'not in maps'],
    [{ health: 'up', state: 'draining' }, 'draining'],
    [{ health: 'down', state: 'draining' }, 'down'],
    [{ health: 'down', state: 'up' }, 'down'],
    [{ health: 'unknown', state: 'down' }, 'checking'],
  ] as const)('a backend with %j is %s', (change, word) => {
    expect(backendCondition({ ...backend!, ...change }).word).toBe(word);
  });

  test('only backends that get new flows are due a share', () => {
    const due = dueShares(service!.backends);
    expect(service!.backends.map(due)).toEqual([0.25, 0.25, 0.5, 0, 0]);
    expect(dueShares([])(backend!)).toBe(0);
  });

  test.each([
    ['', true],
    ['web', true],
    ['192.0.2.10:443', true],
    [':443', true],
    ['web-3', true],
    ['10.20.4.15', true],
    ['nothing', false],
  ])('a filter for %j matches: %s', (text, expected) => {
    expect(matches(service!, text)).toBe(expected);
  });
});

describe('many VIPs', () => {
  const { bgp, takenAtMs, vips } = fixtureSnapshot('usual');
  const rows = (announced: number, withheld: number) =>
    Array.from({ length: announced + withheld }, (_, index) => {
      const announce = index < announced;
      const vip = { ...vips[0]!, address: `192.0.2.${index}`, announce, confirmed: announce };
      return { vip: { ...vip, reason: announce ? null : 'no_services' }, bgp, nowMs: takenAtMs };
    });

  test('up to eight keep the order of the document', () => {
    expect(split(rows(5, 3))).toEqual({ open: rows(5, 3), rest: [], restText: '' });
  });

  test.each([
    [20, 3, 3, '15 more announced'],
    [5, 20, 8, '12 more withheld, 5 more announced'],
    [0, 9, 8, '1 more withheld'],
  ])(
    'of %i announced and %i withheld, %i withheld come first',
    (announced, withheld, first, text) => {
      const { open, restText } = split(rows(announced, withheld));
      expect(open).toHaveLength(8);
      expect(open.map(({ vip }) => vip.announce).indexOf(true)).toBe(first === 8 ? -1 : first);
      expect(restText).toBe(text);
    },
  );
});

describe('rates', () => {
  const traffic = (packets: number, bytesSent: number): TrafficSnapshot => ({
    packets,
    bytes: bytesSent,
    flowsOpened: 0,
    flowsActive: 0,
  });

  test.each([
    [
      'two counts',
      traffic(100, 1000),
      traffic(300, 5000),
      2000,
      { packetsPerS: 100, bytesPerS: 2000 },
    ],
    ['no earlier count', undefined, traffic(300, 5000), 2000, undefined],
    ['no time', traffic(1, 1), traffic(2, 2), 0, undefined],
    ['counters made anew', traffic(300, 5000), traffic(10, 100), 1000, undefined],
  ])('from %s', (_, before, now, elapsedMs, expected) => {
    expect(trafficRate(before, now, elapsedMs)).toEqual(expected);
  });

  const at = (s: number) => fixtureSnapshot('usual', START_MS + s * 1000);

  test('need two snapshots, and the same one twice is one', () => {
    const rates = new Rates();
    const first = at(0);
    expect(rates.add(first)).toBe(true);
    expect(rates.ofService(first.services[0]!)).toBeUndefined();
    expect(rates.ofNode()).toBeUndefined();
    expect(rates.add(at(0))).toBe(false);
    const second = at(1);
    expect(rates.add(second)).toBe(true);
    const service = second.services[0]!;
    expect(rates.ofService(service)?.packetsPerS).toBeGreaterThan(100_000);
    expect(rates.ofNode()?.packetsPerS).toBeGreaterThan(rates.ofService(service)!.packetsPerS);
  });

  test('of backends add up to that of their service', () => {
    const rates = new Rates();
    rates.add(at(0));
    rates.add(at(1));
    const service = at(1).services[0]!;
    const parts = [...rates.ofBackends(service).values()].map((each) => each?.packetsPerS ?? NaN);
    const sum = parts.reduce((total, each) => total + each, 0);
    expect(sum).toBeCloseTo(rates.ofService(service)!.packetsPerS);
  });

  test('of a counter', () => {
    const rates = new Rates();
    rates.add(at(0));
    rates.add(at(10));
    const counter = (name: string) => at(10).counters.find((each) => each.name === name)!;
    expect(rates.ofCounter(counter('passed'))).toBeCloseTo(311, 0);
    expect(rates.ofCounter(counter('fragment'))).toBe(0);
    expect(rates.ofCounter({ name: 'unheard_of', value: 1 })).toBeUndefined();
  });

  test('are remembered for a minute and not longer', () => {
    const rates = new Rates();
    for (let s = 0; s <= 200; s++) rates.add(at(s));
    const { id } = at(0).services[0]!;
    expect(rates.history(id)).toHaveLength(60);
    expect(rates.history(id).at(-1)?.atMs).toBe(START_MS + 200_000);
    expect(rates.nodeHistory()).toHaveLength(60);
    expect(rates.history('tcp/192.0.2.99:1')).toEqual([]);
  });

  test('forget the services that are gone', () => {
    const rates = new Rates();
    rates.add(at(0));
    rates.add(at(1));
    const { id } = at(0).services[0]!;
    rates.add({ ...at(2), services: [] });
    expect(rates.history(id)).toEqual([]);
  });

  test('begin anew when the clock of the node is set back', () => {
    const rates = new Rates();
    rates.add(at(100));
    rates.add(at(101));
    expect(rates.add(at(50))).toBe(true);
    expect(rates.nodeHistory()).toEqual([]);
    rates.add(at(51));
    expect(rates.ofNode()?.packetsPerS).toBeGreaterThan(0);
  });
});

describe('the curve', () => {
  const point = (s: number, value: number) => ({ atMs: START_MS + s * 1000, value });

  test('ends at the right edge and fills the height', () => {
    const { line, area } = sparklinePaths([point(50, 0), point(55, 50), point(60, 100)]);
    expect(line).toBe('M100 23L110 12.5L120 2');
    expect(area).toBe('M100 23L110 12.5L120 2L120 24L100 24Z');
  });

  test('has a hole where nobody looked', () => {
    const { line } = sparklinePaths([point(0, 1), point(1, 1), point(40, 1), point(41, 1)]);
    expect(line.match(/M/g)).toHaveLength(2);
  });

  test('of nothing, and of one point, is nothing', () => {
    expect(sparklinePaths([])).toEqual({ line: '', area: '' });
    expect(sparklinePaths([point(0, 5)])).toEqual({ line: '', area: '' });
  });
});

describe('polling', () => {
  test.each([
    ['a quick answer', 0, 20, 980],
    ['an answer that costs much', 0, 400, 1600],
    ['the first failure', 1, 0, 300],
    ['the second failure', 2, 0, 2000],
    ['the fourth failure', 4, 0, 8000],
    ['the tenth failure', 10, 0, 15_000],
  ])('after %s', (_, failures, costMs, expected) => {
    expect(delayMs(failures, costMs)).toBe(expected);
  });
});

describe('banners', () => {
  const quiet = { dataAgeMs: 500, stillMs: 0, failure: undefined, retryInMs: 0 };
  const askNow = () => undefined;

  test('are none while all is well', () => {
    const usual = fixtureSnapshot('usual');
    expect(connectionBanners(usual, quiet, askNow)).toEqual([]);
    expect(snapshotBanners(usual)).toEqual([]);
  });

  test('say how old the data of a lost node is', () => {
    const lost = { ...quiet, dataAgeMs: 12_000, failure: 'it does not answer', retryInMs: 4000 };
    expect(connectionBanners(fixtureSnapshot('usual'), lost, askNow)).toMatchObject([
      {
        title: 'Cannot reach lb1:',
        text: 'it does not answer. What is shown is 12 s old; asking again in 4 s.',
        action: askNow,
      },
    ]);
  });

  test('name what keeps reports from being taken as the document says', () => {
    const usual = fixtureSnapshot('usual');
    const problems = ['cannot send and receive at 10.0.0.1:7484 (UDP)'];
    const shown = (listening: string | null) =>
      snapshotBanners({ ...usual, reports: { ...usual.reports!, listening, problems } });
    expect(shown('10.0.0.1:7483')).toMatchObject([
      { text: 'It is tried again. Still listening at 10.0.0.1:7483.', lines: problems },
    ]);
    expect(shown(null)).toMatchObject([{ text: 'It is tried again. Nobody is heard.' }]);
  });

  test('say so when a node answers with the same snapshot again and again', () => {
    const [banner] = connectionBanners(
      fixtureSnapshot('usual'),
      { ...quiet, dataAgeMs: 30_000, stillMs: 30_000 },
      askNow,
    );
    expect(banner?.title).toContain('stands still');
  });

  test('name every problem of a refused reload', () => {
    const [refused, failures] = snapshotBanners(fixtureSnapshot('refused'));
    expect(refused?.lines).toEqual([
      '41:9  services[2].backends[0].weight: must be between 1 and 65535, is 0',
      '58:13  services[3].checks[1].timeout_ms: must be less than interval_ms (1000), is 2500',
    ]);
    expect(failures?.lines).toHaveLength(1);
  });
});

describe('source rules', () => {
  test.each([
    [['deny'], 'all others are allowed'],
    [['allow'], 'all others are denied'],
    [['deny', 'allow'], 'all others are denied'],
  ] as const)('%j: %s', (verdicts, text) => {
    const rules = verdicts.map((verdict) => ({ prefix: '10.0.0.0/8', verdict, hits: 0 }));
    expect(verdictOnOthers(rules)).toBe(text);
  });
});

describe('reports', () => {
  test('every reason to refuse one has words', () => {
    expect(Object.keys(refusalHelp).sort()).toEqual([...REFUSALS].sort());
  });

  test('refused ones are losses, with a rate', () => {
    const rates = new Rates();
    const { reports } = fixtureSnapshot('usual');
    const later = { ...reports!, refused: { ...reports!.refused, forged: 13 } };
    rates.add(fixtureSnapshot('usual', START_MS));
    rates.add({ ...fixtureSnapshot('usual', START_MS + 2000), reports: later });
    expect(reportCounters(later, rates)).toContainEqual(
      expect.objectContaining({ name: 'forged', value: 13, drop: true, perS: 5 }),
    );
  });
});
