/**
 * Mode x family x protocol x kind of packet: the frame that leaves is compared byte for byte with one made
 * by expected.ts, and everything that came and left is checked by tshark.
 */
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { NAT_PORT_COUNT, NAT_PORT_FIRST } from '../abi/abi.generated.ts';
import type { WantedBackend } from '../dataplane/dataplane.ts';
import { NAT_MODES, TUNNEL_MODES } from '../model/forwarding.ts';
import { clamped, echoed, tooBigAnswer } from './expected-answers.ts';
import { read, word } from './expected-bytes.ts';
import { forwarded, mtuOf, returned, type Way } from './expected.ts';
import { forgetFragments } from './fixture-fragments.ts';
import {
  cases,
  CLIENT_PORT,
  PORT,
  replies,
  synsOf,
  type Case,
  type Reply,
} from './fixture-matrix.ts';
import { backendMac, PLANS, ROUTER_MAC, type Plan } from './fixture-network.ts';
import { Capture } from './fixture-pcap.ts';
import { Fixture, service, type Outcome, type Run } from './fixture.ts';
import {
  decode,
  ETHERNET_BYTES,
  ethernet,
  NODE_MAC,
  patched,
  PROTOCOL,
  tagged,
  tcp,
  udp,
} from './packet.ts';

const FILE = join(import.meta.dirname, '../../build/matrix.pcap');
const CONTROL_FILE = join(import.meta.dirname, '../../build/matrix-control.pcap');
const ETHER_TYPES = { 4: 0x0800, 6: 0x86dd } as Readonly<Record<number, number>>;
const GUE_BYTES = 12;
const DSCP = 11;
const BACKEND_PORT = 8282;
/** What the way to the client takes. */
const WIRE_BYTES = 1500;

const PROTOCOLS = ['tcp', 'udp', 'icmp'] as const;

/** What tshark sees of tunnels, where it looks into them. */
const INSIDE = ['ip', 'ipv6', 'gre:ip', 'gre:ipv6', 'udp:ip', 'udp:ip:ipv6'];

const capture = new Capture();
let fixture: Fixture;

beforeAll(async () => {
  fixture = await Fixture.open();
});
afterAll(async () => {
  await fixture.close();
});

interface Cell {
  /** Of the backend; undefined: none. */
  readonly vlan?: number;
  readonly mode: WantedBackend['mode'];
  readonly inner: Plan;
  readonly outer: Plan;
}

const OWN_VLAN = 77;

const cells: Cell[] = PLANS.flatMap((inner) => [
  ...(['l2dsr', 'nat', 'gue'] as const).map((mode) => ({
    mode,
    inner,
    outer: inner,
    vlan: OWN_VLAN,
  })),
  ...(['l2dsr', 'dscp', ...NAT_MODES] as const).map((mode) => ({ mode, inner, outer: inner })),
  ...TUNNEL_MODES.flatMap((mode) => PLANS.map((outer) => ({ mode, inner, outer }))),
]);

function wayOf({ mode, outer, vlan }: Cell): Way {
  return {
    mode,
    backend: outer.backend(1),
    node: outer.node,
    dmac: backendMac(1),
    smac: NODE_MAC,
    dscp: DSCP,
    port: BACKEND_PORT,
    vlan,
  };
}

async function program(
  { mode, inner, outer, vlan }: Cell,
  mssBytes?: number | 'path',
): Promise<void> {
  const forwarding = {
    mssBytes,
    vlan,
    ...(mode === 'dscp' && { dscp: DSCP }),
    ...((mode === 'nat' || mode === 'full_nat') && { port: BACKEND_PORT }),
  };
  const backend = { address: outer.backend(1), mode, forwarding };
  await fixture.program();
  await fixture.program(
    ...(['tcp', 'udp'] as const).map((protocol) =>
      service({ vip: inner.vip, protocol, port: PORT, backends: [backend] }),
    ),
  );
}

/** What is in GUE, which tshark cannot look into, as a frame of its own. */
function recordInside(label: string, { mode, outer, vlan }: Cell, frame: Uint8Array): void {
  if (mode !== 'gue') return;
  const tagBytes = vlan === undefined ? 0 : 4;
  const at = ETHERNET_BYTES + tagBytes + (outer.family === 'ipv4' ? 20 : 40) + GUE_BYTES;
  const type = ETHER_TYPES[(frame[at] ?? 0) >> 4] ?? 0;
  capture.add(`${label}, inside`, ethernet({}, type, frame.subarray(at)));
}

interface Seen {
  readonly verdict: string;
  readonly counted: Readonly<Record<string, number>>;
  /** Undefined where nothing is sent. */
  readonly frame: string | undefined;
}

