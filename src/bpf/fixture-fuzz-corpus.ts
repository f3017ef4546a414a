/**
 * What the fuzzer stands on: services of every kind, and valid frames of every kind that the forwarding
 * plane tells apart.
 */
import type { WantedBackend, WantedService } from '../dataplane/dataplane.ts';
import { parsePrefix, type Address } from '../model/address.ts';
import { TUNNEL_MODES } from '../model/forwarding.ts';
import type { BackendState } from '../model/service.ts';
import { IPV4, IPV6, PLANS, type Plan } from './fixture-network.ts';
import { mended, packetOf, TUNNEL_KINDS, tunnelled, withTos } from './fixture-tunnels.ts';
import { service } from './fixture.ts';
import { fragmentsOf } from './packet-fragments.ts';
import { ECHO, ethernet, icmp, ip, patched, PROTOCOL, tagged, tcp, udp } from './packet.ts';

const QUIC_PORT = 443;
const TUNNELLED_PORT = 81;
const NARROW_PORT = 82;
const UNREACHABLE_PORT = 83;
const GUARDED_PORT = 84;
const EMPTY_PORT = 85;
/** Of a service whose backend is the node itself, and of one whose backends are in VLANs. */
const LOCAL_PORT = 87;
const TAGGED_PORT = 88;
const NAT_PORT = 86;
export const NAT_BACKEND_PORT = 8080;
const PORTS = [80, TUNNELLED_PORT, NARROW_PORT, UNREACHABLE_PORT, GUARDED_PORT, EMPTY_PORT, 9];
const NARROW_BYTES = 600;
const CLIENT_PORTS = 6;
const ARP = 0x0806;
const DONT_FRAGMENT = 0x40;

type Backend = Partial<WantedBackend> & { readonly address: Address };

/** `state`: of the first backend of each service. */
export function fuzzServices(state: BackendState): WantedService[] {
  return PLANS.flatMap((plan) => servicesOf(plan, state));
}

function servicesOf(plan: Plan, state: BackendState): WantedService[] {
  const { vip, otherVip, backend } = plan;
  const tcpService = (port: number, ...backends: Backend[]) => service({ vip, port, backends });
  const udpService = (port: number, ...backends: Backend[]) =>
    service({ vip, protocol: 'udp', port, backends });
  const first = { address: backend(1), state };
  const sources = [{ prefix: prefixOf(plan.stranger), admits: false }];
  return [
    tcpService(80, first, { address: backend(2), weight: 3 }),
    tcpService(TUNNELLED_PORT, ...tunnels(), {
      address: backend(6),
      mode: 'dscp',
      forwarding: { dscp: 11 },
    }),
    tcpService(
      NARROW_PORT,
      { ...first, forwarding: { mtuBytes: NARROW_BYTES, mssBytes: 'path' } },
      ...tunnels(NARROW_BYTES),
    ),
    tcpService(UNREACHABLE_PORT, ...[plan.unrouted, plan.routed, plan.unresolved].map(l2dsr)),
    service({
      vip,
      port: GUARDED_PORT,
      admission: { sources, newFlowsPerS: 1, newFlowsBurst: 1 },
      backends: [first],
    }),
    tcpService(EMPTY_PORT, { ...first, state: 'down' }),
    tcpService(NAT_PORT, ...translated(plan)),
    udpService(NAT_PORT, ...translated(plan)),
    // Two services of one port of a backend: the flow decides whose a reply is.
    service({ vip: otherVip, port: NAT_PORT, backends: translated(plan) }),
    udpService(80, first, ...tunnels(), { address: plan.elsewhere }),
    udpService(NARROW_PORT, ...tunnels(NARROW_BYTES)),
    udpService(LOCAL_PORT, { address: plan.node }),
    tcpService(TAGGED_PORT, { ...first, forwarding: { vlan: 77 } }, ...tunnels(undefined, 78)),
    service({
      vip,
      protocol: 'udp',
      port: QUIC_PORT,
      quic: { layout: 'quic_lb', idBytes: 3, configId: 2 },
      backends: [1, 2, 3].map((n) => ({ address: backend(n), serverId: `0a000${n}` })),
    }),
    service({ vip: otherVip, port: 0, backends: [first, { address: plan.elsewhere }] }),
  ];
}

