/**
 * Carries changes out and takes them back: addresses of the loopback by `ip`, settings by /proc/sys.
 * Must never take back what is no longer as we left it.
 */
import { writeFileSync } from 'node:fs';
import { ipBatch } from '../dataplane/ip.ts';
import { errorMessage, SkeinError } from '../lib/errors.ts';
import type { Logger } from '../lib/logger.ts';
import { familyOf, formatPrefix, hostPrefix, type Address } from '../model/address.ts';
import { readMachine, readSetting, settingFile } from './machine.ts';
import { LOOPBACK, type Change } from './plan.ts';

/** In order, settings before addresses. Throws at the first that fails. */
export async function applyChanges(changes: readonly Change[]): Promise<void> {
  for (const change of changes) {
    if (change.kind === 'setting') writeSetting(change.key, change.after);
  }
  const { failures } = await ipBatch(
    addressesOf(changes).map((each) => addressCommand('add', each)),
  );
  if (failures.length > 0) {
    const words = failures.slice(0, 3).join('; ');
    throw new SkeinError('BACKEND_ADDRESS', `VIPs cannot be put on ${LOOPBACK}: ${words}`);
  }
}

/** As far as it goes: returns what is still to be taken back. */
export async function undoChanges(
  changes: readonly Change[],
  logger: Logger,
): Promise<readonly Change[]> {
  const present = new Set(await loopbackAddresses());
  const addresses = addressesOf(changes).filter((each) => present.has(each));
  const { failures } = await ipBatch(addresses.map((each) => addressCommand('del', each)));
  for (const failure of failures) logger.warn({ failure }, 'a VIP was not taken off the loopback');
  const left = new Set(failures.length === 0 ? [] : await loopbackAddresses());
  return changes.filter((change) =>
    change.kind === 'address' ? left.has(change.address) : !undoSetting(change, logger),
  );
}

/** False: it could not be. */
function undoSetting(change: Change & { kind: 'setting' }, logger: Logger): boolean {
  const { key, before, after } = change;
  const current = readSetting(key);
  if (current === undefined || current === before) return true;
  if (current !== after) {
    logger.warn(
      { setting: key, current, before },
      'changed by somebody else meanwhile: left as is',
    );
    return true;
  }
  try {
    writeSetting(key, before);
    return true;
  } catch (error) {
    logger.warn({ setting: key, reason: errorMessage(error) }, 'a setting was not put back');
    return false;
  }
}

function writeSetting(key: string, value: number): void {
  try {
    writeFileSync(settingFile(key), `${value}\n`);
  } catch (error) {
    const text = `${settingFile(key)} cannot be set to ${value}: ${errorMessage(error)}`;
    throw new SkeinError('BACKEND_SETTING', text, { cause: error });
  }
}

function addressesOf(changes: readonly Change[]): readonly Address[] {
  return changes.flatMap((change) => (change.kind === 'address' ? [change.address] : []));
}

/** Without duplicate address detection: every server of the VIP has it, and tells nobody. */
function addressCommand(verb: 'add' | 'del', address: Address): string {
  const noDad = verb === 'add' && familyOf(address) === 'ipv6' ? ' nodad' : '';
  return `addr ${verb} ${formatPrefix(hostPrefix(address))} dev ${LOOPBACK}${noDad}`;
}

async function loopbackAddresses(): Promise<readonly Address[]> {
  const { interfaces } = await readMachine();
  return interfaces.find(({ name }) => name === LOOPBACK)?.addresses ?? [];
}
