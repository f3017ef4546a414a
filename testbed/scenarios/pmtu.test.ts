/**
 * Goal: a path-MTU error reaches the backend of its flow, whichever node the router gives it to, and
 * errors of flows that nobody knows go one step and no further. Method: real errors, since the
 * router's link to the client takes 1280 bytes; policy routing sends them to a node of our choice.
 */
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { SkeinError } from '../../src/lib/errors.ts';
import type { Family } from '../../src/model/address.ts';
import type { NodeSnapshot } from '../../src/snapshot.ts';
import type { Download } from '../client.ts';
import { SYNC_PORT, type ConfigOptions } from '../config.ts';
import { run } from '../exec.ts';
import { filterInput } from '../filter.ts';
import { flowsOf } from '../flows.ts';
import { Testbed } from '../testbed.ts';
import { HTTP_PORT, type NodeSite } from '../topology.ts';
import { until } from '../until.ts';
import { drain, FAMILIES, routeThrough, scenario, urlOf, vipOf } from './support.ts';

const MTU_BYTES = 1280;
const ERROR_TABLE = '100';
const STALL_MS = 3000;
/** What a service may hand to the peers at once, and then a second. */
const RELAY_BURST = 200;
const RELAY_PER_S = 100;
const FEW_ERRORS = 100;
const MANY_ERRORS = 1500;
/** Hellos and digests of a node whose flows do not change. */
const QUIET_DATAGRAMS_PER_S = 4;

/** On the second VIP of each family: nobody ever asks it, so no flow of it is known. */
const SILENT_PORT = 7002;
const SILENT_VIPS = { ipv4: '10.83.100.2', ipv6: 'fd83:100::2' };
const SILENT_SERVICE = {
  name: 'silent',
  vip: Object.values(SILENT_VIPS),
  protocol: 'udp',
  port: SILENT_PORT,
  backends: 'web',
  checks: [{ type: 'http', port: HTTP_PORT, path: '/healthz', interval_ms: 200 }],
};

scenario('a path-MTU error at another node than its flow', () => {
  const config: ConfigOptions = { services: [SILENT_SERVICE] };
  let testbed: Testbed;

  beforeAll(async () => {
    testbed = await Testbed.up({ config });
    await testbed.untilAnnouncing();
    await narrow(testbed);
  });

  beforeEach(async () => {
    await forgetMtus(testbed);
    await drain(testbed, config, []);
  });

  afterAll(async () => {
    await testbed.down();
  });

  test.each(FAMILIES)('is handed on by a node that does not know the flow: %s', async (family) => {
    const { right, wrong } = await part(testbed, family);
    // Deaf, so that it is told of no flow, but not mute.
    await using deaf = await filterInput(wrong, [`udp dport ${SYNC_PORT} drop`]);
    const before = await tally(testbed);
    const download = await open(testbed, family);
    await drain(testbed, config, [download.opened.backend]);
    download.start();
    await untilDone(download);
    await download.stop();
    await deaf.lift();

    const grown = growth(before, await tally(testbed));
    expect(grown[wrong.name]).toMatchObject({ forwarded: 0, limited: 0 });
    expect(grown[wrong.name]?.relayed).toBeGreaterThan(0);
    expect(grown[right.name]?.forwarded).toBeGreaterThan(0);
  });

  test.each(FAMILIES)('is placed by a node that was told of the flow: %s', async (family) => {
    const { right, wrong } = await part(testbed, family);
    const before = await tally(testbed);
    const download = await open(testbed, family);
    const { backend, port } = download.opened;
    await until(
      async () => [...(await flowsOf(wrong)).values()].some((flow) => flow.clientPort === port),
      { what: `the flow at ${wrong.name}` },
    );
    await drain(testbed, config, [backend]);
    download.start();
    await untilDone(download);
    await download.stop();

    const grown = growth(before, await tally(testbed));
    expect(grown[right.name]).toMatchObject({ forwarded: 0, relayed: 0 });
    expect(grown[wrong.name]?.relayed).toBe(0);
    expect(grown[wrong.name]?.forwarded).toBeGreaterThan(0);
  });

  test.each(FAMILIES)('goes one step if nobody knows the flow: %s', async (family) => {
    const { wrong } = await part(testbed, family);
    const others = testbed.topology.nodes.filter(({ name }) => name !== wrong.name);
    const startedMs = performance.now();
    const before = await tally(testbed);
    await provokeErrors(testbed, family, FEW_ERRORS);
    const grown = await until(
      async () => {
        const now = growth(before, await tally(testbed));
        return others.every(({ name }) => now[name]?.unknown === FEW_ERRORS) && now;
      },
      { what: 'every error at every peer' },
    );
    const elapsedS = (performance.now() - startedMs) / 1000;
    expect(grown[wrong.name]).toMatchObject({ relayed: FEW_ERRORS, unknown: 0, limited: 0 });
    for (const { name } of others) {
      expect(grown[name]).toMatchObject({ relayed: 0, unknown: FEW_ERRORS, forwarded: 0 });
      // Hellos and digests: nothing that an error has brought forth.
      const quiet = FEW_ERRORS / 4 + QUIET_DATAGRAMS_PER_S * elapsedS;
      expect(grown[name]?.datagrams).toBeLessThan(quiet);
    }
  });

  test('is held back if there are too many', async () => {
    const { wrong } = await part(testbed, 'ipv4');
    const before = await tally(testbed);
    const startedMs = performance.now();
    await provokeErrors(testbed, 'ipv4', MANY_ERRORS);
    const grown = await until(
      async () => {
        const now = growth(before, await tally(testbed));
        const { relayed = 0, limited = 0 } = now[wrong.name] ?? {};
        return relayed + limited === MANY_ERRORS && now;
      },
      { what: 'every error to be counted' },
    );
    const elapsedS = (performance.now() - startedMs) / 1000;
    const relayed = Object.values(grown).reduce((sum, each) => sum + each.relayed, 0);
    console.log(`${relayed} of ${MANY_ERRORS} errors were handed on in ${elapsedS.toFixed(1)} s`);
    expect(grown[wrong.name]?.relayed).toBe(relayed);
    expect(relayed).toBeGreaterThanOrEqual(RELAY_BURST / 2);
    expect(relayed).toBeLessThanOrEqual(RELAY_BURST + RELAY_PER_S * elapsedS);
  });
});

