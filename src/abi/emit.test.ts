import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  encodeBackend,
  encodeFlow4Key,
  encodeServiceKey,
  encodeSettings,
  readBackend,
  readFlow4Key,
  readSettings,
  SERVICE_KEY_BYTES,
  SETTINGS_BYTES,
  writeFlow,
  readFlow,
} from './abi.generated.ts';
import type { Field } from './btf.ts';
import { emitCounters, emitEnum, emitStruct, layoutDigest } from './emit.ts';

function field(change: Partial<Field>): Field {
  const common = { name: 'x', offset: 4, bytes: 4, width: 4 };
  return { ...common, kind: 'uint', bigEndian: false, hidden: false, ...change };
}

/** The lines of an emitted struct of one field that mention it. */
function linesOf(one: Field): string[] {
  const text = emitStruct({ name: 'thing', bytes: one.offset + one.bytes, fields: [one] });
  return text.split('\n').filter((line) => new RegExp(`\\b${one.name}\\b`).test(line));
}

describe('a field in, its lines out', () => {
  const rows = [
    {
      name: 'u8: no byte order',
      field: field({ bytes: 1, width: 1 }),
      lines: [
        '  readonly x: number;',
        '  x: 4,',
        '    x: view.getUint8(at + 4),',
        '  view.setUint8(at + 4, value.x);',
      ],
    },
    {
      name: 'u16 of the host',
      field: field({ bytes: 2, width: 2 }),
      lines: [
        '  readonly x: number;',
        '  x: 4,',
        '    x: view.getUint16(at + 4, true),',
        '  view.setUint16(at + 4, value.x, true);',
      ],
    },
    {
      name: 'be16',
      field: field({ bytes: 2, width: 2, bigEndian: true }),
      lines: [
        '  readonly x: number;',
        '  x: 4,',
        '    x: view.getUint16(at + 4, false),',
        '  view.setUint16(at + 4, value.x, false);',
      ],
    },
    {
      name: 'be32',
      field: field({ bigEndian: true }),
      lines: [
        '  readonly x: number;',
        '  x: 4,',
        '    x: view.getUint32(at + 4, false),',
        '  view.setUint32(at + 4, value.x, false);',
      ],
    },
    {
      name: 'u64: a bigint',
      field: field({ offset: 8, bytes: 8, width: 8 }),
      lines: [
        '  readonly x: bigint;',
        '  x: 8,',
        '    x: view.getBigUint64(at + 8, true),',
        '  view.setBigUint64(at + 8, value.x, true);',
      ],
    },
    {
      name: 'bytes',
      field: field({ kind: 'bytes', bytes: 16, width: 1 }),
      lines: [
        '  readonly x: Uint8Array;',
        '  x: 4,',
        '    x: bytesAt(view, at + 4, 16),',
        '  putBytes(view, at + 4, 16, value.x);',
      ],
    },
    {
      name: 'an array of u32',
      field: field({ kind: 'uints', bytes: 24 }),
      lines: [
        '  readonly x: readonly number[];',
        '  x: 4,',
        '    x: Array.from({ length: 6 }, (_, i) => view.getUint32(at + 4 + i * 4, true)),',
        '  value.x.forEach((each, i) => {',
      ],
    },
    {
      name: 'an array of u64',
      field: field({ kind: 'uints', offset: 8, bytes: 16, width: 8 }),
      lines: [
        '  readonly x: readonly bigint[];',
        '  x: 8,',
        '    x: Array.from({ length: 2 }, (_, i) => view.getBigUint64(at + 8 + i * 8, true)),',
        '  value.x.forEach((each, i) => {',
      ],
    },
    { name: 'a hidden one', field: field({ name: 'reserved', hidden: true }), lines: [] },
  ];

  test.each(rows)('$name', ({ field: one, lines }) => {
    expect(linesOf(one)).toEqual(lines);
  });
});

test('a struct tells where its fields begin, but for the hidden ones', () => {
  const fields = [
    field({ name: 'keySport', offset: 0, bytes: 2, width: 2 }),
    field({ name: 'reserved', offset: 2, bytes: 2, width: 2, hidden: true }),
    field({ name: 'flowBackend', offset: 4 }),
  ];
  const text = emitStruct({ name: 'flow_record', bytes: 8, fields });
  expect(text).toContain(
    'export const FLOW_RECORD_AT = {\n  keySport: 0,\n  flowBackend: 4,\n} as const;\n',
  );
});

test('a struct has its size and the three functions', () => {
  const text = emitStruct({ name: 'flow4_key', bytes: 16, fields: [field({ bytes: 16 })] });
  for (const line of [
    '/** struct flow4_key */',
    'export interface Flow4Key {',
    'export const FLOW4_KEY_BYTES = 16;',
    'export function readFlow4Key(view: DataView, at = 0): Flow4Key {',
    'export function writeFlow4Key(view: DataView, at: number, value: Flow4Key): void {',
    'export function encodeFlow4Key(value: Flow4Key): Uint8Array {',
    '  const bytes = new Uint8Array(FLOW4_KEY_BYTES);',
  ]) {
    expect(text.split('\n')).toContain(line);
  }
});

test('an enum', () => {
  const values = [
    { name: 'RED', val: 0 },
    { name: 'BLUE', val: 7 },
  ];
  expect(emitEnum({ name: 'flow_state', values }).split('\n')).toEqual([
    '/** enum flow_state */',
    'export const FlowState = {',
    '  RED: 0,',
    '  BLUE: 7,',
    '} as const;',
    '',
  ]);
});

