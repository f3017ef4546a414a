import { createCipheriv, createHash, hkdfSync } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import type { RejectReason } from './message.ts';
import { REPLAY_WINDOW } from './replay-window.ts';
import { DATAGRAM_BYTES_ACCEPTED } from './seal-header.ts';
import { Opener, Sealer, type OpenerOptions, type SealerOptions } from './seal.ts';

const key = (byte: number) => new Uint8Array(32).fill(byte);
const PAYLOAD = Buffer.from('flows, say');

function sealer(options: Partial<SealerOptions> = {}): Sealer {
  return new Sealer({
    cluster: 'west',
    node: 'lb1',
    incarnation: 1_000,
    keys: [key(1)],
    ...options,
  });
}

function opener(options: Partial<OpenerOptions> = {}): Opener {
  return new Opener({ cluster: 'west', node: 'lb9', keys: [key(1)], peersMax: 64, ...options });
}

/** What became of a datagram, in a word. */
function outcome(by: Opener, datagram: Uint8Array): 'opened' | RejectReason {
  const opened = by.open(datagram);
  return opened.kind === 'opened' ? 'opened' : opened.reason;
}

function datagrams(by: Sealer, count: number): Uint8Array[] {
  return Array.from({ length: count }, () => by.seal(PAYLOAD).datagram);
}

test('a payload comes out with its sender, the life and the place of it', () => {
  const from = sealer({ node: 'bälancer-1', incarnation: 1_700_000_000_000 });
  const to = opener();
  from.seal(PAYLOAD);
  const { sequence, datagram } = from.seal(PAYLOAD);
  const opened = to.open(datagram);
  expect(sequence).toBe(2);
  expect(opened).toEqual({
    kind: 'opened',
    envelope: { node: 'bälancer-1', incarnation: 1_700_000_000_000, sequence: 2 },
    payload: PAYLOAD,
  });
  expect(datagram.length).toBe(PAYLOAD.length + from.overheadBytes);
});

test('an empty payload can be sealed', () => {
  expect(opener().open(sealer().seal(new Uint8Array(0)).datagram)).toMatchObject({
    payload: Buffer.alloc(0),
  });
});

test('a datagram is read whatever memory it lies in', () => {
  const { datagram } = sealer().seal(PAYLOAD);
  const memory = new Uint8Array(datagram.length + 7);
  memory.set(datagram, 5);
  expect(outcome(opener(), memory.subarray(5, 5 + datagram.length))).toBe('opened');
});

test('neither names nor payload can be read without a key, except the node that sent it', () => {
  const text = Buffer.from(sealer().seal(PAYLOAD).datagram).toString('latin1');
  expect(text).not.toContain('flows');
  expect(text).not.toContain('west');
  expect(text).toContain('lb1');
});

test('the same payload is never sealed to the same bytes', () => {
  const bodies = [
    ...datagrams(sealer(), 3),
    ...datagrams(sealer({ incarnation: 1_001 }), 3),
    ...datagrams(sealer({ node: 'lb2' }), 3),
    ...datagrams(sealer({ cluster: 'east' }), 3),
    ...datagrams(sealer({ keys: [key(2)] }), 3),
  ].map((datagram) => Buffer.from(datagram.subarray(32)).toString('hex'));
  expect(new Set(bodies).size).toBe(bodies.length);
});

/** A datagram as PROTOCOL.md says, from the primitives alone. */
function madeByHand(name: Buffer): Buffer {
  const sha256 = (data: string | Uint8Array) => createHash('sha256').update(data).digest();
  const u64 = (value: bigint) => {
    const bytes = Buffer.alloc(8);
    bytes.writeBigUInt64BE(value);
    return bytes;
  };
  const cluster = sha256('skein cluster west').subarray(0, 8);
  const header = Buffer.concat([
    Buffer.from('SK'),
    Buffer.of(1, sha256(key(1))[0]!),
    cluster,
    u64(1_000n),
    u64(1n),
    Buffer.of(name.length),
    name,
  ]);
  const info = Buffer.concat([Buffer.from('skein datagram v1'), name, u64(1_000n)]);
  const derived = Buffer.from(hkdfSync('sha256', key(1), cluster, info, 32));
  const nonce = Buffer.concat([Buffer.alloc(4), u64(1n)]);
  const cipher = createCipheriv('aes-256-gcm', derived, nonce).setAAD(header);
  return Buffer.concat([header, cipher.update(PAYLOAD), cipher.final(), cipher.getAuthTag()]);
}

test('a datagram is these bytes, whoever makes them', () => {
  expect(Buffer.from(sealer().seal(PAYLOAD).datagram)).toEqual(madeByHand(Buffer.from('lb1')));
});

