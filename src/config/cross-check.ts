/**
 * What two places of the documents must be to each other. Takes what the schema accepted, holes
 * and all, and reports every contradiction that is certain; what a hole might explain is not
 * reported. Roles of addresses are in cross-check-addresses.ts, `sync` is in cross-check-sync.ts.
 */
import { parseAddress, type Address } from '../model/address.ts';
import { serviceId, type ServiceId } from '../model/service.ts';
import { crossCheckAddresses } from './cross-check-addresses.ts';
import { crossCheckAdmission } from './cross-check-admission.ts';
import { crossCheckForwarding } from './cross-check-forwarding.ts';
import { crossCheckQuic } from './cross-check-quic.ts';
import { crossCheckReports } from './cross-check-reports.ts';
import { crossCheckSync } from './cross-check-sync.ts';
import { formatPath, type Path, type Report } from './problems.ts';
import { eachRepeated } from './repeated.ts';
import type { BackendEntry } from './schema-backend.ts';
import { LIMITS_MAX, type ClusterRemains, type NodeDocument } from './schema.ts';
import { didYouMean } from './suggest.ts';

type Groups = NonNullable<ClusterRemains['backends']>;
type Services = NonNullable<ClusterRemains['services']>;
type Service = NonNullable<Services[number]>;

/** `node` is undefined when the node part does not fit its schema. */
export function crossCheck(
  cluster: ClusterRemains,
  node: NodeDocument | undefined,
  report: Report,
): void {
  checkPeers(cluster, node, report);
  if (node !== undefined) checkInterfaces(node, report);
  crossCheckSync(cluster.sync, node, report);
  crossCheckReports(cluster, node, report);
  checkGroups(cluster.backends ?? {}, report);
  // Everything below grows with the number of services, so that number comes first.
  if (!checkLimits(cluster, node, report)) return;
  checkServices(cluster, node, report);
  checkServiceKeys(cluster.services ?? [], report);
  checkVips(cluster, report);
  crossCheckAddresses(cluster, node, report);
  crossCheckForwarding(cluster, node, report);
  crossCheckAdmission(cluster, report);
  crossCheckQuic(cluster, report);
}

function checkPeers(cluster: ClusterRemains, node: NodeDocument | undefined, report: Report): void {
  if (cluster.bgp === undefined) return;
  const peers = (cluster.bgp.peers ?? []).map((peer) => peer?.address);
  eachRepeated(peers, (index, first) => {
    const path = ['bgp', 'peers', index, 'address'];
    report('cluster', { path, message: `is already the address of peers[${first}]` });
  });
  if (node !== undefined && node.router_id === undefined && node.ipv4 === undefined) {
    const message =
      'is required, because the cluster has bgp and this node no ipv4 to take it from';
    report('node', { path: ['router_id'], message });
  }
}

function checkInterfaces(node: NodeDocument, report: Report): void {
  eachRepeated(node.interfaces, (index) => {
    report('node', { path: ['interfaces', index], message: 'is listed twice' });
  });
}

function checkGroups(groups: Groups, report: Report): void {
  for (const [group, backends] of Object.entries(groups)) {
    const entries = backends ?? [];
    const say = (index: number, key: string, first: number) => {
      const message = `is already the ${key} of ${formatPath(['backends', group, first])}`;
      report('cluster', { path: ['backends', group, index, key], message });
    };
    const addresses = entries.map((entry) => entry?.address);
    eachRepeated(addresses, (index, first) => {
      say(index, 'address', first);
    });
    const names = entries.map((entry) => entry?.name);
    eachRepeated(names, (index, first) => {
      say(index, 'name', first);
    });
  }
}

/** True when the services are few enough to be looked at one by one. */
function checkLimits(
  cluster: ClusterRemains,
  node: NodeDocument | undefined,
  report: Report,
): boolean {
  const groups = cluster.backends ?? {};
  let services = 0;
  let backends = 0;
  for (const service of cluster.services ?? []) {
    const made = (service?.vip?.length ?? 0) * (service?.port?.length ?? 0);
    services += made;
    const sizes = (service?.backends ?? []).map((group) => own(groups, group)?.length ?? 0);
    backends += made * sizes.reduce((sum, size) => sum + size, 0);
  }
  checkLimit('services', services, node, report);
  checkLimit('backends', backends, node, report);
  return services <= LIMITS_MAX.services && backends <= LIMITS_MAX.backends;
}

function checkLimit(
  key: 'services' | 'backends',
  count: number,
  node: NodeDocument | undefined,
  report: Report,
): void {
  const max = LIMITS_MAX[key];
  const what = `${count} ${key}${key === 'backends' ? ', counted once for each service' : ''}`;
  if (count > max) {
    report('cluster', { path: ['services'], message: `make ${what}; the most is ${max}` });
  } else if (node !== undefined && count > node.limits[key]) {
    const message = `must be at least ${count}: the cluster document makes ${what}`;
    report('node', { path: ['limits', key], message });
  }
}

