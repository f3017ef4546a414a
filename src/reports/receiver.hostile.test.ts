/**
 * A flood of datagrams that no reporter of the cluster sent. The long run of it:
 *
 *     HOSTILE_REPORTS=1000000 npx vitest run --project unit src/reports/receiver.hostile.test.ts
 */
import fc from 'fast-check';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { expect, test } from 'vitest';
import { formatEndpoint } from '../model/address.ts';
import { B1, B2, key, signer, TestNode, WEB_ID } from './fixture.ts';

const DATAGRAMS = Number(process.env['HOSTILE_REPORTS'] ?? 20_000);
/** Before the heap is looked at, so that compiled code and what fast-check keeps are in it. */
const WARM_UP = 5_000;
/** What a heap differs by from one collection to the next, and far less than a byte a datagram. */
const GROWTH_BYTES_MAX = 1_000_000;

setFlagsFromString('--expose-gc');
const collectGarbage = runInNewContext('gc') as () => void;

function heapBytes(): number {
  collectGarbage();
  return process.memoryUsage().heapUsed;
}

function hostile(node: TestNode, recorded: readonly Uint8Array[], withheld: Uint8Array) {
  const strangers = {
    otherCluster: signer({ cluster: 'east' }),
    otherKey: signer({ key: key(9) }),
    otherBackend: signer({ addresses: [B2] }),
  };
  const edits = fc.array(fc.tuple(fc.nat(), fc.integer({ min: 1, max: 255 })), {
    minLength: 1,
    maxLength: 3,
  });
  const edited = edits
    .map((changes) => {
      const bytes = Uint8Array.from(withheld);
      for (const [place, mask] of changes) {
        const at = place % bytes.length;
        bytes[at] = (bytes[at] ?? 0) ^ mask;
      }
      return bytes;
    })
    .filter((bytes) => Buffer.compare(bytes, withheld) !== 0);
  const neverWas = fc
    .tuple(
      fc.stringMatching(/^[a-z]{1,63}$/),
      fc.nat(),
      fc.uint8Array({ minLength: 32, maxLength: 32 }),
    )
    .map(([reporter, incarnation, secret]) => {
      const datagram = node.made(signer({ reporter, incarnation, key: secret }));
      // With the id of the real key, so that it has to be tried.
      return Uint8Array.from(datagram).with(3, withheld[3] ?? 0);
    });
  return fc.oneof(
    { weight: 4, arbitrary: fc.uint8Array({ maxLength: 1_500 }) },
    { weight: 4, arbitrary: edited },
    { weight: 2, arbitrary: fc.nat(withheld.length - 1).map((end) => withheld.subarray(0, end)) },
    { weight: 1, arbitrary: fc.constant(withheld.subarray(0, -32)) },
    { weight: 2, arbitrary: fc.constantFrom(...recorded) },
    {
      weight: 2,
      arbitrary: fc.constantFrom(...Object.values(strangers)).map((from) => node.made(from)),
    },
    { weight: 4, arbitrary: neverWas },
  );
}

test(
  `${DATAGRAMS} hostile datagrams: none is believed, none throws, nothing grows`,
  { timeout: 60_000 + DATAGRAMS },
  async () => {
    const node = new TestNode();
    const friend = signer();
    const recorded: Uint8Array[] = [];
    for (const state of ['healthy', 'unhealthy'] as const) {
      const datagram = node.made(friend, { state });
      expect(await node.receive(datagram)).toBe('accepted');
      recorded.push(datagram);
    }
    const withheld = node.made(friend);
    const said = node.board.said(B1, WEB_ID);
    const seed = Number(process.env['HOSTILE_SEED'] ?? Date.now() % 2 ** 31);
    const from = formatEndpoint(B1, 40_000);
    const datagrams = hostile(node, recorded, withheld);
    const deliver = (to: TestNode, numRuns: number) => {
      for (const datagram of fc.sample(datagrams, { numRuns, seed })) {
        to.link.deliver(datagram, from);
      }
    };
    const other = new TestNode();
    await other.receiver.listen(other.link);
    deliver(other, WARM_UP);
    const heapAtFirst = heapBytes();
    deliver(node, DATAGRAMS);
    expect(heapBytes() - heapAtFirst).toBeLessThan(GROWTH_BYTES_MAX);
    const { accepted, refused } = node.receiver.status();
    expect(accepted, `HOSTILE_SEED=${seed}`).toBe(recorded.length);
    expect(Object.values(refused).reduce((sum, count) => sum + count)).toBe(DATAGRAMS);
    const seen = Object.keys(refused).filter((reason) => (refused[reason] ?? 0) > 0);
    expect(seen.sort(), `HOSTILE_SEED=${seed}`).toEqual([
      'forged',
      'malformed',
      'not_a_report',
      'other_cluster',
      'other_key',
      'replayed',
      'unsigned',
      'version',
    ]);
    // A line for each reason, however many there were.
    expect(node.warnings).toHaveLength(seen.length);
    expect(node.board.reporters).toBe(1);
    expect(node.board.said(B1, WEB_ID)).toEqual(said);
    expect(node.board.said(B2, WEB_ID)?.kind).toBe('nothing');
    // The friend is heard as if nothing had been.
    expect(await node.receive(withheld)).toBe('accepted');
  },
);
