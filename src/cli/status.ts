/** `skein status`: the snapshot of a running node as a few lines for people, or as JSON. */
import type { BackendSnapshot, NodeSnapshot } from '../snapshot.ts';
import { askNode, type AskOptions } from './ask.ts';
import { summarizePeers } from './peers.ts';

export async function showStatus({ url, json }: AskOptions): Promise<void> {
  const snapshot = (await askNode(url, 'api/v1/snapshot')) as NodeSnapshot;
  console.log(json ? JSON.stringify(snapshot, undefined, 2) : describeNode(snapshot).join('\n'));
}

/** Pure. One line for each VIP, backend and BGP peer, and what is wrong in words. */
export function describeNode(node: NodeSnapshot): string[] {
  const attached = node.dataplane.interfaces.map(({ name, xdpMode }) => `${name} (${xdpMode})`);
  return [
    `${node.node} of ${node.cluster}, skein ${node.version}${node.stopping ? ', STOPPING' : ''}`,
    `${summarizeVips(node)}; XDP on ${attached.join(', ')}; configuration ${node.config.digest.slice(0, 12)}`,
    ...node.config.refused.map(
      ({ line, column, path, message }) => `REFUSED reload: ${line}:${column}: ${path}: ${message}`,
    ),
    ...node.dataplane.failures.map((failure) => `FAILED write: ${failure}`),
    ...(node.reports?.problems ?? []).map((problem) => `FAILED reports: ${problem}`),
    '',
    ...describeVips(node),
    '',
    ...describeServices(node),
    ...describeBgp(node),
    '',
    summarizePeers(node.peers),
    ...describeReports(node),
    ...describeDrops(node),
  ];
}

/** Without BGP nobody is told: routes that lead here are static. */
function summarizeVips({ vips, bgp }: NodeSnapshot): string {
  const good = vips.filter(({ announce }) => announce).length;
  const sum = `${good} of ${vips.length} VIPs`;
  return bgp === null ? `${sum} ready` : `announcing ${sum}`;
}

function describeVips({ vips, bgp }: NodeSnapshot): string[] {
  return vips.map(({ address, announce, confirmed, explanation }) => {
    if (!announce) return `vip ${address}  withheld: ${explanation ?? ''}`;
    if (bgp === null) return `vip ${address}  ready`;
    return `vip ${address}  announced${confirmed ? '' : ' (not confirmed yet)'}`;
  });
}

function describeServices({ services }: NodeSnapshot): string[] {
  return services.flatMap((service) => [
    `service ${service.id} (${service.name})  ${service.state}, ${service.up} up, ${service.need} needed`,
    ...service.backends.map(describeBackend),
  ]);
}

function describeBackend(backend: BackendSnapshot): string {
  const { traffic } = backend;
  const mode = backend.mode === 'l2dsr' ? '' : `, ${backend.mode}`;
  const name = backend.name === backend.address ? '' : ` (${backend.name})`;
  const why = backend.reason === '' ? '' : `  ${backend.reason}`;
  return `  ${backend.address}${name}  ${backend.state}${mode}, weight ${backend.weight}, ${traffic.flowsActive} flows, ${traffic.packets} packets${why}`;
}

function describeBgp({ bgp }: NodeSnapshot): string[] {
  if (bgp === null) return ['', 'bgp: not configured'];
  const daemon = `bgp: gobgpd ${bgp.version ?? ''} ${bgp.daemon}`.replace('  ', ' ');
  return [
    '',
    bgp.daemon === 'connected' ? daemon : `${daemon}: ${bgp.detail}`,
    ...bgp.peers.map(
      ({ address, as, session, bfd, advertised }) =>
        `  peer ${address} AS ${as}  ${session}, bfd ${bfd}, ${advertised} routes`,
    ),
  ];
}

function describeReports({ reports }: NodeSnapshot): string[] {
  if (reports === null) return [];
  const { listening, reporters, accepted } = reports;
  const where = listening === null ? 'not listening' : `listening at ${listening}`;
  return [`reports: ${where}, ${reporters} reporters, ${accepted} accepted`];
}

function describeDrops({ counters }: NodeSnapshot): string[] {
  const drops = counters.filter(({ drop, value }) => drop && value > 0);
  if (drops.length === 0) return [];
  return ['', ...drops.map(({ name, value, help }) => `dropped ${value} ${name}: ${help}`)];
}
