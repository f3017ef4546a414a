/**
 * A reporter's own key as one line of text, which says for which addresses it is, so that a reporter
 * finds out before the nodes do. Pure; must never make a message of what is in a file.
 */
import { parseAddress, type Address } from '../model/address.ts';
import { KEY_BYTES } from '../peers/seal-keys.ts';
import { ADDRESSES_MAX } from './report.ts';
import type { ReporterKey } from './seal.ts';

/** What the line begins with. */
const WORD = 'skein-report-key';
const KEY_ID = /^[0-9a-f]{2}$/;
/** 32 bytes: the last digit has two bits that are none of the key's. */
const BASE64 = /^[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=$/;

export interface ReporterKeyFile {
  readonly key: ReporterKey;
  readonly addresses: readonly Address[];
}

export function formatKeyFile({ key, addresses }: ReporterKeyFile): string {
  const id = key.id.toString(16).padStart(2, '0');
  return `${WORD} ${id} ${addresses.join()} ${Buffer.from(key.secret).toString('base64')}\n`;
}

/** Whether the text means to be a reporter's own key, and not one of the cluster. */
export function isReporterKey(text: string): boolean {
  return text.trimStart().startsWith(WORD);
}

/** Undefined for what `formatKeyFile` has not made. */
export function parseKeyFile(text: string): ReporterKeyFile | undefined {
  const [word, id = '', list = '', digits = '', ...more] = text.trim().split(' ');
  const addresses = list.split(',', ADDRESSES_MAX + 1).map(parseAddress);
  const known = addresses.filter((each) => each !== undefined);
  if (word !== WORD || more.length > 0 || !KEY_ID.test(id) || !BASE64.test(digits))
    return undefined;
  if (known.length !== addresses.length || known.length > ADDRESSES_MAX) return undefined;
  const secret = Buffer.from(digits, 'base64');
  return secret.length === KEY_BYTES
    ? { key: { id: Number.parseInt(id, 16), secret }, addresses: known }
    : undefined;
}
