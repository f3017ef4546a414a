/** The modes under test: for each its document, its way through the families, and what fits. */
import type { Family } from '../../src/model/address.ts';
import { isNat, isTunnel, type ForwardingMode } from '../../src/model/forwarding.ts';
import type { Document } from '../config.ts';
import { HTTP_PORT, UDP_ECHO_PORT, type Topology, type VipPair } from '../topology.ts';
import { FAMILIES } from './support.ts';

/** Inside: the family of the VIP. Outside: that of the backend's own address. */
export interface Mix {
  readonly inner: Family;
  readonly outer: Family;
}

const MTU_BYTES = 1500;
const IP_BYTES = { ipv4: 20, ipv6: 40 } as const;
const TCP_BYTES = 20;
const UDP_BYTES = 8;
/** Between the outer IP header and the packet inside. */
const BETWEEN_BYTES = { ipip: 0, gre: 4, gue: 12, fou: 8 } as const;

/** That of the recipe for dscp, by which b4 is set up. */
const DSCP = 10;

const CHECK_INTERVAL_MS = 200;
const CHECKS = {
  web: { type: 'http', path: '/healthz' },
  udp: { type: 'udp', send: 'check', expect_contains: 'check' },
} as const;

/** On the backend. */
export const PORTS = { web: HTTP_PORT, udp: UDP_ECHO_PORT } as const;
type What = keyof typeof PORTS;

/** On the VIP: where ports are translated, another one. */
export function portOf(mode: ForwardingMode, what: What): number {
  return PORTS[what] + (isNat(mode) ? 8000 : 0);
}

/** What puts one address in the place of another cannot change its family. */
export function mixesOf(mode: ForwardingMode): readonly Mix[] {
  const all = FAMILIES.flatMap((outer) => FAMILIES.map((inner) => ({ inner, outer })));
  return mode === 'dscp' || isNat(mode) ? all.filter(({ inner, outer }) => inner === outer) : all;
}

/** The first pair of VIPs is that of backends by IPv4, the second one of those by IPv6. */
export function vipFor({ vips }: Topology, { inner, outer }: Mix): VipPair[Family] {
  const pair = vips[FAMILIES.indexOf(outer)];
  if (pair === undefined) throw new Error('the testbed has too few VIPs');
  return pair[inner];
}

/** The whole way of a mode: each mix has its VIP, with a service by TCP and one by UDP. */
export function modeDocument(shape: Topology, mode: ForwardingMode, base: Document): Document {
  const ways = FAMILIES.flatMap((outer) =>
    (['web', 'udp'] as const).map((what) => {
      const name = `${what}-over-${outer}`;
      const mixes = mixesOf(mode).filter((mix) => mix.outer === outer);
      return {
        group: [name, backendsOver(shape, mode, outer, what)] as const,
        service: {
          name,
          vip: mixes.map((mix) => vipFor(shape, mix)),
          protocol: what === 'udp' ? 'udp' : 'tcp',
          port: portOf(mode, what),
          backends: name,
          // A check of a new name starts anew, so that its passes are passes by this mode.
          checks: [{ ...CHECKS[what], name: mode, interval_ms: CHECK_INTERVAL_MS }],
        },
      };
    }),
  );
  return {
    ...base,
    backends: Object.fromEntries(ways.map(({ group }) => group)),
    services: ways.map(({ service }) => service),
  };
}

function backendsOver(
  shape: Topology,
  mode: ForwardingMode,
  outer: Family,
  what: What,
): readonly Document[] {
  return shape.backends.map((site) => ({
    name: site.name,
    address: site[outer],
    mode,
    ...(mode === 'dscp' ? { dscp: DSCP } : {}),
    ...(isNat(mode) ? { port: PORTS[what] } : {}),
  }));
}

/** The largest datagram for the echo that fits through the way to the backend in one piece. */
export function datagramBytesMax(mode: ForwardingMode, mix: Mix): number {
  return MTU_BYTES - overheadBytes(mode, mix.outer) - IP_BYTES[mix.inner] - UDP_BYTES;
}

/** The largest TCP segment that does. */
export function segmentBytesMax(mode: ForwardingMode, mix: Mix): number {
  return MTU_BYTES - overheadBytes(mode, mix.outer) - IP_BYTES[mix.inner] - TCP_BYTES;
}

function overheadBytes(mode: ForwardingMode, outer: Family): number {
  return isTunnel(mode) ? IP_BYTES[outer] + BETWEEN_BYTES[mode] : 0;
}
