import { expect, test } from 'vitest';
import { decode } from '../src/bpf/packet.ts';
import { FRAMES, type FrameName } from './packets.ts';

const NAMES = Object.keys(FRAMES) as FrameName[];

test.each(NAMES)('%s is a frame that a receiver would take', (name) => {
  expect(decode(FRAMES[name]).wrongChecksums).toEqual([]);
});

test.each(NAMES)('%s is long enough for the replay to put it back', (name) => {
  expect(FRAMES[name].length).toBeGreaterThanOrEqual(FRAMES[name][12] === 0x08 ? 54 : 74);
});

test.each([
  ['tcp4_ack', 118],
  ['tcp6_ack', 138],
  ['udp4', 106],
] as const)('%s carries 64 bytes of payload', (name, bytes) => {
  expect(FRAMES[name]).toHaveLength(bytes);
});

test('new flows are not those that are established', () => {
  expect(decode(FRAMES.tcp4_new).sport).not.toBe(decode(FRAMES.tcp4_ack).sport);
  expect(decode(FRAMES.tcp6_new).sport).not.toBe(decode(FRAMES.tcp6_ack).sport);
});
