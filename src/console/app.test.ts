import { describe, expect, test } from 'vitest';
import { SkeinError } from '../lib/errors.ts';
import { createConsole } from './app.ts';
import { fixtureSnapshot } from './fixture.ts';

const app = createConsole({ snapshot: () => fixtureSnapshot('usual') });

const everyRoute = ['/', '/app.js', '/healthz', '/metrics', '/api/v1/node', '/api/v1/snapshot'];

describe('methods', () => {
  test.each(everyRoute)('HEAD %s has the headers of GET and no body', async (path) => {
    const head = await app.request(path, { method: 'HEAD' });
    const get = await app.request(path);
    expect(head.status).toBe(200);
    expect(head.headers.get('content-type')).toBe(get.headers.get('content-type'));
    expect(await head.text()).toBe('');
  });

  test.each(['POST', 'PUT', 'DELETE', 'PATCH', 'OPTIONS'])('%s is refused', async (method) => {
    for (const path of [...everyRoute, '/nowhere']) {
      const response = await app.request(path, { method });
      expect(response.status).toBe(405);
      expect(response.headers.get('allow')).toBe('GET, HEAD');
      expect(await response.json()).toMatchObject({ error: { code: 'method_not_allowed' } });
    }
  });
});

describe('security headers', () => {
  test.each([...everyRoute, '/nowhere'])('are on %s', async (path) => {
    const { headers } = await app.request(path);
    const policy = headers.get('content-security-policy') ?? '';
    expect(policy).toContain("default-src 'none'");
    expect(policy).toContain("script-src 'self'");
    expect(policy).toContain("frame-ancestors 'none'");
    expect(policy).toContain("require-trusted-types-for 'script'");
    expect(policy).not.toContain('unsafe');
    expect(headers.get('x-content-type-options')).toBe('nosniff');
    expect(headers.get('referrer-policy')).toBe('no-referrer');
  });

  test('let no other origin read anything', async () => {
    const response = await app.request('/api/v1/snapshot', {
      headers: { origin: 'http://elsewhere.example' },
    });
    expect(response.headers.get('access-control-allow-origin')).toBeNull();
    expect(response.headers.get('cross-origin-resource-policy')).toBe('same-origin');
  });
});

describe('Host header', () => {
  const named = createConsole(
    { snapshot: () => fixtureSnapshot('usual') },
    { names: ['LB1.example.net'] },
  );

  test.each([
    '127.0.0.1:8080',
    '192.0.2.7',
    '[2001:db8::1]:8080',
    '[::1]',
    'localhost',
    'LOCALHOST:9',
    'lb1.example.net:8080',
    'lb1.example.net.',
  ])('%s is answered', async (host) => {
    expect((await named.request('/healthz', { headers: { host } })).status).toBe(200);
  });

  test.each([
    'evil.example',
    'evil.example:8080',
    'localhost.evil.example',
    '127.0.0.1.evil.example',
    'lb1.example.net@evil.example',
    'localhost/',
    '',
    'a b',
    '[fe80::1%25eth0]',
  ])('%j is refused', async (host) => {
    const response = await named.request('/api/v1/snapshot', { headers: { host } });
    expect(response.status).toBe(421);
    expect(await response.json()).toMatchObject({ error: { code: 'host_not_allowed' } });
  });

  test('a foreign name in an absolute request target is refused too', async () => {
    const response = await named.request('http://evil.example/', {
      headers: { host: '127.0.0.1' },
    });
    expect(response.status).toBe(421);
  });
});

describe('what cannot be answered', () => {
  test.each([
    '/nowhere',
    '/api/v1',
    '/api/v2/node',
    '/public/app.js',
    '/../app.ts',
    '/%2e%2e/app.ts',
  ])('%s is not found', async (path) => {
    const response = await app.request(path);
    expect(response.status).toBe(404);
    expect(await response.json()).toEqual({
      error: { code: 'not_found', message: 'there is nothing under this path' },
    });
  });

  test('while there is no snapshot yet the node says why', async () => {
    const failures: Error[] = [];
    const starting = createConsole(
      {
        snapshot() {
          throw new SkeinError('STARTING', 'the node is starting');
        },
      },
      { onError: (error) => failures.push(error) },
    );
    const response = await starting.request('/api/v1/snapshot');
    expect(response.status).toBe(503);
    expect(await response.json()).toEqual({
      error: { code: 'node_unavailable', message: 'the node is starting' },
    });
    const health = await starting.request('/healthz');
    expect([health.status, await health.text()]).toEqual([503, 'the node is starting\n']);
    expect(failures).toEqual([]);
  });

  test('a bug is told to the log and not to the client', async () => {
    const failures: Error[] = [];
    const broken = createConsole(
      {
        snapshot() {
          throw new TypeError('secret detail');
        },
      },
      { onError: (error) => failures.push(error) },
    );
    for (const path of ['/api/v1/snapshot', '/metrics', '/healthz']) {
      const response = await broken.request(path);
      expect(response.status).toBe(500);
      const text = await response.text();
      expect(text).toContain('internal_error');
      expect(text).not.toContain('secret');
    }
    expect(failures.map(({ message }) => message)).toEqual(Array(3).fill('secret detail'));
  });
});