/* Where the header has what: PROTOCOL.md. */
const AT = { magic: 0, version: 2, keyId: 3, cluster: 4, incarnation: 12, sequence: 20, name: 29 };

function withByte(datagram: Uint8Array, at: number, value: number): Uint8Array {
  return Uint8Array.from(datagram).with(at, value);
}

describe('each reason to reject', () => {
  const good = sealer().seal(PAYLOAD).datagram;
  const headerOf = (datagram: Uint8Array) => datagram.length - PAYLOAD.length - 16;

  test.each<[string, RejectReason, Uint8Array]>([
    ['nothing', 'too_short', new Uint8Array(0)],
    ['less than a header and a tag', 'too_short', good.subarray(0, 45)],
    ['a header whose name runs into the tag', 'too_short', good.subarray(0, headerOf(good) + 15)],
    ['more than a jumbo frame', 'too_long', sealer().seal(new Uint8Array(9_000)).datagram],
    ['another protocol', 'not_skein', withByte(good, AT.magic, 0x73)],
    ['a later version of the seal', 'version', withByte(good, AT.version, 2)],
    ['another cluster', 'other_cluster', sealer({ cluster: 'east' }).seal(PAYLOAD).datagram],
    ['a key we do not have', 'unknown_key', sealer({ keys: [key(2)] }).seal(PAYLOAD).datagram],
    ['our own name', 'own', sealer({ node: 'lb9' }).seal(PAYLOAD).datagram],
    ['a sequence of 0', 'malformed', new Uint8Array(good).fill(0, AT.sequence, AT.sequence + 8)],
    ['a sequence beyond what we count', 'malformed', withByte(good, AT.sequence, 1)],
    ['a life beyond what we count', 'malformed', withByte(good, AT.incarnation, 1)],
    ['no name', 'malformed', withByte(good, AT.name - 1, 0)],
    [
      'a name that is too long',
      'malformed',
      withByte(
        new Uint8Array(200).map((_, i) => good[i] ?? 0),
        AT.name - 1,
        64,
      ),
    ],
    ['another name', 'forged', withByte(good, AT.name, 0x78)],
    ['another life', 'forged', withByte(good, AT.incarnation + 7, 1)],
    ['another sequence', 'forged', withByte(good, AT.sequence + 7, 9)],
    ['another payload', 'forged', withByte(good, good.length - 20, 0)],
    ['another tag', 'forged', withByte(good, good.length - 1, (good.at(-1) ?? 0) ^ 1)],
    ['a byte more', 'forged', Uint8Array.of(...good, 0)],
    ['a byte less', 'forged', good.subarray(0, -1)],
  ])('%s: %s', (_, reason, datagram) => {
    const to = opener();
    expect(outcome(to, datagram)).toBe(reason);
    expect(to.peers).toBe(0);
    expect(outcome(to, good)).toBe('opened');
  });

  test('a name that is no text is malformed, though its tag verifies', () => {
    const to = opener();
    expect(outcome(to, madeByHand(Buffer.of(0xff)))).toBe('malformed');
    expect(to.peers).toBe(0);
  });

  test('any flipped bit is noticed, under a name that fits where it is, and changes nothing', () => {
    const to = opener({ node: 'other' });
    expect(outcome(to, sealer().seal(PAYLOAD).datagram)).toBe('opened');
    const [, , victim] = datagrams(sealer(), 3);
    const seen = new Set<string>();
    for (let bit = 0; bit < victim!.length * 8; bit += 1) {
      const at = bit >>> 3;
      const reason = outcome(to, withByte(victim!, at, victim![at]! ^ (1 << (bit & 7))));
      expect(reason, `bit ${bit}`).not.toBe('opened');
      if (at < AT.version) expect(reason).toBe('not_skein');
      else if (at < AT.keyId) expect(reason).toBe('version');
      else if (at < AT.cluster) expect(reason).toBe('unknown_key');
      else if (at < AT.incarnation) expect(reason).toBe('other_cluster');
      else if (at >= AT.name) expect(reason).toBe('forged');
      seen.add(reason);
    }
    expect([...seen].sort()).toEqual([
      'forged',
      'malformed',
      'not_skein',
      'other_cluster',
      'too_short',
      'unknown_key',
      'version',
    ]);
    expect(to.peers).toBe(1);
    expect(outcome(to, victim!)).toBe('opened');
  });
});

