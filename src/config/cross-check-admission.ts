/** Whether the rules on new flows say what they seem to say. */
import { formatPrefix } from '../model/address.ts';
import type { Path, Report } from './problems.ts';
import type { ClusterRemains } from './schema.ts';

type Service = NonNullable<NonNullable<ClusterRemains['services']>[number]>;

/** Rules of all services together: they share one table. */
export const SOURCE_RULES_MAX = 16_384;

export function crossCheckAdmission(cluster: ClusterRemains, report: Report): void {
  let rules = 0;
  for (const [index, service] of (cluster.services ?? []).entries()) {
    if (service === undefined) continue;
    const path = ['services', index];
    const made = (service.vip?.length ?? 0) * (service.port?.length ?? 0);
    const { allow = [], deny = [] } = service.sources ?? {};
    rules += made * (allow.length + deny.length);
    checkRules(service, path, report);
    if (service.new_flows_burst !== undefined && service.new_flows_per_s === undefined) {
      const message = 'means nothing without new_flows_per_s';
      report('cluster', { path: [...path, 'new_flows_burst'], message });
    }
  }
  if (rules > SOURCE_RULES_MAX) {
    const message = `have ${rules} prefixes in sources, counted once for each VIP and port; the most is ${SOURCE_RULES_MAX}`;
    report('cluster', { path: ['services'], message });
  }
}

function checkRules({ sources }: Service, path: Path, report: Report): void {
  const seen = new Map<string, string>();
  for (const list of ['allow', 'deny'] as const) {
    for (const [index, prefix] of (sources?.[list] ?? []).entries()) {
      const text = formatPrefix(prefix);
      const earlier = seen.get(text);
      seen.set(text, `sources.${list}[${index}]`);
      if (earlier === undefined) continue;
      const message = `is listed already, as ${earlier}`;
      report('cluster', { path: [...path, 'sources', list, index], message });
    }
  }
}
