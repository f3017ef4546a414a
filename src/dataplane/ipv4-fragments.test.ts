/** Packets cut by the rules of RFC 791, and put together again: what comes out is what went in. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { checksum, ETHERNET_BYTES, udp, type UdpFields } from '../bpf/packet.ts';
import { cutPacket } from './ipv4-fragments.ts';

const BETWEEN = { source: '198.51.100.7', destination: '192.0.2.1', sport: 40000, dport: 80 };
const MORE = 0x2000;
const DONT_FRAGMENT = 0x4000;
/** A timestamp goes with the first fragment; the stream identifier is copied (RFC 791, section 3.1). */
const TIMESTAMP = [68, 8, 5, 0, 0, 0, 0, 0];
const STREAM = [136, 4, 0, 9];
const NOP = 1;
const END = 0;

/** From the IP header on. */
function datagram(payloadBytes: number, change: Partial<UdpFields> = {}): Uint8Array {
  const payload = Uint8Array.from({ length: payloadBytes }, (_, i) => i * 7);
  return udp({ ...BETWEEN, payload, ...change }).slice(ETHERNET_BYTES);
}

function withFlags(packet: Uint8Array, flagsAndOffset: number): Uint8Array {
  const copy = packet.slice();
  const view = new DataView(copy.buffer);
  view.setUint16(6, flagsAndOffset);
  view.setUint16(10, 0);
  view.setUint16(10, checksum(copy.subarray(0, ((copy[0] ?? 0) & 0xf) * 4)));
  return copy;
}

interface Parts {
  readonly header: Uint8Array;
  readonly data: Uint8Array;
  readonly flags: number;
  /** In bytes. */
  readonly offset: number;
}

function partsOf(packet: Uint8Array): Parts {
  const view = new DataView(packet.buffer, packet.byteOffset, packet.length);
  const headerBytes = (view.getUint8(0) & 0xf) * 4;
  expect(view.getUint16(2)).toBe(packet.length);
  expect(checksum(packet.subarray(0, headerBytes))).toBe(0);
  return {
    header: packet.subarray(0, headerBytes),
    data: packet.subarray(headerBytes),
    flags: view.getUint16(6) & 0xe000,
    offset: (view.getUint16(6) & 0x1fff) * 8,
  };
}

/** What a receiver makes of all fragments (RFC 791, section 3.2), in whatever order they come. */
function reassembled(fragments: readonly Uint8Array[]): Uint8Array {
  const parts = fragments.map(partsOf).sort((a, b) => a.offset - b.offset);
  const [first] = parts;
  if (first === undefined) throw new RangeError('no fragments');
  let end = first.offset;
  for (const [index, { data, flags, offset }] of parts.entries()) {
    expect(offset, 'neither a gap nor an overlap').toBe(end);
    if (index < parts.length - 1) expect(flags & MORE).toBe(MORE);
    end += data.length;
  }
  const packet = Uint8Array.from([...first.header, ...parts.flatMap(({ data }) => [...data])]);
  new DataView(packet.buffer).setUint16(2, packet.length);
  const last = parts.at(-1)?.flags ?? 0;
  return withFlags(packet, last | (first.offset / 8));
}

test('what fits is the only fragment', () => {
  const packet = datagram(100);
  expect(cutPacket(packet, packet.length)).toEqual([packet]);
});

test('every fragment but the last is as long as whole units allow', () => {
  const fragments = cutPacket(datagram(3000), 1300);
  expect(fragments.map(({ length }) => length)).toEqual([1300, 1300, 448 + 20]);
  expect(fragments.map((each) => partsOf(each).offset)).toEqual([0, 1280, 2560]);
  expect(fragments.map((each) => partsOf(each).flags)).toEqual([MORE, MORE, 0]);
});

test('what stands behind the packet is left out', () => {
  const packet = datagram(2000);
  const padded = Uint8Array.from([...packet, 1, 2, 3]);
  expect(reassembled(cutPacket(padded, 1300))).toEqual(packet);
});

