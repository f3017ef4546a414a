/**
 * The shape of both documents: keys, kinds, defaults, bounds, and what one value must be by
 * itself. Types are inferred from here and written nowhere else; what two places must be to each
 * other is in cross-check.ts. With the other schema files the only door to zod: load.ts and issues.ts
 * know its types.
 */
import { z } from 'zod';
import { TUNNEL_PORTS } from '../model/forwarding.ts';
import {
  absolutePath,
  address,
  filePath,
  name,
  ofFamily,
  oneOrMany,
  parsed,
  whole,
} from './schema-pieces.ts';
import { admission } from './schema-admission.ts';
import { backend } from './schema-backend.ts';
import { reports } from './schema-reports.ts';
import { quic } from './schema-quic.ts';
import { check } from './schema-checks.ts';
import { sync, syncPeer } from './schema-sync.ts';
import {
  parseCommunity,
  parseDialTarget,
  parseHostPort,
  parseLargeCommunity,
  parseRouterId,
} from './values.ts';

const U32_MAX = 0xffff_ffff;
/** As many as the data plane has room for. */
const DECAP_ADDRESSES_MAX = 64;
const WEEK_S = 7 * 24 * 3600;
/** The segment that every host takes (RFC 9293, section 3.7.1), and the longest that there is. */
const MSS_MIN = 536;
const MSS_MAX = 65_495;

/** What `limits` may be at most. */
export const LIMITS_MAX = {
  services: 65_536,
  backends: 1_048_576,
  flows: 67_108_864,
  embryonic_flows: 16_777_216,
} as const;

const asNumber = whole(1, U32_MAX - 1);
const med = whole(0, U32_MAX).describe(
  'MULTI_EXIT_DISC of the routes: of several ways to the same neighbour AS, the lowest wins.',
);
const communities = z
  .array(
    parsed(parseCommunity, 'must be two numbers up to 65535, such as "65010:100"', '^\\d+:\\d+$'),
  )
  .max(32)
  .describe('Standard communities (RFC 1997) of the routes, as "as:value".');
const largeCommunities = z
  .array(
    parsed(
      parseLargeCommunity,
      'must be three numbers up to 4294967295, such as "65010:1:100"',
      '^\\d+:\\d+:\\d+$',
    ),
  )
  .max(32)
  .describe('Large communities (RFC 8092) of the routes, as "global:local1:local2".');

const bfdOptions = z.strictObject({
  interval_ms: whole(10, 10_000).default(300).describe('Between packets, both ways.'),
  multiplier: whole(1, 255).default(3).describe('Packets missing before the peer counts as lost.'),
});

const peer = z
  .strictObject({
    address: address.describe('Address of the router.'),
    as: asNumber.describe('AS number of the router.'),
    hold_time_s: whole(3, 65535).default(9).describe('Hold time to propose.'),
    password_file: filePath
      .optional()
      .describe('File with the TCP MD5 key (RFC 2385). Read when the configuration is loaded.'),
    ttl_security: z
      .boolean()
      .default(false)
      .describe('Accept only packets that arrive with TTL 255 (RFC 5082).'),
    multihop_ttl: whole(2, 255)
      .optional()
      .describe('TTL of an eBGP session with a router that is not directly connected.'),
    bfd: z
      .union([
        z
          .boolean()
          .transform((wanted) => (wanted ? {} : undefined))
          .pipe(bfdOptions.optional()),
        bfdOptions,
      ])
      .optional()
      .describe('Watch the router by BFD (RFC 5880); true means the defaults.'),
  })
  .superRefine((value, context) => {
    if (value.multihop_ttl === undefined) return;
    const refuse = (key: string, message: string) => {
      context.addIssue({ code: 'custom', path: [key], message });
    };
    if (value.ttl_security) refuse('ttl_security', 'excludes multihop_ttl');
    if (value.bfd !== undefined) refuse('bfd', 'excludes multihop_ttl: BFD here is single-hop');
  });