/** `natPort`: of full_nat, the node's port that stands for the client's; 0: there is none. */
function wanted({ frame: came, tags = [], flow, outcome }: Case, way: Way, natPort: number): Seen {
  const frame = untagged(came, tags.length);
  if (outcome === 'echoed') {
    return {
      verdict: 'TX',
      counted: { echo_reply: 1 },
      frame: hex(tagged(echoed(frame), ...tags)),
    };
  }
  if (outcome === 'told') {
    const answer = tooBigAnswer(frame, mtuOf(way, read(frame).isIpv6));
    return { verdict: 'TX', counted: { too_big_answered: 1 }, frame: hex(tagged(answer, ...tags)) };
  }
  if (outcome !== 'forwarded') {
    return { verdict: 'DROP', counted: { [outcome.drop]: 1 }, frame: undefined };
  }
  if (way.mode === 'full_nat' && natPort === 0) {
    return { verdict: 'DROP', counted: { nat_unknown: 1 }, frame: undefined };
  }
  return { verdict: 'TX', counted: {}, frame: hex(forwarded(frame, way, flow, natPort)) };
}

/** Without so many VLAN tags. */
function untagged(frame: Uint8Array, tags: number): Uint8Array {
  return Uint8Array.from([...frame.subarray(0, 12), ...frame.subarray(12 + tags * 4)]);
}

/** The node's port in a packet that full_nat has sent; 0: it has none. */
function natPortOf({ verdict, frame }: Run): number {
  const { l4, protocol } = read(frame);
  if (verdict !== 'TX' || (protocol !== PROTOCOL.tcp && protocol !== PROTOCOL.udp)) return 0;
  const sport = word(frame, l4);
  expect(sport).toBeGreaterThanOrEqual(NAT_PORT_FIRST);
  expect(sport).toBeLessThan(NAT_PORT_FIRST + NAT_PORT_COUNT);
  return sport;
}

/** Sends a packet that is to be forwarded or not; what comes and what leaves goes on file. */
function record(label: string, frame: Uint8Array): Outcome {
  const outcome = fixture.send(frame);
  capture.add(`${label}, in`, frame);
  const isTold = outcome.counted.too_big_answered === 1;
  if (outcome.verdict === 'TX') capture.add(`${label}, out`, outcome.frame, isTold);
  return outcome;
}

/** What was seen and what had to be. */
function judge(each: Case, cell: Cell, way: Way): readonly [Seen, Seen] {
  const { mode, outer, inner, vlan = 'none' } = cell;
  const label = `${mode} to ${outer.family} of ${inner.family}, VLAN ${vlan}, ${each.protocol}: ${each.kind}`;
  fixture.forgetFlows();
  fixture.fillCpuBuckets();
  const [before] = each.before.map((frame) => fixture.run(frame));
  const outcome = record(label, each.frame);
  const { verdict, frame } = outcome;
  const isSent = verdict === 'TX';
  if (isSent && each.outcome === 'forwarded') recordInside(label, cell, frame);
  const natPort = mode === 'full_nat' ? natPortOf(before ?? outcome) : 0;
  // What is counted beside a packet that is forwarded is for other tests to say.
  const counted = isSent && each.outcome === 'forwarded' ? {} : { ...outcome.counted };
  delete counted.icmp_forwarded;
  const seen = { verdict, counted, frame: isSent ? hex(frame) : undefined };
  return [seen, wanted(each, way, natPort)];
}

function hex(frame: Uint8Array): string {
  return Buffer.from(frame).toString('hex').replace(/.{32}/g, '$&\n');
}

describe.each(cells)('$mode to $outer.family of $inner.family, VLAN $vlan', (cell) => {
  const way = wayOf(cell);

  beforeAll(async () => {
    await program(cell);
  });

  test.each(PROTOCOLS)('%s', (protocol) => {
    const table = cases(cell.inner).filter((each) => each.protocol === protocol);
    expectEqual(table.map((each) => [each.kind, ...judge(each, cell, way)]));
  });
});

/** Of rows by name: as one comparison, so that a failure shows all of what is wrong and no more. */
function expectEqual(rows: readonly (readonly [string, Seen, Seen])[]): void {
  expect(new Set(rows.map(([name]) => name)).size).toBe(rows.length);
  const seen = rows.map(([name, each]) => [name, each]);
  const wantedRows = rows.map(([name, , each]) => [name, each]);
  expect(Object.fromEntries(seen)).toEqual(Object.fromEntries(wantedRows));
}

const MSS = 1000;