test('options go into every fragment by their copied flag', () => {
  const options = Uint8Array.of(NOP, ...TIMESTAMP, ...STREAM, NOP, END, END);
  const [first, second, third] = cutPacket(datagram(3000, { options }), 1300);
  expect(partsOf(first!).header.subarray(20)).toEqual(options);
  for (const later of [second!, third!]) {
    expect([...partsOf(later).header.subarray(20)]).toEqual(STREAM);
  }
});

test('options that are not copied leave later fragments with a plain header', () => {
  const options = Uint8Array.of(...TIMESTAMP);
  const fragments = cutPacket(datagram(2000, { options }), 1300);
  expect(fragments.map((each) => partsOf(each).header.length)).toEqual([28, 20]);
});

describe('a fragment is cut like a packet', () => {
  const middle = withFlags(datagram(1592), MORE | 200);
  test('in the middle, where more follow the last piece', () => {
    const fragments = cutPacket(middle, 1300);
    expect(fragments.map((each) => partsOf(each).offset)).toEqual([1600, 1600 + 1280]);
    expect(fragments.map((each) => partsOf(each).flags)).toEqual([MORE, MORE]);
    expect(reassembled(fragments)).toEqual(middle);
  });
  test('at the end, where none does', () => {
    const last = withFlags(datagram(1600), 200);
    expect(cutPacket(last, 1300).map((each) => partsOf(each).flags)).toEqual([MORE, 0]);
  });
});

const packet = datagram(1400);
test.each([
  { name: 'DF', bytes: withFlags(packet, DONT_FRAGMENT), max: 1300 },
  { name: 'no room for a unit of data', bytes: packet, max: 27 },
  { name: 'an end beyond 65,535 bytes', bytes: withFlags(packet, 8100), max: 1300 },
  { name: 'no IPv4', bytes: Uint8Array.from([0x60, ...packet.subarray(1)]), max: 1300 },
  {
    name: 'a header that is too short',
    bytes: Uint8Array.from([0x44, ...packet.subarray(1)]),
    max: 1300,
  },
  { name: 'a packet that is cut short', bytes: packet.subarray(0, 1399), max: 1300 },
  { name: 'nothing', bytes: new Uint8Array(0), max: 1300 },
  {
    name: 'an option of no length',
    bytes: datagram(1400, { options: Uint8Array.of(68, 0, 0, 0) }),
    max: 1300,
  },
  {
    name: 'an option beyond the header',
    bytes: datagram(1400, { options: Uint8Array.of(136, 5, 0, 0) }),
    max: 1300,
  },
])('$name is not cut', ({ bytes, max }) => {
  expect(cutPacket(bytes, max)).toEqual([]);
});

const OPTIONS = fc
  .array(fc.constantFrom([NOP], TIMESTAMP, STREAM), { maxLength: 4 })
  .map((options) => options.flat())
  .map((bytes) =>
    Uint8Array.from([...bytes, ...Array<number>((4 - (bytes.length % 4)) % 4).fill(END)]),
  );

test('fragments fit, and make the packet again in any order', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 0, max: 2000 }),
      fc.integer({ min: 68, max: 1500 }),
      OPTIONS,
      fc.boolean(),
      fc.nat(6000),
      fc.infiniteStream(fc.nat()),
      (payloadBytes, bytesMax, options, more, offset, chance) => {
        const bytes = more ? payloadBytes & ~7 : payloadBytes;
        const original = withFlags(datagram(bytes, { options }), (more ? MORE : 0) | offset);
        const fragments = cutPacket(original, bytesMax);
        for (const each of fragments) expect(each.length).toBeLessThanOrEqual(bytesMax);
        const keys = [...chance.take(fragments.length)];
        const shuffled = fragments
          .map((each, index) => ({ each, key: keys[index] ?? 0 }))
          .sort((a, b) => a.key - b.key)
          .map(({ each }) => each);
        expect(reassembled(shuffled)).toEqual(original);
      },
    ),
  );
});

test('any bytes have an answer, and no fragment is longer than it may be', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), fc.nat(300), (bytes, bytesMax) => {
      if (bytes.length > 0) bytes[0] = 0x40 | ((bytes[0] ?? 0) & 0xf);
      for (const each of cutPacket(bytes, bytesMax)) {
        expect(each.length).toBeLessThanOrEqual(bytesMax);
      }
    }),
  );
});
