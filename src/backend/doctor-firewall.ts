/**
 * What the rules of nft do to a packet that must get in, as far as their JSON (libnftables-json(5))
 * can be understood. Pure. Where a rule is not understood the answer is "not known", never a guess.
 */
import { familyOf, type Address, type Family } from '../model/address.ts';
import { fieldsOf, listOf, numberOf, textOf, type Fields } from './doctor-json.ts';

export interface Chain {
  readonly family: string;
  readonly table: string;
  readonly name: string;
  /** Undefined: reached by jumps only. */
  readonly hook: string | undefined;
  readonly dropsByDefault: boolean;
  readonly device: string | undefined;
  /** Expressions, in the order of the rules. */
  readonly rules: readonly (readonly Fields[])[];
}

export interface Firewall {
  readonly chains: readonly Chain[];
}

/** A packet that starts a flow, as the rules see it. */
export interface PacketFact {
  readonly family: Family;
  /** IP protocol number. */
  readonly protocol: number;
  /** Undefined: not known; so with the others. */
  readonly source: Address | undefined;
  readonly destination: Address | undefined;
  readonly port: number | undefined;
  readonly interface: string | undefined;
}

/** Jumps deeper than the kernel allows are not followed. */
const JUMPS_MAX = 16;
/** Rules looked at for one packet; with more the answer is "not known". */
const STEPS_MAX = 20_000;

const PROTOCOLS: Readonly<Record<string, number>> = {
  icmp: 1,
  ipencap: 4,
  ipv4: 4,
  tcp: 6,
  udp: 17,
  ipv6: 41,
  gre: 47,
  'ipv6-icmp': 58,
  icmpv6: 58,
};

type Match = 'yes' | 'no' | 'maybe';
type Outcome = 'accept' | 'drop' | 'through' | 'unknown';

interface Walk {
  readonly firewall: Firewall;
  readonly packet: PacketFact;
  steps: number;
}

/** The base chain that surely drops the packet on its way in; undefined when none surely does. */
export function droppingChain(firewall: Firewall, packet: PacketFact): Chain | undefined {
  return firewall.chains.find((chain) => {
    if (!seesArrivals(chain, packet)) return false;
    const walk = { firewall, packet, steps: 0 };
    const outcome = walkChain(walk, chain, 0);
    return outcome === 'drop' || (outcome === 'through' && chain.dropsByDefault);
  });
}

/** Whether some rule may turn the packet towards another address or port (dnat, redirect). */
export function mayBeTranslated(firewall: Firewall, packet: PacketFact): boolean {
  return rulesOf(firewall).some(
    (rule) => rule.some((part) => 'dnat' in part || 'redirect' in part) && fits(rule, packet),
  );
}

/** Whether some rule rewrites the destination to this address without tracking flows. */
export function rewritesDestinationTo(firewall: Firewall, address: Address): boolean {
  return rulesOf(firewall).some((rule) =>
    rule.some((part) => {
      const { key, value } = fieldsOf(part['mangle']);
      return fieldsOf(fieldsOf(key)['payload'])['field'] === 'daddr' && value === address;
    }),
  );
}

/** The largest MSS that rules leave in TCP options of packets; undefined: no rule touches it. */
export function clampedMss(firewall: Firewall, packet: PacketFact): number | undefined {
  const sizes = rulesOf(firewall).flatMap((rule) => {
    if (!fits(rule, packet)) return [];
    return rule.flatMap((part) => {
      const { key, value } = fieldsOf(part['mangle']);
      const option = fieldsOf(fieldsOf(key)['tcp option'])['name'];
      return option === 'maxseg' ? (numberOf(value) ?? []) : [];
    });
  });
  return sizes.length === 0 ? undefined : Math.min(...sizes);
}

function rulesOf(firewall: Firewall): (readonly Fields[])[] {
  return firewall.chains.flatMap(({ rules }) => rules);
}

