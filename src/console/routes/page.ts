/**
 * The files of the page, read once and served from memory. Only what is listed here is served:
 * no path of a request ever reaches the file system.
 */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { Hono } from 'hono';
import { etag } from 'hono/etag';

const types = {
  html: 'text/html; charset=utf-8',
  css: 'text/css; charset=utf-8',
  js: 'text/javascript; charset=utf-8',
  svg: 'image/svg+xml',
} as const;

interface Asset {
  readonly path: string;
  readonly file: string;
  readonly type: string;
}

const assets: readonly Asset[] = [
  { path: '/', file: 'index.html', type: types.html },
  ...['style.css', 'panels.css', 'services.css', 'peers.css', 'narrow.css'].map((file) => ({
    path: `/${file}`,
    file,
    type: types.css,
  })),
  { path: '/icon.svg', file: 'icon.svg', type: types.svg },
  ...[
    'app.js',
    'backends.js',
    'banners.js',
    'bgp.js',
    'boot.js',
    'counters.js',
    'dom.js',
    'format.js',
    'overview.js',
    'peers.js',
    'poll.js',
    'rates.js',
    'reports.js',
    'services.js',
    'sources.js',
    'sparkline.js',
    'sync-counters.js',
    'sync-words.js',
    'vips.js',
    'words.js',
  ].map((file) => ({ path: `/${file}`, file, type: types.js })),
];

export function pageRoutes(): Hono {
  const app = new Hono();
  for (const asset of assets) {
    const content = readFileSync(new URL(`../public/${asset.file}`, import.meta.url));
    const tag = `"${createHash('sha256').update(content).digest('base64url').slice(0, 22)}"`;
    app.get(asset.path, etag(), (c) => {
      c.header('Content-Type', asset.type);
      c.header('Cache-Control', 'no-cache');
      c.header('ETag', tag);
      return c.body(content);
    });
  }
  return app;
}
