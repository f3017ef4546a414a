/**
 * The console of a node as a function from Request to Response: page, REST and metrics.
 * Reads the snapshot and, when asked, flows; never writes anything.
 */
import { Hono } from 'hono';
import { secureHeaders } from 'hono/secure-headers';
import { SkeinError } from '../lib/errors.ts';
import { refuse } from './errors.ts';
import { hostAllowed } from './host.ts';
import { apiRoutes } from './routes/api.ts';
import { healthRoutes } from './routes/health.ts';
import { metricsRoutes } from './routes/metrics.ts';
import { pageRoutes } from './routes/page.ts';
import type { View } from './view.ts';

export interface ConsoleOptions {
  /** Names, besides addresses and localhost, under which the console is asked for. */
  readonly names?: readonly string[];
  /** Told of every failure that a client sees only as `internal_error`. */
  readonly onError?: (error: Error) => void;
}

export function createConsole(view: View, options: ConsoleOptions = {}): Hono {
  const app = new Hono();
  app.use(securityHeaders());
  app.use(async (c, next) => {
    const asked = [new URL(c.req.url).host, c.req.header('host')];
    const names = options.names ?? [];
    if (!asked.every((host) => host === undefined || hostAllowed(host, names))) {
      return refuse(
        c,
        'host_not_allowed',
        'ask by IP address, by localhost, or by the name under `console` in the node document',
      );
    }
    if (c.req.method !== 'GET' && c.req.method !== 'HEAD') {
      c.header('Allow', 'GET, HEAD');
      return refuse(c, 'method_not_allowed', 'the console only reads: use GET or HEAD');
    }
    return next();
  });
  app.route('/', healthRoutes(view));
  app.route('/', metricsRoutes(view));
  app.route('/api/v1', apiRoutes(view));
  app.route('/', pageRoutes());
  app.notFound((c) => refuse(c, 'not_found', 'there is nothing under this path'));
  app.onError((error, c) => {
    // The node is starting, say: nothing is wrong here, and its words are meant for people.
    if (error instanceof SkeinError) return refuse(c, 'node_unavailable', error.message);
    options.onError?.(error);
    return refuse(c, 'internal_error', 'the node could not answer; its log says why');
  });
  return app;
}

/**
 * The page is its own files and nothing else, may not be framed, and has no way to turn text into
 * markup: Trusted Types without any policy forbid every such call.
 */
function securityHeaders(): ReturnType<typeof secureHeaders> {
  return secureHeaders({
    contentSecurityPolicy: {
      defaultSrc: ["'none'"],
      scriptSrc: ["'self'"],
      styleSrc: ["'self'"],
      imgSrc: ["'self'"],
      connectSrc: ["'self'"],
      baseUri: ["'none'"],
      formAction: ["'none'"],
      frameAncestors: ["'none'"],
      requireTrustedTypesFor: ["'script'"],
      trustedTypes: ["'none'"],
    },
    xFrameOptions: 'DENY',
    referrerPolicy: 'no-referrer',
    // The console is plain HTTP, where browsers must ignore this header (RFC 6797, section 8.1).
    strictTransportSecurity: false,
  });
}