const bgp = z.strictObject({
  as: asNumber.describe('AS number of the nodes.'),
  communities: communities.default([]),
  large_communities: largeCommunities.default([]),
  med: med.optional(),
  peers: z.array(peer).min(1).max(64).describe('Routers that every node announces to.'),
});

const CHECKS_REQUIRED = 'is required: write "checks: []" if backends shall always count as up';
const service = z.strictObject({
  name: name.describe('Unique in the cluster.'),
  vip: oneOrMany(address, 256).describe('Virtual address, or a list of them.'),
  protocol: z.enum(['tcp', 'udp']).default('tcp'),
  port: oneOrMany(whole(0, 65535), 1024).describe('Port, or a list of them. 0: every port.'),
  backends: oneOrMany(name, 256).describe('Name of a group of backends, or a list of names.'),
  need: whole(1, 65535).default(1).describe('Backends that must be up for the service to be up.'),
  scheduler: z.enum(['maglev']).default('maglev'),
  ...admission,
  quic,
  affinity: z
    .enum(['flow', 'client'])
    .default('flow')
    .describe('client: all flows of a client address go to one backend.'),
  mss_clamp: z
    .union([z.boolean(), whole(MSS_MIN, MSS_MAX)])
    .default(false)
    .describe('Lower the MSS of SYNs to backends: to what fits the way (true), or to a number.'),
  checks: z
    .array(check, { error: ({ input }) => (input === undefined ? CHECKS_REQUIRED : undefined) })
    .max(16)
    .describe('All must pass for a backend to be up.'),
});

const vip = z.strictObject({
  policy: z
    .enum(['all', 'any'])
    .default('all')
    .describe('Announce while all services of the VIP are up, or while any is.'),
  communities: communities.optional(),
  large_communities: largeCommunities.optional(),
  med: med.optional(),
});

const timeoutS = (byDefault: number) => whole(1, WEEK_S).default(byDefault);

/** JSON has no comments in which an editor could be told. */
const schemaHint = z.string().optional().describe('Where this schema is, for editors.');

export const clusterDocument = z.strictObject({
  $schema: schemaHint,
  cluster: name.describe('Name of the cluster.'),
  drain_ms: whole(0, 600_000)
    .default(1000)
    .describe('How long a stopping node goes on forwarding after it has withdrawn its VIPs.'),
  flow_timeouts_s: z
    .strictObject({
      tcp_syn: timeoutS(30),
      tcp_syn_ack: timeoutS(30),
      tcp_fin: timeoutS(30),
      tcp: timeoutS(900),
      udp: timeoutS(60),
      default: timeoutS(60),
    })
    .prefault({})
    .describe('Seconds after which an idle flow is forgotten, by its state.'),
  bgp: bgp.optional().describe('Left out: nothing is announced.'),
  sync: sync.optional().describe('How nodes share their flows. Left out: they do not.'),
  reports: reports
    .optional()
    .describe('How backends report their own health, for checks of type report.'),
  backends: z.record(name, z.array(backend).min(1)).default({}).describe('Groups of backends.'),
  services: z.array(service).default([]),
  vips: z
    .record(z.string(), vip)
    .default({})
    .describe('How to announce a VIP, by its address. Left out: as under bgp.'),
});

