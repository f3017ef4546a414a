/**
 * Goal: a backend that says it is well gets traffic, one that says nothing or that it is not gets
 * none, and nobody without the key has a say. Method: reporters that are killed, stopped and started
 * in real namespaces, and datagrams that were recorded, changed or made up.
 */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { reporterKey, ReportSigner } from '../../src/reports/seal.ts';
import type { Address } from '../../src/model/address.ts';
import { encodeReport } from '../../src/reports/wire.ts';
import type { NodeSnapshot } from '../../src/snapshot.ts';
import { configFiles } from '../config.ts';
import { Daemon } from '../daemon.ts';
import {
  recordReports,
  reported,
  reporterSpec,
  REPORTS_GROUP,
  REPORTS_PORT,
  sendReports,
  type ReportedOptions,
  writeReporterKey,
  writeReportKey,
} from '../reports.ts';
import { Testbed, type TestbedOptions } from '../testbed.ts';
import { HTTP_PORT } from '../topology.ts';
import { until } from '../until.ts';
import { backendOf, scenario, urlOf, vipOf } from './support.ts';

/** The default, and what the goal names, is 10 s: the reporters here are faster as well. */
const SILENCE_MS = 4_000;
const CLUSTER = 'testbed';
const KEY = writeReportKey();

/** A testbed in which all checks are reports, and a reporter for each backend. */
class Reported {
  readonly testbed: Testbed;
  readonly reporters: readonly Daemon[];

  private constructor(testbed: Testbed, reporters: readonly Daemon[]) {
    this.testbed = testbed;
    this.reporters = reporters;
  }

  static async up(options: TestbedOptions, to?: Record<string, unknown>): Promise<Reported> {
    const patch = reported(KEY.path, {
      silenceMs: SILENCE_MS,
      ...(to === undefined ? {} : { to }),
    });
    const testbed = await Testbed.up({ ...options, config: { patch } });
    const { config } = configFiles(testbed.node(1).site);
    const vip = vipOf(testbed, 'ipv4');
    const reporters = testbed.backends.map(({ site }) => {
      const addresses = ['--address', site.ipv4, site.ipv6];
      const key = ['--key-file', writeReporterKey(site, CLUSTER, KEY.key)];
      const checks = ['--check', `http:http://${vip}:${HTTP_PORT}/healthz`];
      return new Daemon(reporterSpec(site, ['--config', config, ...addresses, ...key, ...checks]));
    });
    return new Reported(testbed, reporters);
  }

  reporter(number: number): Daemon {
    const found = this.reporters[number - 1];
    if (found === undefined) throw new Error(`there is no reporter ${number}`);
    return found;
  }

  /** Every node shows the backend so, with this in its reason. */
  async until(name: string, state: string, reason = ''): Promise<NodeSnapshot[]> {
    const fits = ({ services }: NodeSnapshot) =>
      services
        .flatMap(({ backends }) => backends)
        .filter((backend) => backend.name === name)
        .every((backend) => backend.state === state && backend.reason.includes(reason));
    const what = `${name} to be ${state}, ${reason}`;
    return Promise.all(this.testbed.nodes.map((node) => node.untilSnapshot(what, fits)));
  }

  /** Every node reads a document with reports elsewhere, and listens there. */
  async reload(options: Pick<ReportedOptions, 'to'>, listening: string): Promise<void> {
    const patch = reported(KEY.path, { silenceMs: SILENCE_MS, ...options });
    this.testbed.reconfigure({ patch });
    for (const node of this.testbed.nodes) {
      await node.untilSnapshot(`reports at ${listening}`, ({ reports }) => {
        expect(reports?.problems ?? []).toEqual([]);
        return reports?.listening?.startsWith(`${listening} `) === true;
      });
    }
  }

  async down(): Promise<void> {
    for (const reporter of this.reporters) await reporter.kill();
    await this.testbed.down();
  }
}

function refusedOf({ reports }: NodeSnapshot, reason: string): number {
  return reports?.refused[reason] ?? 0;
}

