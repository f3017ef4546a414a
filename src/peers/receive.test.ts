import { describe, expect, test } from 'vitest';
import { INBOX_DATAGRAMS_MAX } from './limits.ts';
import { Receiver } from './receive.ts';
import { Opener, Sealer } from './seal.ts';
import { newCounters } from './status.ts';
import { encodeMessage } from './wire.ts';

const KEY = new Uint8Array(32).fill(1);
const GOODBYE = encodeMessage({ kind: 'goodbye' });

function setUp(opener: Partial<ConstructorParameters<typeof Opener>[0]> = {}) {
  const common = { cluster: 'c', keys: [KEY] };
  const counters = newCounters();
  const sealer = new Sealer({ ...common, node: 'lb2', incarnation: 5 });
  const receiver = new Receiver(
    new Opener({ ...common, node: 'lb1', incarnation: 5, peersMax: 63, ...opener }),
    counters,
  );
  return { counters, receiver, seal: (payload = GOODBYE) => sealer.seal(payload).datagram };
}

describe('what came', () => {
  test('is a message, with who said it and when it came', () => {
    const { receiver, seal } = setUp();
    receiver.push(seal(), 70);
    expect(receiver.next({ left: 9 })).toEqual({
      envelope: { node: 'lb2', incarnation: 5, sequence: 1 },
      message: { kind: 'goodbye' },
      receivedAtMs: 70,
    });
    expect(receiver.next({ left: 9 })).toBeUndefined();
  });

  test('is passed over and counted when it is not to be believed', () => {
    const { receiver, seal } = setUp();
    const forged = seal().with(-1, 0).with(-2, 0);
    for (const datagram of [Uint8Array.of(1), forged, seal()]) receiver.push(datagram, 0);
    const limit = { left: 9 };
    expect(receiver.next(limit)?.envelope.sequence).toBe(2);
    expect(limit.left).toBe(6);
    expect(receiver.rejects).toMatchObject({ too_short: 1, forged: 1 });
  });

  test('counts as heard though it makes no sense', () => {
    const { receiver, seal } = setUp();
    receiver.push(seal(Uint8Array.of(0x91, 99)), 0);
    receiver.push(seal(Uint8Array.of(0xc1)), 0);
    expect(receiver.next({ left: 9 })).toMatchObject({ message: undefined });
    expect(receiver.next({ left: 9 })).toMatchObject({ message: undefined });
    expect(receiver.rejects).toMatchObject({ unknown_kind: 1, malformed: 1 });
  });

  test('is looked at in portions', () => {
    const { receiver, seal } = setUp();
    for (let i = 0; i < 3; i += 1) receiver.push(seal(), 0);
    const limit = { left: 2 };
    expect([1, 2, 3].map(() => receiver.next(limit) !== undefined)).toEqual([true, true, false]);
    expect(receiver.waiting).toBe(1);
  });

  test('is dropped and counted when too much waits', () => {
    const { receiver, counters } = setUp();
    for (let i = 0; i < INBOX_DATAGRAMS_MAX + 10; i += 1) receiver.push(new Uint8Array(1), 0);
    expect(receiver.waiting).toBe(INBOX_DATAGRAMS_MAX);
    expect(counters.inboxDropped).toBe(10);
  });

  test('a second time inside a resend is no reject', () => {
    const { receiver, seal } = setUp();
    const datagram = seal();
    receiver.push(datagram, 0);
    receiver.next({ left: 9 });
    expect(receiver.openResent(datagram, 0)).toBeUndefined();
    expect(receiver.rejects.replayed).toBe(0);
    receiver.push(datagram, 0);
    receiver.next({ left: 9 });
    expect(receiver.rejects.replayed).toBe(1);
  });

  test('of another node with our name is noticed', () => {
    const { receiver, counters, seal } = setUp({ node: 'lb2', incarnation: 4 });
    receiver.push(seal(), 0);
    expect(receiver.next({ left: 9 })).toBeUndefined();
    expect(counters.namesakes).toBe(1);
  });
});
