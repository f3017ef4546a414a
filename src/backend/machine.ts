/**
 * What there is on this machine that matters to a server of VIPs. Reads `ip` and /proc/sys, and must
 * never change either.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { ipJson } from '../dataplane/ip.ts';
import { parseAddress } from '../model/address.ts';
import { SETTINGS, type Found } from './plan.ts';

interface AddressAnswer {
  readonly ifname: string;
  readonly mtu: number;
  readonly flags: readonly string[];
  readonly addr_info: readonly { readonly local?: string }[];
}

const CONF = '/proc/sys/net/ipv4/conf';

export async function readMachine(): Promise<Found> {
  const links = (await ipJson(['addr', 'show'])) as AddressAnswer[];
  const interfaces = links.map(({ ifname, mtu, flags, addr_info }) => ({
    name: ifname,
    mtu,
    up: flags.includes('UP'),
    addresses: addr_info.flatMap(({ local }) => parseAddress(local ?? '') ?? []),
  }));
  return { interfaces, settings: readSettings() };
}

export function settingFile(key: string): string {
  return `${CONF}/${key}`;
}

function readSettings(): Map<string, number> {
  const settings = new Map<string, number>();
  for (const name of readdirSync(CONF)) {
    for (const setting of SETTINGS) {
      const key = `${name}/${setting}`;
      const value = readSetting(key);
      if (value !== undefined) settings.set(key, value);
    }
  }
  return settings;
}

/** Undefined when the interface has gone. */
export function readSetting(key: string): number | undefined {
  try {
    return Number(readFileSync(settingFile(key), 'utf8'));
  } catch {
    return undefined;
  }
}
