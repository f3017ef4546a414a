/** The recipes of the README that this kernel can run do what they say. */
import { readFileSync } from 'node:fs';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { refuseForeignNamespace } from '../bpf/fixture-network.ts';
import { content } from '../../testbed/content.ts';
import { runTool } from '../dataplane/ip.ts';
import { commands, download, FAR, markAsNode, ServerNamespace } from './fixture.ts';

const VIPS = { ipv4: '192.0.2.81', ipv6: '2001:db8:80::2' } as const;
const README = readFileSync(`${import.meta.dirname}/README.md`, 'utf8');

let server: ServerNamespace;

beforeEach(async () => {
  await refuseForeignNamespace();
  server = await ServerNamespace.open();
});
afterEach(async () => {
  await runTool('nft', ['flush', 'ruleset']);
  await server.close();
});

function recipe(name: string): string {
  const found = new RegExp(`^\`\`\`sh ${name}\n(.*?)^\`\`\``, 'ms').exec(README)?.[1];
  if (found === undefined) throw new Error(`no recipe ${name} in the README`);
  return found;
}

async function follow(...names: readonly string[]): Promise<void> {
  const variables = `IF=${FAR.name} OWN4=${FAR.ipv4} OWN6=${FAR.ipv6} VIP4=${VIPS.ipv4} VIP6=${VIPS.ipv6}`;
  for (const name of names) await server.tool('sh', '-ec', `${variables}\n${recipe(name)}`);
}

test('l2dsr: connections to the VIP by the MAC address of the server', async () => {
  await follow('l2dsr');
  await server.serve(Object.values(VIPS));
  await commands([
    `route add ${VIPS.ipv4} via ${FAR.ipv4}`,
    `route add ${VIPS.ipv6} via ${FAR.ipv6}`,
  ]);
  for (const vip of Object.values(VIPS)) {
    expect((await download(vip, 100_000)).equals(Buffer.concat([...content(100_000)]))).toBe(true);
  }
});

test('dscp and mss: connections by DSCP, with a clamped MSS', async () => {
  await follow('l2dsr', 'dscp', 'mss');
  await server.serve(Object.values(VIPS));
  await markAsNode(VIPS, 10, [1440, 1420]);
  for (const vip of Object.values(VIPS)) {
    expect((await download(vip, 100_000)).equals(Buffer.concat([...content(100_000)]))).toBe(true);
  }
  const counted = await runTool('nft', ['list', 'counter', 'inet', 'node', 'segments']);
  expect(counted).toContain('packets 2 ');
});

test('nat: replies of the service go through the nodes, and others do not', async () => {
  await server.tool('ip', 'addr', 'add', '10.1.0.11/24', 'dev', FAR.name);
  await server.tool('ip', 'addr', 'add', '2001:db8:1::11/64', 'dev', FAR.name, 'nodad');
  await server.tool('sh', '-ec', `${recipe('variables')}\n${recipe('nat')}`);
  const route = (client: string, own: string, port: number) =>
    server.tool('ip', 'route', 'get', client, 'from', own, 'ipproto', 'tcp', 'sport', `${port}`);
  expect(await route('10.9.0.1', '10.1.0.11', 8080)).toMatch(/via 10\.1\.0\.[12] /);
  expect(await route('fd09::1', '2001:db8:1::11', 8080)).toMatch(/via 2001:db8:1::[12] /);
  expect(await route('10.9.0.1', '10.1.0.11', 22)).not.toContain('via');
  // A node's own address, as in its health checks.
  expect(await route('10.1.0.2', '10.1.0.11', 8080)).not.toContain('via');
  expect(await route('2001:db8:1::2', '2001:db8:1::11', 8080)).not.toContain('via');
});
