/** `skein backend` in a namespace of its own: real datagrams and connections, and everything taken back. */
import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { content } from '../../testbed/content.ts';
import { refuseForeignNamespace } from '../bpf/fixture-network.ts';
import { packetOf } from '../bpf/fixture-tunnels.ts';
import { udp } from '../bpf/packet.ts';
import { build } from '../bpf/build.ts';
import { runTool } from '../dataplane/ip.ts';
import {
  commands,
  download,
  end,
  FAR,
  isOver,
  markAsNode,
  NEAR,
  ServerNamespace,
  UDP_ECHO_PORT,
  until,
} from './fixture.ts';

const VIPS = { ipv4: '192.0.2.80', ipv6: '2001:db8:80::1' } as const;
const MARKED = { ipv4: '192.0.2.81', ipv6: '2001:db8:80::2' } as const;
const MAIN = join(import.meta.dirname, '../main.ts');
const DSCP = 10;
const FAMILIES = ['ipv4', 'ipv6'] as const;
const PORTS = { gue: 6080, fou: 5555 } as const;
const ALL = [
  ...['--vip', VIPS.ipv4, VIPS.ipv6, '--mode', 'l2dsr', 'ipip', 'gre', 'gue', 'fou'],
  ...['--dscp', `${DSCP}=${MARKED.ipv4}`, `${DSCP}=${MARKED.ipv6}`],
];

let server: ServerNamespace;
let sockets: Socket[] = [];

beforeEach(async () => {
  await refuseForeignNamespace();
  build();
  server = await ServerNamespace.open();
});
afterEach(async () => {
  for (const socket of sockets) socket.close();
  sockets = [];
  await runTool('nft', ['flush', 'ruleset']);
  await server.close();
});

async function socketAt(address: string): Promise<Socket> {
  const socket = createSocket(address.includes(':') ? 'udp6' : 'udp4');
  sockets.push(socket);
  socket.bind({ address });
  await once(socket, 'listening');
  return socket;
}

describe('packets', () => {
  const rows = (['gue', 'fou'] as const).flatMap((kind) =>
    FAMILIES.flatMap((outer) => FAMILIES.map((inner) => ({ kind, outer, inner }))),
  );

  test('datagrams for the VIP come out of tunnels, and the VIP answers by itself', async () => {
    await server.ready(server.startBackend(...ALL));
    await server.serve(Object.values(VIPS));
    for (const { kind, outer, inner } of rows) {
      const client = await socketAt(NEAR[inner]);
      const node = await socketAt(NEAR[outer]);
      const payload = Buffer.from(`${kind} ${outer} ${inner}`);
      const packet = packetOf(
        udp({
          source: NEAR[inner],
          destination: VIPS[inner],
          sport: client.address().port,
          dport: UDP_ECHO_PORT,
          payload,
        }),
      );
      const header = kind === 'gue' ? [0, inner === 'ipv4' ? 4 : 41, 0, 0] : [];
      const answer = once(client, 'message', { signal: AbortSignal.timeout(60_000) });
      node.send(Uint8Array.of(...header, ...packet), PORTS[kind], FAR[outer]);
      const [data, from] = (await answer) as [Buffer, { address: string; port: number }];
      expect(from).toMatchObject({ address: VIPS[inner], port: UDP_ECHO_PORT });
      expect(data.toString()).toBe(`s1 ${payload.toString()}`);
    }
    const status = await server.tool(
      process.execPath,
      MAIN,
      ...['backend', 'status', '--state-dir', server.stateDir],
    );
    expect(status).toContain(`XDP on ${FAR.name} (native)`);
    expect(status).toMatch(/4 gue: .*\n4 fou: /);
  });

  test('a connection comes by DSCP, and its SYN-ACK says what tunnels leave room for', async () => {
    await markAsNode(MARKED, DSCP, [1200]);
    const both = ['--mode', 'gue', '--vip', MARKED.ipv4, MARKED.ipv6, '--mss', '1200'];
    await server.ready(server.startBackend(...both, ...ALL.slice(ALL.indexOf('--dscp'))));
    await server.serve(Object.values(MARKED));
    for (const family of FAMILIES) {
      expect(
        (await download(MARKED[family], 300_000)).equals(Buffer.concat([...content(300_000)])),
      ).toBe(true);
    }
    expect(await runTool('nft', ['list', 'counter', 'inet', 'node', 'segments'])).toContain(
      'packets 2 ',
    );
  });

  test('ARP and ND say nothing of the VIPs', async () => {
    await server.ready(server.startBackend(...ALL));
    for (const family of FAMILIES) {
      await commands([`route add ${VIPS[family]} dev ${NEAR.name}`]);
      const socket = await socketAt(NEAR[family]);
      socket.send('who has it?', UDP_ECHO_PORT, VIPS[family]);
    }
    const failed = async (vip: string): Promise<boolean> => {
      const entry = await runTool('ip', ['neigh', 'show', 'to', vip, 'nud', 'all']);
      expect(entry).not.toMatch(/lladdr/);
      return entry.includes('FAILED');
    };
    await until('failed neighbours', async () => {
      return (await failed(VIPS.ipv4)) && (await failed(VIPS.ipv6));
    });
  });
});

