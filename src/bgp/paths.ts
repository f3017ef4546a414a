/** Routes as GoBGP paths, and the difference between held and wanted ones. Pure. */
import { familyOf, formatPrefix, parseAddress } from '../model/address.ts';
import type { Route } from '../model/bgp.ts';
import { parseCommunity, parseLargeCommunity } from './communities.ts';
import {
  IPV4_UNICAST,
  IPV6_UNICAST,
  type AttributeMessage,
  type LargeCommunityMessage,
  type PathMessage,
} from './messages.ts';

const ORIGIN_IGP = 0;

export interface RoutePlan {
  /** Prefixes of the wanted routes that are held as wanted. */
  readonly kept: readonly string[];
  readonly withdraw: readonly PathMessage[];
  readonly announce: readonly PathMessage[];
  /** Wanted routes that cannot be said in BGP, one sentence each. */
  readonly rejected: readonly string[];
}

/**
 * A changed route is announced and not withdrawn: the new path replaces the old one, and peers see
 * one update. A wanted route that is held already is left alone, whoever injected it.
 */
export function planRoutes(held: readonly PathMessage[], wanted: readonly Route[]): RoutePlan {
  const wantedPrefixes = new Set(wanted.map((route) => formatPrefix(route.prefix)));
  const ours = new Map<string, string>();
  const withdraw: PathMessage[] = [];
  for (const path of held) {
    const prefix = prefixOf(path);
    if (path.identifier === 0 && wantedPrefixes.has(prefix)) ours.set(prefix, pathKey(path));
    else withdraw.push(path);
  }
  const kept: string[] = [];
  const announce: PathMessage[] = [];
  const rejected: string[] = [];
  for (const route of wanted) {
    const path = pathMessage(route);
    if (typeof path === 'string') rejected.push(path);
    else if (ours.get(prefixOf(path)) === pathKey(path)) kept.push(prefixOf(path));
    else announce.push(path);
  }
  return { kept, withdraw, announce, rejected };
}

/** The path that announces a route, or a sentence that says why there is none. */
export function pathMessage(route: Route): PathMessage | string {
  const family = familyOf(route.prefix.address) === 'ipv4' ? IPV4_UNICAST : IPV6_UNICAST;
  const nlri = { prefix: { prefix: route.prefix.address, prefixLen: route.prefix.length } };
  const plain = family === IPV4_UNICAST && familyOf(route.nextHop) === 'ipv4';
  // RFC 4760 for IPv6; RFC 8950 for IPv4 behind an IPv6 next hop.
  const nextHop: AttributeMessage = plain
    ? { nextHop: { nextHop: route.nextHop } }
    : { mpReach: { family, nextHops: [route.nextHop], nlris: [nlri] } };
  const pattrs: AttributeMessage[] = [{ origin: { origin: ORIGIN_IGP } }, nextHop];
  if (route.med !== undefined) pattrs.push({ multiExitDisc: { med: route.med } });

  const communities = parseAll(route.communities, parseCommunity);
  const large = parseAll(route.largeCommunities, parseLargeCommunity);
  const wrong = communities.wrong ?? large.wrong;
  if (wrong !== undefined) return `${formatPrefix(route.prefix)}: not a community: ${wrong}`;
  if (communities.values.length > 0)
    pattrs.push({ communities: { communities: communities.values } });
  if (large.values.length > 0) pattrs.push({ largeCommunities: { communities: large.values } });
  return { nlri, pattrs, family, identifier: 0 };
}

/** `192.0.2.1/32`; empty for a path that is no plain prefix. */
export function prefixOf(path: PathMessage): string {
  const prefix = path.nlri?.prefix;
  return prefix === undefined ? '' : `${canonical(prefix.prefix)}/${prefix.prefixLen}`;
}

/**
 * Equal for two paths that say the same. What a daemon gives back may be in another order, and an
 * attribute that we never set makes it different from anything of ours.
 */
export function pathKey(path: PathMessage): string {
  const said = path.pattrs.map((attribute) => {
    if (attribute.origin) return `origin ${attribute.origin.origin}`;
    if (attribute.nextHop) return `next hop ${canonical(attribute.nextHop.nextHop)}`;
    if (attribute.mpReach) return `next hop ${attribute.mpReach.nextHops.map(canonical).join()}`;
    if (attribute.multiExitDisc) return `med ${attribute.multiExitDisc.med}`;
    if (attribute.communities) return sortedText('communities', attribute.communities.communities);
    if (attribute.largeCommunities)
      return sortedText('large', attribute.largeCommunities.communities.map(largeText));
    return 'other';
  });
  return [prefixOf(path), ...said.sort()].join('; ');
}

interface Parsed<Value> {
  readonly values: readonly Value[];
  /** The first text that is not what it should be. */
  readonly wrong: string | undefined;
}

/** Said twice is said once: a duplicate community has no meaning and would never compare equal. */
function parseAll<Value>(
  texts: readonly string[],
  parse: (text: string) => Value | undefined,
): Parsed<Value> {
  const values = new Map<string, Value>();
  for (const text of texts) {
    const value = parse(text);
    if (value === undefined) return { values: [], wrong: text };
    values.set(JSON.stringify(value), value);
  }
  return { values: [...values.values()], wrong: undefined };
}

function sortedText(name: string, values: readonly (number | string)[]): string {
  return `${name} ${values.map(String).sort().join()}`;
}

function largeText({ globalAdmin, localData1, localData2 }: LargeCommunityMessage): string {
  return `${globalAdmin}:${localData1}:${localData2}`;
}

function canonical(text: string): string {
  return parseAddress(text) ?? text;
}
