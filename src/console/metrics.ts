/**
 * The snapshot as Prometheus metrics. Names and units follow the conventions of Prometheus: base
 * units, `_total` for counters, `_info` for labels that other series join. One series never carries
 * a value that another one could be computed from.
 */
import { setImmediate } from 'node:timers/promises';
import { Counter, Gauge, Registry, collectDefaultMetrics } from 'prom-client';
import type { NodeSnapshot } from '../snapshot.ts';
import { definitions, type Definition } from './metric-definitions.ts';

export interface Metrics {
  readonly contentType: string;
  render(snapshot: NodeSnapshot): Promise<string>;
}

/** Each console has its own registry, so that two of them in one process do not collide. */
export function createMetrics(): Metrics {
  const registry = new Registry();
  collectDefaultMetrics({ register: registry, prefix: 'skein_supervisor_' });
  const fills = new Map(definitions.map((each) => [each.name, register(each, registry)]));
  return {
    contentType: registry.contentType,
    async render(snapshot) {
      const texts: string[] = [];
      for (const { name } of registry.getMetricsAsArray()) {
        fills.get(name)?.(snapshot);
        texts.push(await registry.getSingleMetricAsString(name));
        // With tens of thousands of backends the whole takes a second, which health checks and
        // the BGP daemon must not wait for.
        await setImmediate();
      }
      return `${texts.join('\n\n')}\n`;
    },
  };
}

/** Series are made anew at each scrape: what has left the snapshot leaves the metrics with it. */
function register(definition: Definition, registry: Registry): (snapshot: NodeSnapshot) => void {
  const { name, help } = definition;
  const settings = { name, help, labelNames: definition.labels, registers: [registry] };
  const metric = definition.type === 'gauge' ? new Gauge(settings) : new Counter(settings);
  return (snapshot) => {
    metric.reset();
    // A reset leaves a zero where there are no labels, as if it had been measured.
    if (definition.labels.length === 0) metric.remove();
    for (const [labels, value] of definition.samples(snapshot)) metric.inc(labels, value);
  };
}
