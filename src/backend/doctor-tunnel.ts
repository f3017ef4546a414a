/** Does anything take the outer headers off? Pure. */
import { familyOf, type Family } from '../model/address.ts';
import { TUNNEL_PORTS, type TunnelMode } from '../model/forwarding.ts';
import {
  isDecappedByXdp,
  problem,
  vipFamilies,
  type Checked,
  type Finding,
} from './doctor-check.ts';
import { ownAddress, type LinkFact } from './doctor-facts.ts';
import { rewritesDestinationTo } from './doctor-firewall.ts';
import { isTunnel, type Role, type Wanted } from './doctor-wanted.ts';
import { ipCommand, quoted } from './doctor-words.ts';

const IPPROTO: Readonly<Record<Family, number>> = { ipv4: 4, ipv6: 41 };

interface Device {
  readonly kind: string;
  /** Files of the kernel modules that it needs. */
  readonly modules: readonly string[];
  /** Words of `ip link add` between the kind and the addresses. */
  readonly mode: string;
}

/** The kernel's own device for a mix of modes and families. */
function deviceFor(mode: TunnelMode, outer: Family, inner: Family): Device {
  if (mode === 'gre')
    return outer === 'ipv4'
      ? { kind: 'gre', modules: ['ip_gre'], mode: '' }
      : { kind: 'ip6gre', modules: ['ip6_gre'], mode: '' };
  const udp = mode === 'ipip' ? [] : [outer === 'ipv4' ? 'fou' : 'fou6'];
  if (outer === 'ipv6')
    return { kind: 'ip6tnl', modules: ['ip6_tunnel', ...udp], mode: 'mode any ' };
  return inner === 'ipv4'
    ? { kind: 'ipip', modules: ['ipip', ...udp], mode: '' }
    : { kind: 'sit', modules: ['sit', ...udp], mode: '' };
}

/** Tunnel devices that are up and take packets of the role with this inner family. */
export function decapDevices(checked: Checked, inner: Family): LinkFact[] {
  return candidates(checked, inner).filter(({ up }) => up);
}

function candidates({ facts, wanted, role, outer }: Checked, inner: Family): LinkFact[] {
  if (!isTunnel(role.mode) || outer === undefined) return [];
  const { kind } = deviceFor(role.mode, outer, inner);
  return facts.links.filter(({ kind: actual, tunnel }) => {
    if (actual !== kind || tunnel === undefined || tunnel.keyed) return false;
    if (tunnel.takes !== 'any' && tunnel.takes !== inner) return false;
    if (tunnel.local !== undefined && role.address !== undefined && tunnel.local !== role.address)
      return false;
    const { remote } = tunnel;
    return remote === undefined || wanted.nodes.every((node) => node === remote);
  });
}

export function checkDecapsulation(checked: Checked): Finding[] {
  const { role, link, outer } = checked;
  if (role.mode === 'dscp') return checkDscp(checked);
  if (!isTunnel(role.mode) || outer === undefined || isDecappedByXdp(checked)) return [];
  // Someone else's program, or one whose name only root may see: there is nothing to be said.
  if (link?.xdp.some(({ program }) => program === undefined) === true) return [];
  const mode = role.mode;
  const findings = vipFamilies(checked).map((inner) => checkFamily(checked, mode, outer, inner));
  return findings.flatMap((finding) => finding ?? []);
}

