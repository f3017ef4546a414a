/** What the balancer under test is configured to do, and who talks to it. Values only. */
import type { WantedBackend, WantedService } from '../src/dataplane/dataplane.ts';
import { address, familyOf, type Address, type Family } from '../src/model/address.ts';
import type { FlowTimeouts } from '../src/model/flow.ts';
import {
  TUNNEL_PORTS,
  type ForwardingMode,
  type ForwardingOptions,
  type OwnTunnels,
} from '../src/model/forwarding.ts';
import { serviceId, type ServiceKey } from '../src/model/service.ts';

/** The documented defaults of `limits` (config/README.md). */
export const DEFAULT_LIMITS = {
  services: 4096,
  backends: 65_536,
  flows: 1_048_576,
  embryonicFlows: 131_072,
} as const;

export const TIMEOUTS: FlowTimeouts = {
  tcpSynS: 60,
  tcpSynAckS: 60,
  tcpFinS: 60,
  tcpS: 900,
  udpS: 300,
  defaultS: 60,
};

/** The node's addresses on the link of its backends, with prefix length. */
export const NODE = { ipv4: '172.16.0.1/16', ipv6: 'fd00:16::1/64' } as const;

export const VIP: Readonly<Record<Family, Address>> = {
  ipv4: address('192.0.2.1'),
  ipv6: address('2001:db8:1::1'),
};
/** Clients of a /10 and of the last 32 bits of a /96. */
export const CLIENT: Readonly<Record<Family, Address>> = {
  ipv4: address('10.0.0.0'),
  ipv6: address('2001:db8:2::'),
};
export const NO_VIP: Readonly<Record<Family, Address>> = {
  ipv4: address('203.0.113.9'),
  ipv6: address('2001:db8:3::9'),
};
export const PORT = 80;
export const PORT_WITHOUT_SERVICE = 4444;
/** Services whose backends are reached through a tunnel. */
export const TUNNEL_PORT = { ipip: 8001, gue: 8002 } as const;
const BACKENDS_PER_SERVICE = 8;
const IDLE_SERVICES = 96;

function backends(family: Family, mode: ForwardingMode = 'l2dsr'): WantedBackend[] {
  return Array.from({ length: BACKENDS_PER_SERVICE }, (_, n) => ({
    address: address(family === 'ipv4' ? `172.16.1.${n + 1}` : `fd00:16::1:${n + 1}`),
    weight: 1,
    mode,
    state: 'up' as const,
  }));
}

function service(key: ServiceKey, mode?: ForwardingMode): WantedService {
  const members = backends(familyOf(key.vip), mode);
  return { ...key, id: serviceId(key), affinity: 'flow', backends: members };
}

const TUNNELS = ['ipip', 'gue'] as const;

/** Those that the frames go to, among others that only fill the maps. */
export const SERVICES: readonly WantedService[] = [
  service({ vip: VIP.ipv4, protocol: 'tcp', port: PORT }),
  service({ vip: VIP.ipv4, protocol: 'udp', port: PORT }),
  service({ vip: VIP.ipv6, protocol: 'tcp', port: PORT }),
  service({ vip: VIP.ipv6, protocol: 'udp', port: PORT }),
  ...TUNNELS.flatMap((mode) =>
    [VIP.ipv4, VIP.ipv6].map((vip) =>
      service({ vip, protocol: 'tcp', port: TUNNEL_PORT[mode] }, mode),
    ),
  ),
  ...Array.from({ length: IDLE_SERVICES }, (_, n) =>
    service({ vip: address(`198.51.100.${n + 1}`), protocol: 'tcp', port: PORT }),
  ),
];

const FEATURED_PORT = { tcp: 9000, udp: 9443 } as const;
/** Every mode that no frame of a case is sent by, and every option of the way. */
const FEATURED: readonly { mode: ForwardingMode; forwarding?: ForwardingOptions }[] = [
  { mode: 'gre' },
  { mode: 'fou', forwarding: { tunnelTtl: 'copy' } },
  { mode: 'dscp', forwarding: { dscp: 10 } },
  { mode: 'nat', forwarding: { port: 8080 } },
  { mode: 'full_nat', forwarding: { port: 8081 } },
  { mode: 'l2dsr', forwarding: { vlan: 300 } },
  { mode: 'l2dsr', forwarding: { mtuBytes: 1400, mssBytes: 'path' } },
];

function featured(family: Family): WantedService[] {
  const members = FEATURED.map((options, n) => ({
    ...options,
    address: address(family === 'ipv4' ? `172.16.2.${n + 1}` : `fd00:16::2:${n + 1}`),
    weight: 1,
    state: 'up' as const,
    serverId: `0a${n.toString(16).padStart(4, '0')}`,
  }));
  const sources = [{ prefix: { address: CLIENT[family], length: 32 }, admits: false }];
  const keys = (['tcp', 'udp'] as const).map((protocol) => {
    return { vip: VIP[family], protocol, port: FEATURED_PORT[protocol] };
  });
  return keys.map((key) => ({
    ...key,
    id: serviceId(key),
    affinity: 'client',
    admission: { sources, newFlowsPerS: 1000, newFlowsBurst: 1000 },
    quic: key.protocol === 'udp' ? { layout: 'quic_lb', idBytes: 3, configId: 0 } : undefined,
    backends: members,
  }));
}

/** What else can be configured, for `--with-features`: no frame goes there, yet it must cost them nothing. */
export const FEATURED_SERVICES: readonly WantedService[] = [
  ...featured('ipv4'),
  ...featured('ipv6'),
];
/** Services share them: each once. */
export const FEATURED_ADDRESSES: readonly Address[] = [
  ...new Set(
    FEATURED_SERVICES.flatMap(({ backends: members }) => members).map((each) => each.address),
  ),
];
export const OWN_TUNNELS: OwnTunnels = {
  addresses: [address('172.16.0.1'), address('fd00:16::1')],
  guePort: TUNNEL_PORTS.gue,
  fouPort: TUNNEL_PORTS.fou,
};

export const BACKEND_ADDRESSES: readonly Address[] = [...backends('ipv4'), ...backends('ipv6')].map(
  (backend) => backend.address,
);
