import { createServer } from 'node:http';
import { describe, expect, test } from 'vitest';
import { closedPort, listen } from '../health/local-servers.ts';
import { parseLocalCheck } from './local-check.ts';

function outcomeOf(text: string): Promise<string | undefined> {
  const check = parseLocalCheck(text);
  if (check === undefined) throw new Error(`not a check: ${text}`);
  return check.run(AbortSignal.timeout(30_000));
}

describe('a check of this host', () => {
  test('passes where somebody answers', async () => {
    const server = await listen(createServer((_, response) => response.end('well')));
    try {
      const { port } = server;
      expect(await outcomeOf(`tcp:${port}`)).toBeUndefined();
      expect(await outcomeOf(`tcp:127.0.0.1:${port}`)).toBeUndefined();
      expect(await outcomeOf(`http:http://localhost:${port}/healthz?all`)).toBeUndefined();
    } finally {
      await server.close();
    }
  });

  test('fails where nobody does, and says so', async () => {
    const port = await closedPort();
    expect(await outcomeOf(`tcp:${port}`)).toContain('refuses');
    expect(await outcomeOf(`http:http://127.0.0.1:${port}/`)).toContain('refuses');
  });

  test('fails where the answer is an error', async () => {
    const server = await listen(
      createServer((_, response) => {
        response.statusCode = 503;
        response.end();
      }),
    );
    try {
      expect(await outcomeOf(`http:http://127.0.0.1:${server.port}/`)).toContain('503');
    } finally {
      await server.close();
    }
  });
});

test.each([
  ['tcp:80', undefined],
  ['tcp/192.0.2.1:80=tcp:80', { vip: '192.0.2.1', protocol: 'tcp', port: 80 }],
  [
    'udp/[2001:db8::53]:53=http:http://127.0.0.1:8053/ready',
    { vip: '2001:db8::53', protocol: 'udp', port: 53 },
  ],
  ['http:http://[::1]:8080/a=b', undefined],
])('%s is about the service %o', (text, service) => {
  expect(parseLocalCheck(text)?.service).toEqual(service);
});

test.each([
  '',
  'tcp',
  'tcp:',
  'tcp:0',
  'tcp:65536',
  'tcp:web:80',
  'udp:53',
  'https:https://127.0.0.1/',
  'http:127.0.0.1/',
  'http:https://127.0.0.1/',
  'http:http://web.example/',
  'http:http://user:secret@127.0.0.1/',
  'tcp/192.0.2.1=tcp:80',
  'sctp/192.0.2.1:80=tcp:80',
  'tcp/web:80=tcp:80',
])('%j is no check', (text) => {
  expect(parseLocalCheck(text)).toBeUndefined();
});
