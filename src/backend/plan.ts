/**
 * Pure: what is there, what was changed before, and what is wanted -> what to change, and how to
 * change it back. Must never plan to take away what a server had without us.
 */
import { familyOf, type Address } from '../model/address.ts';

export const LOOPBACK = 'lo';

/** What is set for IPv4; for IPv6 a server answers only for addresses of the interface asked. */
export const SETTINGS = ['arp_ignore', 'arp_announce', 'rp_filter'] as const;
type Setting = (typeof SETTINGS)[number];

export interface NetworkInterface {
  readonly name: string;
  /** Bytes. */
  readonly mtu: number;
  readonly up: boolean;
  readonly addresses: readonly Address[];
}

/** What was found on the machine, at one time. */
export interface Found {
  readonly interfaces: readonly NetworkInterface[];
  /** Values by `all/arp_ignore`, `eth0/rp_filter` and so on, below net/ipv4/conf. */
  readonly settings: ReadonlyMap<string, number>;
}

/** One thing that differs from how the machine was without us. */
export type Change =
  | { readonly kind: 'address'; readonly address: Address }
  | {
      readonly kind: 'setting';
      /** Such as `all/arp_ignore`, below net/ipv4/conf. */
      readonly key: string;
      readonly before: number;
      readonly after: number;
    };

export interface Plan {
  /** Why it cannot be: nothing is to be changed then. */
  readonly refusals: readonly string[];
  /** Changes of before to take back, the last one first. */
  readonly undo: readonly Change[];
  /** In this order: no address is there before the settings that keep ARP quiet about it. */
  readonly apply: readonly Change[];
  /** All that will be different then from how the machine was. */
  readonly changes: readonly Change[];
}

/** `changes` is what an earlier plan came to, whoever carried it out; empty on a fresh machine. */
export function planChanges(
  vips: readonly Address[],
  interfaces: readonly string[],
  found: Found,
  changes: readonly Change[],
): Plan {
  const refusals = refusalsOf(vips, interfaces, found);
  if (refusals.length > 0) return { refusals, undo: [], apply: [], changes };
  // A setting that somebody else has changed since is theirs.
  const ours = changes.filter((each) => isInPlace(each, found));
  const wanted = [
    ...wantedSettings(vips, interfaces, asWithoutUs(found, ours)),
    ...wantedAddresses(vips, found, ours),
  ];
  return {
    refusals: [],
    undo: ours.filter((each) => !wanted.some((other) => same(each, other))).reverse(),
    apply: wanted.filter((each) => !ours.some((other) => same(each, other))),
    changes: wanted,
  };
}

function isInPlace(change: Change, found: Found): boolean {
  switch (change.kind) {
    case 'address':
      return onLoopback(found).includes(change.address);
    case 'setting':
      return found.settings.get(change.key) === change.after;
  }
}

function same(a: Change, b: Change): boolean {
  if (a.kind === 'address') return b.kind === 'address' && a.address === b.address;
  return b.kind === 'setting' && a.key === b.key && a.after === b.after;
}

function onLoopback({ interfaces }: Found): readonly Address[] {
  return interfaces.find(({ name }) => name === LOOPBACK)?.addresses ?? [];
}

function refusalsOf(
  vips: readonly Address[],
  interfaces: readonly string[],
  found: Found,
): readonly string[] {
  const loopback = found.interfaces.find(({ name }) => name === LOOPBACK);
  const down = loopback?.up === true ? [] : [`${LOOPBACK} is down: ip link set ${LOOPBACK} up`];
  const missing = interfaces.filter((name) => !found.interfaces.some((each) => each.name === name));
  // ARP and ND answer for the addresses of the interface that was asked, whatever the settings.
  const exposed = found.interfaces
    .filter(({ name }) => interfaces.includes(name))
    .flatMap(({ name, addresses }) =>
      addresses
        .filter((address) => vips.includes(address))
        .map(
          (vip) =>
            `VIP ${vip} is on ${name}, which answers for it: ip addr flush to ${vip} dev ${name}`,
        ),
    );
  return [...down, ...missing.map((name) => `there is no network interface ${name}`), ...exposed];
}

/** The settings as they would be if our changes were taken back. */
function asWithoutUs(found: Found, ours: readonly Change[]): ReadonlyMap<string, number> {
  const before = ours.flatMap((each) =>
    each.kind === 'setting' ? [[each.key, each.before] as const] : [],
  );
  return new Map([...found.settings, ...before]);
}

function wantedAddresses(
  vips: readonly Address[],
  found: Found,
  ours: readonly Change[],
): readonly Change[] {
  const present = onLoopback(found);
  return vips
    .map((address) => ({ kind: 'address', address }) as const)
    .filter(
      (change) => !present.includes(change.address) || ours.some((other) => same(change, other)),
    );
}

function wantedSettings(
  vips: readonly Address[],
  interfaces: readonly string[],
  settings: ReadonlyMap<string, number>,
): readonly Change[] {
  if (!vips.some((vip) => familyOf(vip) === 'ipv4')) return [];
  return ['all', ...interfaces].flatMap((name) =>
    SETTINGS.flatMap((setting): Change[] => {
      const key = `${name}/${setting}`;
      const before = settings.get(key);
      if (before === undefined) return [];
      const after = wantedValue(name, setting, before, settings);
      return after === before ? [] : [{ kind: 'setting', key, before, after }];
    }),
  );
}

/**
 * The kernel takes the larger one of `all` and the interface's own value (Linux, ip-sysctl). Of
 * arp_ignore 1, 2 and 8 are silent about addresses of other interfaces; 3 is not, and wins over 1.
 */
function wantedValue(
  name: string,
  setting: Setting,
  value: number,
  settings: ReadonlyMap<string, number>,
): number {
  const all = settings.get(`all/${setting}`) ?? 0;
  switch (setting) {
    case 'arp_ignore':
      if (value === 3) return 1;
      return name === 'all' && value === 0 ? 1 : value;
    case 'arp_announce':
      return name === 'all' && value < 2 ? 2 : value;
    case 'rp_filter':
      // Strict drops clients whose way back is another interface; 2 beside it makes it loose.
      return name !== 'all' && Math.max(all, value) === 1 ? 2 : value;
  }
}
