/** Two nodes on one link: a veth pair, in the network namespace that kernel tests have to themselves. */
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { until } from '../health/local-servers.ts';
import { address } from '../model/address.ts';
import { MulticastLink, type MulticastOptions } from './multicast.ts';

const [NEAR, FAR] = ['skmc-near', 'skmc-far'] as const;

function ip(args: string): void {
  execFileSync('ip', args.split(' '), { stdio: 'pipe' });
}

beforeAll(() => {
  ip('link set lo up');
  ip(`link add ${NEAR} type veth peer name ${FAR}`);
  for (const [name, host] of [
    [NEAR, 1],
    [FAR, 2],
  ] as const) {
    // Both ends are this node's, so what comes in at one has a source address of the other.
    writeFileSync(`/proc/sys/net/ipv4/conf/${name}/accept_local`, '1');
    writeFileSync(`/proc/sys/net/ipv4/conf/${name}/rp_filter`, '0');
    writeFileSync(`/proc/sys/net/ipv6/conf/${name}/addr_gen_mode`, '1');
    ip(`link set ${name} up`);
    ip(`addr add 10.83.83.${host}/24 dev ${name}`);
    ip(`addr add fe80::83:${host}/64 dev ${name} nodad`);
  }
});
afterAll(() => {
  ip(`link del ${NEAR}`);
});

const links: MulticastLink[] = [];
afterEach(async () => {
  for (const link of links.splice(0)) await link.stop();
});

interface Heard {
  readonly text: string;
  readonly from: string;
}

async function started(options: MulticastOptions): Promise<[MulticastLink, Heard[]]> {
  const link = new MulticastLink(options);
  links.push(link);
  const heard: Heard[] = [];
  await link.start((datagram, from) => {
    heard.push({ text: Buffer.from(datagram).toString(), from });
  });
  return [link, heard];
}

describe.each([
  ['239.83.75.1', '10.83.83.1:7946'],
  ['ff12::834b', `[fe80::83:1%${FAR}]:7946`],
  ['ff15::834b', `[fe80::83:1%${FAR}]:7946`],
])('group %s', (text, from) => {
  const options = { group: address(text), port: 7946 };

  test('a datagram leaves by the interface that was named, and arrives on the other', async () => {
    const [near, atNear] = await started({ ...options, interface: NEAR });
    const [far, atFar] = await started({ ...options, interface: FAR });
    near.send(Buffer.from('from near'));
    await until(() => atFar.length === 1);
    expect(atFar).toEqual([{ text: 'from near', from }]);
    far.send(Buffer.from('from far'));
    await until(() => atNear.length > 0);
    expect(near.stats()).toMatchObject({ sent: 1, sendErrors: 0 });
  });
});

test.each(['239.83.75.1', 'ff12::834b'])(
  'what is sent to %s is heard on this node only where loopback is asked for',
  async (text) => {
    const options = { group: address(text), port: 7946, interface: NEAR };
    const [quiet, atQuiet] = await started(options);
    const [loud, atLoud] = await started({ ...options, loopback: true });
    quiet.send(Buffer.from('quiet'));
    await until(() => quiet.stats().sent === 1);
    // Sent after it, so it would come after it.
    loud.send(Buffer.from('loud'));
    await until(() => atQuiet.length > 0 && atLoud.length > 0);
    expect([...atQuiet, ...atLoud].map((heard) => heard.text)).toEqual(['loud', 'loud']);
  },
);

test('an interface that goes away is counted in errors, and ends nothing', async () => {
  const [near] = await started({ group: address('ff12::834b'), port: 7946, interface: NEAR });
  ip(`link set ${NEAR} down`);
  near.send(Buffer.from('into the void'));
  await until(() => near.stats().sendErrors === 1);
  ip(`link set ${NEAR} up`);
  ip(`addr add fe80::83:1/64 dev ${NEAR} nodad`);
  const [, atFar] = await started({ group: address('ff12::834b'), port: 7946, interface: FAR });
  await until(() => {
    if (atFar.length === 0) near.send(Buffer.from('back'));
    return atFar.length > 0;
  });
  expect(atFar[0]).toMatchObject({ text: 'back' });
});
