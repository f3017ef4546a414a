/**
 * A flood of datagrams that nobody of the cluster sent. The long run of it:
 *
 *     HOSTILE_DATAGRAMS=1000000 npx vitest run --project unit src/peers/seal.hostile.test.ts
 */
import fc from 'fast-check';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { expect, test } from 'vitest';
import type { RejectReason } from './message.ts';
import { Opener, Sealer, type SealerOptions } from './seal.ts';
import { decodeMessage, encodeMessage } from './wire.ts';

const DATAGRAMS = Number(process.env['HOSTILE_DATAGRAMS'] ?? 20_000);
const BATCH = 10_000;
/** Before the heap is looked at, so that compiled code and what fast-check keeps are in it. */
const WARM_UP = 5_000;
/** What a heap differs by from one collection to the next, and far less than a byte a datagram. */
const GROWTH_BYTES_MAX = 1_000_000;

const KEY = new Uint8Array(32).fill(1);
const GOODBYE = encodeMessage({ kind: 'goodbye' });

function sealer(options: Partial<SealerOptions>): Sealer {
  return new Sealer({ cluster: 'west', node: 'lb1', incarnation: 5, keys: [KEY], ...options });
}

const friend = sealer({});
const strangers = {
  otherCluster: sealer({ cluster: 'east' }),
  otherKey: sealer({ keys: [KEY.with(0, 2)] }),
  old: sealer({ incarnation: 4 }),
  own: sealer({ node: 'lb9' }),
};

/** Datagrams of the friend that were heard before. */
const recorded = Array.from({ length: 100 }, () => friend.seal(GOODBYE).datagram);
/** One that the friend has sealed, and that never arrives. */
const withheld = Uint8Array.from(friend.seal(GOODBYE).datagram);

const edited = (datagram: Uint8Array) =>
  fc
    .array(fc.tuple(fc.nat(), fc.integer({ min: 1, max: 255 })), { minLength: 1, maxLength: 3 })
    .map((edits) => {
      const bytes = Uint8Array.from(datagram);
      for (const [place, mask] of edits) bytes[place % bytes.length]! ^= mask;
      return bytes;
    })
    .filter((bytes) => Buffer.compare(bytes, datagram) !== 0);

const hostile: fc.Arbitrary<Uint8Array> = fc.oneof(
  { weight: 4, arbitrary: fc.uint8Array({ maxLength: 120 }) },
  { weight: 4, arbitrary: edited(withheld) },
  { weight: 1, arbitrary: fc.nat(withheld.length - 1).map((end) => withheld.subarray(0, end)) },
  {
    weight: 1,
    arbitrary: fc
      .uint8Array({ minLength: 1, maxLength: 9 })
      .map((more) => Buffer.concat([withheld, more])),
  },
  { weight: 2, arbitrary: fc.constantFrom(...recorded) },
  {
    weight: 2,
    arbitrary: fc
      .constantFrom(...Object.values(strangers))
      .map((stranger) => stranger.seal(GOODBYE).datagram),
  },
  // Each from a node that never was: nothing of it may stay.
  {
    weight: 4,
    arbitrary: fc
      .tuple(
        fc.stringMatching(/^[a-z]{1,63}$/),
        fc.nat(),
        fc.uint8Array({ minLength: 32, maxLength: 32 }),
      )
      .map(([node, incarnation, key]) => {
        const datagram = sealer({ node, incarnation, keys: [key] }).seal(GOODBYE).datagram;
        // With the id of the real key, so that it has to be tried.
        return Uint8Array.from(datagram).with(3, withheld[3]!);
      }),
  },
);

test(
  `${DATAGRAMS} hostile datagrams: none is believed, none throws, nothing grows`,
  { timeout: 60_000 + DATAGRAMS },
  () => {
    const listener = () => new Opener({ cluster: 'west', node: 'lb9', keys: [KEY], peersMax: 64 });
    const other = listener();
    for (const datagram of fc.sample(hostile, WARM_UP)) other.open(datagram);
    const opener = listener();
    for (const datagram of recorded) expect(opener.open(datagram).kind).toBe('opened');
    const reasons = new Map<RejectReason, number>();
    const seed = Number(process.env['HOSTILE_SEED'] ?? Date.now() % 2 ** 31);
    const heapAtFirst = collected();
    for (let sent = 0; sent < DATAGRAMS; sent += BATCH) {
      const numRuns = Math.min(BATCH, DATAGRAMS - sent);
      for (const datagram of fc.sample(hostile, { numRuns, seed: seed + sent })) {
        const opened = opener.open(datagram);
        if (opened.kind === 'opened') {
          throw new Error(
            `believed ${Buffer.from(datagram).toString('hex')}, HOSTILE_SEED=${seed}`,
          );
        }
        reasons.set(opened.reason, (reasons.get(opened.reason) ?? 0) + 1);
      }
    }
    expect(collected() - heapAtFirst).toBeLessThan(GROWTH_BYTES_MAX);
    expect(opener.peers).toBe(1);
    expect([...reasons.values()].reduce((sum, count) => sum + count)).toBe(DATAGRAMS);
    expect([...reasons.keys()].sort(), `HOSTILE_SEED=${seed}`).toEqual([
      'forged',
      'malformed',
      'not_skein',
      'old_incarnation',
      'other_cluster',
      'own',
      'replayed',
      'too_short',
      'unknown_key',
      'version',
    ]);
    // The friend is heard as if nothing had been.
    expect(opener.open(withheld).kind).toBe('opened');
    expect(opener.open(friend.seal(GOODBYE).datagram).kind).toBe('opened');
  },
);

test('payloads of a node with a broken program grow nothing either', () => {
  const payload = fc.oneof(fc.uint8Array({ maxLength: 200 }), edited(encodeMessage(hello())));
  const decode = (count: number) => {
    for (const bytes of fc.sample(payload, count)) decodeMessage(bytes);
  };
  decode(WARM_UP);
  const heapAtFirst = collected();
  decode(10_000);
  expect(collected() - heapAtFirst).toBeLessThan(GROWTH_BYTES_MAX);
});

function hello() {
  return {
    kind: 'hello',
    version: 1,
    softwareVersion: '0.1.0',
    configDigest: 'digest',
    snapshotEndpoint: '',
    synced: true,
    uptimeMs: 1,
    heard: [['lb2', 1, 1]],
  } as const;
}

/** Bytes of the heap after a collection. */
function collected(): number {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  collect();
  return process.memoryUsage().heapUsed;
}
