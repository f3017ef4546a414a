/**
 * Which Host headers are answered. A page of another site can make its own name resolve to this
 * node (DNS rebinding) and would then read the console as its own origin; it cannot do so with an
 * address or with a name that it does not own.
 */
import { parseAddress } from '../model/address.ts';

/**
 * `host` is what the client asked for, with or without a port. IP addresses and localhost are
 * always answered, names only when listed in `names`.
 */
export function hostAllowed(host: string, names: readonly string[]): boolean {
  const name = hostname(host);
  if (name === undefined) return false;
  if (name === 'localhost' || names.some((allowed) => allowed.toLowerCase() === name)) return true;
  return parseAddress(name) !== undefined;
}

/** The URL parser makes one spelling of every address, letter case and port. */
function hostname(host: string): string | undefined {
  if (!URL.canParse(`http://${host}/`)) return undefined;
  const url = new URL(`http://${host}/`);
  if (url.pathname !== '/' || url.username !== '' || url.search !== '') return undefined;
  return url.hostname.replace(/^\[(.*)\]$/, '$1').replace(/\.$/, '');
}
