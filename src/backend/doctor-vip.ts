/** Is each VIP where it must be, and does the server keep quiet about it? Pure. */
import {
  addressBytes,
  familyOf,
  formatPrefix,
  hostPrefix,
  prefixMask,
  type Address,
} from '../model/address.ts';
import { problem, type Checked, type Finding } from './doctor-check.ts';
import {
  effectiveIpv4,
  linkOf,
  type AddressFact,
  type LinkFact,
  type ServerState,
} from './doctor-facts.ts';
import { holdsVip, isTunnel } from './doctor-wanted.ts';
import { addToLoopback, quoted, removeAddress, setSysctl, sysctlSetting } from './doctor-words.ts';

export function checkVips(checked: Checked): Finding[] {
  return checked.role.vips.flatMap((vip) => checkVip(checked, vip));
}

function checkVip(checked: Checked, vip: Address): Finding[] {
  const { facts, role } = checked;
  const held = facts.addresses.filter(({ address }) => address === vip);
  const exposed = held.filter((entry) => speaks(linkOf(facts, entry.interface)));
  const quiet = held.filter((entry) => !exposed.includes(entry));
  if (!holdsVip(role.mode)) return exposed.map((entry) => wronglyPlaced(entry, ''));

  if (familyOf(vip) === 'ipv6' && facts.sysctls['ipv6/conf/lo/disable_ipv6'] === 1)
    return [ipv6Disabled(vip, quiet.length > 0)];
  if (held.length === 0) return [missing(vip)];
  const add = quiet.length === 0 ? ` && ${addToLoopback(vip)}` : '';
  return [
    // One command that adds is enough for an address that several interfaces have.
    ...exposed.map((entry, index) => wronglyPlaced(entry, index === 0 ? add : '')),
    ...quiet.flatMap((entry) => [...prefixOf(entry), ...readiness(entry)]),
  ];
}

/** Whether others can ask the interface who has an address. */
function speaks(link: LinkFact | undefined): boolean {
  return link !== undefined && !link.loopback && link.arp;
}

function missing(vip: Address): Finding {
  return problem(
    'vip_missing',
    `no interface has the VIP ${vip}, so the kernel discards what is sent to it`,
    addToLoopback(vip),
  );
}

function wronglyPlaced({ address, prefixLength, interface: name }: AddressFact, add: string) {
  return problem(
    'vip_wrong_interface',
    `the VIP ${address} is on ${name}, which tells its neighbours that this server is the VIP`,
    `${removeAddress(address, prefixLength, name)}${add}`,
  );
}

function prefixOf({ address, prefixLength, interface: name }: AddressFact): Finding[] {
  const host = hostPrefix(address);
  if (prefixLength === host.length) return [];
  return [
    problem(
      'vip_prefix',
      `the VIP ${address} is on ${name} as a /${prefixLength}, so what this server sends to the rest of that prefix goes nowhere`,
      `${removeAddress(address, prefixLength, name)} && ip addr add ${formatPrefix(host)} dev ${quoted(name)}`,
    ),
  ];
}

function readiness({ address, tentative, dadFailed, interface: name }: AddressFact): Finding[] {
  if (!tentative && !dadFailed) return [];
  const state = dadFailed ? 'failed duplicate address detection' : 'is still tentative';
  return [
    problem(
      'vip_not_ready',
      `the VIP ${address} on ${name} ${state}, so the kernel does not use it`,
      `ip addr del ${address}/128 dev ${quoted(name)} && ip addr add ${address}/128 dev ${quoted(name)} nodad`,
    ),
  ];
}

function ipv6Disabled(vip: Address, isThere: boolean): Finding {
  const enable = setSysctl('ipv6/conf/lo/disable_ipv6', 0);
  return problem(
    'ipv6_disabled',
    `IPv6 is disabled on lo, where the VIP ${vip} belongs`,
    isThere ? enable : `${enable} && ${addToLoopback(vip)}`,
  );
}