function prefixOf(address: Address): NonNullable<ReturnType<typeof parsePrefix>> {
  const prefix = parsePrefix(`${address}/${address.includes(':') ? 128 : 32}`);
  if (prefix === undefined) throw new TypeError(`no prefix: ${address}`);
  return prefix;
}

/** Whose replies are looked for in all traffic, and whose come to the node. */
export function natBackends({ backend }: Plan): {
  readonly nat: Address;
  readonly fullNat: Address;
} {
  return { nat: backend(8), fullNat: backend(9) };
}

function translated(plan: Plan): Backend[] {
  const { nat, fullNat } = natBackends(plan);
  return [
    { address: nat, mode: 'nat', forwarding: { port: NAT_BACKEND_PORT } },
    { address: fullNat, mode: 'full_nat', forwarding: { port: NAT_BACKEND_PORT } },
  ];
}

function l2dsr(address: Address): Backend {
  return { address };
}

/** A backend of each mode over each family. */
function tunnels(mtuBytes?: number, vlan?: number): Backend[] {
  return PLANS.flatMap((outer) =>
    TUNNEL_MODES.map((mode, n) => {
      const tunnelTtl = mode === 'gre' ? ('copy' as const) : undefined;
      const mssBytes = mtuBytes && 500;
      const forwarding = { mtuBytes, mssBytes, tunnelTtl, vlan };
      return { address: outer.backend(n + 3), mode, forwarding };
    }),
  );
}

/** Valid frames: to VIPs, to the node, to others. */
export function fuzzCorpus(): Uint8Array[] {
  const plain = PLANS.flatMap((plan) => [
    ...flows(plan),
    ...messages(plan),
    ...others(plan),
    ...answers(plan),
  ]);
  const tags = plain.filter((_, n) => n % 7 === 0).map((frame, n) => tagged(frame, 5 + (n % 3)));
  return [...plain, ...tags, ...inTunnels()];
}

/** Of SYNs: with an MSS, at an odd place, without one, with no room for one. */
const STAMPS = [8, 10, 0, 0, 0, 9, 0, 0, 0, 0];
const OPTIONS = [
  [2, 4, 5, 180],
  [1, 2, 4, 5, 180, 3, 3, 7],
  [4, 2, ...STAMPS],
  [...STAMPS, ...STAMPS, ...STAMPS, ...STAMPS],
];
const SIZES = [0, 1, 6, 100, 101];
const BIG = [700, 1400, 1461, 1700];

/** Clients and their VIPs: the whole life of a flow, with payloads of even and odd lengths. */
function flows(plan: Plan): Uint8Array[] {
  const frames: Uint8Array[] = [];
  for (const dport of PORTS) {
    for (let n = 0; n < CLIENT_PORTS; n += 1) {
      const between = { source: plan.routed, destination: plan.vip, sport: 2000 + n, dport };
      const payload = bytesOf(SIZES[n % SIZES.length] ?? 0, n);
      const tcpOptions = Uint8Array.from(OPTIONS[n % OPTIONS.length] ?? []);
      frames.push(tcp({ ...between, flags: 'S', tcpOptions }));
      for (const flags of ['S', 'A', 'PA', 'FA', 'R'])
        frames.push(tcp({ ...between, flags, payload }));
      frames.push(udp({ ...between, payload }), udp({ ...between, payload, checksum: false }));
    }
    for (const bytes of BIG) {
      const between = { source: plan.routed, destination: plan.vip, sport: 3000 + bytes, dport };
      const payload = bytesOf(bytes, dport);
      const big = [tcp({ ...between, flags: 'A', payload }), udp({ ...between, payload })];
      frames.push(...big, ...(plan.family === 'ipv4' ? big.map(withDf) : []));
    }
  }
  const denied = { source: plan.stranger, destination: plan.vip, sport: 7, dport: GUARDED_PORT };
  const any = { source: plan.routed, destination: plan.otherVip, sport: 8, dport: 12345 };
  return [
    ...frames,
    ...quic(plan),
    tcp({ ...denied, flags: 'S' }),
    tcp({ ...any, flags: 'S' }),
    tcp({ ...any, flags: 'A' }),
    udp({ ...any, payload: bytesOf(9, 9) }),
  ];
}

