/**
 * Goal: the testbed itself works, so that what later scenarios see is the balancers' doing. Method:
 * client, router and backends without balancers; every address is tried, then everything is removed.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { run } from '../exec.ts';
import { networkStatus } from '../netns.ts';
import { STATE } from '../places.ts';
import { processesInside } from '../processes.ts';
import { standingTopology, takeDown, Testbed } from '../testbed.ts';
import { until } from '../until.ts';
import { scenario, untilEchoed } from './support.ts';

const BACKENDS = 3;

scenario('a testbed without balancers', () => {
  let testbed: Testbed;

  beforeAll(async () => {
    testbed = await Testbed.up({ nodes: 1, backends: BACKENDS, balancers: false });
  });

  afterAll(async () => {
    await testbed.down();
  });

  test.each([1, 2, 3])('the client reaches backend %i over both families', async (number) => {
    const { name, ipv4, ipv6 } = testbed.backend(number).site;
    for (const host of [ipv4, `[${ipv6}]`]) {
      const report = await testbed.client.requests({ url: `http://${host}/`, count: 5 });
      expect(report).toMatchObject({ ok: 5, perBackend: { [name]: 5 }, errors: {} });
    }
  });

  test.each(['ipv4', 'ipv6'] as const)('backends see the client by its own %s', async (family) => {
    const { ipv4, ipv6 } = testbed.backend(1).site;
    const host = { ipv4, ipv6: `[${ipv6}]` }[family];
    const url = `http://${host}/whoami`;
    const report = await testbed.client.requests({ url, count: 1, sourcePort: 4001 });
    expect(Object.keys(report.perBackend).map((text) => JSON.parse(text) as unknown)).toMatchObject(
      [{ client: { address: testbed.topology.client[family], port: 4001 } }],
    );
  });

  test.each(['ipv4', 'ipv6'] as const)('TCP and UDP echo over %s', async (family) => {
    const { name, [family]: host } = testbed.backend(2).site;
    const hold = await testbed.client.hold({ host, count: 10, intervalMs: 20 });
    const datagrams = await testbed.client.datagrams({ host, count: 50, flows: 5 });
    expect(datagrams).toMatchObject({ answered: 50, lost: 0, perBackend: { [name]: 50 } });
    await untilEchoed([hold], 1);
    const held = await hold.stop();
    expect(held).toMatchObject({ opened: 10, open: 10, broken: 0, perBackend: { [name]: 10 } });
  });

  test('a held connection notices that its backend has gone', async () => {
    const backend = testbed.backend(3);
    const hold = await testbed.client.hold({ host: backend.site.ipv4, count: 3, intervalMs: 20 });
    await backend.stopServer();
    await until(async () => (await hold.report()).broken === 3, { what: 'the client to notice' });
    expect(await hold.stop()).toMatchObject({ opened: 3, broken: 3, open: 0 });
    await backend.startServer();
  });

  test('no backend answers for a VIP on the LAN', async () => {
    const [vip] = testbed.topology.vips;
    // From the LAN itself: an ARP or neighbour answer would make the VIP reachable there.
    const { namespace } = testbed.topology.nodes[0]!;
    for (const [family, address] of [
      ['-4', vip!.ipv4],
      ['-6', vip!.ipv6],
    ] as const) {
      await run(['ip', family, 'route', 'add', address, 'dev', 'eth0'], { namespace });
      const probe = [process.execPath, '-e', connectOnce(address)];
      expect(await run(probe, { namespace })).toBe('no answer');
    }
  });

  test('a cut cable is silence, and a joined one is mended', async () => {
    const backend = testbed.backend(1);
    const url = `http://${backend.site.ipv4}/`;
    await backend.cutCable();
    const cut = await testbed.client.requests({ url, count: 1, timeoutMs: 100 });
    await backend.joinCable();
    const mended = await testbed.client.requests({ url, count: 1, timeoutMs: 20_000 });
    expect([cut.ok, mended.ok]).toEqual([0, 1]);
  });

  test('BIRD is up, waits for its neighbours, and sends nothing to anybody', async () => {
    const protocols = await testbed.router.protocols();
    expect(protocols.find(({ name }) => name === 'kernel4')?.state).toBe('up');
    expect(protocols.find(({ name }) => name === 'kernel6')?.state).toBe('up');
    expect(protocols.find(({ name }) => name === 'lb1')).toMatchObject({
      kind: 'BGP',
      state: 'start',
    });
    expect(await testbed.router.bfdSessions()).toMatchObject([
      { address: '10.83.1.11', state: 'Down' },
    ]);
    expect(await testbed.router.routes('10.83.100.1/32')).toEqual([]);
    expect(await testbed.router.nextHops('10.83.100.1')).toEqual([]);
  });

  test('a second testbed is told who has it', async () => {
    await expect(takeDown('another')).rejects.toThrow(/in use by a test \(process \d+\)/);
    await expect(Testbed.up()).rejects.toThrow('in use by a test');
    expect(standingTopology()?.backends.length).toBe(BACKENDS);
  });

  test('what is left of a killed testbed is removed, and so is what ran inside it', async () => {
    // Nobody holds it any more, as after a kill -9; a stray process is inside.
    testbed.leave();
    const { namespace } = testbed.topology.client;
    const stray = testbed.client.stream({ urls: ['http://10.83.1.101/'], ratePerS: 5 });
    await until(() => processesInside([namespace]).length === 1, { what: 'the stray process' });
    testbed = await Testbed.up({ nodes: 0, backends: 1, balancers: false });
    expect(processesInside([namespace])).toEqual([]);
    await stray.stop();
    const report = await testbed.client.requests({ url: 'http://10.83.1.101/', count: 1 });
    expect(report.ok).toBe(1);
  });

  test('nothing is left after it', async () => {
    await testbed.down();
    expect(networkStatus()).toEqual({ namespaces: [], rootInterface: false, pins: false });
    expect(existsSync(STATE)).toBe(false);
    expect(backendProcesses()).toEqual([]);
    await testbed.down();
  });
});

/** Says `answer` when anything at all comes back, be it a refusal. */
function connectOnce(host: string): string {
  return `
    const socket = require('node:net').connect({ host: '${host}', port: 80 });
    const say = (text) => { process.stdout.write(text); process.exit(); };
    socket.on('connect', () => say('answer'));
    socket.on('error', (error) => say(error.code === 'EHOSTUNREACH' ? 'no answer' : error.code));
    setTimeout(() => say('no answer'), 300);
  `;
}

function backendProcesses(): readonly string[] {
  return readdirSync('/proc').filter((name) => {
    if (!/^\d+$/.test(name)) return false;
    try {
      return readFileSync(`/proc/${name}/cmdline`, 'utf8').includes('testbed/backend-server.ts');
    } catch {
      return false;
    }
  });
}