/** Packets that arrive on an interface without IPv6 are discarded, whatever lo says. */
export function checkIpv6Arrival({ facts, role, link, outer }: Checked): Finding[] {
  if (link === undefined || facts.sysctls[`ipv6/conf/${link.name}/disable_ipv6`] !== 1) return [];
  const arrives = isTunnel(role.mode) || !holdsVip(role.mode) ? [] : role.vips.map(familyOf);
  if (outer !== 'ipv6' && !arrives.includes('ipv6')) return [];
  return [
    problem(
      'ipv6_disabled',
      `IPv6 is disabled on ${link.name}, where it is to arrive`,
      setSysctl(`ipv6/conf/${link.name}/disable_ipv6`, 0),
    ),
  ];
}

/**
 * The values of arp_ignore that keep an address of lo unanswered; 3 does so for addresses of host
 * scope only, and what is between 3 and 8 answers everything.
 */
const QUIET_ARP_IGNORE: readonly number[] = [1, 2, 8];
const HOST_SCOPE_ARP_IGNORE = 3;
const BEST_ARP_ANNOUNCE = 2;

/** IPv6 needs none of this: neighbour discovery answers for addresses of the asked interface only. */
export function checkArp(checked: Checked): Finding[] {
  const { facts, link } = checked;
  if (link === undefined || !speaks(link)) return [];
  const vips = vipsAskedFor(checked, link);
  const [first] = vips;
  if (first === undefined) return [];
  const ignore = effectiveIpv4(facts, 'arp_ignore', link.name);
  const announce = effectiveIpv4(facts, 'arp_announce', link.name);
  const isQuiet =
    QUIET_ARP_IGNORE.includes(ignore) ||
    (ignore === HOST_SCOPE_ARP_IGNORE && vips.every((vip) => hasHostScope(facts, vip)));
  const settings: string[] = [];
  if (!isQuiet) {
    // The larger of the two counts, so a larger one for all interfaces has to come down too.
    if (ignore > 1) settings.push(sysctlSetting('ipv4/conf/all/arp_ignore', 1));
    settings.push(sysctlSetting(`ipv4/conf/${link.name}/arp_ignore`, 1));
  }
  if (announce < BEST_ARP_ANNOUNCE)
    settings.push(sysctlSetting(`ipv4/conf/${link.name}/arp_announce`, BEST_ARP_ANNOUNCE));
  if (settings.length === 0) return [];
  const others = vips.length > 1 ? ` and ${vips.length - 1} more` : '';
  return [
    problem(
      'arp_answers_vip',
      `${link.name} ${isQuiet ? 'asks as' : 'answers ARP for'} the VIP ${first}${others} (arp_ignore ${ignore}, arp_announce ${announce}), so neighbours send here what is for the nodes`,
      `sysctl -w ${settings.join(' ')}`,
    ),
  ];
}

/**
 * The VIPs whose owner someone on the link may look for by ARP: with l2dsr nodes and clients may
 * share it, otherwise those that seem to be on it.
 */
function vipsAskedFor({ facts, role }: Checked, link: LinkFact): Address[] {
  if (!holdsVip(role.mode)) return [];
  const onLink = facts.addresses.filter((entry) => entry.interface === link.name);
  return role.vips.filter(
    (vip) =>
      familyOf(vip) === 'ipv4' &&
      (role.mode === 'l2dsr' || onLink.some((entry) => covers(entry, vip))),
  );
}

function covers({ address, prefixLength }: AddressFact, other: Address): boolean {
  if (familyOf(address) !== familyOf(other)) return false;
  const mask = prefixMask({ address, length: prefixLength });
  const [one, two] = [addressBytes(address), addressBytes(other)];
  return mask.every((bits, index) => (((one[index] ?? 0) ^ (two[index] ?? 0)) & bits) === 0);
}

/** A VIP that is missing has it not: what puts it on leaves the scope global. */
function hasHostScope(facts: ServerState, vip: Address): boolean {
  const held = facts.addresses.filter(({ address }) => address === vip);
  return held.length > 0 && held.every(({ hostScope }) => hostScope);
}
