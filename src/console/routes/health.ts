import { Hono } from 'hono';
import { SkeinError } from '../../lib/errors.ts';
import type { View } from '../view.ts';

/** `/healthz` in plain text for whatever watches nodes: 200 `ok` while this one forwards, else 503. */
export function healthRoutes(view: View): Hono {
  return new Hono().get('/healthz', (c) => {
    c.header('Cache-Control', 'no-store');
    const reason = notForwarding(view);
    return reason === undefined ? c.text('ok\n') : c.text(`${reason}\n`, 503);
  });
}

function notForwarding(view: View): string | undefined {
  try {
    const { stopping, dataplane } = view.snapshot();
    if (stopping) return 'stopping: VIPs are withdrawn, flows move to other nodes';
    if (dataplane.interfaces.length === 0) return 'not attached to any interface';
    return undefined;
  } catch (error) {
    if (error instanceof SkeinError) return error.message;
    throw error;
  }
}
