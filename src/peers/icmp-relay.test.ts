import { describe, expect, test } from 'vitest';
import { IcmpRelay, TokenBucket } from './icmp-relay.ts';
import {
  ICMP_BURST,
  ICMP_PER_SERVICE_BURST,
  ICMP_PER_SERVICE_PER_S,
  ICMP_REMEMBER_MS,
  ICMP_REMEMBERED_MAX,
} from './limits.ts';
import { ICMP_PACKET_BYTES_MAX } from './wire-fields.ts';

const VIP = [192, 0, 2, 1];
const ROUTER = [203, 0, 113, 9];
const CLIENT = [198, 51, 100, 7];

interface Words {
  readonly type?: number;
  readonly protocol?: number;
  readonly quotedSource?: readonly number[];
  readonly vipPort?: number;
  /** Tells one quoted packet from another. */
  readonly id?: number;
  readonly quotedBytes?: number;
  readonly options?: number;
}

/** An ICMPv4 error of a router about a packet that the VIP sent. */
function error4(words: Words = {}): Uint8Array {
  const { type = 3, protocol = 1, quotedSource = VIP, vipPort = 443, id = 0 } = words;
  const { quotedBytes = 8, options = 0 } = words;
  const header = (ihl: number, proto: number, source: readonly number[], to: readonly number[]) => [
    ...[0x40 | ihl, 0, 0, 0, id >> 8, id & 255, 0, 0, 64, proto, 0, 0],
    ...source,
    ...to,
    ...Array<number>((ihl - 5) * 4).fill(1),
  ];
  const ports = [vipPort >> 8, vipPort & 255, 0x9c, 0x40, 0, 0, 0, 1];
  return Uint8Array.from([
    ...header(5 + options, protocol, ROUTER, VIP),
    ...[type, 4, 0, 0, 0, 0, 5, 0xdc],
    ...header(5, 6, quotedSource, CLIENT),
    ...ports.slice(0, quotedBytes),
  ]);
}

/** A packet-too-big about what an IPv6 VIP sent. */
function error6(type = 2): Uint8Array {
  const vip = [0x20, 1, 0xd, 0xb8, ...Array<number>(11).fill(0), 1];
  const other = [0x20, 1, 0xd, 0xb8, ...Array<number>(11).fill(0), 2];
  const header = (next: number, from: readonly number[], to: readonly number[]) => [
    ...[0x60, 0, 0, 0, 0, 0, next, 64],
    ...from,
    ...to,
  ];
  return Uint8Array.from([
    ...header(58, other, vip),
    ...[type, 0, 0, 0, 0, 0, 5, 0],
    ...header(6, vip, other),
    ...[1, 0xbb, 0x9c, 0x40],
  ]);
}

describe('an error goes to the peers', () => {
  test.each([
    ['unreachable, with the shortest quote', error4()],
    ['time exceeded', error4({ type: 11 })],
    ['with options in its header', error4({ options: 2 })],
    ['packet too big, of IPv6', error6()],
  ])('%s', (_, packet) => {
    const relay = new IcmpRelay();
    expect(relay.maySend(packet, 0)).toBe(true);
    expect(relay.counters).toMatchObject({ relayed: 1, malformed: 0 });
  });

  test.each([
    ['an echo', error4({ type: 8 })],
    ['what is no ICMP', error4({ protocol: 17 })],
    ['a quote that the VIP has not sent', error4({ quotedSource: CLIENT })],
    ['a quote without a port', error4({ quotedBytes: 1 })],
    ['an IPv6 neighbour advertisement', error6(136)],
    ['nothing', new Uint8Array(0)],
    ['half a header', error4().subarray(0, 12)],
    ['a header without ICMP', error4().subarray(0, 20)],
    ['a header shorter than one can be', error4().with(0, 0x41)],
  ])('but not %s', (_, packet) => {
    const relay = new IcmpRelay();
    expect(relay.maySend(packet, 0)).toBe(false);
    expect(relay.mayInject(packet, 0)).toBe(false);
    expect(relay.counters).toMatchObject({ relayed: 0, injected: 0, malformed: 2 });
  });

  test('but not one that no datagram holds', () => {
    const long = new Uint8Array(ICMP_PACKET_BYTES_MAX + 1);
    long.set(error4());
    const relay = new IcmpRelay();
    expect(relay.maySend(long, 0)).toBe(false);
    expect(relay.counters.too_long).toBe(1);
  });
});

describe('never in circles', () => {
  test('what a peer sent is injected once and not relayed', () => {
    const relay = new IcmpRelay();
    expect(relay.mayInject(error4(), 0)).toBe(true);
    expect(relay.mayInject(error4(), 1)).toBe(false);
    expect(relay.maySend(error4(), 2)).toBe(false);
    expect(relay.counters).toMatchObject({ injected: 1, relayed: 0, repeated: 2 });
  });

  test('though a router changed its TTL and IP checksum', () => {
    const relay = new IcmpRelay();
    relay.mayInject(error4(), 0);
    expect(relay.maySend(error4().with(8, 12).with(10, 99), 1)).toBe(false);
  });

  test('a later error is another', () => {
    const relay = new IcmpRelay();
    relay.mayInject(error4(), 0);
    expect(relay.maySend(error4({ id: 2 }), 1)).toBe(true);
    expect(relay.maySend(error4(), ICMP_REMEMBER_MS)).toBe(true);
  });

  test('what is remembered is bounded', () => {
    const relay = new IcmpRelay();
    for (let id = 0; id < ICMP_REMEMBERED_MAX + 500; id += 1) relay.mayInject(error4({ id }), id);
    expect(relay.remembered).toBeLessThanOrEqual(ICMP_REMEMBERED_MAX);
  });
});

describe('never too many', () => {
  test('of one service, while others go on', () => {
    const relay = new IcmpRelay();
    const sent = Array.from({ length: ICMP_PER_SERVICE_BURST + 50 }, (_, id) =>
      relay.maySend(error4({ id }), 0),
    );
    expect(sent.filter(Boolean)).toHaveLength(ICMP_PER_SERVICE_BURST);
    expect(relay.maySend(error4({ vipPort: 80 }), 0)).toBe(true);
    expect(relay.counters.limited).toBe(50);
    const later = Array.from({ length: 200 }, (_, id) =>
      relay.maySend(error4({ id: 1_000 + id }), 1_000),
    );
    expect(later.filter(Boolean)).toHaveLength(ICMP_PER_SERVICE_PER_S);
  });

  test('of all services together', () => {
    const relay = new IcmpRelay();
    let sent = 0;
    for (let id = 0; id < ICMP_BURST + 500; id += 1) {
      if (relay.maySend(error4({ id, vipPort: id }), 0)) sent += 1;
    }
    expect(sent).toBeLessThanOrEqual(ICMP_BURST);
  });

  test('into the own data plane', () => {
    const relay = new IcmpRelay();
    let injected = 0;
    for (let id = 0; id < ICMP_BURST + 500; id += 1) {
      if (relay.mayInject(error4({ id }), 0)) injected += 1;
    }
    expect(injected).toBe(ICMP_BURST);
  });
});

test('a bucket fills up with time, and no further than its burst', () => {
  const bucket = new TokenBucket(10, 2);
  const take = (nowMs: number) => [bucket.take(nowMs), bucket.take(nowMs), bucket.take(nowMs)];
  expect(take(0)).toEqual([true, true, false]);
  expect(take(100)).toEqual([true, false, false]);
  expect(take(100_000)).toEqual([true, true, false]);
  expect(bucket.isFull(100_100)).toBe(false);
  expect(bucket.isFull(100_200)).toBe(true);
});