function withDf(frame: Uint8Array): Uint8Array {
  return mended(patched(frame, 14 + 6, DONT_FRAGMENT, 0));
}

function quic(plan: Plan): Uint8Array[] {
  const cid = (n: number) => [0x48, 0x0a, 0, n, 7, 7, 7, 7];
  const rest = [9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9];
  return [1, 2, 3, 4].flatMap((n) => {
    const between = {
      source: plan.routed,
      destination: plan.vip,
      sport: 5000 + n,
      dport: QUIC_PORT,
    };
    const short = Uint8Array.of(0x43, ...cid(n), ...rest);
    const long = Uint8Array.of(0xe3, 0, 0, 0, 1, 8, ...cid(n), 0, ...rest);
    return [short, long].map((payload) => udp({ ...between, payload }));
  });
}

/** Echoes, ICMP errors of every kind that quote what a backend sent, fragments, options. */
function messages(plan: Plan): Uint8Array[] {
  const between = { source: plan.routed, destination: plan.vip };
  const frames: Uint8Array[] = [];
  for (const bytes of SIZES) {
    const payload = bytesOf(bytes, bytes);
    const { request, reply } = ECHO[plan.family];
    frames.push(
      icmp({ ...between, type: request, payload }),
      icmp({ ...between, type: reply, payload }),
    );
  }
  const types = plan.family === 'ipv4' ? [3, 4, 5, 11, 12, 13] : [1, 2, 3, 4, 100, 133, 135];
  quotes(plan).forEach((payload, n) => {
    const type = types[n % types.length] ?? 0;
    const code = n % 2 === 0 ? 0 : 4;
    frames.push(icmp({ ...between, source: plan.stranger, type, code, rest: 1400, payload }));
  });
  const ports = { ...between, sport: 2000, dport: 80 };
  for (const offset of [0, 1, 64]) {
    for (const more of [true, false]) {
      frames.push(udp({ ...ports, fragment: { offset, more }, payload: bytesOf(64, offset) }));
      frames.push(
        tcp({ ...ports, flags: 'A', fragment: { offset, more }, payload: bytesOf(60, 1) }),
      );
    }
  }
  const options = Uint8Array.of(7, 7, 4, 0, 0, 0, 0, 0);
  frames.push(tcp({ ...ports, flags: 'A', options }), udp({ ...ports, options }));
  frames.push(ip(between, PROTOCOL.sctp, bytesOf(30, 1)), ip(between, 59, bytesOf(3, 1)));
  return frames;
}

/** What a backend sent from the VIP, or an echo of the client's, whole and cut. */
function quotes(plan: Plan): Uint8Array[] {
  const frames = Array.from({ length: 8 * CLIENT_PORTS }, (_, n) => {
    const sport = [80, TUNNELLED_PORT, NAT_PORT, EMPTY_PORT][n % 4] ?? 0;
    const dport = 2000 + (n % CLIENT_PORTS);
    const answer = { source: plan.vip, destination: plan.routed, sport, dport };
    const payload = bytesOf(40, 3);
    return [tcp({ ...answer, flags: 'PA', payload }), udp({ ...answer, payload })];
  }).flat();
  return frames.flatMap((frame) => [packetOf(frame), packetOf(frame).slice(0, -48)]);
}

/** To the node itself, and to strangers: none of these is touched. */
function others(plan: Plan): Uint8Array[] {
  const { routed, node, vip, stranger, backend } = plan;
  const toNode = { source: vip, destination: node, sport: 80, dport: 61000 };
  const passing = { source: routed, destination: stranger, sport: 40000, dport: 80 };
  const answer = { source: backend(1), destination: routed, sport: 8080, dport: 2000 };
  return [
    tcp({ ...toNode, flags: 'SA' }),
    tcp({ ...toNode, dport: 179, flags: 'A' }),
    udp(toNode),
    tcp({ ...passing, flags: 'S' }),
    udp({ ...passing, payload: bytesOf(33, 1) }),
    icmp({ ...passing, type: ECHO[plan.family].request }),
    tcp({ ...answer, flags: 'SA' }),
    udp({ ...answer, payload: bytesOf(12, 1) }),
    ethernet({}, ARP, bytesOf(28, 1)),
    ethernet({}, plan.family === 'ipv4' ? 0x0800 : 0x86dd),
  ];
}

