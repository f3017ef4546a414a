/**
 * Goal: no path-MTU black hole in front of a backend. Method: the switch port of the backend takes
 * fewer bytes than the client's and the backend's own link, so the segment size that the backend
 * names is too large, frames are lost in silence, and only the node can tell or cut.
 */
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Family } from '../../src/model/address.ts';
import type { NodeSnapshot } from '../../src/snapshot.ts';
import type { ConfigOptions, Document } from '../config.ts';
import { commandIn, environment, run } from '../exec.ts';
import { Testbed } from '../testbed.ts';
import { switchPort } from '../topology.ts';
import { FAMILIES, scenario, vipOf } from './support.ts';

/** IPv6 takes no less than 1,280. */
const MTU_BYTES = 1300;
const UPLOAD_BYTES = 4 << 20;
const SINK_PORT = 7003;
const UPLOAD_TIMEOUT_MS = 30_000;
const STALL_MS = 3_000;

/** Of a testbed of one backend. */
const BACKEND = '10.83.1.101';
const VIPS = ['10.83.100.1', 'fd83:100::1'];

/** Counts what comes and answers with its number and digest. */
const SINK = `
  const { createServer } = require('node:net');
  const { createHash } = require('node:crypto');
  createServer({ allowHalfOpen: true }, (socket) => {
    const hash = createHash('sha256');
    let bytes = 0;
    socket.on('error', () => undefined);
    socket.on('data', (data) => { bytes += data.length; hash.update(data); });
    socket.on('end', () => socket.end(bytes + ' ' + hash.digest('hex')));
  }).listen(${SINK_PORT}, '::', () => console.log('listening'));
`;

/** Sends the bytes and prints whether the answer is what it should be; resets what takes too long. */
function uploader(host: string, timeoutMs: number): string {
  return `
    const { connect } = require('node:net');
    const { createHash, randomBytes } = require('node:crypto');
    const data = randomBytes(${UPLOAD_BYTES});
    const wanted = data.length + ' ' + createHash('sha256').update(data).digest('hex');
    const socket = connect(${SINK_PORT}, '${host}', () => socket.end(data));
    setTimeout(() => { console.log('stalled'); socket.resetAndDestroy(); process.exit(); }, ${timeoutMs});
    let answer = '';
    socket.setEncoding('utf8').on('data', (text) => { answer += text; });
    socket.on('error', () => undefined).on('close', () => {
      console.log(answer === wanted ? 'whole' : 'not what was sent');
      process.exit();
    });
  `;
}

/** One service on the first VIP of each family, with one backend; both as told. */
function configWith(backend: Document, service: Document = {}): ConfigOptions {
  const sink = {
    name: 'sink',
    vip: VIPS,
    port: SINK_PORT,
    backends: 'narrow',
    checks: [{ type: 'tcp', interval_ms: 200 }],
    ...service,
  };
  const narrow = [{ name: 'b1', address: BACKEND, ...backend }];
  const patch = (document: Document): Document => ({ ...document, backends: { narrow } });
  return { standardServices: [], services: [sink], patch };
}

interface Way {
  readonly family: Family;
  /** IPv4 only. */
  readonly dontFragment: boolean;
  readonly counter: string;
}

const WAYS: readonly Way[] = [
  { family: 'ipv4', dontFragment: true, counter: 'too_big_answered' },
  { family: 'ipv4', dontFragment: false, counter: 'too_big_cut' },
  { family: 'ipv6', dontFragment: true, counter: 'too_big_answered' },
];

