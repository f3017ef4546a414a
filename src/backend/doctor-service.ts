/** Is the service there, and may packets reach it? Pure. */
import { familyOf, formatEndpoint, type Address, type Family } from '../model/address.ts';
import type { TunnelMode } from '../model/forwarding.ts';
import { advice, isDecappedByXdp, problem, type Checked, type Finding } from './doctor-check.ts';
import type { ListenerFact } from './doctor-facts.ts';
import { droppingChain, mayBeTranslated, packetTo, type PacketFact } from './doctor-firewall.ts';
import { holdsVip, isTunnel, type WantedService } from './doctor-wanted.ts';
import { nftAddress, quoted } from './doctor-words.ts';

const IPPROTO = { tcp: 6, udp: 17, gre: 47 } as const;

/** Where a service is to be found on this server; undefined: its address is not known. */
function targetOf({ role }: Checked, service: WantedService): Address | undefined {
  return holdsVip(role.mode) ? service.vip : role.address;
}

export function checkListeners(checked: Checked): Finding[] {
  const { listeners } = checked.facts;
  if (listeners === undefined) return [];
  const found = checked.role.services.flatMap((service) => {
    const target = targetOf(checked, service);
    if (target === undefined || service.port === 0) return [];
    return checkListener(checked, service, target, listeners);
  });
  // Behind nat many VIPs share one socket.
  return [...new Map(found.map((finding) => [finding.sentence, finding])).values()];
}

function checkListener(
  { facts }: Checked,
  { protocol, port }: WantedService,
  target: Address,
  listeners: readonly ListenerFact[],
): Finding[] {
  const family = familyOf(target);
  const onPort = listeners.filter((entry) => entry.protocol === protocol && entry.port === port);
  const taking = onPort.filter(
    ({ families, address }) => families.includes(family) && (address ?? target) === target,
  );
  const endpoint = formatEndpoint(target, port);
  const [first] = taking;
  if (first !== undefined) {
    const onlyWildcards = taking.every(({ address }) => address === undefined);
    return protocol === 'udp' && onlyWildcards ? [wildcard(first, endpoint, target)] : [];
  }
  const packet = packetTo(target, IPPROTO[protocol], port, undefined);
  if (facts.firewall !== undefined && mayBeTranslated(facts.firewall, packet)) return [];
  const look = `ss -Hln${protocol === 'tcp' ? 't' : 'u'}p 'sport = :${port}'`;
  const [other] = onPort;
  if (other === undefined)
    return [
      problem(
        'not_listening',
        `nothing listens on ${protocol} ${endpoint}: start the service there, or on every address`,
        look,
      ),
    ];
  const elsewhere = other.address ?? `every IPv${family === 'ipv4' ? 6 : 4} address`;
  return [
    problem(
      'not_listening',
      `${other.process ?? 'the service'} listens on port ${port} of ${elsewhere} only, not on ${protocol} ${endpoint}: let it listen there too, or lead packets to it`,
      translation(other, protocol, port, target) ?? look,
    ),
  ];
}

/** A rule that turns packets towards the socket there is, of the same family and not loopback. */
function translation(
  { address }: ListenerFact,
  protocol: string,
  port: number,
  target: Address,
): string | undefined {
  const family = familyOf(target);
  if (address === undefined || familyOf(address) !== family) return undefined;
  if (address.startsWith('127.') || address === '::1') return undefined;
  const [nft, to] = family === 'ipv4' ? ['ip', address] : ['ip6', `[${address}]`];
  const table = `${nft} skein_vip`;
  const chain = `add chain ${table} prerouting { type nat hook prerouting priority dstnat; }`;
  const rule = `add rule ${table} prerouting ${nftAddress('daddr', target)} ${protocol} dport ${port} dnat to ${to}:${port}`;
  return `nft 'add table ${table}; ${chain}; ${rule}'`;
}

function wildcard({ process }: ListenerFact, endpoint: string, target: Address): Finding {
  return advice(
    'udp_wildcard',
    `${process ?? 'the service'} listens on every address for udp ${endpoint}, and unless it takes care its answers come from another address than ${target}: let it listen on the VIP itself`,
    `ss -Hlnup 'sport = :${endpoint.slice(endpoint.lastIndexOf(':') + 1)}'`,
  );
}

export function checkFirewall(checked: Checked): Finding[] {
  const { firewall } = checked.facts;
  if (firewall === undefined) return [];
  const arrivals = [...outerPackets(checked), ...servicePackets(checked)];
  const found = arrivals.flatMap(({ packet, what, rule }): Finding[] => {
    const chain = droppingChain(firewall, packet);
    if (chain === undefined) return [];
    const place = [chain.family, chain.table, chain.name].map(quoted).join(' ');
    return [
      problem(
        'firewall_drops',
        `the nft chain ${place} drops ${what}`,
        `nft insert rule ${place} ${rule} accept`,
      ),
    ];
  });
  return found;
}

interface Arrival {
  readonly packet: PacketFact;
  readonly what: string;
  /** The packet in the language of nft. */
  readonly rule: string;
}

/** XDP comes before every rule, so what it takes off no rule sees. */
function outerPackets(checked: Checked): Arrival[] {
  const { role, link, outer } = checked;
  if (!isTunnel(role.mode) || outer === undefined || isDecappedByXdp(checked)) return [];
  const inner = [...new Set(role.vips.map(familyOf))];
  const { mode } = role;
  const protocols = [...new Set(inner.map((family) => outerProtocol(mode, family)))];
  return protocols.map((protocol) => {
    const port = protocol === IPPROTO.udp ? role.tunnelPort : undefined;
    return {
      packet: {
        ...{ family: outer, protocol, port, source: undefined },
        destination: role.address,
        interface: link?.name,
      },
      what: port === undefined ? `IP protocol ${protocol}` : `UDP port ${port}`,
      rule: port === undefined ? `meta l4proto ${protocol}` : `udp dport ${port}`,
    };
  });
}

function outerProtocol(mode: TunnelMode, inner: Family): number {
  if (mode === 'gre') return IPPROTO.gre;
  if (mode === 'gue' || mode === 'fou') return IPPROTO.udp;
  return inner === 'ipv4' ? 4 : 41;
}

function servicePackets(checked: Checked): Arrival[] {
  const { role, link } = checked;
  // What comes out of a tunnel device arrives on that device.
  const name = isTunnel(role.mode) && !isDecappedByXdp(checked) ? undefined : link?.name;
  return role.services.flatMap((service) => {
    const target = targetOf(checked, service);
    if (target === undefined || service.port === 0) return [];
    const { protocol, port } = service;
    return [
      {
        packet: packetTo(target, IPPROTO[protocol], port, name),
        what: `${protocol} ${formatEndpoint(target, port)}`,
        rule: `${nftAddress('daddr', target)} ${protocol} dport ${port}`,
      },
    ];
  });
}
