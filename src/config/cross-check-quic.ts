/** Whether connection IDs can name the backends of a service: each by an ID of its own, long enough. */
import type { Path, Report } from './problems.ts';
import { eachRepeated } from './repeated.ts';
import type { BackendEntry } from './schema-backend.ts';
import type { ClusterRemains } from './schema.ts';

type Service = NonNullable<NonNullable<ClusterRemains['services']>[number]>;

export function crossCheckQuic(cluster: ClusterRemains, report: Report): void {
  for (const [index, service] of (cluster.services ?? []).entries()) {
    if (service?.quic === undefined) continue;
    const path = ['services', index, 'quic'];
    if (service.protocol !== undefined && service.protocol !== 'udp') {
      report('cluster', { path, message: 'is for services of protocol udp' });
    }
    checkServerIds(service, path, cluster.backends ?? {}, report);
  }
}

function checkServerIds(
  { quic, backends: groups = [] }: Service,
  path: Path,
  all: NonNullable<ClusterRemains['backends']>,
  report: Report,
): void {
  if (quic === undefined) return;
  const entries = groups.flatMap((group) => {
    const list = Object.hasOwn(all, group) ? (all[group] ?? []) : [];
    return list.flatMap((entry, index) =>
      entry === undefined ? [] : [{ entry, path: ['backends', group, index, 'server_id'] }],
    );
  });
  const ids = entries.map(({ entry }) => idOf(entry, quic));
  for (const [at, { entry, path: where }] of entries.entries()) {
    const bytes = (ids[at]?.length ?? 0) / 2;
    if (entry.server_id === undefined || bytes === quic.idBytes) continue;
    const must = quic.layout === 'katran' ? `at most ${quic.idBytes}` : String(quic.idBytes);
    report('cluster', { path: where, message: `must have ${must} bytes for this layout` });
  }
  eachRepeated(ids, (at, first) => {
    const owner = entries[first]?.entry;
    const message = `is already that of backend "${owner?.name ?? owner?.address ?? ''}"`;
    report('cluster', { path: entries[at]?.path ?? path, message });
  });
}

/** Padded as resolve.ts does it. */
function idOf({ server_id: id }: BackendEntry, { layout, idBytes }: NonNullable<Service['quic']>) {
  return layout === 'katran' ? id?.padStart(idBytes * 2, '0') : id;
}