describe('the machine', () => {
  test('is changed as it must be, and is as it was after SIGTERM', async () => {
    const before = await server.state();
    const run = server.startBackend(...ALL);
    await server.ready(run);
    const during = await server.state();
    for (const vip of [...Object.values(VIPS), ...Object.values(MARKED)]) {
      expect(during.loopback).toContain(vip);
    }
    expect(during.settings).toContain('conf/all/arp_ignore:1');
    expect(during.settings).toContain('conf/all/arp_announce:2');
    expect(during.settings).toContain(`conf/${FAR.name}/rp_filter:2`);
    expect(during.tables).toContain(`saddr ${VIPS.ipv6} tcp flags & syn == syn`);
    expect(during.program).toBe(true);

    expect(await end(run.child, 'SIGTERM')).toBe(0);
    expect(await server.state()).toEqual(before);
    expect(existsSync(server.bpffs)).toBe(false);
    expect(existsSync(`${server.stateDir}/changes.json`)).toBe(false);
  });

  test('keeps forwarding after kill -9, and is as it was after the next run', async () => {
    const before = await server.state();
    const killed = server.startBackend(...ALL);
    await server.ready(killed);
    const during = await server.state();
    await end(killed.child, 'SIGKILL');
    expect(await server.state()).toEqual(during);

    const next = server.startBackend('--vip', VIPS.ipv4);
    await server.ready(next);
    const smaller = await server.state();
    expect(smaller.loopback).toContain(VIPS.ipv4);
    expect(smaller.loopback).not.toContain(VIPS.ipv6);
    expect(smaller).toMatchObject({ tables: '', program: false });
    expect(await end(next.child, 'SIGTERM')).toBe(0);
    expect(await server.state()).toEqual(before);
  });

  test('keeps what it had without us, and what somebody changed meanwhile', async () => {
    await server.tool('ip', 'addr', 'add', `${VIPS.ipv4}/32`, 'dev', 'lo');
    const run = server.startBackend('--vip', VIPS.ipv4, VIPS.ipv6);
    await server.ready(run);
    await server.tool('sh', '-c', 'echo 1 > /proc/sys/net/ipv4/conf/all/arp_announce');
    expect(await end(run.child, 'SIGTERM')).toBe(0);
    const { loopback, settings } = await server.state();
    expect(loopback).toContain(VIPS.ipv4);
    expect(loopback).not.toContain(VIPS.ipv6);
    expect(settings).toContain('conf/all/arp_announce:1');
    expect(run.said()).toContain('changed by somebody else');
  });

  test('follows its document', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'skein-backend-'));
    const file = join(folder, 'skein.yaml');
    const document = (vip: string): string => `
cluster: c
backends:
  web: [{ address: ${FAR.ipv4}, mode: gue, mtu: 1400 }, 10.9.0.12]
  elsewhere: [10.9.0.13]
services:
  - { name: web, vip: '${vip}', port: 80, backends: web, checks: [] }
  - { name: other, vip: 192.0.2.99, port: 80, backends: elsewhere, checks: [] }
`;
    writeFileSync(file, document(VIPS.ipv4));
    const run = server.startBackend('--config', file);
    await server.ready(run);
    const { loopback: first, tables, program } = await server.state();
    expect(first).not.toContain('192.0.2.99');
    expect(program).toBe(true);
    // 1,400 bytes less outer IPv4, UDP, GUE, IPv4 and TCP.
    expect(tables).toContain('maxseg size set 1328');
    writeFileSync(file, 'cluster: [');
    await until('a refusal', () => run.said().includes('the document was not followed'));
    expect((await server.state()).loopback).toContain(VIPS.ipv4);
    writeFileSync(file, document(VIPS.ipv6));
    await until('the new VIP', async () => {
      const { loopback } = await server.state();
      return loopback.includes(VIPS.ipv6) && !loopback.includes(VIPS.ipv4);
    });
    expect(await end(run.child, 'SIGTERM')).toBe(0);
    rmSync(folder, { recursive: true });
  });
});