function checkFamily(
  checked: Checked,
  mode: TunnelMode,
  outer: Family,
  inner: Family,
): Finding | undefined {
  const { facts, role } = checked;
  const devices = candidates(checked, inner);
  const hasPort =
    mode === 'ipip' ||
    mode === 'gre' ||
    facts.fouPorts.some((fou) => takesPort(fou, role, outer, inner));
  if (hasPort && devices.some(({ up }) => up)) return undefined;
  const [idle] = devices;
  if (hasPort && idle !== undefined)
    return problem(
      'decapsulation_down',
      `${idle.name} would take off the ${mode} headers, but it is down`,
      `ip link set dev ${quoted(idle.name)} up`,
    );
  const version = (family: Family) => (family === 'ipv4' ? 'IPv4' : 'IPv6');
  const port = mode === 'gue' || mode === 'fou' ? ` on UDP port ${role.tunnelPort}` : '';
  return problem(
    'no_decapsulation',
    `nothing takes ${mode} headers${port} (${version(inner)} in ${version(outer)}) off: neither an XDP program of Skein on ${checked.link?.name ?? 'an interface'} nor a tunnel device`,
    decapCommand(checked, mode, outer, inner, hasPort),
  );
}

function takesPort(
  fou: { readonly port: number; readonly family: Family; readonly protocol: number | undefined },
  role: Role,
  outer: Family,
  inner: Family,
): boolean {
  const protocol = role.mode === 'gue' ? undefined : IPPROTO[inner];
  return fou.port === role.tunnelPort && fou.family === outer && fou.protocol === protocol;
}

function decapCommand(
  checked: Checked,
  mode: TunnelMode,
  outer: Family,
  inner: Family,
  hasPort: boolean,
): string {
  const { facts, wanted, role, link } = checked;
  const { kind, modules, mode: words } = deviceFor(mode, outer, inner);
  const local = role.address ?? (link && ownAddress(facts, link.name, outer));
  // The kernel's fou has one inner protocol for each port.
  const mixed = mode === 'fou' && vipFamilies(checked).length > 1;
  const isAble = modules.every((name) => facts.tunnelModules.includes(name));
  if (!isAble || mixed || local === undefined) return skeinCommand(wanted, role, link);
  const name = `skein-${kind}`;
  const device = [
    `ip link add name ${name} type ${kind} ${words}local ${local} remote any`,
    `ip link set dev ${name} up`,
  ];
  if (hasPort) return device.join(' && ');
  const kindOfPort = mode === 'gue' ? 'gue' : `ipproto ${IPPROTO[inner]}`;
  const open = `${ipCommand(outer)} fou add port ${role.tunnelPort} ${kindOfPort}`;
  return decapDevices(checked, inner).length > 0 ? open : [open, ...device].join(' && ');
}

/** How Skein itself would do the server's part. */
function skeinCommand(wanted: Wanted, role: Role, link: LinkFact | undefined): string {
  if (wanted.config !== undefined) return `skein backend --config ${quoted(wanted.config)}`;
  const vips = role.vips.join(' ');
  const words =
    role.mode === 'dscp'
      ? ['--dscp', ...role.vips.map((vip) => `${role.dscp ?? '<dscp>'}=${vip}`)]
      : [`--mode ${role.mode} --vip ${vips}`];
  if (role.address !== undefined) words.push(`--address ${role.address}`);
  if (link !== undefined) words.push(`--interface ${quoted(link.name)}`);
  if ((role.mode === 'gue' || role.mode === 'fou') && role.tunnelPort !== TUNNEL_PORTS[role.mode])
    words.push(`--${role.mode}-port ${role.tunnelPort}`);
  return `skein backend ${words.join(' ')}`;
}

/** The destination is the server's own address: something must put the VIP back by the DSCP. */
function checkDscp({ facts, wanted, role, link }: Checked): Finding[] {
  const rewrites = link?.xdp.some(({ program }) => program?.startsWith('skein') ?? true) ?? false;
  const { firewall } = facts;
  if (rewrites || firewall === undefined) return [];
  const lost = role.vips.filter((vip) => !rewritesDestinationTo(firewall, vip));
  const [first] = lost;
  if (first === undefined) return [];
  const family = familyOf(first) === 'ipv4' ? 'IPv4' : 'IPv6';
  return [
    problem(
      'no_decapsulation',
      `nothing puts the VIP ${first} back into ${family} packets by their DSCP`,
      skeinCommand(wanted, role, link),
    ),
  ];
}
