import { readdirSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { createConsole } from '../app.ts';
import { fixtureSnapshot } from '../fixture.ts';

const app = createConsole({ snapshot: () => fixtureSnapshot('usual') });
const folder = new URL('../public/', import.meta.url);
const files = readdirSync(folder).filter((name) => /\.(js|css|svg)$/.test(name));

test.each(files)('%s is served', async (name) => {
  const response = await app.request(`/${name}`);
  expect(response.status).toBe(200);
  const type = { js: 'text/javascript', css: 'text/css', svg: 'image/svg+xml' };
  expect(response.headers.get('content-type')).toContain(
    type[name.split('.').at(-1) as keyof typeof type],
  );
});

test('every import of the page is served', async () => {
  for (const name of files.filter((each) => each.endsWith('.js'))) {
    const text = await (await app.request(`/${name}`)).text();
    for (const [, imported] of text.matchAll(/^import .* from '\.\/(.*)';$/gm)) {
      expect((await app.request(`/${imported ?? ''}`)).status, imported).toBe(200);
    }
  }
});

test('the page asks for nothing from elsewhere and has nothing inline', async () => {
  const html = await (await app.request('/')).text();
  expect(html).toContain('<script type="module" src="boot.js"></script>');
  expect(html).not.toMatch(/(src|href)="(https?:)?\/\//);
  expect(html).not.toMatch(/<style|style=|\son[a-z]+=|<script(?![^>]*src=)/);
});

describe('caching', () => {
  test('a browser that has the current file is told so', async () => {
    const first = await app.request('/app.js');
    const etag = first.headers.get('etag') ?? '';
    expect(etag).toMatch(/^"[\w-]{22}"$/);
    expect(first.headers.get('cache-control')).toBe('no-cache');
    const again = await app.request('/app.js', { headers: { 'if-none-match': `"old", ${etag}` } });
    expect(again.status).toBe(304);
    expect(await again.text()).toBe('');
    expect(again.headers.get('etag')).toBe(etag);
  });

  test('a browser that has an older file gets the new one', async () => {
    const response = await app.request('/app.js', { headers: { 'if-none-match': '"old"' } });
    expect(response.status).toBe(200);
  });

  test('two files never share a tag', async () => {
    const tags = await Promise.all(
      files.map(async (name) => (await app.request(`/${name}`)).headers.get('etag')),
    );
    expect(new Set(tags).size).toBe(files.length);
  });
});