function fits(rule: readonly Fields[], packet: PacketFact): boolean {
  return matchAll(rule, packet) !== 'no';
}

function seesArrivals(chain: Chain, packet: PacketFact): boolean {
  if (chain.family === 'netdev')
    return chain.hook === 'ingress' && chain.device === packet.interface;
  if (chain.hook !== 'prerouting' && chain.hook !== 'input') return false;
  return chain.family === 'inet' || chain.family === (packet.family === 'ipv4' ? 'ip' : 'ip6');
}

function walkChain(walk: Walk, chain: Chain, depth: number): Outcome {
  if (depth > JUMPS_MAX) return 'unknown';
  for (const rule of chain.rules) {
    if (++walk.steps > STEPS_MAX) return 'unknown';
    const match = matchAll(rule, walk.packet);
    if (match === 'no') continue;
    const outcome = rule.map((part) => outcomeOf(walk, chain, part, depth)).find(Boolean);
    if (outcome === undefined || outcome === 'continue') continue;
    if (outcome === 'return') {
      if (match === 'maybe') return 'unknown';
      return 'through';
    }
    // A drop that is not sure to apply leaves it to the next rules; anything else settles it.
    if (match === 'maybe' && outcome === 'drop') continue;
    return match === 'maybe' ? 'unknown' : outcome;
  }
  return 'through';
}

/** Undefined: the expression ends nothing. */
function outcomeOf(
  walk: Walk,
  chain: Chain,
  part: Fields,
  depth: number,
): Outcome | 'return' | 'continue' | undefined {
  if ('accept' in part) return 'accept';
  if ('drop' in part || 'reject' in part) return 'drop';
  if ('return' in part) return 'return';
  const target = textOf(fieldsOf(part['jump'] ?? part['goto'])['target']);
  if (target !== undefined) {
    const next = walk.firewall.chains.find(
      (other) =>
        other.name === target && other.table === chain.table && other.family === chain.family,
    );
    const outcome = next === undefined ? 'unknown' : walkChain(walk, next, depth + 1);
    if (outcome !== 'through') return outcome;
    return 'goto' in part ? 'return' : 'continue';
  }
  if ('vmap' in part) return sparesNewFlows(fieldsOf(part['vmap'])) ? undefined : 'unknown';
  return 'queue' in part ? 'unknown' : undefined;
}

/** The usual map of connection tracking's states, which says nothing of new flows. */
function sparesNewFlows({ key, data }: Fields): boolean {
  if (fieldsOf(fieldsOf(key)['ct'])['key'] !== 'state') return false;
  const entries = fieldsOf(data)['set'];
  return Array.isArray(entries) && !entries.some((entry) => listOf(entry)[0] === 'new');
}

/** Expressions that do not choose among packets, or whose outcome says whether they do. */
const WITHOUT_MATCH = new Set([
  ...['counter', 'log', 'mangle', 'notrack'],
  ...['accept', 'drop', 'reject', 'return', 'jump', 'goto', 'vmap', 'dnat', 'redirect'],
]);

function matchAll(rule: readonly Fields[], packet: PacketFact): Match {
  const matches = rule.map((part): Match => {
    if ('match' in part) return matchOne(fieldsOf(part['match']), packet);
    return Object.keys(part).every((key) => WITHOUT_MATCH.has(key)) ? 'yes' : 'maybe';
  });
  if (matches.includes('no')) return 'no';
  return matches.includes('maybe') ? 'maybe' : 'yes';
}

function matchOne(match: Fields, packet: PacketFact): Match {
  const { op, right } = match;
  const left = fieldsOf(match['left']);
  const payload = fieldsOf(left['payload']);
  const protocol = textOf(payload['protocol']);
  if (protocol !== undefined && !hasHeader(protocol, packet)) return 'no';
  if (fieldsOf(left['ct'])['key'] === 'state') return matchesNewFlows(op, right);
  const value = valueOf(left, payload, packet);
  if (value === undefined || (op !== '==' && op !== '!=')) return 'maybe';
  const equal = contains(right, value);
  if (equal === 'maybe') return 'maybe';
  return (equal === 'yes') === (op === '==') ? 'yes' : 'no';
}

