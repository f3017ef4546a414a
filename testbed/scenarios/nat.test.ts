/**
 * Goal: backends that know nothing of the VIP, on ports of their own, serve its clients. Method: nat
 * with the backends' route to the client through one balancer, and full_nat beside it, in both
 * families; what backends see, whole downloads and uploads, fragments, path-MTU errors; then the
 * balancer dies that the requests take while the replies take another one.
 */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { SkeinError } from '../../src/lib/errors.ts';
import type { Family } from '../../src/model/address.ts';
import type { NatMode } from '../../src/model/forwarding.ts';
import type { Download } from '../client.ts';
import type { ConfigOptions, Document } from '../config.ts';
import { run } from '../exec.ts';
import { Testbed } from '../testbed.ts';
import { ECHO_PORT, HTTP_PORT, UDP_ECHO_PORT, type NodeSite, type Topology } from '../topology.ts';
import { until } from '../until.ts';
import { FAMILIES, routeByBgp, routeThrough, scenario, untilEchoed, vipOf } from './support.ts';

const MODES: readonly NatMode[] = ['nat', 'full_nat'];
const DOWNLOADS = 10;
const DOWNLOAD_BYTES = 20_000_000;
/** Long enough to be under way when a node dies. */
const LONG_DOWNLOAD_BYTES = 100_000_000;
const UPLOAD_BYTES = 4_000_000;
const MTU_BYTES = 1280;
const HELD = 100;
/** Of three fragments in the end, the requests as well as the answers. */
const FRAGMENTED = { count: 50, bytesMax: 4000 };

/** Ports of the VIP: none is what the backends listen on. */
const PORTS = {
  nat: { http: 8081, echo: 8082, udp: 8083 },
  full_nat: { http: 8091, echo: 8092, udp: 8093 },
} as const;

const CONFIG: ConfigOptions = {
  standardServices: [],
  // Half a second: a connection of full_nat ends when a busy machine makes its node miss less.
  bgp: { bfd: { intervalMs: 50, multiplier: 10 } },
  patch: (document) => ({
    ...document,
    backends: Object.fromEntries(combinations().flatMap(backendGroups)),
    services: combinations().flatMap(services),
  }),
};

interface Combination {
  readonly family: Family;
  readonly mode: NatMode;
}

function combinations(): readonly Combination[] {
  return FAMILIES.flatMap((family) => MODES.map((mode) => ({ family, mode })));
}

/** A group for each port, since a backend has its port for all services of its group. */
function backendGroups({ family, mode }: Combination): readonly (readonly [string, Document[]])[] {
  const ports = { http: HTTP_PORT, echo: ECHO_PORT, udp: UDP_ECHO_PORT };
  return Object.entries(ports).map(([what, port]) => {
    const group = [1, 2, 3, 4].map((n) => {
      const address = family === 'ipv4' ? `10.83.1.${100 + n}` : `fd83:1::${100 + n}`;
      return { name: `b${n}`, address, mode, port };
    });
    return [`${mode}-${family}-${what}`, group] as const;
  });
}

function services({ family, mode }: Combination): readonly Document[] {
  const vip = family === 'ipv4' ? '10.83.100.1' : 'fd83:100::1';
  const common = (what: 'http' | 'echo' | 'udp') => {
    const name = `${mode}-${family}-${what}`;
    return { name, vip, port: PORTS[mode][what], backends: name };
  };
  return [
    { ...common('http'), checks: [{ type: 'http', path: '/healthz', interval_ms: 200 }] },
    { ...common('echo'), checks: [{ type: 'tcp', interval_ms: 200 }] },
    { ...common('udp'), protocol: 'udp', checks: [] },
  ];
}

