/** The one shape of a refused request: `{ "error": { "code", "message" } }`, code stable, message for people. */
import type { Context } from 'hono';

export type ErrorCode =
  | 'method_not_allowed'
  | 'not_found'
  | 'service_not_found'
  | 'host_not_allowed'
  | 'bgp_not_configured'
  | 'sync_not_configured'
  | 'invalid_query'
  | 'busy'
  | 'node_unavailable'
  | 'internal_error';

const statusOf = {
  method_not_allowed: 405,
  not_found: 404,
  service_not_found: 404,
  host_not_allowed: 421,
  bgp_not_configured: 404,
  sync_not_configured: 404,
  invalid_query: 400,
  busy: 503,
  node_unavailable: 503,
  internal_error: 500,
} as const satisfies Record<ErrorCode, number>;

export function refuse(c: Context, code: ErrorCode, message: string): Response {
  c.header('Cache-Control', 'no-store');
  return c.json({ error: { code, message } }, statusOf[code]);
}