function matchesNewFlows(op: unknown, right: unknown): Match {
  if (op !== 'in' && op !== '==') return 'maybe';
  const states = typeof right === 'string' ? [right] : (fieldsOf(right)['set'] ?? right);
  return listOf(states).includes('new') ? 'yes' : 'no';
}

function hasHeader(protocol: string, packet: PacketFact): boolean {
  if (protocol === 'ip') return packet.family === 'ipv4';
  if (protocol === 'ip6') return packet.family === 'ipv6';
  const number = PROTOCOLS[protocol];
  return number === undefined || number === packet.protocol;
}

/** What the packet has in the place that a match looks at. */
function valueOf(left: Fields, payload: Fields, packet: PacketFact): string | number | undefined {
  const meta = fieldsOf(left['meta'])['key'];
  if (meta === 'l4proto') return packet.protocol;
  if (meta === 'nfproto') return packet.family;
  if (meta === 'iifname' || meta === 'iif') return packet.interface;
  switch (payload['field']) {
    case 'protocol':
    case 'nexthdr':
      return packet.protocol;
    case 'dport':
      return packet.port;
    case 'saddr':
      return packet.source;
    case 'daddr':
      return packet.destination;
    default:
      return undefined;
  }
}

function contains(right: unknown, value: string | number): Match {
  if (typeof right === 'number') return right === value ? 'yes' : 'no';
  if (typeof right === 'string') {
    if (right.startsWith('@') || right.endsWith('*')) return 'maybe';
    const wanted = typeof value === 'number' ? (PROTOCOLS[right] ?? right) : right;
    return wanted === value ? 'yes' : 'no';
  }
  const { set, range } = fieldsOf(right);
  if (Array.isArray(set)) {
    const matches = set.map((entry) => contains(entry, value));
    if (matches.includes('yes')) return 'yes';
    return matches.includes('maybe') ? 'maybe' : 'no';
  }
  const [from, to] = listOf(range).map(numberOf);
  if (from === undefined || to === undefined || typeof value !== 'number') return 'maybe';
  return value >= from && value <= to ? 'yes' : 'no';
}

/** From `nft -j list ruleset`. */
export function parseFirewall(ruleset: unknown): Firewall {
  const entries = listOf(fieldsOf(ruleset)['nftables']).map(fieldsOf);
  const rules = new Map<string, Fields[][]>();
  for (const entry of entries) {
    if (!('rule' in entry)) continue;
    const rule = fieldsOf(entry['rule']);
    const key = keyOf(rule['family'], rule['table'], rule['chain']);
    const parts = listOf(rule['expr']).map(fieldsOf);
    const known = rules.get(key);
    if (known === undefined) rules.set(key, [parts]);
    else known.push(parts);
  }
  const chains = entries.flatMap((entry): Chain[] => {
    if (!('chain' in entry)) return [];
    const chain = fieldsOf(entry['chain']);
    const [family, table, name] = [chain['family'], chain['table'], chain['name']].map(textOf);
    if (family === undefined || table === undefined || name === undefined) return [];
    return [
      {
        ...{ family, table, name },
        hook: textOf(chain['hook']),
        dropsByDefault: chain['policy'] === 'drop',
        device: textOf(chain['dev']),
        rules: rules.get(keyOf(family, table, name)) ?? [],
      },
    ];
  });
  return { chains };
}

function keyOf(...parts: readonly unknown[]): string {
  return JSON.stringify(parts);
}

/** The first packet of a flow to this address. */
export function packetTo(
  destination: Address,
  protocol: number,
  port: number | undefined,
  interfaceName: string | undefined,
): PacketFact {
  const family = familyOf(destination);
  return { family, protocol, source: undefined, destination, port, interface: interfaceName };
}
