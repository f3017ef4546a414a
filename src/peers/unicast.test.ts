import { afterEach, describe, expect, test } from 'vitest';
import { freeUdpPorts, until } from '../health/local-servers.ts';
import { SkeinError } from '../lib/errors.ts';
import { address } from '../model/address.ts';
import type { Target } from './udp.ts';
import { UnicastLink } from './unicast.ts';

interface Heard {
  readonly text: string;
  readonly from: string;
}

const links: UnicastLink[] = [];
afterEach(async () => {
  for (const link of links.splice(0)) await link.stop();
});

async function targets(host: string, count: number): Promise<Target[]> {
  const ports = await freeUdpPorts(host, count);
  return ports.map((port) => ({ address: address(host), port }));
}

async function started(local: Target, peers: readonly Target[]): Promise<[UnicastLink, Heard[]]> {
  const link = new UnicastLink({ local, peers });
  links.push(link);
  const heard: Heard[] = [];
  await link.start((datagram, from) => {
    heard.push({ text: Buffer.from(datagram).toString(), from });
  });
  return [link, heard];
}

describe.each(['127.0.0.1', '::1'])('at %s', (host) => {
  test('a datagram goes once to each other node of the list', async () => {
    const all = await targets(host, 3);
    const [[a, atA], [b, atB], [c, atC]] = await Promise.all([
      started(all[0]!, all),
      started(all[1]!, all),
      started(all[2]!, all),
    ]);
    a.send(Buffer.from('from a'));
    await until(() => atB.length === 1 && atC.length === 1);
    b.send(Buffer.from('from b'));
    await until(() => atA.length === 1 && atC.length === 2);
    const name = host === '::1' ? '[::1]' : host;
    expect(atB).toEqual([{ text: 'from a', from: `${name}:${all[0]!.port}` }]);
    expect(atA).toEqual([{ text: 'from b', from: `${name}:${all[1]!.port}` }]);
    await until(() => a.stats().sent === 2 && b.stats().sent === 2);
    expect(a.stats()).toEqual({ sent: 2, sendErrors: 0, received: 1 });
    expect(c.stats()).toEqual({ sent: 0, sendErrors: 0, received: 2 });
  });
});

test('a peer that is not there disturbs nobody', async () => {
  const all = await targets('127.0.0.1', 3);
  const [a] = await started(all[0]!, all);
  const [, atC] = await started(all[2]!, all);
  for (let datagram = 0; datagram < 10; datagram += 1) a.send(Buffer.from(String(datagram)));
  await until(() => atC.length === 10);
  expect(a.stats().received).toBe(0);
});

test('every datagram is sent or counted, however many there are at once', async () => {
  const all = await targets('127.0.0.1', 2);
  const [a] = await started(all[0]!, all);
  const many = 5_000;
  for (let datagram = 0; datagram < many; datagram += 1) a.send(Buffer.alloc(1_400));
  await until(() => a.stats().sent + a.stats().sendErrors === many);
  expect(a.stats().sent).toBeGreaterThan(0);
});

test('what cannot be sent is counted, and does not throw', async () => {
  const all = await targets('127.0.0.1', 2);
  const link = new UnicastLink({ local: all[0]!, peers: all });
  link.send(Buffer.from('before the start'));
  expect(link.stats().sendErrors).toBe(1);
  await link.start(() => undefined);
  links.push(link);
  link.send(Buffer.alloc(70_000));
  await until(() => link.stats().sendErrors === 2);
  await link.stop();
  link.send(Buffer.from('after the stop'));
  expect(link.stats()).toEqual({ sent: 0, sendErrors: 3, received: 0 });
});

test('it can be stopped twice, or before it starts, and started again', async () => {
  const all = await targets('127.0.0.1', 2);
  const [a] = await started(all[0]!, all);
  const [b, atB] = await started(all[1]!, all);
  await b.stop();
  await b.stop();
  await new UnicastLink({ local: all[1]!, peers: all }).stop();
  const again: string[] = [];
  await b.start((datagram) => again.push(Buffer.from(datagram).toString()));
  a.send(Buffer.from('again'));
  await until(() => again.length === 1);
  expect(atB).toEqual([]);
});

test('a stop while it starts leaves nothing behind', async () => {
  const [local] = await targets('127.0.0.1', 1);
  const link = new UnicastLink({ local: local!, peers: [] });
  const starting = link.start(() => undefined);
  await link.stop();
  await expect(starting).rejects.toMatchObject({ code: 'PEERS_SOCKET' });
  await started(local!, []);
});

test('the kernel gives room for datagrams that wait', async () => {
  const [local] = await targets('127.0.0.1', 1);
  const [link] = await started(local!, []);
  expect(link.receiveBufferBytes).toBeGreaterThan(100_000);
  await link.stop();
  expect(link.receiveBufferBytes).toBeUndefined();
});

test('an address that is taken, or not ours, is named', async () => {
  const all = await targets('127.0.0.1', 1);
  await started(all[0]!, all);
  const taken = started(all[0]!, all);
  await expect(taken).rejects.toMatchObject({ code: 'PEERS_SOCKET' });
  await expect(taken).rejects.toThrow(`127.0.0.1:${all[0]!.port}`);
  await expect(started({ address: address('192.0.2.77'), port: 9 }, [])).rejects.toThrow(
    /192\.0\.2\.77:9.*does the address belong to this node/,
  );
});

test('a list of two families is refused', () => {
  const local = { address: address('10.0.0.1'), port: 7946 };
  const peers = [local, { address: address('2001:db8::2'), port: 7946 }];
  expect(() => new UnicastLink({ local, peers })).toThrow(SkeinError);
  expect(() => new UnicastLink({ local, peers })).toThrow('[2001:db8::2]:7946');
});
