/** What the program was taught of packets in fragments. Must hold nothing between two calls. */
import { kernelNowMs, type Fixture } from './fixture.ts';

/** How long a first fragment is remembered. */
const FRESH_MS = 30_000;
/** Where a record says when that was. */
const SEEN_AT = 4;

interface FragmentEntry {
  readonly key: Uint8Array;
  readonly value: Uint8Array;
}

export function fragmentEntries(fixture: Fixture): FragmentEntry[] {
  const map = fixture.map('fragments');
  const entries: FragmentEntry[] = [];
  map.readAll((keys, values, count) => {
    for (let i = 0; i < count; i += 1) {
      const at = (view: DataView, bytes: number) =>
        new Uint8Array(view.buffer, view.byteOffset + i * bytes, bytes).slice();
      entries.push({ key: at(keys, map.keyBytes), value: at(values, map.valueBytes) });
    }
  });
  return entries;
}

export function forgetFragments(fixture: Fixture): void {
  for (const { key } of fragmentEntries(fixture)) fixture.map('fragments').delete(key);
}

/** Makes every first fragment look as if it had come longer ago than receivers wait. */
export function makeFragmentsOld(fixture: Fixture): void {
  for (const { key, value } of fragmentEntries(fixture)) {
    const aged = value.slice();
    new DataView(aged.buffer).setUint32(SEEN_AT, (kernelNowMs() - FRESH_MS - 1000) >>> 0, true);
    fixture.map('fragments').update(key, aged);
  }
}
