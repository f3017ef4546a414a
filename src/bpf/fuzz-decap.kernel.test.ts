/**
 * Mutated and random frames through the program of the backend's side. A frame stays as it came, or what is
 * left of it is a whole packet to a VIP; every drop has a name.
 */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { loadProgram, PROGRAM, readCounters } from '../backend/program.ts';
import { FrameRunner } from '../dataplane/frame-runner.ts';
import type { BpfObject } from '../dataplane/libbpf.ts';
import { build } from './build.ts';
import { Chance, FrameSource, FUZZ, FUZZ_TIMEOUT_MS } from './fixture-fuzz.ts';
import { fuzzCorpus } from './fixture-fuzz-corpus.ts';
import { holds, inHex, sameFrames } from './fixture-fuzz-judge.ts';
import { PLANS } from './fixture-network.ts';
import { TUNNEL_KINDS, TUNNEL_PORTS, tunnelled, withTos } from './fixture-tunnels.ts';
import { addressBytes, tcp, udp } from './packet.ts';
import { Reading } from './reading.ts';

const DROP = 1;
const PASS = 2;
const DSCP = 11;
const CONGESTED = 3;
const BATCH = 10_000;
/** Drops of a bug, and nothing else, may stay at zero. */
const UNSEEN = new Set(['internal']);

const OWN = PLANS.map(({ node }) => addressBytes(node));
const VIPS = PLANS.map(({ vip }) => addressBytes(vip));

let object: BpfObject;

beforeAll(() => {
  build();
  object = loadProgram({
    vips: PLANS.map(({ vip }) => vip),
    addresses: PLANS.map(({ node, vip }) => ({
      address: node,
      tunnels: new Set(TUNNEL_KINDS),
      guePort: TUNNEL_PORTS.gue,
      fouPort: TUNNEL_PORTS.fou,
      dscps: new Map([[DSCP, vip]]),
    })),
  });
});
afterAll(() => {
  object.close();
});

/** What goes to VIPs in tunnels, packets with a DSCP in a VIP's place, and all the rest. */
function corpus(): Uint8Array[] {
  const inside = fuzzCorpus().filter((frame, n) => n % 5 === 0 && frame.length < 1500);
  const tunnels = inside.flatMap((frame, n) => {
    const kind = TUNNEL_KINDS[n % TUNNEL_KINDS.length] ?? 'ipip';
    const { client, node } = PLANS[(n >> 2) % PLANS.length] ?? PLANS[0] ?? { client: '', node: '' };
    const outer = tunnelled(kind, { source: client, destination: node }, frame);
    return [outer, withTos(outer, n % 4)];
  });
  const marked = PLANS.flatMap(({ client, node }) => {
    const ends = { source: client, destination: node, sport: 2000, dport: 80 };
    const frames = [
      tcp({ ...ends, flags: 'PA' }),
      udp({ ...ends, payload: Uint8Array.of(1, 2, 3) }),
    ];
    return frames.map((frame) => withTos(frame, (DSCP << 2) | CONGESTED));
  });
  return [...tunnels, ...marked, ...marked, ...marked, ...fuzzCorpus().slice(0, 200)];
}

const came = new Reading();
const left = new Reading();

function isTo(frame: Uint8Array, reading: Reading, addresses: readonly Uint8Array[]): boolean {
  return addresses.some(
    (address) =>
      isIpv6Bytes(address) === reading.isIpv6 && holds(frame, reading.destination, address),
  );
}

function isIpv6Bytes(address: Uint8Array): boolean {
  return address.length === 16;
}

/** What is wrong with what became of a frame. */
function complaint(runner: FrameRunner, bytes: number, verdict: number): string | undefined {
  const { input, output, outputBytes } = runner;
  if (verdict !== DROP && verdict !== PASS) return 'no such verdict';
  came.read(input, bytes);
  const own = came.isIp && isTo(input, came, OWN);
  if (!own && verdict === DROP) return 'a frame for somebody else was dropped';
  if (verdict === DROP || sameFrames(input, bytes, output, outputBytes)) return undefined;
  if (!own) return 'a frame for somebody else was changed';
  if (!came.lengthsAgree) return 'a packet that contradicts itself was changed';
  left.read(output, outputBytes);
  if (!left.isIp || !left.lengthsAgree) return 'the lengths of what was left do not agree';
  if (!isTo(output, left, VIPS)) return 'what was left is for no VIP';
  if (left.tagBytes !== came.tagBytes) return 'the tags are others';
  if (outputBytes !== bytes) return undefined;
  if (came.headerSum === 'right' && left.headerSum !== 'right') return 'the header sum is wrong';
  return came.l4Sum === 'right' && left.l4Sum !== 'right' ? 'the sum is wrong' : undefined;
}

test(
  `${FUZZ.frames} frames from seed ${FUZZ.seed}`,
  () => {
    const runner = new FrameRunner(object.program(PROGRAM));
    const source = new FrameSource(new Chance(FUZZ.seed), runner.input, corpus());
    for (let done = 0; done < FUZZ.frames;) {
      const before = readCounters(object).filter(({ drop }) => drop);
      let drops = 0;
      const end = Math.min(FUZZ.frames, done + BATCH);
      for (; done < end; done += 1) {
        const bytes = source.next();
        const verdict = runner.run(bytes);
        const wrong = complaint(runner, bytes, verdict);
        if (wrong !== undefined) {
          throw new Error(`frame ${done} of seed ${FUZZ.seed}: ${wrong}\n${inHex(runner, bytes)}`);
        }
        if (verdict === DROP) drops += 1;
      }
      const after = readCounters(object).filter(({ drop }) => drop);
      const counted = after.reduce((sum, { value }, i) => sum + value - (before[i]?.value ?? 0), 0);
      expect(counted, `by ${done}, seed ${FUZZ.seed}`).toBe(drops);
    }
    const unseen = readCounters(object).filter(
      ({ name, value }) => !UNSEEN.has(name) && value === 0,
    );
    expect(unseen.map(({ name }) => name)).toEqual([]);
  },
  FUZZ_TIMEOUT_MS,
);
