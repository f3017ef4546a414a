import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Opener, Sealer } from '../peers/seal.ts';
import { B1, CLUSTER, key, report, signer } from './fixture.ts';
import { DATAGRAM_BYTES_MAX, reporterKey, ReportOpener } from './seal.ts';
import { encodeReport, PAYLOAD_BYTES_MAX } from './wire.ts';

const PAYLOAD = encodeReport(report({ detail: 'as always' }));
const SENT_AT_MS = 1_700_000_000_000;

function opener(keys = [key(1)]): ReportOpener {
  return new ReportOpener(CLUSTER, keys);
}

function outcome(to: ReportOpener, datagram: Uint8Array): string {
  const opened = to.open(datagram);
  return opened.kind === 'opened' ? 'opened' : opened.reason;
}

test('what was signed is opened, with who sent it and when', () => {
  const from = signer({ reporter: 'web-1.example', incarnation: 7 });
  from.sign(PAYLOAD, SENT_AT_MS);
  const opened = opener().open(from.sign(PAYLOAD, SENT_AT_MS));
  expect(opened).toMatchObject({
    kind: 'opened',
    envelope: { reporter: 'web-1.example', incarnation: 7, sequence: 2, sentAtMs: SENT_AT_MS },
  });
  expect(opened.kind === 'opened' && Uint8Array.from(opened.payload)).toEqual(
    Uint8Array.from(PAYLOAD),
  );
});

test('the largest datagram is opened, and one byte more is not', () => {
  const from = signer({ reporter: 'b'.repeat(63) });
  const payload = (length: number) => Buffer.concat([PAYLOAD, Buffer.alloc(length)], length);
  const datagram = from.sign(payload(PAYLOAD_BYTES_MAX), SENT_AT_MS);
  expect(datagram).toHaveLength(DATAGRAM_BYTES_MAX);
  expect(DATAGRAM_BYTES_MAX).toBe(1_400);
  expect(outcome(opener(), datagram)).toBe('opened');
  const longer = from.sign(payload(PAYLOAD_BYTES_MAX + 1), SENT_AT_MS);
  expect(outcome(opener(), longer)).toBe('too_long');
});

describe('refused', () => {
  const datagram = signer().sign(PAYLOAD, SENT_AT_MS);
  const withoutTag = datagram.subarray(0, -32);

  test.each<[string, Uint8Array, string]>([
    ['nothing', new Uint8Array(), 'not_a_report'],
    ['noise', new Uint8Array(500).fill(7), 'not_a_report'],
    ['the version before', Uint8Array.from(datagram).with(2, 1), 'version'],
    ['a later version', Uint8Array.from(datagram).with(2, 3), 'version'],
    ['another cluster', signer({ cluster: 'east' }).sign(PAYLOAD, 1), 'other_cluster'],
    ['a key that is not known', signer({ key: key(9) }).sign(PAYLOAD, 1), 'other_key'],
    ['no signature', withoutTag, 'unsigned'],
    ['a signature that is cut short', datagram.subarray(0, -1), 'malformed'],
    ['a byte after the signature', Buffer.concat([datagram, Uint8Array.of(0)]), 'malformed'],
    ['a payload that is cut short', datagram.subarray(0, 60), 'malformed'],
    ['a name that is none', Uint8Array.from(datagram).with(39, '/'.charCodeAt(0)), 'malformed'],
    ['sequence 0', Uint8Array.from(datagram).with(27, 0), 'malformed'],
    ['an empty signature', Buffer.concat([withoutTag, new Uint8Array(32)]), 'forged'],
    [
      'the id of our key, and not the key',
      Uint8Array.from(signer({ key: key(9) }).sign(PAYLOAD, 1)).with(3, datagram[3] ?? 0),
      'forged',
    ],
  ])('%s', (_, bytes, reason) => {
    expect(outcome(opener(), bytes)).toBe(reason);
  });

  test('whatever bits are changed', () => {
    const places = fc.uniqueArray(fc.nat(datagram.length * 8 - 1), { minLength: 1, maxLength: 8 });
    fc.assert(
      fc.property(places, (bits) => {
        const bytes = Uint8Array.from(datagram);
        for (const bit of bits) bytes[bit >> 3] = (bytes[bit >> 3] ?? 0) ^ (1 << (bit & 7));
        expect(opener().open(bytes).kind).toBe('refused');
      }),
      { numRuns: 2_000 },
    );
  });
});

test('each single bit that is changed', () => {
  const datagram = signer().sign(PAYLOAD, SENT_AT_MS);
  for (let bit = 0; bit < datagram.length * 8; bit += 1) {
    const bytes = Uint8Array.from(datagram);
    bytes[bit >> 3] = (bytes[bit >> 3] ?? 0) ^ (1 << (bit & 7));
    expect(opener().open(bytes).kind).toBe('refused');
  }
});

describe('with one key for both, against the advice', () => {
  const keys = [key(1)];
  const sync = new Sealer({ cluster: CLUSTER, node: 'b1', incarnation: 5, keys });
  const syncOpener = new Opener({ cluster: CLUSTER, node: 'lb9', keys, peersMax: 8 });

  test('a datagram of flow sync is no report, not even under its first letters', () => {
    const { datagram } = sync.seal(PAYLOAD);
    expect(outcome(opener(), datagram)).toBe('not_a_report');
    const disguised = Uint8Array.from(datagram).with(1, 'R'.charCodeAt(0));
    expect(outcome(opener(), disguised)).toBe('version');
    const more = disguised.with(2, 2);
    expect(['malformed', 'unsigned', 'forged']).toContain(outcome(opener(), more));
  });

  test('a report is no datagram of flow sync, either', () => {
    const datagram = signer().sign(PAYLOAD, SENT_AT_MS);
    expect(syncOpener.open(datagram)).toMatchObject({ kind: 'reject', reason: 'not_skein' });
    const disguised = Uint8Array.from(datagram).with(1, 'K'.charCodeAt(0));
    expect(syncOpener.open(disguised)).toMatchObject({ kind: 'reject' });
  });
});

describe('keys', () => {
  test('are replaced without losing a report: nodes first, reporters, nodes again', () => {
    const from = signer();
    const sentTo = (keys: Uint8Array[]) => outcome(opener(keys), from.sign(PAYLOAD, SENT_AT_MS));
    expect(sentTo([key(1)])).toBe('opened');
    expect(sentTo([key(1), key(2)])).toBe('opened');
    from.setKey(reporterKey(key(2), CLUSTER, [B1]));
    expect(sentTo([key(1), key(2)])).toBe('opened');
    expect(sentTo([key(2)])).toBe('opened');
    from.setKey(reporterKey(key(1), CLUSTER, [B1]));
    expect(sentTo([key(2)])).toBe('other_key');
  });

  test.each([
    ['no key', []],
    ['three keys', [key(1), key(2), key(3)]],
    ['a short key', [new Uint8Array(16)]],
  ])('%s is a mistake of the program', (_, keys) => {
    expect(() => opener(keys)).toThrow(RangeError);
  });
});

test.each(['', 'x'.repeat(64), 'a b', 'ä'])('no reporter is called %j', (reporter) => {
  expect(() => signer({ reporter })).toThrow(RangeError);
});