scenario('backends that report their own health', () => {
  let bed: Reported;

  beforeAll(async () => {
    bed = await Reported.up({ nodes: 2, backends: 4 });
  });

  afterAll(async () => {
    await bed.down();
  });

  test('nothing is announced until they do, and then it is', async () => {
    for (const node of bed.testbed.nodes) {
      await node.untilSnapshot('no VIP', ({ vips }) => vips.every(({ announce }) => !announce));
      await node.untilSnapshot('silence', (each) => {
        const backend = backendOf(each, vipOf(bed.testbed, 'ipv4'), HTTP_PORT, 'b1');
        return backend?.reason.includes('has not reported yet') === true;
      });
    }
    for (const reporter of bed.reporters) reporter.start();
    await bed.testbed.untilAnnouncing();
    for (const { site } of bed.testbed.backends) await bed.until(site.name, 'up');
  });

  test('a reporter is killed: its backend leaves within the silence, and returns with it', async () => {
    const vip = vipOf(bed.testbed, 'ipv4');
    const killedAtMs = Date.now();
    await bed.reporter(2).kill();
    const snapshots = await bed.until('b2', 'down', 'has stopped reporting');
    for (const snapshot of snapshots) {
      const { healthSinceMs = 0, checks } = backendOf(snapshot, vip, HTTP_PORT, 'b2') ?? {};
      expect(healthSinceMs - killedAtMs).toBeLessThan(10_000);
      expect(checks?.[0]?.last).toMatchObject({ kind: 'fail', reason: 'report_silent' });
    }
    const without = await bed.testbed.client.requests({ url: urlOf(vip), count: 200 });
    expect(without).toMatchObject({ ok: 200, errors: {} });
    expect(Object.keys(without.perBackend).sort()).toEqual(['b1', 'b3', 'b4']);

    bed.reporter(2).start();
    await bed.until('b2', 'up');
    const again = await bed.testbed.client.requests({ url: urlOf(vip), count: 200 });
    expect(again.perBackend['b2']).toBeGreaterThan(10);
  });

  test('a reporter is stopped in order: its backend leaves, and says why', async () => {
    // It has said why until it has been silent for too long.
    await Promise.all([bed.until('b1', 'down', 'going away'), bed.reporter(1).stop()]);
    bed.reporter(1).start();
    await bed.until('b1', 'up');
  });

  test('a server stops: its own reporter finds out and tells', async () => {
    await bed.testbed.backend(3).stopServer();
    await bed.until('b3', 'down', 'reports that it is not healthy');
    await bed.testbed.backend(3).startServer();
    await bed.until('b3', 'up');
  });

  test('a supervisor starts again: no backend is taken out while it has heard nothing', async () => {
    const node = bed.testbed.node(1);
    await node.supervisor.kill();
    await node.start();
    const takenOut = new Set<string>();
    await node.untilSnapshot('a report from each', ({ services }) => {
      const backends = services.flatMap((service) => service.backends);
      for (const { name, state } of backends) if (state !== 'up') takenOut.add(`${name} ${state}`);
      return backends.every(({ checks }) => checks[0]?.last?.kind === 'pass');
    });
    expect([...takenOut]).toEqual([]);
  });

  test('recorded, changed and made-up reports bring no backend back, and are counted', async () => {
    const listener = bed.testbed.topology.nodes[0];
    const { site } = bed.testbed.backend(4);
    if (listener === undefined) throw new Error('there is no balancer');
    const recorded = (await recordReports(listener, 16)).filter((each) =>
      each.includes(Buffer.from('\x02b4', 'latin1')),
    );
    expect(recorded.length).toBeGreaterThan(0);
    await bed.reporter(4).kill();
    await bed.until('b4', 'down', 'has stopped reporting');
    const before = await Promise.all(bed.testbed.nodes.map((node) => node.snapshot()));

    const hostile = hostileDatagrams(recorded, site.ipv4, bed.testbed.backend(3).site.ipv4);
    for (const { datagrams } of hostile) await sendReports(site, datagrams);
    for (const [index, node] of bed.testbed.nodes.entries()) {
      const first = before[index];
      if (first === undefined) throw new Error('no snapshot');
      for (const { reason, datagrams } of hostile) {
        const wanted = refusedOf(first, reason) + datagrams.length;
        const what = `${datagrams.length} refused: ${reason}`;
        await node.untilSnapshot(what, (each) => refusedOf(each, reason) >= wanted);
      }
      const metrics = await (await fetch(`${node.consoleUrl}metrics`)).text();
      expect(metrics).toMatch(/^skein_reports_refused_total\{reason="replayed"\} [1-9]/m);
    }
    for (const snapshot of await bed.until('b4', 'down', 'has stopped reporting')) {
      expect(refusedOf(snapshot, 'not_a_report')).toBeGreaterThan(0);
    }
    // The reporter itself is heard as if nothing had been.
    bed.reporter(4).start();
    await bed.until('b4', 'up');
  });

  test('the document moves reports, takes them out and brings them back: nodes follow as they run', async () => {
    const moved = { group: `${REPORTS_GROUP}:${REPORTS_PORT + 1}` };
    await bed.reload({ to: moved }, `${REPORTS_GROUP}:${REPORTS_PORT + 1}`);
    for (const reporter of bed.reporters.slice(1)) reporter.signal('SIGHUP');
    await bed.until('b1', 'down', 'has stopped reporting');
    for (const name of ['b2', 'b3', 'b4']) await bed.until(name, 'up');
    bed.reporter(1).signal('SIGHUP');
    await bed.until('b1', 'up');

    bed.testbed.reconfigure({});
    for (const node of bed.testbed.nodes) {
      await node.untilSnapshot('no reports', ({ reports }) => reports === null);
    }
    await bed.until('b1', 'up');
    await bed.reload({}, `${REPORTS_GROUP}:${REPORTS_PORT}`);
    for (const reporter of bed.reporters) reporter.signal('SIGHUP');
    for (const node of bed.testbed.nodes) {
      await node.untilSnapshot('a report of each', ({ services }) =>
        services
          .flatMap(({ backends }) => backends)
          .every(({ state, checks }) => state === 'up' && checks[0]?.last?.kind === 'pass'),
      );
    }
  });
});