test('counters by name, drops told apart', () => {
  const text = emitCounters([
    { name: 'COUNT_PASSED', value: 0, help: 'Packets' },
    { name: 'DROP_NO_ROUTE', value: 1, help: "The kernel\\'s fault" },
  ]);
  expect(text.split('\n')).toEqual(
    expect.arrayContaining([
      "  { name: 'passed', drop: false, help: 'Packets' },",
      "  { name: 'no_route', drop: true, help: 'The kernel\\'s fault' },",
    ]),
  );
});

test('counters of a backend have names without its prefix, in a list of their own', () => {
  const counters = [{ name: 'BACKEND_DROP_CONGESTION', value: 0, help: 'Marked' }];
  const text = emitCounters(counters, 'BACKEND_COUNTERS');
  expect(text).toContain('export const BACKEND_COUNTERS = [');
  expect(text).toContain("{ name: 'congestion', drop: true, help: 'Marked' },");
});

describe('the digest of a layout', () => {
  const struct = { name: 'thing', bytes: 4, fields: [field({ offset: 0 })] };
  const flags = { name: 'flag', values: [{ name: 'A', val: 1 }] };
  const counter = { name: 'COUNT_A', value: 0, help: 'help' };
  const digest = layoutDigest([struct], [flags], [counter]);

  test('is short and fit for a file name', () => {
    expect(digest).toMatch(/^[0-9a-f]{16}$/);
  });

  test('is the same for the same layout, whatever the help texts say', () => {
    expect(layoutDigest([struct], [flags], [{ ...counter, help: 'other' }])).toBe(digest);
  });

  test.each([
    [
      'a field of another name',
      [{ ...struct, fields: [field({ offset: 0, name: 'y' })] }],
      [flags],
      [counter],
    ],
    [
      'another byte order',
      [{ ...struct, fields: [field({ offset: 0, bigEndian: true })] }],
      [flags],
      [counter],
    ],
    ['another size', [{ ...struct, bytes: 8 }], [flags], [counter]],
    ['another value', [struct], [{ ...flags, values: [{ name: 'A', val: 2 }] }], [counter]],
    ['another counter', [struct], [flags], [counter, { ...counter, name: 'COUNT_B' }]],
  ])('changes with %s', (_, structs, enums, counters) => {
    expect(layoutDigest(structs, enums, counters)).not.toBe(digest);
  });
});

describe('the generated codecs', () => {
  const seed = 20260507;
  const bytes = (length: number) => fc.uint8Array({ minLength: length, maxLength: length });
  const uint = (bits: number) => fc.integer({ min: 0, max: 2 ** bits - 1 });

  test('addresses and ports of a key are in network order, and the rest of it is zero', () => {
    const key = { saddr: 0xc6336407, daddr: 0xc0000201, sport: 40000, dport: 80, l4Proto: 6 };
    expect(Buffer.from(encodeFlow4Key(key)).toString('hex')).toBe(
      'c6336407' + 'c0000201' + '9c40' + '0050' + '06' + '000000',
    );
  });

  test('16 bytes of an address stay as they are', () => {
    const vip = Uint8Array.from({ length: 16 }, (_, i) => i);
    const encoded = encodeServiceKey({ vip, port: 0x1234, l4Proto: 17 });
    expect(encoded).toHaveLength(SERVICE_KEY_BYTES);
    expect([...encoded]).toEqual([...vip, 0x12, 0x34, 17, 0]);
  });

  test('an address of another length is refused', () => {
    const vip = Uint8Array.of(192, 0, 2, 1);
    expect(() => encodeServiceKey({ vip, port: 80, l4Proto: 6 })).toThrow('16 bytes wanted, got 4');
  });

  test('what is written is read back, wherever it lies', () => {
    const flow = fc.record({
      backend: uint(32),
      seenMs: uint(32),
      openedMs: uint(32),
      generation: uint(16),
      state: uint(8),
      flags: uint(8),
    });
    fc.assert(
      fc.property(flow, fc.nat({ max: 40 }), (value, at) => {
        const view = new DataView(new ArrayBuffer(64));
        writeFlow(view, at, value);
        expect(readFlow(view, at)).toEqual(value);
      }),
      { seed },
    );
    const key = fc.record({
      saddr: uint(32),
      daddr: uint(32),
      sport: uint(16),
      dport: uint(16),
      l4Proto: uint(8),
    });
    fc.assert(
      fc.property(key, (value) => {
        expect(readFlow4Key(new DataView(encodeFlow4Key(value).buffer))).toEqual(value);
      }),
      { seed },
    );
    const backend = fc.record({
      address: bytes(16),
      vip: bytes(16),
      service: uint(32),
      weight: uint(32),
      generation: uint(16),
      state: uint(8),
      mode: uint(8),
      port: uint(16),
      vlan: uint(16),
      mtu: uint(16),
      mssMax: uint(16),
      dscp: uint(8),
      tunnelTtl: uint(8),
      quic: uint(8),
      quicIdBytes: uint(8),
      quicConfig: uint(8),
      servicePort: uint(16),
    });
    fc.assert(
      fc.property(backend, (value) => {
        expect(readBackend(new DataView(encodeBackend(value).buffer))).toEqual(value);
      }),
      { seed },
    );
  });

  test('arrays are read back', () => {
    const settings = {
      ...readSettings(new DataView(new ArrayBuffer(SETTINGS_BYTES))),
      timeoutMs: [1, 2, 3, 4, 5, 6],
      vipFilter: Array.from({ length: 256 }, (_, i) => (1n << 63n) + BigInt(i)),
    };
    expect(readSettings(new DataView(encodeSettings(settings).buffer))).toEqual(settings);
  });
});