scenario('nat', () => {
  let testbed: Testbed;

  beforeAll(async () => {
    testbed = await Testbed.up({ config: CONFIG });
    await sendRepliesThrough(testbed.topology, testbed.node(1).site);
    // Checks of every service have passed, or the VIP would not be announced.
    await testbed.untilAnnouncing();
  });

  afterAll(async () => {
    await testbed.down();
  });

  const url = ({ family, mode }: Combination, path?: string) => {
    const vip = vipOf(testbed, family);
    const host = family === 'ipv6' ? `[${vip}]` : vip;
    return `http://${host}:${PORTS[mode].http}${path ?? '/'}`;
  };

  describe.each(combinations())('$mode, $family', (each) => {
    const { family, mode } = each;

    test('the backend sees its own address and port', async () => {
      const script = `fetch('${url(each, '/whoami')}').then((r) => r.text()).then(console.log)`;
      const { namespace } = testbed.topology.client;
      const text = await run([process.execPath, '-e', script], { namespace });
      const { client, local } = JSON.parse(text) as Whoami;
      expect(local.port).toBe(HTTP_PORT);
      expect(testbed.topology.backends.map((backend) => String(backend[family]))).toContain(
        local.address,
      );
      const clients = mode === 'nat' ? [testbed.topology.client] : testbed.topology.nodes;
      expect(clients.map((site) => String(site[family]))).toContain(client.address);
    });

    test('requests reach every backend', async () => {
      const report = await testbed.client.requests({ url: url(each), count: 200 });
      expect(report).toMatchObject({ sent: 200, ok: 200, errors: {} });
      expect(Object.keys(report.perBackend).sort()).toEqual(['b1', 'b2', 'b3', 'b4']);
    });

    test('downloads arrive whole', async () => {
      const downloads = await Promise.all(
        Array.from({ length: DOWNLOADS }, () =>
          testbed.client.download({ url: url(each), bytes: DOWNLOAD_BYTES }),
        ),
      );
      for (const download of downloads) download.start();
      await Promise.all(downloads.map(untilDone));
      for (const download of downloads) await download.stop();
    });

    test('what is uploaded comes back', async () => {
      const host = vipOf(testbed, family);
      const { namespace } = testbed.topology.client;
      const script = uploadScript(host, PORTS[mode].echo, UPLOAD_BYTES);
      const said = await run([process.execPath, '-e', script], { namespace, timeoutMs: 60_000 });
      expect(said.trim()).toBe('as it was sent');
    });

    test('datagrams are answered', async () => {
      const host = vipOf(testbed, family);
      const report = await testbed.client.datagrams({ host, port: PORTS[mode].udp });
      expect(report).toMatchObject({ sent: 100, answered: 100, lost: 0 });
    });

    test('datagrams in fragments come back whole', async () => {
      const host = vipOf(testbed, family);
      // The router hashes ports, and later fragments have none.
      await routeThrough(testbed, host, testbed.node(2).site);
      const to = { host, port: PORTS[mode].udp };
      const report = await testbed.client.datagrams({ ...to, ...FRAGMENTED });
      await routeByBgp(testbed, host);
      expect(report).toMatchObject({ answered: FRAGMENTED.count, lost: 0, errors: {} });
      expect(report.bytesMax).toBeGreaterThanOrEqual(FRAGMENTED.bytesMax);
    });
  });

  test('replies of nat come through another node than requests', async () => {
    const vip = vipOf(testbed, 'ipv4');
    await routeThrough(testbed, vip, testbed.node(2).site);
    const before = await counted(testbed, 'nat_reply');
    const combination = { family: 'ipv4', mode: 'nat' } as const;
    const report = await testbed.client.requests({ url: url(combination), count: 50 });
    expect(report).toMatchObject({ sent: 50, ok: 50 });
    const after = await counted(testbed, 'nat_reply');
    await routeByBgp(testbed, vip);
    expect(after[0]! - before[0]!).toBeGreaterThanOrEqual(100);
    expect(after[1]! - before[1]!).toBe(0);
  });

  test.each(combinations())('a narrow way to the client, $mode, $family', async (each) => {
    const { router } = testbed.topology;
    await inside(router, `ip link set client mtu ${MTU_BYTES}`);
    await downloadAnew(each);
    await inside(router, 'ip link set client mtu 1500');
  });

  test.each(combinations())('a narrow way behind the nodes, $mode, $family', async (each) => {
    const { router, nodes } = testbed.topology;
    const change = async (how: 'add' | 'del') => {
      const script = `ip -4 route ${how} 10.83.0.0/24 via ${router.ipv4} mtu lock ${MTU_BYTES}
        ip -6 route ${how} fd83::/64 via ${router.ipv6} mtu lock ${MTU_BYTES}`;
      await Promise.all(nodes.map((node) => inside(node, script)));
    };
    const before = sumOf(await counted(testbed, 'too_big_answered'));
    await change('add');
    await downloadAnew(each);
    await change('del');
    expect(sumOf(await counted(testbed, 'too_big_answered'))).toBeGreaterThan(before);
  });

  /** From backends that remember nothing of the way to the client. */
  async function downloadAnew(each: Combination): Promise<void> {
    const noProbing = 'echo 0 > /proc/sys/net/ipv4/tcp_mtu_probing';
    const forget = 'ip -4 route flush cache; ip -6 route flush cache';
    for (const backend of testbed.topology.backends) {
      await inside(backend, `${noProbing}; ${forget}`);
    }
    const download = await testbed.client.download({ url: url(each) });
    download.start();
    await untilDone(download);
    await download.stop();
  }

  test.each(FAMILIES)(
    'connections of nat outlive the node of their requests: %s',
    async (family) => {
      const vip = vipOf(testbed, family);
      await routeThrough(testbed, vip, testbed.node(2).site);
      const port = PORTS.nat.echo;
      const hold = await testbed.client.hold({ host: vip, port, count: HELD, stallMs: 1_000 });
      const combination = { family, mode: 'nat' } as const;
      const download = await testbed.client.download({
        url: url(combination),
        bytes: LONG_DOWNLOAD_BYTES,
      });
      download.start();
      await until(async () => (await download.report()).bytes > 0, { what: 'the first bytes' });
      await testbed.node(2).kill();
      await routeByBgp(testbed, vip);
      await untilDone(download);
      await download.stop();
      // For longer than a stall, since one that is dead looks like the others until then.
      await untilEchoed([hold], 20);
      await until(async () => (await hold.report()).stalled === 0, {
        what: 'every connection to go on',
      });
      expect(await hold.stop()).toMatchObject({ opened: HELD, open: HELD, broken: 0 });
      await testbed.node(2).start();
      await testbed.untilAnnouncing();
    },
  );
});

