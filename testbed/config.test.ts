import { stringify } from 'yaml';
import { describe, expect, test } from 'vitest';
import { loadTexts } from '../src/config/load.ts';
import type { NodeConfig } from '../src/config/types.ts';
import { clusterDocument, nodeDocument, type ConfigOptions } from './config.ts';
import { topology } from './topology.ts';

const shape = topology({ nodes: 2, backends: 3 });

/** Through the loader that the supervisor uses, so that the two cannot drift apart. */
function load(options: ConfigOptions = {}): NodeConfig {
  const result = loadTexts(
    { file: 'skein.yaml', text: stringify(clusterDocument(shape, options)) },
    { file: 'node.yaml', text: stringify(nodeDocument(shape.nodes[1]!)) },
    () => ({ ok: true, text: 'a secret' }),
  );
  if (!result.ok) throw new Error(JSON.stringify(result.problems));
  return result.config;
}

describe('the documents', () => {
  test('have the standard services on the first VIP of both families', () => {
    const options: ConfigOptions = { standardServices: ['web', 'echo', 'udp-echo'] };
    const ids = load(options).cluster.services.map((service) => service.id);
    expect(ids.sort()).toEqual([
      ...['tcp/10.83.100.1:7000', 'tcp/10.83.100.1:80'],
      ...['tcp/[fd83:100::1]:7000', 'tcp/[fd83:100::1]:80'],
      ...['udp/10.83.100.1:7001', 'udp/[fd83:100::1]:7001'],
    ]);
  });

  test('say where the node is', () => {
    expect(load().node).toMatchObject({
      name: 'lb2',
      interfaces: ['eth0'],
      ipv4: '10.83.1.12',
      ipv6: 'fd83:1::12',
      gobgp: '127.0.0.1:50051',
      console: { host: '10.83.254.12', port: 8080 },
      bpffs: '/sys/fs/bpf/skein-testbed/lb2',
    });
  });

  test('peer with the router', () => {
    expect(load().cluster.bgp).toMatchObject({
      as: 65010,
      peers: [{ address: '10.83.1.1', as: 65000, bfd: { intervalMs: 50, multiplier: 3 } }],
    });
  });
});

describe('options', () => {
  test('weights, drain and the choice of backends', () => {
    const config = load({
      weights: { b1: 3 },
      draining: ['b3'],
      backends: ['b1', 'b3'],
      standardServices: ['web'],
    });
    const [service] = config.cluster.services;
    expect(service?.backends).toMatchObject([
      { name: 'b1', address: '10.83.1.101', weight: 3, intent: 'active' },
      { name: 'b3', address: '10.83.1.103', weight: 1, intent: 'draining' },
    ]);
  });

  test('the sessions', () => {
    const bgp = { bfd: undefined, holdTimeS: 3, password: 'a secret', ttlSecurity: true };
    expect(load({ bgp }).cluster.bgp?.peers).toMatchObject([
      { bfd: undefined, holdTimeS: 3, password: 'a secret', ttlSecurity: true },
    ]);
  });

  test('more services, and the last word', () => {
    const config = load({
      services: [{ name: 'all', vip: '10.83.100.2', port: 0, backends: 'web', checks: [] }],
      patch: (document) => ({ ...document, cluster: 'another' }),
    });
    expect(config.cluster.name).toBe('another');
    expect(config.cluster.services.map((service) => service.id)).toContain('tcp/10.83.100.2:0');
  });
});
