/**
 * Answers of ip(8) and ss(8) to facts. Pure, and trusts nothing: an entry that does not fit is left
 * out.
 */
import { parseAddress, type Address, type Family } from '../model/address.ts';
import type {
  AddressFact,
  DefaultRoute,
  FouFact,
  LinkFact,
  ListenerFact,
  NeighbourFact,
  RouteAnswer,
  TunnelFact,
  XdpFact,
} from './doctor-facts.ts';
import { fieldsOf, listOf, numberOf, textOf, type Fields } from './doctor-json.ts';

/** `ip -j -d address show`: links and their addresses in one answer. */
export function parseLinks(answer: unknown): LinkFact[] {
  return listOf(answer).flatMap((entry) => {
    const link = fieldsOf(entry);
    const name = textOf(link['ifname']);
    const mtuBytes = numberOf(link['mtu']);
    if (name === undefined || mtuBytes === undefined) return [];
    const flags = listOf(link['flags']);
    const info = fieldsOf(link['linkinfo']);
    const kind = textOf(info['info_kind']) ?? '';
    return [
      {
        ...{ name, kind, mtuBytes },
        loopback: flags.includes('LOOPBACK'),
        up: flags.includes('UP'),
        arp: !flags.includes('NOARP'),
        xdp: parseXdp(link['xdp']),
        tunnel: parseTunnel(kind, fieldsOf(info['info_data'])),
      },
    ];
  });
}

/** The numbers of XDP_ATTACHED_* in linux/if_link.h. */
const XDP_MODES: Readonly<Record<number, XdpFact['mode']>> = {
  1: 'native',
  2: 'generic',
  3: 'offloaded',
};

function parseXdp(value: unknown): XdpFact[] {
  const xdp = fieldsOf(value);
  const attached = 'attached' in xdp ? listOf(xdp['attached']) : [xdp];
  return attached.flatMap((entry) => {
    const { mode, prog } = fieldsOf(entry);
    const known = XDP_MODES[numberOf(mode) ?? 0];
    return known === undefined ? [] : [{ mode: known, program: textOf(fieldsOf(prog)['name']) }];
  });
}

const TUNNEL_KINDS = ['ipip', 'sit', 'gre', 'ip6tnl', 'ip6gre'];
const TUNNEL_TAKES: Readonly<Record<string, TunnelFact['takes']>> = {
  ipip: 'ipv4',
  ipip6: 'ipv4',
  ip6ip: 'ipv6',
  ip6ip6: 'ipv6',
};

function parseTunnel(kind: string, data: Fields): TunnelFact | undefined {
  if (!TUNNEL_KINDS.includes(kind)) return undefined;
  const isGre = kind === 'gre' || kind === 'ip6gre';
  return {
    takes: isGre ? 'any' : (TUNNEL_TAKES[textOf(data['proto']) ?? ''] ?? 'any'),
    local: specific(data['local']),
    remote: specific(data['remote']),
    keyed: 'ikey' in data,
  };
}

/** `any`, an address of zeroes, and nothing at all mean the same. */
function specific(value: unknown): Address | undefined {
  const address = parseAddress(textOf(value) ?? '');
  return address === '0.0.0.0' || address === '::' ? undefined : address;
}

export function parseAddresses(answer: unknown): AddressFact[] {
  return listOf(answer).flatMap((entry) => {
    const link = fieldsOf(entry);
    const name = textOf(link['ifname']);
    return listOf(link['addr_info']).flatMap((info) => {
      const data = fieldsOf(info);
      const address = parseAddress(textOf(data['local']) ?? '');
      const prefixLength = numberOf(data['prefixlen']);
      if (name === undefined || address === undefined || prefixLength === undefined) return [];
      return [
        {
          ...{ address, prefixLength },
          interface: name,
          hostScope: data['scope'] === 'host',
          tentative: data['tentative'] === true,
          dadFailed: data['dadfailed'] === true,
        },
      ];
    });
  });
}

