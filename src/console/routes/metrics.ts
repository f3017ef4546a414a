import { Hono } from 'hono';
import { createMetrics } from '../metrics.ts';
import { perSnapshot, type View } from '../view.ts';

/** `/metrics` in the Prometheus text format, made from the snapshot of the moment of the scrape. */
export function metricsRoutes(view: View): Hono {
  const metrics = createMetrics();
  const textOf = perSnapshot((snapshot) => metrics.render(snapshot));
  return new Hono().get('/metrics', async (c) => {
    c.header('Cache-Control', 'no-store');
    c.header('Content-Type', metrics.contentType);
    return c.body(await textOf(view.snapshot()));
  });
}