scenario('a path-MTU error at another node, without flow sync', () => {
  const config: ConfigOptions = { sync: 'off' };
  let testbed: Testbed;

  beforeAll(async () => {
    testbed = await Testbed.up({ config });
    await testbed.untilAnnouncing();
    await narrow(testbed);
  });

  afterAll(async () => {
    await testbed.down();
  });

  test('control: is placed by hash, and the download waits in vain', async () => {
    const downloads: Download[] = [];
    for (const family of FAMILIES) {
      await part(testbed, family);
      downloads.push(await open(testbed, family));
    }
    const backends = new Set(downloads.map(({ opened }) => opened.backend));
    await drain(testbed, config, [...backends]);
    for (const download of downloads) download.start();
    await Promise.all(
      downloads.map((download) =>
        expect(untilDone(download, STALL_MS)).rejects.toThrow('still waiting'),
      ),
    );
    for (const download of downloads) expect((await download.report()).bytes).toBe(0);

    // Nothing else was in the way: once an error comes to the flow's own node, all goes well.
    for (const family of FAMILIES) await sendErrorsTo(testbed, family, testbed.node(1).site);
    for (const download of downloads) {
      await untilDone(download);
      await download.stop();
    }
  });
});

/**
 * The router's end of the client's link takes less than the client's end: the segment size that the
 * client names says nothing of it, and only an ICMP error can.
 */
async function narrow(testbed: Testbed): Promise<void> {
  const { client, router, backends } = testbed.topology;
  await inside(router, `ip link set client mtu ${MTU_BYTES}`);
  const ownMtu = Number(await inside(client, 'cat /sys/class/net/eth0/mtu'));
  expect(ownMtu).toBeGreaterThanOrEqual(MTU_BYTES + 100);
  const noProbing = 'echo 0 > /proc/sys/net/ipv4/tcp_mtu_probing';
  await Promise.all(backends.map((backend) => inside(backend, noProbing)));
}

/** Backends remember the MTU to a client for minutes. */
async function forgetMtus(testbed: Testbed): Promise<void> {
  const flush = 'ip -4 route flush cache; ip -6 route flush cache';
  await Promise.all(testbed.topology.backends.map((backend) => inside(backend, flush)));
}

