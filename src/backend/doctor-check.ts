/** What a check is given and what it finds; every check of the doctor is `(Checked) => Finding[]`. */
import { familyOf, type Address, type Family } from '../model/address.ts';
import {
  hasSkeinXdp,
  linkOf,
  lookupOf,
  ownAddress,
  type LinkFact,
  type RouteLookup,
  type ServerFacts,
} from './doctor-facts.ts';
import { isTunnel, replyQuestion, type Role, type Wanted } from './doctor-wanted.ts';

export type FindingCode =
  | 'vip_missing'
  | 'vip_wrong_interface'
  | 'vip_prefix'
  | 'vip_not_ready'
  | 'ipv6_disabled'
  | 'arp_answers_vip'
  | 'rp_filter'
  | 'mtu_too_small'
  | 'mss_too_large'
  | 'no_decapsulation'
  | 'decapsulation_down'
  | 'not_listening'
  | 'udp_wildcard'
  | 'no_route_to_clients'
  | 'no_route_to_node'
  | 'node_not_on_link'
  | 'node_unreachable'
  | 'replies_bypass_node'
  | 'firewall_drops'
  | 'xdp_generic'
  | 'interface_missing'
  | 'interface_down';

/** One thing that is wrong. Advice: it works, but not as well as it could. */
export interface Finding {
  readonly code: FindingCode;
  readonly severity: 'problem' | 'advice';
  /** One line. */
  readonly sentence: string;
  /** One line that mends it, for a shell; or what to change elsewhere, where no command here can. */
  readonly command: string;
}

/** One role of the server, with what most checks want to know about it. */
export interface Checked {
  readonly facts: ServerFacts;
  readonly wanted: Wanted;
  readonly role: Role;
  /** Where packets from the nodes arrive; undefined: it cannot be told. */
  readonly link: LinkFact | undefined;
  /** Family of the outer header, or of the packets themselves; undefined: it cannot be told. */
  readonly outer: Family | undefined;
}

export function problem(code: FindingCode, sentence: string, command: string): Finding {
  return { code, severity: 'problem', sentence, command };
}

export function advice(code: FindingCode, sentence: string, command: string): Finding {
  return { code, severity: 'advice', sentence, command };
}

export function checkedRole(facts: ServerFacts, wanted: Wanted, role: Role): Checked {
  const name = arrivalName(facts, wanted, role);
  const link = name === undefined ? undefined : linkOf(facts, name);
  return { facts, wanted, role, link, outer: outerFamily(facts, wanted, role, link) };
}

function arrivalName(facts: ServerFacts, wanted: Wanted, role: Role): string | undefined {
  if (wanted.interface !== undefined) return wanted.interface;
  const holder = facts.addresses.find(
    (entry) => entry.address === role.address && linkOf(facts, entry.interface)?.loopback !== true,
  );
  if (holder !== undefined) return holder.interface;
  const answers = facts.lookups.flatMap(({ answer }) => answer ?? []);
  // Nodes are asked about first, and lead here better than clients do.
  return answers.find((answer) => linkOf(facts, answer.interface)?.loopback === false)?.interface;
}

function outerFamily(
  facts: ServerFacts,
  wanted: Wanted,
  role: Role,
  link: LinkFact | undefined,
): Family | undefined {
  const told = role.address ?? wanted.nodes[0];
  if (told !== undefined) return familyOf(told);
  if (link === undefined) return undefined;
  return (['ipv4', 'ipv6'] as const).find(
    (family) => ownAddress(facts, link.name, family) !== undefined,
  );
}

/** The route that replies from this address take. */
export function replyLookup({ facts, wanted }: Checked, source: Address): RouteLookup | undefined {
  const { to, from } = replyQuestion(facts, wanted, source);
  return lookupOf(facts, to, from);
}

/** Families of the VIPs of the role. */
export function vipFamilies({ role }: Checked): Family[] {
  return [...new Set(role.vips.map(familyOf))];
}

/** Whether packets are bare by the time that the kernel's own stack sees them. */
export function isDecappedByXdp({ role, link }: Checked): boolean {
  return isTunnel(role.mode) && link !== undefined && hasSkeinXdp(link);
}
