/**
 * BIRD's configuration as text, and its answers as values. Pure: router.ts runs BIRD. The formats are
 * those of BIRD 2.0, which has no machine-readable output.
 */
import { NODE_AS, ROUTER_AS, type NodeSite, type Topology } from './topology.ts';

export interface BirdOptions {
  /** Default 50 ms x 3; undefined given explicitly: no BFD at all. */
  readonly bfd?: { readonly intervalMs: number; readonly multiplier: number } | undefined;
  /** Default 9. */
  readonly holdTimeS?: number;
  /** TCP MD5 key (RFC 2385) of every session. */
  readonly password?: string;
  /** Accept only packets that arrive with TTL 255 (RFC 5082). */
  readonly ttlSecurity?: boolean;
}

export interface BirdRoute {
  readonly prefix: string;
  /** Name of the balancer whose session it came from. */
  readonly node: string;
  /** The best one, which the kernel's route is built around. */
  readonly primary: boolean;
  readonly nextHops: readonly string[];
  /** As in the configuration: `65010:100`. */
  readonly communities: readonly string[];
  /** `65010:1:100`. */
  readonly largeCommunities: readonly string[];
  readonly med: number | undefined;
}

export interface BirdProtocol {
  /** The balancer's name for a BGP session. */
  readonly name: string;
  readonly kind: string;
  /** `up`, `start`, `down`. */
  readonly state: string;
  /** For BGP: `Established`, `Active`, `Connect`... and the last error, if any. */
  readonly info: string;
}

export interface BfdSession {
  readonly address: string;
  readonly interface: string;
  /** `Up`, `Down`, `Init`, `AdminDown`. */
  readonly state: string;
}

const DEFAULT_BFD = { intervalMs: 50, multiplier: 3 };

export function renderBird(shape: Topology, options: BirdOptions = {}): string {
  const bfd = 'bfd' in options ? options.bfd : DEFAULT_BFD;
  const interval = bfd ?? DEFAULT_BFD;
  return `log stderr all;
router id ${shape.router.ipv4};

protocol device {}

# Sessions of their own, which outlive those of BGP: gobgpd keeps a reset that BFD asked for while
# BGP was down, and carries it out as soon as BGP is up again, so one of them would follow the other.
protocol bfd {
  interface "lan" { interval ${interval.intervalMs} ms; multiplier ${interval.multiplier}; };
${bfd === undefined ? '' : shape.nodes.map((node) => `  neighbor ${node.ipv4} dev "lan";\n`).join('')}}

# One route with every balancer as a next hop, instead of the best one alone.
protocol kernel kernel4 {
  ipv4 { import none; export all; };
  merge paths on;
}
protocol kernel kernel6 {
  ipv6 { import none; export all; };
  merge paths on;
}

# Only VIPs are taken from a balancer.
filter vips4 { if net ~ [ 10.83.100.0/24{32,32} ] then accept; reject; }
filter vips6 { if net ~ [ fd83:100::/64{128,128} ] then accept; reject; }

template bgp balancer {
  local ${shape.router.ipv4} as ${ROUTER_AS};
  hold time ${options.holdTimeS ?? 9};
  # A balancer that comes back is dialled within a second.
  connect delay time 1;
  connect retry time 1;
  error wait time 1, 1;
  bfd ${bfd === undefined ? 'off' : 'on'};
  ttl security ${options.ttlSecurity === true ? 'on' : 'off'};
  ipv4 { import filter vips4; export none; };
  ipv6 { import filter vips6; export none; };
}
${shape.nodes.map((node) => renderNeighbour(node, options)).join('')}`;
}

/** Reads `show route ... all`: a line per route, then `via` and attribute lines below it. */
export function parseRoutes(text: string): readonly BirdRoute[] {
  const routes: BirdRoute[] = [];
  let prefix = '';
  for (const line of text.split('\n')) {
    const head = /^(\S+)?\s+unicast \[(\S+) [^\]]*\] (\* )?/.exec(line);
    if (head !== null) {
      prefix = head[1] ?? prefix;
      routes.push({
        prefix,
        node: head[2] ?? '',
        primary: head[3] !== undefined,
        nextHops: [],
        communities: [],
        largeCommunities: [],
        med: undefined,
      });
      continue;
    }
    const last = routes.pop();
    if (last !== undefined) routes.push(withDetail(last, line));
  }
  return routes;
}

export function parseProtocols(text: string): readonly BirdProtocol[] {
  return text.split('\n').flatMap((line) => {
    const match = /^(\w+)\s+(\w+)\s+\S+\s+(up|start|stop|down|flush)\s+\S+\s*(.*)$/.exec(line);
    const [, name, kind, state, info] = match ?? [];
    if (name === undefined || kind === undefined || state === undefined) return [];
    return [{ name, kind, state, info: (info ?? '').trim() }];
  });
}

export function parseBfdSessions(text: string): readonly BfdSession[] {
  return text.split('\n').flatMap((line) => {
    const match = /^([0-9a-f.:]+)\s+(\S+)\s+(Up|Down|Init|AdminDown)\s/.exec(line);
    const [, address, name, state] = match ?? [];
    if (address === undefined || name === undefined || state === undefined) return [];
    return [{ address, interface: name, state }];
  });
}

interface KernelRoute {
  readonly gateway?: string;
  readonly nexthops?: readonly { readonly gateway?: string }[];
}

/** Reads `ip -j route show`: one gateway, or several in `nexthops`. */
export function parseKernelNextHops(text: string): readonly string[] {
  const routes = JSON.parse(text.trim() === '' ? '[]' : text) as readonly KernelRoute[];
  return routes
    .flatMap((route) => [route.gateway, ...(route.nexthops ?? []).map((hop) => hop.gateway)])
    .filter((gateway) => gateway !== undefined)
    .sort();
}

function renderNeighbour(node: NodeSite, options: BirdOptions): string {
  const password =
    options.password === undefined ? '' : ` password ${JSON.stringify(options.password)};`;
  return `protocol bgp ${node.name} from balancer { neighbor ${node.ipv4} as ${NODE_AS};${password} }\n`;
}

function withDetail(route: BirdRoute, line: string): BirdRoute {
  const [, key, value] = /^\s+(via|BGP\.\w+:) ?(.*)$/.exec(line) ?? [];
  switch (key) {
    case 'via':
      return { ...route, nextHops: [...route.nextHops, (value ?? '').split(' ')[0] ?? ''] };
    case 'BGP.community:':
      return { ...route, communities: communitiesIn(value) };
    case 'BGP.large_community:':
      return { ...route, largeCommunities: communitiesIn(value) };
    case 'BGP.med:':
      return { ...route, med: Number(value) };
    default:
      return route;
  }
}

/** BIRD writes `(65010, 1, 100)`. */
function communitiesIn(value: string | undefined): readonly string[] {
  const found = (value ?? '').matchAll(/\(([\d, ]+)\)/g);
  return [...found].map(([, numbers]) => (numbers ?? '').split(/, ?/).join(':'));
}
