/**
 * Goal: clients are spread over the backends by weight, and every node makes the same choice.
 * Method: real requests on connections of their own; then the same source ports through one node
 * after the other.
 */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Testbed } from '../testbed.ts';
import {
  CHI_SQUARE_MAX,
  chiSquare,
  FAMILIES,
  routeByBgp,
  routeThrough,
  scenario,
  urlOf,
  vipOf,
} from './support.ts';

const REQUESTS = 2000;
/** Below the range from which the client's kernel picks ports: of those, some are in TIME_WAIT by now. */
const FIRST_PORT = 5000;
const EQUAL = { b1: 1, b2: 1, b3: 1, b4: 1 };
const UNEQUAL = { b1: 3, b2: 1, b3: 1, b4: 1 };

scenario('spread', () => {
  let testbed: Testbed;

  beforeAll(async () => {
    testbed = await Testbed.up({ config: { weights: EQUAL } });
    await testbed.untilAnnouncing();
  });

  afterAll(async () => {
    await testbed.down();
  });

  async function spread(family: (typeof FAMILIES)[number]) {
    const url = urlOf(vipOf(testbed, family));
    return testbed.client.requests({ url, count: REQUESTS, concurrency: 32 });
  }

  test.each(FAMILIES)('equal weights over %s', async (family) => {
    const report = await spread(family);
    expect(report).toMatchObject({ ok: REQUESTS, errors: {} });
    expect(chiSquare(report.perBackend, EQUAL)).toBeLessThan(CHI_SQUARE_MAX);
    // The same sample must not pass for the other weights: the test can fail.
    expect(chiSquare(report.perBackend, UNEQUAL)).toBeGreaterThan(CHI_SQUARE_MAX);
  });

  test.each(FAMILIES)('every node takes part over %s', async (family) => {
    const vip = vipOf(testbed, family);
    for (const node of testbed.nodes) {
      await node.untilSnapshot('its share of the flows', ({ services }) => {
        const web = services.find((each) => each.vip === vip && each.port === 80);
        return (web?.traffic.flowsOpened ?? 0) > REQUESTS / 10;
      });
    }
  });

  test.each(FAMILIES)(
    'the same 5-tuple goes to the same backend by every node, %s',
    async (family) => {
      const vip = vipOf(testbed, family);
      const choices: string[][] = [];
      for (const { site } of testbed.nodes) {
        await routeThrough(testbed, vip, site);
        const report = await testbed.client.requests({
          url: urlOf(vip, '/whoami'),
          count: 200,
          concurrency: 8,
          sourcePort: FIRST_PORT,
        });
        expect(report.errors).toEqual({});
        choices.push(Object.keys(report.perBackend).map(portAndBackend).sort());
      }
      await routeByBgp(testbed, vip);
      const [first, ...others] = choices;
      expect(first).toHaveLength(200);
      expect(new Set(first?.map((choice) => choice.split(' ')[1])).size).toBe(4);
      for (const other of others) expect(other).toEqual(first);
    },
  );

  test('weights of 3:1:1:1 after a reload, over both families', async () => {
    testbed.reconfigure({ weights: UNEQUAL });
    for (const node of testbed.nodes) {
      await node.untilSnapshot('the new weights', ({ services }) =>
        services.every(({ backends }) => backends[0]?.weight === 3),
      );
    }
    for (const family of FAMILIES) {
      const report = await spread(family);
      expect(report).toMatchObject({ ok: REQUESTS, errors: {} });
      expect(chiSquare(report.perBackend, UNEQUAL)).toBeLessThan(CHI_SQUARE_MAX);
    }
  });
});

/** What `/whoami` says, as `5017 b3`. */
function portAndBackend(text: string): string {
  const { backend, client } = JSON.parse(text) as { backend: string; client: { port: number } };
  return `${client.port} ${backend}`;
}