export const nodeDocument = z.strictObject({
  $schema: schemaHint,
  node: name.describe('Name of this node.'),
  interfaces: z
    .array(z.string().regex(/^[^\s/:]{1,15}$/, 'must be the name of a network interface'))
    .min(1)
    .max(16)
    .describe('Interfaces that packets for the VIPs arrive on.'),
  ipv4: ofFamily('ipv4').optional().describe('Own address: source of health checks, BGP next hop.'),
  ipv6: ofFamily('ipv6').optional().describe('Own address: source of health checks, BGP next hop.'),
  router_id: parsed(parseRouterId, 'must be four numbers, such as 192.0.2.1', '^[0-9.]+$')
    .optional()
    .describe('BGP identifier. Default: ipv4.'),
  gobgp: parsed(parseDialTarget, 'must be host:port or unix:/path', '^\\S+$')
    .prefault('127.0.0.1:50051')
    .describe('Where gobgpd serves its API.'),
  console: parsed(parseHostPort, 'must be host:port, such as 127.0.0.1:8080', '^\\S+:\\d+$')
    .prefault('127.0.0.1:8080')
    .describe('Where the console listens.'),
  bpffs: absolutePath
    .default('/sys/fs/bpf/skein')
    .describe('Folder for the pinned maps and programs, on a BPF file system.'),
  sync_address: address
    .optional()
    .describe('Own address for flow sync. Default: ipv4 or ipv6, as the group or the peers are.'),
  state_dir: absolutePath
    .default('/var/lib/skein')
    .describe('Folder of what must outlive the process.'),
  allow_scripts: z
    .boolean()
    .default(false)
    .describe('Whether checks of type script may run programs on this node.'),
  xdp_mode: z
    .enum(['auto', 'native', 'generic'])
    .default('auto')
    .describe('auto: native, or generic where the driver has none.'),
  decap: z
    .array(address)
    .max(DECAP_ADDRESSES_MAX)
    .default([])
    .describe(
      'Own addresses: tunnels to them (ipip, gre, gue, fou) with packets to VIPs are opened.',
    ),
  decap_gue_port: whole(1, 65535).default(TUNNEL_PORTS.gue).describe('Where gue is opened.'),
  decap_fou_port: whole(1, 65535).default(TUNNEL_PORTS.fou).describe('Where fou is opened.'),
  limits: z
    .strictObject({
      services: whole(1, LIMITS_MAX.services)
        .default(4096)
        .describe('(VIP, protocol, port) in all.'),
      backends: whole(1, LIMITS_MAX.backends)
        .default(65_536)
        .describe('Counted once for each service.'),
      flows: whole(1024, LIMITS_MAX.flows).default(1_048_576).describe('Established flows.'),
      embryonic_flows: whole(1024, LIMITS_MAX.embryonic_flows)
        .default(131_072)
        .describe('Flows not yet so.'),
    })
    .prefault({})
    .describe('Sizes of the maps of this node.'),
});

export type ClusterDocument = z.output<typeof clusterDocument>;
export type NodeDocument = z.output<typeof nodeDocument>;
export type ServiceEntry = z.output<typeof service>;
export type PeerEntry = z.output<typeof peer>;
export type SyncSection = z.output<typeof sync>;
export type ReportsSection = z.output<typeof reports>;

const hole = <T extends z.ZodType>(schema: T) => schema.optional().catch(undefined);

/**
 * The parts of a cluster document that are checked against each other, with a hole where a part
 * does not fit: so that one mistake does not hide the others.
 */
export const clusterRemains = z.object({
  bgp: hole(z.object({ peers: hole(z.array(hole(peer))) })),
  sync: hole(
    z.object({
      group: hole(sync.shape.group),
      peers: hole(z.array(hole(syncPeer))),
      key_files: hole(z.array(hole(filePath))),
    }),
  ),
  reports: hole(
    z.object({
      group: hole(reports.shape.group),
      nodes: hole(z.array(hole(syncPeer))),
      key_files: hole(z.array(hole(filePath))),
    }),
  ),
  backends: hole(z.record(z.string(), hole(z.array(hole(backend)).min(1))).default({})),
  services: hole(
    z
      .array(
        hole(
          z.object({
            name: hole(service.shape.name),
            vip: hole(service.shape.vip),
            protocol: hole(service.shape.protocol),
            port: hole(service.shape.port),
            backends: hole(service.shape.backends),
            need: hole(service.shape.need),
            sources: hole(admission.sources),
            quic: hole(quic),
            new_flows_per_s: hole(admission.new_flows_per_s),
            new_flows_burst: hole(admission.new_flows_burst),
            mss_clamp: hole(service.shape.mss_clamp),
            checks: hole(z.array(hole(check))),
          }),
        ),
      )
      .default([]),
  ),
  vips: hole(z.record(z.string(), hole(vip))),
});
export type ClusterRemains = z.output<typeof clusterRemains>;