describe('replay', () => {
  test('a datagram is opened once, in any order', () => {
    const to = opener();
    const [first, second, third] = datagrams(sealer(), 3);
    expect([first, third, second].map((each) => outcome(to, each!))).toEqual([
      'opened',
      'opened',
      'opened',
    ]);
    expect([first, second, third].map((each) => outcome(to, each!))).toEqual([
      'replayed',
      'replayed',
      'replayed',
    ]);
  });

  test('a resent datagram fills its gap, once', () => {
    const to = opener();
    const [first, missed, third] = datagrams(sealer(), 3);
    outcome(to, first!);
    outcome(to, third!);
    expect(to.openResent(missed!).kind).toBe('opened');
    expect(to.openResent(missed!)).toEqual({ kind: 'reject', reason: 'replayed' });
    expect(outcome(to, missed!)).toBe('replayed');
  });

  test('what a node sent before we first heard it may be a recording', () => {
    const to = opener();
    const [recorded, current, next] = datagrams(sealer(), 3);
    expect(outcome(to, current!)).toBe('opened');
    expect(outcome(to, recorded!)).toBe('replayed');
    expect(outcome(to, next!)).toBe('opened');
  });

  test('once it is known from where on a node is live, nothing before is opened', () => {
    const to = opener();
    const [first, second, live, late, next] = datagrams(sealer(), 5);
    outcome(to, first!);
    outcome(to, live!);
    to.refuseUpTo('lb1', 3);
    to.refuseUpTo('lb1', 1);
    to.refuseUpTo('never-heard', 1);
    expect([second, next, late].map((each) => outcome(to, each!))).toEqual([
      'replayed',
      'opened',
      'opened',
    ]);
  });

  test('what lies further back than the window is a replay', () => {
    const to = opener();
    const from = sealer();
    const [first, missed] = datagrams(from, 2);
    outcome(to, first!);
    for (let more = 0; more < REPLAY_WINDOW; more += 1) from.seal(new Uint8Array(0));
    expect(outcome(to, from.seal(PAYLOAD).datagram)).toBe('opened');
    expect(outcome(to, missed!)).toBe('replayed');
  });

  test('a later life begins anew, and nothing of the earlier one counts any more', () => {
    const to = opener();
    const before = sealer();
    const [old, unheard] = datagrams(before, 2);
    expect(outcome(to, old!)).toBe('opened');
    const [first, second] = datagrams(sealer({ incarnation: 1_001 }), 2);
    // The first of a node that we knew may be late: it was not there to be recorded before.
    expect([second, first].map((each) => outcome(to, each!))).toEqual(['opened', 'opened']);
    expect([old, unheard].map((each) => outcome(to, each!))).toEqual([
      'old_incarnation',
      'old_incarnation',
    ]);
    expect(to.peers).toBe(1);
  });

  test('a later life is not believed before its tag has verified', () => {
    const to = opener();
    const from = sealer();
    outcome(to, from.seal(PAYLOAD).datagram);
    const later = sealer({ incarnation: 5_000 }).seal(PAYLOAD).datagram;
    expect(outcome(to, withByte(later, later.length - 1, later.at(-1)! ^ 1))).toBe('forged');
    expect(outcome(to, from.seal(PAYLOAD).datagram)).toBe('opened');
  });

  test('lives and windows of nodes do not touch each other', () => {
    const to = opener();
    const nodes = ['lb1', 'lb2', 'lb3'].map((node) => sealer({ node }));
    for (const from of nodes) {
      const [first, second] = datagrams(from, 2);
      expect([first, second, first].map((each) => outcome(to, each!))).toEqual([
        'opened',
        'opened',
        'replayed',
      ]);
    }
    expect(to.peers).toBe(3);
  });
});

describe('bounds', () => {
  test('a node more than there may be is refused, those that are known are not', () => {
    const to = opener({ peersMax: 2 });
    const nodes = ['lb1', 'lb2', 'lb3'].map((node) => sealer({ node }));
    const round = () => nodes.map((from) => outcome(to, from.seal(PAYLOAD).datagram));
    expect(round()).toEqual(['opened', 'opened', 'too_many_peers']);
    expect(round()).toEqual(['opened', 'opened', 'too_many_peers']);
    expect(to.peers).toBe(2);
  });

  test('a node that is forgotten makes room, and its past stays refused', () => {
    const to = opener({ peersMax: 1 });
    const gone = sealer();
    const [first, second, third] = datagrams(gone, 3);
    outcome(to, first!);
    outcome(to, second!);
    to.forget('lb1');
    to.forget('never-heard');
    expect(to.peers).toBe(0);
    expect([first, second].map((each) => outcome(to, each!))).toEqual(['replayed', 'replayed']);
    expect(outcome(to, sealer({ incarnation: 999 }).seal(PAYLOAD).datagram)).toBe(
      'old_incarnation',
    );
    expect(to.peers).toBe(0);
    expect(outcome(to, third!)).toBe('opened');
    expect(outcome(to, first!)).toBe('replayed');
  });
});

