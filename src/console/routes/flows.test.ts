import { describe, expect, test } from 'vitest';
import type { FlowList, FlowQuery } from '../../model/flow-query.ts';
import { createConsole } from '../app.ts';
import { fixtureSnapshot } from '../fixture.ts';

const LIST: FlowList = {
  flows: [],
  scanned: 0,
  matched: 0,
  survival: null,
  truncated: false,
  complete: true,
};

const ALL: FlowQuery = { limit: 100 };

function consoleThatAnswers(answer: FlowList | 'busy') {
  const asked: FlowQuery[] = [];
  const app = createConsole({
    snapshot: () => fixtureSnapshot('usual'),
    flows(query) {
      asked.push(query);
      return Promise.resolve(answer);
    },
  });
  return { app, asked };
}

describe('filters', () => {
  test.each([
    ['', ALL],
    ['client=198.51.100.7', { ...ALL, client: '198.51.100.7' }],
    ['client=2001:DB8:0::7', { ...ALL, client: '2001:db8::7' }],
    ['vip=192.0.2.1&port=80&protocol=tcp', { ...ALL, vip: '192.0.2.1', port: 80, protocol: 'tcp' }],
    ['backend=10.0.0.1&state=closing', { ...ALL, backend: '10.0.0.1', state: 'closing' }],
    ['limit=1000', { limit: 1000 }],
    ['port=65535&limit=1', { limit: 1, port: 65_535 }],
  ])('?%s is passed on', async (query, expected) => {
    const { app, asked } = consoleThatAnswers(LIST);
    const response = await app.request(`/api/v1/flows?${query}`);
    expect(response.status).toBe(200);
    expect(response.headers.get('cache-control')).toBe('no-store');
    expect(await response.json()).toEqual(LIST);
    expect(asked).toEqual([expected]);
  });

  test.each([
    ['client=', 'client'],
    ['client=198.51.100', 'client'],
    ['client=fe80::1%25eth0', 'client'],
    ['vip=example.net', 'vip'],
    ['backend=10.0.0.1:80', 'backend'],
    ['port=0', 'port'],
    ['port=65536', 'port'],
    ['port=8e1', 'port'],
    ['port=-1', 'port'],
    ['port=080', 'port'],
    ['protocol=TCP', 'protocol'],
    ['state=established', 'state'],
    ['limit=0', 'limit'],
    ['limit=1001', 'limit'],
    ['limit=1&limit=2', 'limit'],
    ['clinet=198.51.100.7', '"clinet"'],
    ['__proto__=1', '"__proto__"'],
    ['constructor=1', '"constructor"'],
  ])('?%s is refused and named', async (query, named) => {
    const { app, asked } = consoleThatAnswers(LIST);
    const response = await app.request(`/api/v1/flows?${query}`);
    expect(response.status).toBe(400);
    const body: unknown = await response.json();
    expect(body).toMatchObject({ error: { code: 'invalid_query' } });
    expect(JSON.stringify(body)).toContain(JSON.stringify(named).slice(1, -1));
    expect(asked).toEqual([]);
  });
});

test('while too many ask, the next one is told when to come again', async () => {
  const { app } = consoleThatAnswers('busy');
  const response = await app.request('/api/v1/flows');
  expect(response.status).toBe(503);
  expect(response.headers.get('retry-after')).toBe('1');
  expect(await response.json()).toMatchObject({ error: { code: 'busy' } });
});

test('a view without flows has nothing there', async () => {
  const app = createConsole({ snapshot: () => fixtureSnapshot('usual') });
  const response = await app.request('/api/v1/flows');
  expect(response.status).toBe(404);
  expect(await response.json()).toMatchObject({ error: { code: 'not_found' } });
});