scenario('a backend behind a smaller MTU', () => {
  let testbed: Testbed;
  let stopSink: () => void;

  beforeAll(async () => {
    testbed = await Testbed.up({ nodes: 1, backends: 1, config: configWith({}) });
    const [backend] = testbed.topology.backends;
    stopSink = await serve(backend?.namespace ?? '', SINK);
    await testbed.untilAnnouncing();
    const port = switchPort(testbed.backend(1).site);
    await run(['ip', 'link', 'set', port.interface, 'mtu', String(MTU_BYTES)], port);
  });
  afterAll(async () => {
    stopSink();
    await testbed.down();
  });

  test.each(FAMILIES)('control: a node that does not know loses uploads: %s', async (family) => {
    await reconfigure(testbed, configWith({}));
    await startAfresh(testbed, true);
    expect(await upload(testbed, family, STALL_MS)).toBe('stalled');
  });

  test.each(WAYS)('uploads come whole: $family, DF $dontFragment', async (way) => {
    await reconfigure(testbed, configWith({ mtu: MTU_BYTES }));
    await expectWhole(testbed, way);
  });

  test.each(WAYS)('and with a clamped MSS: $family, DF $dontFragment', async (way) => {
    await reconfigure(testbed, configWith({ mtu: MTU_BYTES }, { mss_clamp: true }));
    const before = await counted(testbed, 'mss_clamped');
    await expectWhole(testbed, way);
    expect(await counted(testbed, 'mss_clamped')).toBeGreaterThan(before);
  });

  test.each(WAYS)('the route may say it as well: $family, DF $dontFragment', async (way) => {
    const { namespace } = testbed.node(1).site;
    const route = [BACKEND, 'dev', 'eth0', 'mtu', 'lock', String(MTU_BYTES)];
    await reconfigure(testbed, configWith({}));
    await run(['ip', 'route', 'replace', ...route], { namespace });
    await expectWhole(testbed, way);
    await run(['ip', 'route', 'del', BACKEND], { namespace });
  });
});

/** The way is found narrow, by the counter that says so, and nothing is missing. */
async function expectWhole(testbed: Testbed, { family, dontFragment, counter }: Way) {
  await startAfresh(testbed, dontFragment);
  const before = await counted(testbed, counter);
  const startedMs = performance.now();
  expect(await upload(testbed, family, UPLOAD_TIMEOUT_MS)).toBe('whole');
  const seconds = (performance.now() - startedMs) / 1000;
  const grown = (await counted(testbed, counter)) - before;
  console.log(`${family}, DF ${dontFragment}: ${seconds.toFixed(2)} s, ${counter} ${grown}`);
  expect(grown).toBeGreaterThan(0);
}

/** Hosts remember the MTU to an address for minutes. */
async function startAfresh(testbed: Testbed, dontFragment: boolean): Promise<void> {
  const input = `
    echo ${dontFragment ? 0 : 1} > /proc/sys/net/ipv4/ip_no_pmtu_disc
    echo 0 > /proc/sys/net/ipv4/tcp_mtu_probing
    ip -4 route flush cache
    ip -6 route flush cache
    ip tcp_metrics flush all`;
  await run(['sh', '-e'], { namespace: testbed.topology.client.namespace, input });
}

async function upload(testbed: Testbed, family: Family, timeoutMs: number): Promise<string> {
  const script = uploader(vipOf(testbed, family), timeoutMs);
  const { namespace } = testbed.topology.client;
  const options = { namespace, timeoutMs: timeoutMs + UPLOAD_TIMEOUT_MS };
  const said = await run([process.execPath, '-e', script], options);
  return said.trim();
}

async function reconfigure(testbed: Testbed, config: ConfigOptions): Promise<void> {
  const node = testbed.node(1);
  const { loadedAtMs } = (await node.snapshot()).config;
  testbed.reconfigure(config);
  await node.untilSnapshot('the new document', (now) => now.config.loadedAtMs > loadedAtMs);
}

async function counted(testbed: Testbed, name: string): Promise<number> {
  // A snapshot is half a second old at times.
  const nowMs = Date.now();
  const isNew = ({ takenAtMs }: NodeSnapshot): boolean => takenAtMs >= nowMs;
  const { counters } = await testbed.node(1).untilSnapshot('a new snapshot', isNew);
  return counters.find((each) => each.name === name)?.value ?? NaN;
}

/** Runs a server until it is stopped; resolves when it listens. */
async function serve(namespace: string, script: string): Promise<() => void> {
  const [program, args] = commandIn(namespace, [process.execPath, '-e', script]);
  const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'inherit'], env: environment() });
  for await (const line of createInterface({ input: child.stdout })) {
    if (line === 'listening') break;
  }
  return () => {
    child.kill();
  };
}