/** `ip -j route get`; undefined: it led nowhere. */
export function parseRouteAnswer(answer: unknown): RouteAnswer | undefined {
  const route = fieldsOf(listOf(answer)[0]);
  const name = textOf(route['dev']);
  if (name === undefined) return undefined;
  const metrics = fieldsOf(listOf(route['metrics'])[0]);
  return {
    interface: name,
    gateway: gatewayOf(route),
    advmssBytes: numberOf(metrics['advmss']),
    mtuBytes: numberOf(metrics['mtu']),
  };
}

/** `via` is for a gateway of the other family (RFC 5549). */
function gatewayOf(route: Fields): Address | undefined {
  const text = textOf(route['gateway']) ?? textOf(fieldsOf(route['via'])['host']);
  return text === undefined ? undefined : parseAddress(text);
}

/** `ip -j route show default`. Routes by several next hops are left out: they are not changed so. */
export function parseDefaultRoutes(answer: unknown, family: Family): DefaultRoute[] {
  return listOf(answer).flatMap((entry) => {
    const route = fieldsOf(entry);
    const name = textOf(route['dev']);
    if (route['dst'] !== 'default' || name === undefined || 'via' in route) return [];
    const gateway = gatewayOf(route);
    const words = ['default', ...(gateway === undefined ? [] : ['via', gateway]), 'dev', name];
    for (const [key, word] of [
      ['protocol', 'proto'],
      ['prefsrc', 'src'],
      ['metric', 'metric'],
    ] as const) {
      const value = textOf(route[key]) ?? numberOf(route[key])?.toString();
      if (value !== undefined) words.push(word, value);
    }
    // It would lose them otherwise; an MSS is what the words are wanted for.
    const mtu = numberOf(fieldsOf(listOf(route['metrics'])[0])['mtu']);
    if (mtu !== undefined) words.push('mtu', String(mtu));
    return [{ family, interface: name, gateway, words }];
  });
}

export function parseNeighbours(answer: unknown): NeighbourFact[] {
  return listOf(answer).flatMap((entry) => {
    const neighbour = fieldsOf(entry);
    const address = parseAddress(textOf(neighbour['dst']) ?? '');
    const name = textOf(neighbour['dev']);
    if (address === undefined || name === undefined) return [];
    const failed = listOf(neighbour['state']).includes('FAILED');
    return [{ address, interface: name, failed, router: 'router' in neighbour }];
  });
}

/** `ip -j fou show` and `ip -j -6 fou show`. */
export function parseFou(answer: unknown): FouFact[] {
  return listOf(answer).flatMap((entry) => {
    const fou = fieldsOf(entry);
    const port = numberOf(fou['port']);
    if (port === undefined) return [];
    const isV6 = fou['family'] === 'inet6';
    const protocol = 'gue' in fou ? undefined : numberOf(fou['ipproto']);
    return [{ port, family: isV6 ? 'ipv6' : 'ipv4', protocol }];
  });
}

/** `ss -H -l -n -t -u -p`: protocol, state, two queues, local, peer, and perhaps the processes. */
export function parseListeners(text: string): ListenerFact[] {
  return text.split('\n').flatMap((line) => {
    const [protocol, , , , local = '', , ...rest] = line.trim().split(/\s+/);
    if (protocol !== 'tcp' && protocol !== 'udp') return [];
    const colon = local.lastIndexOf(':');
    const port = Number(local.slice(colon + 1));
    if (colon < 0 || !Number.isInteger(port)) return [];
    const host = local
      .slice(0, colon)
      .replace(/%[^\]]*/, '')
      .replace(/^\[(.*)\]$/, '$1');
    const where = placeOf(host);
    const process = /\(\("([^"]*)"/.exec(rest.join(' '))?.[1];
    return where === undefined ? [] : [{ protocol, port, process, ...where }];
  });
}

/** An IPv6 wildcard that takes IPv4 too is written as a star. */
function placeOf(host: string): Pick<ListenerFact, 'families' | 'address'> | undefined {
  if (host === '*') return { families: ['ipv4', 'ipv6'], address: undefined };
  if (host === '0.0.0.0') return { families: ['ipv4'], address: undefined };
  if (host === '::') return { families: ['ipv6'], address: undefined };
  const address = parseAddress(host);
  if (address === undefined) return undefined;
  return { families: [address.includes(':') ? 'ipv6' : 'ipv4'], address };
}
