/**
 * Mutated and random frames through the real program: FUZZ_FRAMES of them, from FUZZ_SEED. No frame
 * that is not for a service is touched, what is sent out is well formed, every drop has a name.
 */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { COUNTERS } from '../abi/abi.generated.ts';
import { familyOf } from '../model/address.ts';
import type { BackendState } from '../model/service.ts';
import { Chance, FrameSource, FUZZ, FUZZ_TIMEOUT_MS } from './fixture-fuzz.ts';
import { fuzzCorpus, fuzzServices, NAT_BACKEND_PORT, natBackends } from './fixture-fuzz-corpus.ts';
import { Judge } from './fixture-fuzz-judge.ts';
import { PLANS } from './fixture-network.ts';
import { TUNNEL_PORTS } from './fixture-tunnels.ts';
import { Fixture } from './fixture.ts';
import { decode, tcp, udp } from './packet.ts';

const { frames: FRAMES, seed: SEED } = FUZZ;
/** Of a long run, how often each counter counted. */
const SHOWS = FRAMES >= 1_000_000;
const BATCH = 5_000;
/** After so many batches a backend goes away, comes back, drains. */
const CHANGE_BATCHES = 4;
const STATES: readonly BackendState[] = ['up', 'draining', 'up', 'down'];
const LIMITS = { services: 64, backends: 256, flows: 4096, embryonicFlows: 4096 };
/** What no frame of this test can bring about, or too few of 100,000; everything else must have been counted. */
const UNSEEN = new Set([
  'probe_sent',
  'flow_table_full',
  'flow_expired',
  'flow_denied',
  'neighbour_stale',
  'change_lost',
  'no_source',
  'no_headroom',
  'probe_unknown',
  'probe_no_port',
  'icmp_unknown',
  'icmp_limited',
  'nat_no_port',
  'mss_no_room',
  'too_big_limited',
  'echo_limited',
  'internal',
]);
const PASSED = COUNTERS.findIndex(({ name }) => name === 'passed');
const INTERNAL = COUNTERS.findIndex(({ name }) => name === 'internal');

let fixture: Fixture;

beforeAll(async () => {
  const addresses = PLANS.map(({ node }) => node);
  const decap = { addresses, guePort: TUNNEL_PORTS.gue, fouPort: TUNNEL_PORTS.fou };
  fixture = await Fixture.open({ limits: LIMITS, sharing: true, decap });
});
afterAll(async () => {
  await fixture.close();
});

/** Sends a health check to each backend that keeps to the VIP, and returns what it would answer. */
function probeReplies(): Uint8Array[] {
  return fuzzServices('up').flatMap(({ id, vip, protocol, port, backends }) => {
    const plan = PLANS.find(({ family }) => family === familyOf(vip));
    const [first] = backends;
    const destination = first && fixture.dataplane.probeAddress(id, first.address);
    if (plan === undefined || destination === undefined) return [];
    if (first?.mode !== 'l2dsr' || first.forwarding?.vlan !== undefined) return [];
    const asked = { source: plan.client, destination, sport: 40_000, dport: port };
    const check = protocol === 'tcp' ? tcp({ ...asked, flags: 'S' }) : udp(asked);
    const { verdict, frame } = fixture.run(check, 'skein_probe');
    if (verdict !== 'REDIRECT') return [];
    const reply = { source: vip, destination: plan.node, sport: port, dport: decode(frame).sport };
    return [protocol === 'tcp' ? tcp({ ...reply, flags: 'SA' }) : udp(reply)];
  });
}

/** Replies of nat that may go no further: by chance alone there would be ten in 100,000, or none. */
function lastHops(): Uint8Array[] {
  return PLANS.flatMap((plan) =>
    [2000, 2001, 2002].flatMap((dport) => {
      const ends = { source: natBackends(plan).nat, destination: plan.routed };
      const reply = { ...ends, sport: NAT_BACKEND_PORT, dport, ttl: 1 };
      return [tcp({ ...reply, flags: 'A' }), udp(reply)];
    }),
  );
}

/** What the node got as a backend itself: passed as well, and not under that name. */
function localPackets(): number {
  const nodes = new Set(PLANS.map(({ node }) => node));
  const own = fixture.dataplane.counters().backends.filter(({ backend }) => nodes.has(backend));
  return own.reduce((sum, { packets }) => sum + packets, 0);
}

/** Verdicts of one batch; each frame is judged as it comes out. */
interface Tally {
  readonly drop: number;
  readonly pass: number;
  readonly sent: number;
}

test(
  `${FRAMES} frames from seed ${SEED}`,
  async () => {
    await fixture.program(...fuzzServices('up'));
    const corpus = [...fuzzCorpus(), ...lastHops(), ...probeReplies()];
    const runner = fixture.runner();
    const source = new FrameSource(new Chance(SEED), runner.input, corpus);
    const judge = new Judge();
    const seen = new Map<string, number>();
    let done = 0;

    const batch = (frames: number): Tally => {
      const tally = { drop: 0, pass: 0, sent: 0 };
      for (let i = 0; i < frames; i += 1) {
        const bytes = source.next();
        const verdict = runner.run(bytes);
        const wrong = judge.complaint(
          runner.input,
          bytes,
          verdict,
          runner.output,
          runner.outputBytes,
        );
        if (wrong !== undefined) throw new Error(`frame ${done + i} of seed ${SEED}: ${wrong}`);
        if (verdict === 1) tally.drop += 1;
        else if (verdict === 2) tally.pass += 1;
        else tally.sent += 1;
      }
      return tally;
    };

    for (let batches = 0; done < FRAMES; batches += 1) {
      if (batches % CHANGE_BATCHES === 0) {
        const state = STATES[(batches / CHANGE_BATCHES) % STATES.length] ?? 'up';
        await fixture.program(...fuzzServices(state));
        if (state === 'down') fixture.forgetFlows();
      }
      fixture.dataplane.flowTable.drainChanges(LIMITS.flows);
      const before = fixture.counterValues();
      const localBefore = localPackets();
      const frames = Math.min(BATCH, FRAMES - done);
      const tally = batch(frames);
      const counted = fixture.counterValues().map((value, i) => value - (before[i] ?? 0));
      done += frames;
      const drops = COUNTERS.reduce((sum, { drop }, i) => sum + (drop ? (counted[i] ?? 0) : 0), 0);
      const passed = (counted[PASSED] ?? 0) + localPackets() - localBefore;
      expect({ drops, passed, internal: counted[INTERNAL] }, `by ${done}, seed ${SEED}`).toEqual({
        drops: tally.drop,
        passed: tally.pass,
        internal: 0,
      });
      COUNTERS.forEach(({ name }, i) => seen.set(name, (seen.get(name) ?? 0) + (counted[i] ?? 0)));
      seen.set('SENT', (seen.get('SENT') ?? 0) + tally.sent);
    }

    if (SHOWS) console.log(Object.fromEntries(seen));
    const unseen = COUNTERS.filter(({ name }) => !UNSEEN.has(name) && !seen.get(name));
    expect(unseen.map(({ name }) => name)).toEqual([]);
  },
  FUZZ_TIMEOUT_MS,
);