/** The flow's packets go by the first node, errors to the second one. */
async function part(testbed: Testbed, family: Family) {
  const [right, wrong] = [testbed.node(1).site, testbed.node(2).site];
  await routeThrough(testbed, vipOf(testbed, family), right);
  await sendErrorsTo(testbed, family, wrong);
  return { right, wrong };
}

/** ICMP that the router itself sends to VIPs. */
async function sendErrorsTo(testbed: Testbed, family: Family, node: NodeSite): Promise<void> {
  const [ip, protocol, vips] =
    family === 'ipv4'
      ? ['ip -4', 'icmp', '10.83.100.0/24']
      : ['ip -6', 'ipv6-icmp', 'fd83:100::/64'];
  await inside(
    testbed.topology.router,
    `${ip} route replace default via ${node[family]} table ${ERROR_TABLE}
    ${ip} rule | grep -q 'lookup ${ERROR_TABLE}' ||
      ${ip} rule add ipproto ${protocol} to ${vips} lookup ${ERROR_TABLE}`,
  );
}

async function open(testbed: Testbed, family: Family): Promise<Download> {
  return testbed.client.download({ url: urlOf(vipOf(testbed, family)) });
}

/** All bytes have come, and were the right ones. */
async function untilDone(download: Download, timeoutMs = 60_000): Promise<void> {
  await until(
    async () => {
      const { state, error } = await download.report();
      if (state === 'failed') throw new SkeinError('hopeless', `the download failed: ${error}`);
      return state === 'done';
    },
    { what: 'the download', timeoutMs, everyMs: 50 },
  );
}

/**
 * Makes the router send so many errors, each for another flow that no node knows: a backend sends
 * datagrams that are too long for the way, from the VIP and from the port of the silent service.
 */
async function provokeErrors(testbed: Testbed, family: Family, count: number): Promise<void> {
  const script = `
    const socket = require('node:dgram').createSocket('${family === 'ipv4' ? 'udp4' : 'udp6'}');
    socket.bind(${SILENT_PORT}, '${SILENT_VIPS[family]}', async () => {
      for (let port = 20000; port < ${20_000 + count}; port += 1) {
        const { promise, resolve } = Promise.withResolvers();
        socket.send(Buffer.alloc(${MTU_BYTES}), port, '${testbed.topology.client[family]}', resolve);
        await promise;
      }
      socket.close();
    });
  `;
  const [backend] = testbed.topology.backends;
  await run([process.execPath, '-e', script], backend);
}

interface Tally {
  readonly relayed: number;
  readonly forwarded: number;
  readonly limited: number;
  /** Errors from peers for flows that are not known here either. */
  readonly unknown: number;
  /** Of flow sync, of every kind. */
  readonly datagrams: number;
}

async function tally(testbed: Testbed): Promise<Readonly<Record<string, Tally>>> {
  // A snapshot is half a second old at times.
  const nowMs = Date.now();
  const tallies = testbed.nodes.map(async (node) => {
    const isNew = ({ takenAtMs }: NodeSnapshot): boolean => takenAtMs >= nowMs;
    const { counters, peers } = await node.untilSnapshot('a new snapshot', isNew);
    const count = (name: string) => counters.find((each) => each.name === name)?.value ?? NaN;
    return [
      node.site.name,
      {
        relayed: count('icmp_relayed'),
        forwarded: count('icmp_forwarded'),
        limited: count('icmp_limited'),
        unknown: count('icmp_unknown'),
        datagrams: peers?.counters.datagramsSent ?? NaN,
      },
    ] as const;
  });
  return Object.fromEntries(await Promise.all(tallies));
}

function growth(
  before: Readonly<Record<string, Tally>>,
  after: Readonly<Record<string, Tally>>,
): Readonly<Record<string, Tally>> {
  return Object.fromEntries(
    Object.entries(after).map(([node, now]) => {
      const then = before[node] ?? now;
      return [
        node,
        {
          relayed: now.relayed - then.relayed,
          forwarded: now.forwarded - then.forwarded,
          limited: now.limited - then.limited,
          unknown: now.unknown - then.unknown,
          datagrams: now.datagrams - then.datagrams,
        },
      ];
    }),
  );
}

async function inside({ namespace }: { readonly namespace: string }, script: string) {
  return run(['sh', '-e'], { namespace, input: script });
}
