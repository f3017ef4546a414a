import { describe, expect, test } from 'vitest';
import { createConsole } from '../app.ts';
import { fixtureSnapshot } from '../fixture.ts';

const snapshot = fixtureSnapshot('usual');
const app = createConsole({ snapshot: () => snapshot });

async function json(path: string): Promise<unknown> {
  const response = await app.request(`/api/v1${path}`);
  expect(response.headers.get('content-type')).toContain('application/json');
  expect(response.headers.get('cache-control')).toBe('no-store');
  return response.json();
}

/** What is left of a value on the wire: a field that is undefined is not there. */
function onTheWire(value: unknown): unknown {
  return JSON.parse(JSON.stringify(value));
}

test('the snapshot is given whole', async () => {
  expect(await json('/snapshot')).toEqual(onTheWire(snapshot));
});

test('a newer snapshot is not answered with the text of the older one', async () => {
  let nowMs = 1_760_000_000_000;
  const moving = createConsole({ snapshot: () => fixtureSnapshot('usual', nowMs) });
  const first = await (await moving.request('/api/v1/snapshot')).json();
  nowMs += 1000;
  const second = await (await moving.request('/api/v1/snapshot')).json();
  expect(first).toMatchObject({ takenAtMs: nowMs - 1000 });
  expect(second).toMatchObject({ takenAtMs: nowMs });
});

test('the node is given without its lists', async () => {
  const { bgp, peers, vips, services, counters, ...node } = snapshot;
  expect([bgp, peers, vips, services, counters]).not.toContain(undefined);
  expect(await json('/node')).toEqual(onTheWire(node));
});

test.each([
  ['/vips', { vips: snapshot.vips }],
  ['/services', { services: snapshot.services }],
  ['/counters', { counters: snapshot.counters, tables: snapshot.dataplane.tables }],
  ['/bgp', snapshot.bgp],
  ['/peers', snapshot.peers],
])('%s is a part of it', async (path, expected) => {
  expect(await json(path)).toEqual(onTheWire(expected));
});

test('without a bgp section there is no BGP to be shown', async () => {
  const silent = createConsole({ snapshot: () => fixtureSnapshot('no-bgp') });
  const response = await silent.request('/api/v1/bgp');
  expect(response.status).toBe(404);
  expect(await response.json()).toMatchObject({ error: { code: 'bgp_not_configured' } });
});

test('without a sync section there are no peers to be shown', async () => {
  const alone = createConsole({ snapshot: () => fixtureSnapshot('no-sync') });
  const response = await alone.request('/api/v1/peers');
  expect(response.status).toBe(404);
  expect(await response.json()).toMatchObject({ error: { code: 'sync_not_configured' } });
});

describe('one service', () => {
  const v6 = 'tcp/[2001:db8:ffff:c0de:a1b2:c3d4:e5f6:4430]:443';

  test.each([
    ['as it stands', 'tcp/192.0.2.10:443', 'tcp/192.0.2.10:443'],
    ['escaped whole', encodeURIComponent('tcp/192.0.2.10:443'), 'tcp/192.0.2.10:443'],
    ['with brackets', v6, v6],
    ['with brackets escaped', v6.replace('[', '%5B').replace(']', '%5D'), v6],
    ['with brackets, escaped whole', encodeURIComponent(v6), v6],
  ])('is found by its id %s', async (_, path, id) => {
    expect(await json(`/services/${path}`)).toMatchObject({ id });
  });

  test.each(['tcp/192.0.2.10', 'udp/192.0.2.10:443', '%zz', 'tcp/192.0.2.10:443/', '__proto__'])(
    '%s is no service',
    async (path) => {
      const response = await app.request(`/api/v1/services/${path}`);
      expect(response.status).toBe(404);
      expect(await response.json()).toMatchObject({ error: { code: 'service_not_found' } });
    },
  );
});