function hostileDatagrams(recorded: readonly Buffer[], own: Address, other: Address) {
  const last = recorded.at(-1);
  if (last === undefined) throw new Error('nothing was recorded');
  // By whoever has broken into another backend, and has its key.
  const intruder = signed({ keyFor: other }, own);
  return [
    { reason: 'replayed', datagrams: recorded },
    { reason: 'forged', datagrams: [flipped(last, last.length - 1), flipped(last, 30), intruder] },
    { reason: 'unsigned', datagrams: [last.subarray(0, -32)] },
    { reason: 'other_cluster', datagrams: [signed({ cluster: 'elsewhere' }, own)] },
    { reason: 'too_old', datagrams: [signed({ sentAgoMs: 60_000 }, own)] },
    { reason: 'not_a_report', datagrams: [Buffer.from('SK and then noise')] },
  ];
}

interface SignedOptions {
  readonly cluster?: string;
  readonly sentAgoMs?: number;
  /** The backend whose key it is; default: the one that the report is about. */
  readonly keyFor?: Address;
}

function flipped(datagram: Buffer, at: number): Buffer {
  const bytes = Buffer.from(datagram);
  bytes[at] = (bytes[at] ?? 0) ^ 1;
  return bytes;
}

/** By somebody who has a key, about a backend that is healthy. */
function signed(
  { cluster = CLUSTER, sentAgoMs = 0, keyFor }: SignedOptions,
  own: Address,
): Uint8Array {
  const nowMs = Date.now();
  const signer = new ReportSigner({
    cluster,
    reporter: 'b4',
    incarnation: nowMs,
    key: reporterKey(KEY.key, cluster, [keyFor ?? own]),
  });
  const payload = encodeReport({ addresses: [own], state: 'healthy', detail: '', services: [] });
  return signer.sign(payload, nowMs - sentAgoMs);
}

describe.each([
  ['an IPv6 group', { group: `[ff05::5ce2]:${REPORTS_PORT}` }],
  [
    'IPv6 to each node',
    { nodes: [`[fd83:1::11]:${REPORTS_PORT}`, `[fd83:1::12]:${REPORTS_PORT}`] },
  ],
  ['IPv4 to each node', { nodes: [`10.83.1.11:${REPORTS_PORT}`, `10.83.1.12:${REPORTS_PORT}`] }],
])('by %s', (_, to) => {
  scenario('reports', () => {
    let bed: Reported;

    beforeAll(async () => {
      bed = await Reported.up({ nodes: 2, backends: 1 }, to);
    });

    afterAll(async () => {
      await bed.down();
    });

    test('a backend comes with its reporter, and goes when it is killed', async () => {
      bed.reporter(1).start();
      await bed.until('b1', 'up');
      await bed.reporter(1).kill();
      await bed.until('b1', 'down', 'has stopped reporting');
      await until(
        async () => {
          const snapshots = await Promise.all(bed.testbed.nodes.map((node) => node.snapshot()));
          return snapshots.every(({ vips }) => vips.every(({ announce }) => !announce));
        },
        { what: 'the VIPs to be withheld' },
      );
    });
  });
});