function checkServices(
  cluster: ClusterRemains,
  node: NodeDocument | undefined,
  report: Report,
): void {
  const services = cluster.services ?? [];
  const names = services.map((service) => service?.name);
  eachRepeated(names, (index, first) => {
    const path = ['services', index, 'name'];
    report('cluster', { path, message: `is already the name of services[${first}]` });
  });
  for (const [index, service] of services.entries()) {
    if (service === undefined) continue;
    const path = ['services', index];
    for (const key of ['vip', 'port', 'backends'] as const) {
      eachRepeated(service[key] ?? [], (at) => {
        report('cluster', { path: [...path, key, at], message: 'is listed twice' });
      });
    }
    checkChecks(service, path, report);
    if (node?.allow_scripts === false) checkScripts(service, path, report);
    if (cluster.backends !== undefined) checkBackends(service, path, cluster.backends, report);
  }
}

function checkChecks(service: Service, path: Path, report: Report): void {
  const checks = service.checks ?? [];
  const names = checks.map((check) => check?.name);
  eachRepeated(names, (index, first) => {
    const at = [...path, 'checks', index, 'name'];
    report('cluster', { path: at, message: `is already the name of checks[${first}]` });
  });
  if (service.port?.includes(0) !== true) return;
  for (const [index, check] of checks.entries()) {
    // Neither an echo request nor a report has a port.
    if (check === undefined || check.type === 'ping' || check.type === 'report') continue;
    if (check.port !== undefined) continue;
    const message = 'is required, because the service takes every port (port 0)';
    report('cluster', { path: [...path, 'checks', index, 'port'], message });
  }
}

/**
 * A document that would run programs is refused where the node does not allow it: a check that
 * only failed would take the VIPs of a working cluster down for a mistake in a document.
 */
function checkScripts(service: Service, path: Path, report: Report): void {
  for (const [index, check] of (service.checks ?? []).entries()) {
    if (check?.type !== 'script') continue;
    const message = 'is off on this node: a script needs "allow_scripts: true" in the node part';
    report('cluster', { path: [...path, 'checks', index, 'type'], message });
  }
}

/** The groups exist, share no backend, and hold as many as the service needs. */
function checkBackends(service: Service, path: Path, groups: Groups, report: Report): void {
  const seen = new Map<Address, string>();
  let certain = service.backends !== undefined;
  let count = 0;
  for (const [index, group] of (service.backends ?? []).entries()) {
    const at = [...path, 'backends', index];
    if (!Object.hasOwn(groups, group)) {
      const hint = didYouMean(group, Object.keys(groups));
      report('cluster', { path: at, message: `no group of backends is named "${group}"${hint}` });
    }
    const entries = own(groups, group);
    if (entries === undefined) {
      certain = false;
      continue;
    }
    count += entries.length;
    reportShared(entries, group, seen, (message) => {
      report('cluster', { path: at, message });
    });
  }
  if (!certain || service.need === undefined || service.need <= count) return;
  const message = `must be at most ${count}, the number of its backends`;
  report('cluster', { path: [...path, 'need'], message });
}

function reportShared(
  entries: readonly (BackendEntry | undefined)[],
  group: string,
  seen: Map<Address, string>,
  say: (message: string) => void,
): void {
  for (const entry of entries) {
    if (entry === undefined) continue;
    const earlier = seen.get(entry.address);
    seen.set(entry.address, group);
    if (earlier !== undefined && earlier !== group) {
      say(`backend ${entry.address} is in group "${earlier}" already`);
    }
  }
}

/** No two services take the same packets. */
function checkServiceKeys(services: Services, report: Report): void {
  const owners = new Map<ServiceId, number>();
  for (const [index, service] of services.entries()) {
    const { vip: vips = [], port: ports = [], protocol } = service ?? {};
    if (protocol === undefined) continue;
    for (const [at, vip] of vips.entries()) {
      for (const port of ports) {
        const id = serviceId({ vip, protocol, port });
        const owner = owners.get(id);
        if (owner === undefined) owners.set(id, index);
        // Within one service it is a value listed twice, and reported as that.
        if (owner === undefined || owner === index) continue;
        const name = services[owner]?.name ?? '';
        const message = `${id} is already taken by services[${owner}], "${name}"`;
        report('cluster', { path: ['services', index, 'vip', at], message });
      }
    }
  }
}

function checkVips(cluster: ClusterRemains, report: Report): void {
  const services = cluster.services ?? [undefined];
  // A service that could not be read may use any VIP.
  const allRead = services.every((service) => service?.vip !== undefined);
  const used = new Set(services.flatMap((service) => service?.vip ?? []));
  const firsts = new Map<Address, string>();
  for (const text of Object.keys(cluster.vips ?? {})) {
    const say = (message: string) => {
      report('cluster', { path: ['vips', text], message, at: 'key' });
    };
    const vip = parseAddress(text);
    if (vip === undefined) {
      say('must be the address of a VIP');
      continue;
    }
    const first = firsts.get(vip);
    if (first === undefined) firsts.set(vip, text);
    else say(`is the same address as "${first}"`);
    if (allRead && !used.has(vip)) say('is not the VIP of any service');
  }
}

function own<T>(record: Readonly<Record<string, T>>, key: string): T | undefined {
  return Object.hasOwn(record, key) ? record[key] : undefined;
}