/** From backends of nat and full_nat, to clients and to the node, and errors about what was sent to them. */
function answers(plan: Plan): Uint8Array[] {
  const { nat, fullNat } = natBackends(plan);
  const { routed, node } = plan;
  const types = plan.family === 'ipv4' ? [3, 11, 12] : [1, 2, 3];
  return Array.from({ length: 2 * CLIENT_PORTS }, (_, n) => {
    const [source, destination] = n % 2 === 0 ? [nat, routed] : [fullNat, node];
    const client = n % 2 === 0 ? 2000 + (n >> 1) : 10240 + n * 1000;
    const ends = { source, destination, sport: NAT_BACKEND_PORT, dport: client };
    const asked = {
      source: destination,
      destination: source,
      sport: client,
      dport: NAT_BACKEND_PORT,
    };
    const payload = bytesOf(SIZES[n % SIZES.length] ?? 0, n);
    const quote = packetOf(
      n % 3 === 0 ? udp({ ...asked, payload }) : tcp({ ...asked, flags: 'A' }),
    );
    const type = types[n % types.length] ?? 0;
    return [
      tcp({ ...ends, flags: 'SA', payload }),
      tcp({ ...ends, flags: 'A', payload }),
      udp({ ...ends, payload }),
      icmp({ source: plan.stranger, destination, type, payload: quote }),
      ...fragmentsOf(udp({ ...ends, payload: bytesOf(101, n) }), [40, 32], n),
      ...longAnswers(plan, ends, n),
    ];
  }).flat();
}

/** Behind extension headers or options, and too big for the way to the client. */
function longAnswers(plan: Plan, ends: Parameters<typeof udp>[0], n: number): Uint8Array[] {
  const payload = bytesOf(BIG[n % BIG.length] ?? 0, n);
  const options = Uint8Array.of(7, 7, 4, 0, 0, 0, 0, 0);
  const more = plan.family === 'ipv4' ? { options } : { extensions: [0, 60] };
  const [first, later] = fragmentsOf(udp({ ...ends, payload: bytesOf(1700, n) }), [1600], n);
  const dontFragment = n % 3 !== 0;
  return [
    tcp({ ...ends, ...more, flags: 'A', payload: bytesOf(20, n) }),
    udp({ ...ends, ...more, payload: bytesOf(21, n) }),
    tcp({ ...ends, flags: 'A', payload, dontFragment }),
    udp({ ...ends, payload, dontFragment }),
    ...(first && later ? [first, later] : []),
  ];
}

/** Tunnels that end at the node, and at a stranger's: packets to VIPs and to others are in them. */
function inTunnels(): Uint8Array[] {
  return PLANS.flatMap((inner) => {
    const between = { source: inner.routed, destination: inner.vip, sport: 2000, dport: 80 };
    const contents = [
      tcp({ ...between, flags: 'A', payload: bytesOf(11, 2) }),
      udp({ ...between, payload: bytesOf(10, 2) }),
      tcp({ ...between, destination: inner.stranger, flags: 'S' }),
      tcp({ ...between, dport: TUNNELLED_PORT, flags: 'A' }),
      udp({ ...between, dport: LOCAL_PORT, payload: bytesOf(20, 2) }),
    ];
    return [IPV4, IPV6].flatMap((outer) =>
      TUNNEL_KINDS.flatMap((kind) =>
        contents.map((content, n) =>
          withTos(tunnelled(kind, { source: outer.client, destination: outer.node }, content), n),
        ),
      ),
    );
  });
}

function bytesOf(count: number, seed: number): Uint8Array {
  return Uint8Array.from({ length: count }, (_, i) => (i * 31 + seed * 17 + 5) & 0xff);
}