describe.each(cells)('MSS by $mode to $outer.family of $inner.family, VLAN $vlan', (cell) => {
  const way = wayOf(cell);
  const isSix = cell.inner.family === 'ipv6';

  test.each([MSS, 'path'] as const)('%s', async (mssBytes) => {
    await program(cell, mssBytes);
    const mss = mssBytes === 'path' ? mtuOf(way, false) - (isSix ? 60 : 40) : mssBytes;
    const rows = synsOf(cell.inner).map(({ kind, frame }) => {
      fixture.forgetFlows();
      const label = `MSS ${mssBytes} by ${cell.mode} to ${cell.outer.family}: ${kind}`;
      const outcome = record(label, frame);
      if (outcome.verdict === 'TX') recordInside(label, cell, outcome.frame);
      const natPort = cell.mode === 'full_nat' ? natPortOf(outcome) : 0;
      const { source, destination, sport, dport, protocol } = decode(frame);
      const flow = { source, destination, sport, dport, protocol };
      const must = hex(forwarded(clamped(frame, mss), way, flow, natPort));
      const seen = { verdict: outcome.verdict, counted: {}, frame: hex(outcome.frame) };
      return [kind, seen, { verdict: 'TX', counted: {}, frame: must }] as const;
    });
    expectEqual(rows);
  });
});

const waysBack = NAT_MODES.flatMap((mode) => PLANS.map((plan) => ({ mode, plan })));

describe.each(waysBack)('back by $mode of $plan.family', ({ mode, plan }) => {
  const client = { address: plan.routed, port: CLIENT_PORT };
  const vip = { address: plan.vip, port: PORT };
  const backend = { address: plan.backend(1), port: BACKEND_PORT };
  const cell = { mode, inner: plan, outer: plan };
  const to = { dmac: ROUTER_MAC, smac: NODE_MAC, client, vip };

  beforeAll(async () => {
    await program(cell);
  });

  /** Opens both flows, and returns whom the backend takes for the client. */
  const open = (protocol: 'tcp' | 'udp') => {
    const ends = { source: plan.routed, destination: plan.vip, sport: CLIENT_PORT, dport: PORT };
    const sent = fixture.run(protocol === 'tcp' ? tcp({ ...ends, flags: 'S' }) : udp(ends));
    return mode === 'nat' ? client : { address: plan.node, port: natPortOf(sent) };
  };

  test.each(['tcp', 'udp'] as const)('%s', (protocol) => {
    fixture.forgetFlows();
    forgetFragments(fixture);
    fixture.fillCpuBuckets();
    const rows = replies(protocol, backend, open(protocol), plan).map((reply) => {
      const outcome = record(`back by ${mode}, ${protocol}: ${reply.kind}`, reply.frame);
      const counted = reply.outcome === 'returned' ? {} : { ...outcome.counted };
      const frame = outcome.verdict === 'DROP' ? undefined : hex(outcome.frame);
      const seen = { verdict: outcome.verdict, counted, frame };
      return [reply.kind, seen, wantedBack(reply)] as const;
    });
    expectEqual(rows);
  });

  function wantedBack({ frame, outcome }: Reply): Seen {
    switch (outcome) {
      case 'returned':
        return { verdict: 'TX', counted: {}, frame: hex(returned(frame, to)) };
      case 'told': {
        const answer = hex(tooBigAnswer(frame, WIRE_BYTES, plan.node));
        return { verdict: 'TX', counted: { too_big_answered: 1 }, frame: answer };
      }
      case 'passed':
        return { verdict: 'PASS', counted: { passed: 1 }, frame: hex(frame) };
      default:
        return { verdict: 'DROP', counted: { [outcome.drop]: 1 }, frame: undefined };
    }
  }
});

describe('tshark', () => {
  test('finds no fault with any frame', async () => {
    expect(await capture.complaints(FILE)).toEqual([]);
    // What it could not look into it would not find fault with.
    const chains = [...(await capture.protocols(FILE)).keys()];
    const tunnels = ['ip', 'ipv6'].flatMap((outer) =>
      INSIDE.map((inside) => `eth:ethertype:${outer}:${inside}:tcp`),
    );
    expect(chains).toEqual(expect.arrayContaining(tunnels));
  });

  test('finds fault with frames that are broken', async () => {
    const control = new Capture();
    const [plan] = PLANS;
    const ends = { source: plan!.client, destination: plan!.vip, sport: 1, dport: PORT };
    const good = tcp({ ...ends, flags: 'A', payload: Uint8Array.of(1, 2, 3) });
    control.add('right', good);
    control.add('payload', patched(good, good.length - 1, 0xff));
    control.add('header', patched(good, ETHERNET_BYTES + 8, 63));
    const complaints = await control.complaints(CONTROL_FILE);
    expect(complaints.map(({ label }) => label)).toEqual(['payload', 'header']);
  });
});
