/**
 * Goal: every byte arrives by every mode, in every mix of families, and health checks go the same way.
 * Method: three backends are run by `skein backend`; b4 is set up by hand, with `ip`, sysctl and the
 * nft recipes, and for tunnels, of which this kernel may know none, with the XDP program attached by
 * `ip`. Downloads, uploads and datagrams are checked; the counters of `skein backend` say how they came.
 * MODES_BYTES=20000000 makes transfers ten times as large as they are otherwise.
 */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  FORWARDING_MODES,
  isNat,
  isTunnel,
  type ForwardingMode,
} from '../../src/model/forwarding.ts';
import type { NodeSnapshot } from '../../src/snapshot.ts';
import { attachDecapsulator, detachDecapsulator, followRecipe } from '../by-hand.ts';
import type { ConfigOptions } from '../config.ts';
import type { BackendHost } from '../daemons.ts';
import { run } from '../exec.ts';
import { Testbed } from '../testbed.ts';
import { topology } from '../topology.ts';
import type { Counts, TransfersReport } from '../traffic/report.ts';
import { until } from '../until.ts';
import {
  datagramBytesMax,
  mixesOf,
  modeDocument,
  PORTS,
  portOf,
  segmentBytesMax,
  vipFor,
  type Mix,
} from './modes.ts';
import { scenario, urlOf } from './support.ts';

const BYTES = Number(process.env['MODES_BYTES'] ?? 2_000_000);
const AT_ONCE = 10;
const DATAGRAMS = 60;
/** What a check must have passed in a row, since it was new. */
const PASSES = 3;
const PACKETS = 20;

/** b4, the last one, is set up by hand. */
const SIZE = { nodes: 2, backends: 4, managedBackends: 3, vipPairs: 2 };
const SHAPE = topology(SIZE);
const ALL_VIPS = SHAPE.vips.flatMap(({ ipv4, ipv6 }) => [ipv4, ipv6]);

scenario('forwarding modes', () => {
  let testbed: Testbed;

  beforeAll(async () => {
    testbed = await Testbed.up({ ...SIZE, config: by('l2dsr') });
    await setUpByHand(testbed.backend(4));
    // Of no concern to skein backend.
    await Promise.all(testbed.backends.map(routeThroughNodes));
    await testbed.untilAnnouncing();
  });

  afterAll(async () => {
    await testbed.down();
  });

  describe.each(FORWARDING_MODES)('%s', (mode) => {
    beforeAll(async () => {
      testbed.reconfigure(by(mode));
      await untilThrough(testbed, mode);
    });

    test('is the way of health checks, and nothing else is', async () => {
      const before = await countersOf(testbed);
      if (!isTakenApart(mode)) {
        expect(before).toEqual({ b1: {}, b2: {}, b3: {} });
        return;
      }
      const grown = await until(
        async () => {
          const now = growth(before, await countersOf(testbed));
          return Object.values(now).every((counts) => (counts[mode] ?? 0) >= PACKETS) && now;
        },
        { what: `checks by ${mode} at every backend` },
      );
      expect(Object.values(grown).map((counts) => Object.keys(counts))).toEqual([
        [mode],
        [mode],
        [mode],
      ]);
    });

    test.each(mixesOf(mode))('carries downloads and uploads: $inner over $outer', async (mix) => {
      const before = await countersOf(testbed);
      const translatedBefore = await translated(testbed);
      const report = await testbed.client.transfers({
        url: webUrl(mode, mix),
        bytes: BYTES,
        downloads: AT_ONCE,
        uploads: AT_ONCE,
      });
      // First, since it says why some did not arrive.
      expect(report.errors).toEqual({});
      expect(report).toMatchObject({ downloaded: AT_ONCE, uploaded: AT_ONCE });
      console.log(`${mode}, ${mix.inner} over ${mix.outer}: ${summary(report)}`);
      if (isNat(mode)) {
        const least = translatedBefore + (AT_ONCE * BYTES) / segmentBytesMax(mode, mix);
        await until(async () => (await translated(testbed)) >= least, { what: 'as many replies' });
      }
      if (!isTakenApart(mode)) return;
      const grown = growth(before, await countersOf(testbed));
      for (const { site } of managed(testbed)) {
        const segments = ((report.uploadsTo[site.name] ?? 0) * BYTES) / segmentBytesMax(mode, mix);
        expect(grown[site.name]?.[mode] ?? 0, site.name).toBeGreaterThanOrEqual(segments);
      }
    });

    test('carries datagrams up to the MTU', async () => {
      const reports = mixesOf(mode).map(async (mix) => {
        const bytesMax = datagramBytesMax(mode, mix);
        const host = vipFor(SHAPE, mix);
        const to = { host, port: portOf(mode, 'udp') };
        const report = await testbed.client.datagrams({ ...to, count: DATAGRAMS, bytesMax });
        const expected = { answered: DATAGRAMS, lost: 0, bytesMax, errors: {} };
        expect(report, describeMix(mix)).toMatchObject(expected);
      });
      await Promise.all(reports);
    });

    test('loses nothing for its size, since clients are told what fits', async () => {
      for (const mix of mixesOf(mode)) {
        const mss = isTunnel(mode) ? segmentBytesMax(mode, mix) : undefined;
        for (const backend of managed(testbed)) {
          const { clamps } = await backend.status();
          const clamp = clamps.find(({ vip }) => vip === vipFor(SHAPE, mix));
          expect(clamp?.mss, `${backend.site.name}, ${describeMix(mix)}`).toBe(mss);
        }
      }
      for (const node of testbed.nodes) {
        const { counters } = await node.snapshot();
        const tooBig = counters.filter(({ name }) => name.startsWith('too_big'));
        expect(tooBig.length).toBeGreaterThan(0);
        expect(
          tooBig.filter(({ value }) => value > 0),
          node.site.name,
        ).toEqual([]);
      }
    });
  });

  test('a backend that takes no tunnel apart is down, whether it has the VIPs or not', async () => {
    testbed.reconfigure(by('gue'));
    await untilThrough(testbed, 'gue');
    await detachDecapsulator(testbed.backend(4).site);
    await testbed.backend(1).agent?.stop();
    await untilDown(testbed, ['b1', 'b4']);
    for (const mix of mixesOf('gue')) {
      const url = webUrl('gue', mix);
      const { ok, perBackend } = await testbed.client.requests({ url, count: 50 });
      expect({ ok, by: Object.keys(perBackend) }).toEqual({ ok: 50, by: ['b2', 'b3'] });
    }

    // Only the way was wrong with b4: it is up at once by another one.
    testbed.reconfigure(by('l2dsr'));
    await untilDown(testbed, ['b1']);
    await attachDecapsulator(testbed.backend(4).site, ALL_VIPS);
    testbed.reconfigure(by('gue'));
    await testbed.backend(1).start();
    await untilThrough(testbed, 'gue');
  });
});