describe('refused in one line, with nothing changed', () => {
  const refusals = [
    {
      what: 'an interface that is not there',
      options: ['--vip', VIPS.ipv4, '--interface', 'no-such-0'],
      words: 'there is no network interface no-such-0',
    },
    {
      what: 'a VIP on the interface itself',
      options: ['--vip', '10.9.0.12'],
      before: `ip addr add 10.9.0.12/24 dev ${FAR.name}`,
      words: `VIP 10.9.0.12 is on ${FAR.name}`,
    },
    {
      what: 'a loopback that is down',
      options: ['--vip', VIPS.ipv4],
      before: 'ip link set lo down',
      words: 'lo is down: ip link set lo up',
    },
    {
      what: "somebody else's XDP program",
      options: ['--vip', VIPS.ipv4, '--mode', 'ipip'],
      before: `ip link set ${FAR.name} xdpdrv obj build/pass.bpf.o sec xdp`,
      words: `no XDP program can be attached to ${FAR.name}`,
    },
    {
      what: 'a folder with the maps of a node',
      options: ['--vip', VIPS.ipv4, '--mode', 'ipip'],
      folder: 'a-layout',
      words: 'holds more than links of skein backend',
      code: 2,
    },
    {
      what: 'no VIP at all',
      options: ['--mode', 'ipip'],
      words: 'which VIPs?',
      code: 2,
    },
  ];

  test.each(refusals)('$what', async ({ options, before, folder, words, code = 1 }) => {
    if (folder !== undefined) mkdirSync(join(server.bpffs, folder), { recursive: true });
    if (before !== undefined) await server.tool('sh', '-c', before);
    const state = await server.state();
    const run = server.startBackend(...options);
    await until('an end', () => isOver(run.child));
    expect(run.child.exitCode).toBe(code);
    expect(run.said()).toContain(words);
    expect(
      run
        .said()
        .split('\n')
        .filter((line) => line.startsWith('skein: ')),
    ).toHaveLength(1);
    expect(await server.state()).toEqual(state);
    if (folder !== undefined) expect(existsSync(join(server.bpffs, folder))).toBe(true);
  });

  test('a server without the rights of root', async () => {
    const state = await server.state();
    const args = ['--reuid=65534', '--clear-groups', process.execPath, MAIN, 'backend'];
    const refused = server.tool('setpriv', ...args, '--vip', VIPS.ipv4);
    await expect(refused).rejects.toThrow('run it as root');
    expect(await server.state()).toEqual(state);
  });

  test('a second one', async () => {
    const run = server.startBackend('--vip', VIPS.ipv4);
    await server.ready(run);
    const second = server.startBackend('--vip', VIPS.ipv6);
    await until('an end', () => isOver(second.child));
    expect(second.said()).toContain(`skein backend runs already (process `);
    expect((await server.state()).loopback).toContain(VIPS.ipv4);
    expect(JSON.parse(readFileSync(`${server.stateDir}/changes.json`, 'utf8'))).toBeTruthy();
  });
});