describe('keys', () => {
  test('a key is replaced node by node, and no datagram is lost', () => {
    const [a, b] = [sealer({ node: 'a' }), sealer({ node: 'b' })];
    const [atA, atB] = [opener({ node: 'a' }), opener({ node: 'b' })];
    const bothWays = () => [
      outcome(atB, a.seal(PAYLOAD).datagram),
      outcome(atA, b.seal(PAYLOAD).datagram),
    ];
    const [old, fresh] = [key(1), key(2)];
    const atNode = { a: [a, atA], b: [b, atB] } as const;
    const steps = [[old, fresh], [fresh, old], [fresh]].flatMap((keys) => [
      { node: 'a', keys } as const,
      { node: 'b', keys } as const,
    ]);
    expect(bothWays()).toEqual(['opened', 'opened']);
    for (const { node, keys } of steps) {
      for (const end of atNode[node]) end.setKeys(keys);
      expect(bothWays()).toEqual(['opened', 'opened']);
    }
    a.setKeys([old]);
    expect(outcome(atB, a.seal(PAYLOAD).datagram)).toBe('unknown_key');
  });

  test('a change of keys opens no window again', () => {
    const to = opener();
    const from = sealer();
    const [first, missed, third] = datagrams(from, 3);
    outcome(to, first!);
    outcome(to, third!);
    to.setKeys([key(2), key(1)]);
    expect([first, missed, missed].map((each) => outcome(to, each!))).toEqual([
      'replayed',
      'opened',
      'replayed',
    ]);
  });

  test('keys whose ids are the same are both tried', () => {
    const first = key(1);
    const id = sealer({ keys: [first] }).seal(PAYLOAD).datagram[AT.keyId];
    const candidates = Array.from({ length: 65_536 }, (_, index) =>
      key(9)
        .with(0, index & 0xff)
        .with(1, index >>> 8),
    );
    const same = candidates.find(
      (each) => sealer({ keys: [each] }).seal(PAYLOAD).datagram[AT.keyId] === id,
    )!;
    const to = opener({ keys: [first, same] });
    expect(outcome(to, sealer({ keys: [same] }).seal(PAYLOAD).datagram)).toBe('opened');
    expect(outcome(to, sealer({ keys: [first], node: 'lb2' }).seal(PAYLOAD).datagram)).toBe(
      'opened',
    );
    expect(outcome(to, sealer({ keys: [same], node: 'lb3' }).seal(PAYLOAD).datagram)).toBe(
      'opened',
    );
  });

  test.each([
    ['no key', []],
    ['three keys', [key(1), key(2), key(3)]],
    ['a short key', [new Uint8Array(16)]],
  ])('%s is a mistake of the program', (_, keys) => {
    expect(() => sealer({ keys })).toThrow(RangeError);
    expect(() => opener({ keys })).toThrow(RangeError);
  });

  test.each(['', 'x'.repeat(64), 'ä'.repeat(32)])('so is a node named %j', (node) => {
    expect(() => sealer({ node })).toThrow(RangeError);
  });
});

describe('our own name', () => {
  const own = (incarnation: number, keys = [key(1)]) =>
    sealer({ node: 'lb9', incarnation, keys }).seal(PAYLOAD).datagram;

  test('what we sent ourselves, now or in an earlier life, is ours', () => {
    const to = opener({ incarnation: 2_000 });
    expect(to.open(own(2_000))).toEqual({ kind: 'reject', reason: 'own' });
    expect(to.open(own(1_000))).toEqual({ kind: 'reject', reason: 'own' });
  });

  test('a later life of our name is another node, if it has the key', () => {
    const to = opener({ incarnation: 2_000, keys: [key(1), key(2)] });
    expect(to.open(own(3_000))).toEqual({ kind: 'reject', reason: 'own', namesake: 3_000 });
    expect(to.open(own(3_000, [key(2)]))).toMatchObject({ namesake: 3_000 });
    const forged = own(4_000);
    expect(outcome(to, withByte(forged, forged.length - 1, forged.at(-1)! ^ 1))).toBe('forged');
    expect(to.peers).toBe(0);
  });
});

test('a datagram of the longest that is accepted is opened', () => {
  const from = sealer();
  const { datagram } = from.seal(new Uint8Array(DATAGRAM_BYTES_ACCEPTED - from.overheadBytes));
  expect(outcome(opener(), datagram)).toBe('opened');
});
