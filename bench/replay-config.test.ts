import { describe, expect, test } from 'vitest';
import { replayConfig, strideOf } from './replay-config.ts';
import { FRAMES } from './packets.ts';

function visited(flows: number, stride: number): number {
  const seen = new Set<number>();
  for (let step = 0, flow = 0; step < flows; step += 1) {
    seen.add(flow);
    flow = (flow + stride) % flows;
  }
  return seen.size;
}

describe('strides', () => {
  test.each([2, 3, 4, 6, 10, 16_384, 99_991])(
    'a scattered walk visits each of %i flows',
    (flows) => {
      expect(visited(flows, strideOf(flows, 'scattered'))).toBe(flows);
    },
  );

  test('a scattered walk does not go in order', () => {
    expect(strideOf(16_384, 'scattered')).toBeGreaterThan(8192);
  });

  test('a walk in order does', () => {
    expect(strideOf(16_384, 'in_order')).toBe(1);
  });

  test('one flow stays', () => {
    expect(strideOf(1, 'scattered')).toBe(0);
    expect(strideOf(1, 'in_order')).toBe(0);
  });

  test('a walk without end meets every 32-bit number, as its stride is odd', () => {
    expect(strideOf(0, 'in_order') % 2).toBe(1);
  });
});

describe('the configuration of a replay', () => {
  test.each([
    ['tcp4_ack', { ipVersion: 4, varyPorts: 1, saddrFirst: 0x0a000000, sportFirst: 1024 }],
    ['tcp4_new', { ipVersion: 4, varyPorts: 1, saddrFirst: 0x0a000000, sportFirst: 4096 }],
    ['tcp6_ack', { ipVersion: 6, varyPorts: 1, saddrFirst: 0, sportFirst: 1024 }],
    ['udp4', { ipVersion: 4, varyPorts: 1, saddrFirst: 0x0a000000, sportFirst: 1024 }],
    ['echo4', { ipVersion: 4, varyPorts: 0, saddrFirst: 0x0a000000, sportFirst: 0 }],
    ['echo6', { ipVersion: 6, varyPorts: 0, saddrFirst: 0, sportFirst: 0 }],
  ] as const)('of %s', (name, expected) => {
    const frame = FRAMES[name];
    const rest = { frameBytes: frame.length, flows: 7, growthBytes: 0, template: frame };
    expect(replayConfig(frame, 7)).toEqual({ ...expected, ...rest });
  });
});
