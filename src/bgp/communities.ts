/** BGP communities as text and as numbers. Pure. */
import type { LargeCommunityMessage } from './messages.ts';

/** RFC 1997, RFC 3765, RFC 7999, RFC 8326. */
const WELL_KNOWN: ReadonlyMap<string, number> = new Map([
  ['graceful-shutdown', 0xffff0000],
  ['blackhole', 0xffff029a],
  ['no-export', 0xffffff01],
  ['no-advertise', 0xffffff02],
  ['no-export-subconfed', 0xffffff03],
  ['no-peer', 0xffffff04],
]);

/** `65001:100`, or a well-known name (RFC 1997); undefined for anything else. */
export function parseCommunity(text: string): number | undefined {
  const parts = parseParts(text, 2, 0xffff);
  if (parts === undefined) return WELL_KNOWN.get(text);
  const [high = 0, low = 0] = parts;
  return high * 0x10000 + low;
}

/** `4200000001:1:2` (RFC 8092); undefined for anything else. */
export function parseLargeCommunity(text: string): LargeCommunityMessage | undefined {
  const parts = parseParts(text, 3, 0xffffffff);
  if (parts === undefined) return undefined;
  const [globalAdmin = 0, localData1 = 0, localData2 = 0] = parts;
  return { globalAdmin, localData1, localData2 };
}

function parseParts(text: string, count: number, max: number): readonly number[] | undefined {
  const parts = text.split(':');
  if (parts.length !== count || !parts.every((part) => /^\d{1,10}$/.test(part))) return undefined;
  const numbers = parts.map(Number);
  return numbers.every((value) => value <= max) ? numbers : undefined;
}