/**
 * Without BFD: transfers keep both ends and all nodes busy on one machine, so that a session may miss
 * its 150 ms, and connections of full_nat end when the router sends them to another node.
 */
function by(mode: ForwardingMode): ConfigOptions {
  return { bgp: { bfd: undefined }, patch: (base) => modeDocument(SHAPE, mode, base) };
}

/** Once, for every mode: what they need does not get in each other's way. */
async function setUpByHand({ site }: BackendHost): Promise<void> {
  const [over4, over6] = SHAPE.vips;
  if (over4 === undefined || over6 === undefined) throw new Error('two pairs of VIPs are needed');
  await followRecipe(site, 'dscp', { ipv4: over4.ipv4, ipv6: over6.ipv6 });
  await attachDecapsulator(site, ALL_VIPS);
  // The recipe leaves the size to the reader: here that of the longest headers.
  const smallest = SHAPE.vips.map((vips) => {
    const size = (inner: 'ipv4' | 'ipv6') =>
      String(segmentBytesMax('gue', { inner, outer: 'ipv6' }));
    return followRecipe(site, 'mss', vips, (recipe) =>
      recipe.replace('1440', size('ipv4')).replace('1420', size('ipv6')),
    );
  });
  await Promise.all(smallest);
}

/** Replies of nat may come by any node: here each flow's by one that has nothing to do with its requests'. */
async function routeThroughNodes({ site }: BackendHost): Promise<void> {
  const [one, other] = SHAPE.nodes;
  const [vips] = SHAPE.vips;
  if (one === undefined || other === undefined || vips === undefined) throw new Error('too small');
  const byPorts = ['ipv4', 'ipv6'].map((family) => `net.${family}.fib_multipath_hash_policy=1`);
  await run(['sysctl', '-qw', ...byPorts], site);
  await followRecipe(site, 'nat', vips, (recipe) =>
    recipe
      .replace(/^(.* rule add .*) ipproto tcp sport 8080/gm, (_, rule: string) =>
        [`ipproto tcp sport ${PORTS.web} lookup 83`, `ipproto udp sport ${PORTS.udp}`]
          .map((what) => `${rule} ${what}`)
          .join('\n'),
      )
      .replace('10.1.0.0/24', '10.83.1.0/24')
      .replace('2001:db8:1::/64', 'fd83:1::/64')
      .replaceAll('10.1.0.1 ', `${one.ipv4} `)
      .replaceAll('10.1.0.2\n', `${other.ipv4}\n`)
      .replaceAll('2001:db8:1::1 ', `${one.ipv6} `)
      .replaceAll('2001:db8:1::2\n', `${other.ipv6}\n`),
  );
}

