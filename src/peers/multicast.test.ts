/** IPv4 on the loopback interface; other interfaces and IPv6 are in multicast.kernel.test.ts. */
import { afterEach, expect, test } from 'vitest';
import { until } from '../health/local-servers.ts';
import { address } from '../model/address.ts';
import { MulticastLink, type MulticastOptions } from './multicast.ts';
import { Opener, Sealer } from './seal.ts';

const links: MulticastLink[] = [];
afterEach(async () => {
  for (const link of links.splice(0)) await link.stop();
});

/** A group for this process: tests of others may run on this machine. */
const GROUP = address(`239.83.${(process.pid >>> 8) & 0xff}.${process.pid & 0xff}`);

async function started(
  options: Partial<MulticastOptions> = {},
): Promise<[MulticastLink, Buffer[]]> {
  const link = new MulticastLink({
    group: GROUP,
    port: 21_600,
    interface: 'lo',
    loopback: true,
    ...options,
  });
  links.push(link);
  const heard: Buffer[] = [];
  await link.start((datagram) => heard.push(Buffer.from(datagram)));
  return [link, heard];
}

test('a datagram reaches all nodes of the group, and nobody of another', async () => {
  const [a, atA] = await started();
  const [b, atB] = await started();
  const other = address(GROUP.replace('239.83.', '239.84.'));
  const [stranger, atStranger] = await started({ group: other });
  a.send(Buffer.from('from a'));
  await until(() => atB.length === 1);
  stranger.send(Buffer.from('from elsewhere'));
  b.send(Buffer.from('from b'));
  await until(() => atA.length === 2 && atB.length === 2 && atStranger.length === 1);
  expect(atB.map(String)).toEqual(['from a', 'from b']);
  expect(atStranger.map(String)).toEqual(['from elsewhere']);
  expect(a.stats()).toMatchObject({ sendErrors: 0, received: 2 });
});

test('what comes back to its sender is known as its own', async () => {
  const [link, heard] = await started();
  const keys = [new Uint8Array(32).fill(1)];
  const sealer = new Sealer({ cluster: 'west', node: 'lb1', incarnation: 1, keys });
  const opener = new Opener({ cluster: 'west', node: 'lb1', incarnation: 1, keys, peersMax: 64 });
  link.send(sealer.seal(Buffer.from('payload')).datagram);
  await until(() => heard.length === 1);
  expect(opener.open(heard[0]!)).toEqual({ kind: 'reject', reason: 'own' });
});

test.each([
  [
    'an interface that is not there',
    { interface: 'nowhere0' },
    'PEERS_INTERFACE',
    /no interface nowhere0/,
  ],
  [
    'an IPv6 group on an interface that is not there',
    { group: address('ff12::834b'), interface: 'nowhere0' },
    'PEERS_SOCKET',
    /ff12::834b/,
  ],
  ['a group that is none', { group: address('127.0.0.1') }, 'PEERS_SOCKET', /127\.0\.0\.1:21600/],
])('%s is named', async (_, options, code, message) => {
  const starting = started(options);
  await expect(starting).rejects.toMatchObject({ code });
  await expect(starting).rejects.toThrow(message);
});

test('after a start that failed, another may follow', async () => {
  const link = new MulticastLink({ group: address('127.0.0.1'), port: 21_601, interface: 'lo' });
  await expect(link.start(() => undefined)).rejects.toThrow();
  await expect(link.start(() => undefined)).rejects.toMatchObject({ code: 'PEERS_SOCKET' });
  await link.stop();
});