interface Whoami {
  readonly client: { readonly address: string };
  readonly local: { readonly address: string; readonly port: number };
}

/** What backends send to the client takes this balancer, which is all the set-up that nat needs. */
async function sendRepliesThrough({ backends }: Topology, node: NodeSite): Promise<void> {
  const script = `ip -4 route replace 10.83.0.0/24 via ${node.ipv4}
    ip -6 route replace fd83::/64 via ${node.ipv6}`;
  await Promise.all(backends.map((backend) => inside(backend, script)));
}

/** Sends lines to the echo and compares what comes back, byte for byte. */
function uploadScript(host: string, port: number, bytes: number): string {
  return `
    const lines = Array.from({ length: ${bytes} / 100 }, (_, i) => String(i).padStart(99, 'abcdef'));
    const socket = require('node:net').connect(${port}, '${host}');
    let got = '';
    socket.setEncoding('latin1').on('data', (text) => (got += text)).on('end', () => {
      const [name, ...echoed] = got.split('\\n');
      const expected = [...lines.map((line) => name + ' ' + line), ''];
      console.log(echoed.join() === expected.join() ? 'as it was sent' : 'otherwise');
    });
    socket.end(lines.join('\\n') + '\\n');
  `;
}

async function untilDone(download: Download): Promise<void> {
  await until(
    async () => {
      const { state, error } = await download.report();
      if (state === 'failed') throw new SkeinError('hopeless', `the download failed: ${error}`);
      return state === 'done';
    },
    { what: 'the download', timeoutMs: 60_000, everyMs: 100 },
  );
}

/** What each node has counted under this name. */
async function counted(testbed: Testbed, counter: string): Promise<readonly number[]> {
  const nowMs = Date.now();
  return Promise.all(
    testbed.nodes.map(async (node) => {
      const { counters } = await node.untilSnapshot('a new snapshot', ({ takenAtMs }) => {
        return takenAtMs >= nowMs;
      });
      return counters.find(({ name }) => name === counter)?.value ?? NaN;
    }),
  );
}

function sumOf(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0);
}

async function inside({ namespace }: { readonly namespace: string }, script: string) {
  return run(['sh', '-e'], { namespace, input: script });
}
