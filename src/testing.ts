/** Small configurations for unit tests of the files in this folder. */
import type { NodeConfig } from './config/types.ts';
import { address } from './model/address.ts';
import { serviceId, type Backend, type Service, type Vip } from './model/service.ts';

export const VIP = address('192.0.2.1');
export const B1 = address('10.0.0.101');
export const B2 = address('10.0.0.102');

export function backend(name: string, change: Partial<Backend> = {}): Backend {
  return {
    name,
    address: name === 'b1' ? B1 : B2,
    weight: 1,
    intent: 'active',
    mode: 'l2dsr',
    ...change,
  };
}

export function service(port: number, change: Partial<Service> = {}): Service {
  const key = { vip: VIP, protocol: 'tcp' as const, port };
  return {
    ...key,
    id: serviceId(key),
    name: 'web',
    scheduler: 'maglev',
    affinity: 'flow',
    need: 1,
    backends: [backend('b1'), backend('b2')],
    checks: [],
    ...change,
  };
}

export function nodeConfig(services: readonly Service[]): NodeConfig {
  const vips = [...new Set(services.map(({ vip }) => vip))].map((each): Vip => {
    return {
      address: each,
      policy: 'all',
      communities: [],
      largeCommunities: [],
      med: undefined,
    };
  });
  return {
    cluster: {
      name: 'test',
      services,
      vips,
      bgp: { as: 65010, peers: [] },
      flowTimeouts: {
        tcpSynS: 30,
        tcpSynAckS: 30,
        tcpFinS: 30,
        tcpS: 900,
        udpS: 60,
        defaultS: 60,
      },
      sync: undefined,
      reports: undefined,
      drainMs: 1000,
      digest: `digest of ${services.map(({ id }) => id).join()}`,
    },
    node: {
      name: 'lb1',
      interfaces: ['eth0'],
      ipv4: address('10.0.0.1'),
      ipv6: undefined,
      routerId: address('10.0.0.1'),
      gobgp: '127.0.0.1:50051',
      console: { host: '127.0.0.1', port: 8080 },
      bpffs: '/sys/fs/bpf/skein',
      syncAddress: undefined,
      stateDir: '/var/lib/skein',
      xdpMode: 'auto',
      decap: undefined,
      limits: { services: 16, backends: 64, flows: 1024, embryonicFlows: 1024 },
    },
  };
}
