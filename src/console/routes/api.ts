/**
 * `/api/v1`: the snapshot as JSON, whole and in parts, and flows by filter. A list stays an object
 * with one key, so that it can grow fields.
 *
 * The id of a service is part of the path as it stands, slash included: `/services/tcp/192.0.2.1:80`.
 * Clients that escape it whole (`tcp%2F192.0.2.1%3A80`, `%5B2001:db8::1%5D`) mean the same.
 */
import { Hono } from 'hono';
import type { NodeSnapshot } from '../../snapshot.ts';
import { refuse } from '../errors.ts';
import { perSnapshot, type View } from '../view.ts';
import { answerFlows } from './flows.ts';

export function apiRoutes(view: View): Hono {
  const app = new Hono();
  const textOf = perSnapshot((snapshot) => JSON.stringify(snapshot));
  app.use(async (c, next) => {
    c.header('Cache-Control', 'no-store');
    await next();
  });
  app.get('/snapshot', (c) => {
    c.header('Content-Type', 'application/json');
    return c.body(textOf(view.snapshot()));
  });
  app.get('/node', (c) => c.json(nodeOf(view.snapshot())));
  app.get('/vips', (c) => c.json({ vips: view.snapshot().vips }));
  app.get('/counters', (c) => {
    const { counters, dataplane } = view.snapshot();
    return c.json({ counters, tables: dataplane.tables });
  });
  app.get('/bgp', (c) => {
    const { bgp } = view.snapshot();
    if (bgp !== null) return c.json(bgp);
    return refuse(c, 'bgp_not_configured', 'the cluster document has no bgp section');
  });
  app.get('/peers', (c) => {
    const { peers } = view.snapshot();
    if (peers !== null) return c.json(peers);
    return refuse(c, 'sync_not_configured', 'the cluster document has no sync section');
  });
  app.get('/flows', (c) => answerFlows(c, view));
  app.get('/services', (c) => c.json({ services: view.snapshot().services }));
  app.get('/services/:id{.+}', (c) => {
    const id = c.req.param('id');
    const service = view.snapshot().services.find((candidate) => candidate.id === id);
    if (service !== undefined) return c.json(service);
    return refuse(
      c,
      'service_not_found',
      `no service has the id ${id}; /api/v1/services lists all`,
    );
  });
  return app;
}

function nodeOf(
  snapshot: NodeSnapshot,
): Omit<NodeSnapshot, 'bgp' | 'peers' | 'vips' | 'services' | 'counters'> {
  const { node, cluster, version, startedAtMs, takenAtMs, stopping } = snapshot;
  const { config, dataplane, reports } = snapshot;
  return { node, cluster, version, startedAtMs, takenAtMs, stopping, config, dataplane, reports };
}
