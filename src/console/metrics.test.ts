import { describe, expect, test } from 'vitest';
import { createConsole } from './app.ts';
import type { Scenario } from './fixture-plans.ts';
import { fixtureSnapshot } from './fixture.ts';
import { definitions } from './metric-definitions.ts';
import { createMetrics } from './metrics.ts';

async function lines(scenario: Scenario): Promise<readonly string[]> {
  return (await createMetrics().render(fixtureSnapshot(scenario))).split('\n');
}

const usual = await lines('usual');

describe('a scrape', () => {
  test('is in the Prometheus text format', async () => {
    const app = createConsole({ snapshot: () => fixtureSnapshot('usual') });
    const response = await app.request('/metrics');
    expect(response.headers.get('content-type')).toBe('text/plain; version=0.0.4; charset=utf-8');
    const text = await response.text();
    expect(text.endsWith('\n')).toBe(true);
    for (const line of text.split('\n').filter(Boolean)) {
      expect(line).toMatch(/^(# (HELP|TYPE) \w+ .+|\w+(\{(\w+="[^"]*",?)*\})? (-?[\d.e+-]+|Nan))$/);
    }
  });

  test('has help, type and a name by the conventions for every metric', () => {
    for (const { name, type, help } of definitions) {
      expect(name).toMatch(/^skein_[a-z_]+$/);
      expect(name.endsWith('_total')).toBe(type === 'counter');
      expect(help).toMatch(/^[A-Z0-9].*\.$/);
    }
    expect(new Set(definitions.map(({ name }) => name)).size).toBe(definitions.length);
  });

  test('gives each label set once', () => {
    const series = usual.filter((line) => line !== '' && !line.startsWith('#'));
    const names = series.map((line) => line.slice(0, line.lastIndexOf(' ')));
    expect(new Set(names).size).toBe(names.length);
  });

  test.each([
    'skein_build_info{version="0.1.0",layout="8c41d07e"} 1',
    'skein_node_info{node="lb1",cluster="edge-fra"} 1',
    'skein_interface_info{interface="eth1",xdp_mode="generic"} 1',
    'skein_config_info{digest="3f9a2c10b7e84d5561c0aa94f2d8137be06c5f71d2a94e3388b1c6f0457de92a"} 1',
    'skein_config_refused_problems 0',
    'skein_stopping 0',
    'skein_flow_table_capacity{table="embryonic4"} 65536',
    'skein_drops_total{reason="fragment"} 1204',
    'skein_drops_total{reason="no_route"} 0',
    'skein_events_total{event="flow_table_full"} 0',
    'skein_vip_announced{vip="192.0.2.10"} 1',
    'skein_vip_route_confirmed{vip="192.0.2.10"} 1',
    'skein_vip_announced{vip="192.0.2.40"} 0',
    'skein_vip_withheld{vip="192.0.2.40",reason="too_few_backends"} 1',
    'skein_service_up{service="tcp/192.0.2.40:587",vip="192.0.2.40"} 0',
    'skein_service_backends_up{service="tcp/192.0.2.10:443",vip="192.0.2.10"} 4',
    'skein_service_backends_needed{service="tcp/192.0.2.10:443",vip="192.0.2.10"} 2',
    'skein_backend_healthy{service="tcp/192.0.2.10:443",backend="10.20.4.15"} 0',
    'skein_backend_healthy{service="tcp/192.0.2.10:443",backend="10.20.4.14"} 1',
    'skein_backend_active{service="tcp/192.0.2.10:443",backend="10.20.4.14"} 0',
    'skein_backend_weight{service="tcp/192.0.2.10:443",backend="10.20.4.13"} 20',
    'skein_bgp_daemon_up 1',
    'skein_bgp_resyncs_total 1',
    'skein_bgp_announced_routes 3',
    'skein_bgp_peer_up{peer="10.20.0.1",as="64512"} 1',
    'skein_bgp_peer_up{peer="10.20.0.2",as="64513"} 0',
    'skein_bfd_peer_up{peer="10.20.0.2"} 0',
    'skein_sync_gate_open 1',
    'skein_sync_flows 431204',
    'skein_sync_resends_taken_total 428',
    'skein_sync_snapshot_rows_total 402117',
    'skein_sync_repair_requested_total 212',
    'skein_sync_queued_history_bytes 8123904',
    'skein_sync_rejected_datagrams_total{reason="forged"} 3',
    'skein_sync_rejected_datagrams_total{reason="malformed"} 0',
    'skein_sync_merged_flows_total{outcome="ignored"} 18204',
    'skein_sync_dropped_flows_total{kind="open"} 0',
    'skein_sync_icmp_errors_total{outcome="relayed"} 611',
    'skein_peer_up{peer="lb3"} 1',
    'skein_peer_up{peer="lb4"} 0',
    'skein_peer_left{peer="lb4"} 0',
    'skein_peer_left{peer="lb5"} 1',
    'skein_peer_config_differs{peer="lb3"} 1',
    'skein_peer_flows_received_total{peer="lb4"} 918204',
    'skein_peer_datagrams_lost_total{peer="lb4"} 31',
    'skein_peer_datagrams_repaired_total{peer="lb4"} 19',
    'skein_peer_datagrams_missing{peer="lb3"} 1',
    'skein_peer_lag_datagrams{peer="lb4"} 10212',
  ])('says %s', (line) => {
    expect(usual).toContain(line);
  });

  test('carries the supervisor itself under a prefix of its own', () => {
    expect(usual.some((line) => line.startsWith('skein_supervisor_process_cpu_'))).toBe(true);
    expect(usual.some((line) => /^(process|nodejs)_/.test(line))).toBe(false);
  });
});

test('an announced VIP has no reason for being withheld', () => {
  expect(usual.some((line) => line.startsWith('skein_vip_withheld{vip="192.0.2.10"'))).toBe(false);
});

test('counters are those of the snapshot, not sums over scrapes', async () => {
  const metrics = createMetrics();
  await metrics.render(fixtureSnapshot('usual'));
  const second = await metrics.render(fixtureSnapshot('usual'));
  expect(second).toContain('skein_drops_total{reason="fragment"} 1204\n');
});

test('series leave with what they were about', async () => {
  const metrics = createMetrics();
  expect(await metrics.render(fixtureSnapshot('usual'))).toContain('skein_vip_announced{');
  const later = await metrics.render(fixtureSnapshot('empty'));
  expect(later).not.toContain('skein_vip_announced{');
  expect(later).not.toContain('skein_backend_info{');
});

test('scrapes at the same time do not mix', async () => {
  const metrics = createMetrics();
  const [usualText, emptyText] = await Promise.all([
    metrics.render(fixtureSnapshot('usual')),
    metrics.render(fixtureSnapshot('empty')),
  ]);
  expect(usualText).toContain('skein_vip_announced{vip="192.0.2.10"} 1');
  expect(emptyText).not.toContain('skein_vip_announced{');
});

test('without BGP there are no BGP metrics, rather than alarming zeros', async () => {
  const text = (await lines('no-bgp')).filter((line) => !line.startsWith('#'));
  expect(text.some((line) => /^skein_(bgp|bfd)_/.test(line))).toBe(false);
});

test('without flow sync there are no metrics of peers', async () => {
  const text = (await lines('no-sync')).filter((line) => !line.startsWith('#'));
  expect(text.some((line) => /^skein_(sync|peer)_/.test(line))).toBe(false);
});

test('the gate of a node that joins is closed, and its flows are not counted yet', async () => {
  const joining = await lines('joining');
  expect(joining).toContain('skein_sync_gate_open 0');
  expect(joining.some((line) => line.startsWith('skein_sync_flows '))).toBe(false);
  expect(joining).toContain('skein_vip_withheld{vip="192.0.2.10",reason="not_synced"} 1');
});

test('a stopping node and a refused reload are seen', async () => {
  expect(await lines('stopping')).toContain('skein_stopping 1');
  expect(await lines('refused')).toContain('skein_config_refused_problems 2');
});