/** Every check of every backend has passed by this mode, and the router knows. */
async function untilThrough(testbed: Testbed, mode: ForwardingMode): Promise<void> {
  const passed = ({ services }: NodeSnapshot): boolean =>
    services.length === 2 * mixesOf(mode).length &&
    services
      .flatMap(({ backends }) => backends)
      .every(
        (backend) =>
          backend.mode === mode &&
          backend.state === 'up' &&
          backend.checks.every(
            ({ check, recent }) =>
              check === mode && recent.length >= PASSES && recent.every((pass) => pass),
          ),
      );
  await untilAtAll(testbed, `checks to pass by ${mode}`, passed);
  await testbed.untilAnnouncing();
}

/** These are down in every service, and all others are up. */
async function untilDown(testbed: Testbed, names: readonly string[]): Promise<void> {
  await untilAtAll(testbed, `${names.join(' and ')} alone to be down`, ({ services }) =>
    services
      .flatMap(({ backends }) => backends)
      .every(({ name, state }) => state === (names.includes(name) ? 'down' : 'up')),
  );
}

async function untilAtAll(
  testbed: Testbed,
  what: string,
  fits: (snapshot: NodeSnapshot) => boolean,
): Promise<void> {
  const options = { timeoutMs: 60_000 };
  await Promise.all(testbed.nodes.map((node) => node.untilSnapshot(what, fits, options)));
}

/** The backend has a program for it, with counters. */
function isTakenApart(mode: ForwardingMode): boolean {
  return isTunnel(mode) || mode === 'dscp';
}

function webUrl(mode: ForwardingMode, mix: Mix): string {
  const url = new URL(urlOf(vipFor(SHAPE, mix)));
  url.port = String(portOf(mode, 'web'));
  return url.href;
}

/** Replies that nodes have put the VIP back into, as of half a second ago. */
async function translated(testbed: Testbed): Promise<number> {
  const snapshots = await Promise.all(testbed.nodes.map((node) => node.snapshot()));
  return snapshots
    .flatMap(({ counters }) => counters.filter(({ name }) => name === 'nat_reply'))
    .reduce((sum, { value }) => sum + value, 0);
}

function managed(testbed: Testbed): readonly BackendHost[] {
  return testbed.backends.filter(({ site }) => site.managed);
}

type Counters = Readonly<Record<string, Counts>>;

/** Of every `skein backend`, by name; those that are 0 are left out. */
async function countersOf(testbed: Testbed): Promise<Counters> {
  const all = managed(testbed).map(async (backend) => {
    const { counters } = await backend.status();
    const counts = counters.filter(({ value }) => value > 0);
    return [backend.site.name, Object.fromEntries(counts.map(({ name, value }) => [name, value]))];
  });
  return Object.fromEntries(await Promise.all(all)) as Counters;
}

/** Those that have grown, and by how much. */
function growth(before: Counters, now: Counters): Counters {
  const grown = Object.entries(now).map(([name, counts]) => {
    const by = Object.entries(counts)
      .map(([counter, value]) => [counter, value - (before[name]?.[counter] ?? 0)] as const)
      .filter(([, more]) => more > 0);
    return [name, Object.fromEntries(by)];
  });
  return Object.fromEntries(grown) as Counters;
}

function summary({ bytes, downloaded, uploaded, durationMs }: TransfersReport): string {
  const megabytes = (bytes * (downloaded + uploaded)) / 1e6;
  const rate = ((megabytes * 1000) / durationMs).toFixed(0);
  return `${megabytes} MB in ${(durationMs / 1000).toFixed(1)} s, ${rate} MB/s`;
}

function describeMix({ inner, outer }: Mix): string {
  return `${inner} over ${outer}`;
}
