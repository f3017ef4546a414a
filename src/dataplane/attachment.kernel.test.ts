/** Programs on interfaces: which mode, whose program, and what becomes of both at a restart. */
import { readdirSync, rmSync } from 'node:fs';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { interfaces, ip, UPLINK, vethPair, xdpMode } from '../bpf/fixture-network.ts';
import { prepare, release } from '../bpf/fixture.ts';
import { NODE_MAC } from '../bpf/packet.ts';
import { SkeinError } from '../lib/errors.ts';
import { silentLogger } from '../lib/logger.ts';
import { KernelDataplane, type KernelOptions } from './kernel.ts';

const VETH = 'elsewhere';
let options: KernelOptions;
let opened: KernelDataplane[] = [];
/** Interfaces that a test made besides those of the network. */
let extra: string[] = [];

beforeEach(async () => {
  options = await prepare();
});
afterEach(async () => {
  for (const dataplane of opened) await dataplane.close('detach');
  opened = [];
  await ip(extra.map((name) => `link del ${name}`));
  extra = [];
  await release(options);
});

const open = async (change: Partial<KernelOptions> = {}) => {
  const dataplane = await KernelDataplane.open({ ...options, ...change }, silentLogger);
  opened.push(dataplane);
  return dataplane;
};
const keep = async (dataplane: KernelDataplane) => {
  await dataplane.close('keep');
  opened = opened.filter((each) => each !== dataplane);
};
const modes = (dataplane: KernelDataplane) =>
  dataplane.status().interfaces.map((each) => each.xdpMode);

test('veth takes a native program', async () => {
  expect(modes(await open())).toEqual(['native']);
  expect(await xdpMode(UPLINK)).toBe('native');
});

const refusing = [
  { what: 'the loopback', name: 'lo' },
  { what: 'a bridge', name: 'test-br', make: 'link add test-br type bridge' },
  { what: 'a macvlan', name: 'test-mv', make: `link add test-mv link ${UPLINK} type macvlan` },
];

test.each(refusing)('$what refuses native mode and gets a generic program', async (row) => {
  if (row.make !== undefined) {
    await ip([row.make]);
    extra = [row.name];
  }
  await expect(open({ interfaces: [row.name], xdpMode: 'native' })).rejects.toMatchObject({
    code: 'XDP_ATTACH',
  });
  expect(modes(await open({ interfaces: [row.name] }))).toEqual(['generic']);
  expect(await xdpMode(row.name)).toBe('generic');
  expect(await xdpMode('skein-probe1'), 'the checks go the same way').toBe('generic');
});

test('several interfaces', async () => {
  const dataplane = await open({ interfaces: [UPLINK, VETH] });
  expect(dataplane.status().interfaces.map(({ name }) => name)).toEqual([UPLINK, VETH]);
  expect(await Promise.all([xdpMode(UPLINK), xdpMode(VETH)])).toEqual(['native', 'native']);
});

test('an interface that is no longer named is left', async () => {
  await keep(await open({ interfaces: [UPLINK, VETH] }));
  await open({ interfaces: [VETH] });
  expect(await Promise.all([xdpMode(UPLINK), xdpMode(VETH)])).toEqual([undefined, 'native']);
});

test('an interface that does not exist is named, and nothing is left behind', async () => {
  const failure = await open({ interfaces: [UPLINK, 'no-such-0'] }).catch((e: unknown) => e);
  expect(failure).toBeInstanceOf(SkeinError);
  expect(failure).toMatchObject({ code: 'NO_INTERFACE' });
  expect(String(failure)).toContain('no-such-0');
  expect(await xdpMode(UPLINK)).toBeUndefined();
  expect(await interfaces()).not.toContain('skein-probe0');
});

test("somebody else's program is not replaced", async () => {
  const foreign = { ...options, bpffs: `${options.bpffs}-foreign` };
  const first = await KernelDataplane.open(foreign, silentLogger);
  await expect(open()).rejects.toMatchObject({ code: 'XDP_ATTACH' });
  expect(await xdpMode(UPLINK)).toBe('native');
  await first.close('detach');
  rmSync(foreign.bpffs, { recursive: true });
});

test.each([
  ['generic', 'native'],
  ['native', 'generic'],
] as const)('from %s to %s mode', async (from, to) => {
  await keep(await open({ xdpMode: from }));
  expect(await xdpMode(UPLINK)).toBe(from);
  const dataplane = await open({ xdpMode: to });
  expect(dataplane.status()).toMatchObject({ adopted: true });
  expect(await xdpMode(UPLINK)).toBe(to);
});

test('a mode that is refused leaves the one that was at work', async () => {
  await keep(await open({ interfaces: ['lo'], xdpMode: 'generic' }));
  await expect(open({ interfaces: ['lo'], xdpMode: 'native' })).rejects.toThrow();
  expect(await xdpMode('lo')).toBe('generic');
  await open({ interfaces: ['lo'] });
});

test('an interface made anew under the same name gets its program', async () => {
  await keep(await open());
  await ip([`link del ${UPLINK}`, ...vethPair(UPLINK, NODE_MAC)]);
  expect(await xdpMode(UPLINK)).toBeUndefined();
  const dataplane = await open();
  expect(dataplane.status()).toMatchObject({ adopted: true });
  expect(await xdpMode(UPLINK)).toBe('native');
});

test('closing with `detach` takes everything away, at once', async () => {
  const dataplane = await open();
  await dataplane.close('detach');
  opened = [];
  expect(await xdpMode(UPLINK)).toBeUndefined();
  expect(readdirSync(options.bpffs)).toEqual([]);
  expect(await interfaces()).not.toContain('skein-probe0');
});
