/**
 * What was changed on this machine, on disk before it is changed: so that whoever comes after a
 * killed process can take it back. Must never be believed without a check.
 */
import { mkdirSync, readFileSync, readlinkSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Logger } from '../lib/logger.ts';
import { parseAddress } from '../model/address.ts';
import { SETTINGS, type Change } from './plan.ts';

export interface Ledger {
  readonly changes: readonly Change[];
  /** The nft table of ours is there. */
  readonly clamp: boolean;
}

export const NO_CHANGES: Ledger = { changes: [], clamp: false };

const FORMAT = 1;
const LEDGER_BYTES_MAX = 1 << 20;
const SETTING_KEY = new RegExp(`^[^/\\s]{1,15}/(${SETTINGS.join('|')})$`);

/** Where the changes were made: neither a reboot nor another network namespace has them. */
function place(): string {
  const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
  return `${boot} ${readlinkSync('/proc/self/ns/net')}`;
}

function ledgerFile(stateDir: string): string {
  return join(stateDir, 'changes.json');
}

/** A ledger that cannot be read is put aside and named: what it said is for people to look at. */
export function readLedger(stateDir: string, logger: Logger): Ledger {
  const file = ledgerFile(stateDir);
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch {
    return NO_CHANGES;
  }
  const ledger = parseLedger(text, place());
  if (ledger === 'elsewhere') return NO_CHANGES;
  if (ledger !== 'malformed') return ledger;
  const aside = `${file}.unreadable`;
  renameSync(file, aside);
  logger.warn({ file: aside }, 'what an earlier run changed is not known: its record is damaged');
  return NO_CHANGES;
}

export function writeLedger(stateDir: string, ledger: Ledger): void {
  const file = ledgerFile(stateDir);
  mkdirSync(stateDir, { recursive: true, mode: 0o755 });
  const draft = `${file}.new`;
  const text = JSON.stringify({ format: FORMAT, place: place(), ...ledger });
  writeFileSync(draft, `${text}\n`, { mode: 0o644, flush: true });
  renameSync(draft, file);
}

export function removeLedger(stateDir: string): void {
  rmSync(ledgerFile(stateDir), { force: true });
}

/** Pure. `elsewhere`: of another boot or namespace, so there is nothing to take back. */
export function parseLedger(text: string, here: string): Ledger | 'elsewhere' | 'malformed' {
  if (text.length > LEDGER_BYTES_MAX) return 'malformed';
  const value = parseJson(text);
  if (!isRecord(value) || value['format'] !== FORMAT || !Array.isArray(value['changes'])) {
    return 'malformed';
  }
  if (value['place'] !== here) return 'elsewhere';
  const changes = value['changes'].map(parseChange);
  const whole = changes.filter((change) => change !== undefined);
  if (whole.length < changes.length || typeof value['clamp'] !== 'boolean') return 'malformed';
  return { changes: whole, clamp: value['clamp'] };
}

function parseChange(value: unknown): Change | undefined {
  if (!isRecord(value)) return undefined;
  const { kind, address, key, before, after } = value;
  if (kind === 'address' && typeof address === 'string') {
    const parsed = parseAddress(address);
    return parsed && { kind, address: parsed };
  }
  // The key becomes a path that is written to.
  if (kind !== 'setting' || typeof key !== 'string' || !SETTING_KEY.test(key)) return undefined;
  if (key.startsWith('.') || !isSettingValue(before) || !isSettingValue(after)) return undefined;
  return { kind, key, before, after };
}

function isSettingValue(value: unknown): value is number {
  return typeof value === 'number' && Number.isInteger(value) && value >= 0 && value <= 8;
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null;
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
