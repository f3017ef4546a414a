import { expect, test } from 'vitest';
import { createConsole } from '../app.ts';
import { fixtureSnapshot } from '../fixture.ts';
import type { NodeSnapshot } from '../../snapshot.ts';

async function health(snapshot: NodeSnapshot): Promise<readonly [number, string]> {
  const response = await createConsole({ snapshot: () => snapshot }).request('/healthz');
  expect(response.headers.get('content-type')).toContain('text/plain');
  return [response.status, await response.text()];
}

test('a node that forwards is ok, also while its backends are down', async () => {
  expect(await health(fixtureSnapshot('usual'))).toEqual([200, 'ok\n']);
  expect(await health(fixtureSnapshot('all-down'))).toEqual([200, 'ok\n']);
});

test('a stopping node is not', async () => {
  const [status, text] = await health(fixtureSnapshot('stopping'));
  expect(status).toBe(503);
  expect(text).toMatch(/^stopping/);
});

test('a node attached to no interface is not', async () => {
  const snapshot = fixtureSnapshot('usual');
  const detached = { ...snapshot, dataplane: { ...snapshot.dataplane, interfaces: [] } };
  expect(await health(detached)).toEqual([503, 'not attached to any interface\n']);
});
