import { describe, expect, test } from 'vitest';
import { camelCase, pascalCase, structsOf, type BtfMember, type BtfType } from './btf.ts';

const INTEGERS: readonly BtfType[] = [
  { id: 1, kind: 'TYPEDEF', name: '__u8' },
  { id: 2, kind: 'TYPEDEF', name: '__u16' },
  { id: 3, kind: 'TYPEDEF', name: '__u32' },
  { id: 4, kind: 'TYPEDEF', name: '__u64' },
  { id: 5, kind: 'TYPEDEF', name: '__be16' },
  { id: 6, kind: 'TYPEDEF', name: '__be32' },
  { id: 7, kind: 'INT', name: 'int', size: 4 },
  { id: 8, kind: 'STRUCT', name: 'ip_address', size: 16, members: [] },
  { id: 9, kind: 'ARRAY', name: '', type_id: 1, nr_elems: 6 },
  { id: 10, kind: 'ARRAY', name: '', type_id: 3, nr_elems: 4 },
  { id: 11, kind: 'ARRAY', name: '', type_id: 4, nr_elems: 2 },
  { id: 12, kind: 'ARRAY', name: '', type_id: 7, nr_elems: 2 },
  { id: 13, kind: 'PTR', name: '', type_id: 3 },
];

/** A struct of members given as [name, type id, byte offset]. */
function struct(size: number, ...members: readonly [string, number, number][]): BtfType[] {
  const made: BtfMember[] = members.map(([name, type_id, offset]) => {
    return { name, type_id, bits_offset: offset * 8 };
  });
  return [...INTEGERS, { id: 100, kind: 'STRUCT', name: 'thing', size, members: made }];
}

describe('a field', () => {
  const rows = [
    { member: 'count', type: 3, bytes: 4, field: { name: 'count', kind: 'uint', width: 4 } },
    { member: 'l4_proto', type: 1, bytes: 1, field: { name: 'l4Proto', kind: 'uint', width: 1 } },
    { member: 'total', type: 4, bytes: 8, field: { name: 'total', kind: 'uint', width: 8 } },
    {
      member: 'port_be',
      type: 5,
      bytes: 2,
      field: { name: 'port', kind: 'uint', width: 2, bigEndian: true },
    },
    {
      member: 'saddr_be',
      type: 6,
      bytes: 4,
      field: { name: 'saddr', kind: 'uint', width: 4, bigEndian: true },
    },
    { member: 'vip', type: 8, bytes: 16, field: { name: 'vip', kind: 'bytes', width: 1 } },
    { member: 'dmac', type: 9, bytes: 6, field: { name: 'dmac', kind: 'bytes', width: 1 } },
    {
      member: 'timeout_ms',
      type: 10,
      bytes: 16,
      field: { name: 'timeoutMs', kind: 'uints', width: 4 },
    },
    { member: 'words', type: 11, bytes: 16, field: { name: 'words', kind: 'uints', width: 8 } },
    {
      member: 'reserved2',
      type: 9,
      bytes: 6,
      field: { name: 'reserved2', kind: 'bytes', hidden: true },
    },
  ];

  test.each(rows)('$member of $bytes bytes', ({ member, type, bytes, field }) => {
    const [made] = structsOf(struct(bytes, [member, type, 0]), ['thing']);
    expect(made).toMatchObject({ name: 'thing', bytes });
    expect(made?.fields).toEqual([
      { bigEndian: false, hidden: false, offset: 0, bytes, ...field, width: field.width ?? 1 },
    ]);
  });
});

test('fields are in the order of the struct, with their offsets', () => {
  const types = struct(8, ['a', 3, 0], ['b_be', 5, 4], ['c', 1, 6], ['reserved', 1, 7]);
  const [made] = structsOf(types, ['thing']);
  expect(made?.fields.map(({ name, offset }) => `${name}@${offset}`)).toEqual([
    'a@0',
    'b@4',
    'c@6',
    'reserved@7',
  ]);
});

describe('a struct inside a struct', () => {
  const inner: BtfType = {
    id: 50,
    kind: 'STRUCT',
    name: 'inner',
    size: 20,
    members: [
      { name: 'saddr', type_id: 8, bits_offset: 0 },
      { name: 'sport_be', type_id: 5, bits_offset: 128 },
      { name: 'reserved', type_id: 2, bits_offset: 144 },
    ],
  };
  const outer: BtfType = {
    id: 51,
    kind: 'STRUCT',
    name: 'outer',
    size: 24,
    members: [
      { name: 'a', type_id: 3, bits_offset: 0 },
      { name: 'key', type_id: 50, bits_offset: 32 },
    ],
  };
  const within = (size: number, ...members: readonly [string, number, number][]) => [
    ...struct(size, ...members),
    inner,
    outer,
  ];

  test('gives its own fields, under the outer name and where they lie', () => {
    const [made] = structsOf(within(24, ['key', 50, 0], ['b', 3, 20]), ['thing']);
    expect(made?.fields).toMatchObject([
      { name: 'keySaddr', offset: 0, bytes: 16, kind: 'bytes', hidden: false },
      { name: 'keySport', offset: 16, bytes: 2, bigEndian: true, hidden: false },
      { name: 'keyReserved', offset: 18, bytes: 2, hidden: true },
      { name: 'b', offset: 20, bytes: 4, hidden: false },
    ]);
  });

  test('to any depth', () => {
    const [made] = structsOf(within(28, ['b', 3, 0], ['x', 51, 4]), ['thing']);
    expect(made?.fields.map(({ name, offset, hidden }) => [name, offset, hidden])).toEqual([
      ['b', 0, false],
      ['xA', 4, false],
      ['xKeySaddr', 8, false],
      ['xKeySport', 24, false],
      ['xKeyReserved', 26, true],
    ]);
  });

  test('is searched for holes', () => {
    const types = within(28, ['a', 3, 0], ['key', 50, 8]);
    expect(() => structsOf(types, ['thing'])).toThrow('thing: hole before keySaddr');
  });
});

describe('what must not cross the boundary', () => {
  const rows = [
    { name: 'a hole', types: struct(8, ['a', 1, 0], ['b', 3, 4]), why: 'hole before b' },
    { name: 'a hole at the start', types: struct(4, ['a', 2, 2]), why: 'hole before a' },
    {
      name: 'a hole at the end',
      types: struct(8, ['a', 4, 0], ['b', 1, 8]),
      why: 'hole at the end',
    },
    { name: 'padding at the end', types: struct(8, ['a', 3, 0]), why: 'hole at the end' },
    { name: 'a bit field', types: struct(1, ['a', 1, 0.125]), why: 'hole before a' },
    { name: 'an int', types: struct(4, ['a', 7, 0]), why: 'thing.a: only fixed-width integers' },
    { name: 'an array of int', types: struct(8, ['a', 12, 0]), why: 'only fixed-width integers' },
    { name: 'a pointer', types: struct(8, ['a', 13, 0]), why: 'only fixed-width integers' },
    {
      name: 'a big-endian integer that does not say so',
      types: struct(2, ['port', 5, 0]),
      why: 'thing.port: a big-endian field must end in _be',
    },
    { name: 'a type that is not there', types: struct(4, ['a', 99, 0]), why: 'no BTF type 99' },
  ];

  test.each(rows)('$name', ({ types, why }) => {
    expect(() => structsOf(types, ['thing'])).toThrow(why);
  });

  test('a struct that is not there', () => {
    expect(() => structsOf(INTEGERS, ['thing'])).toThrow('no struct thing in the BTF');
  });
});

test.each([
  ['a', 'a', 'A'],
  ['flow4_key', 'flow4Key', 'Flow4Key'],
  ['probe_source_mac', 'probeSourceMac', 'ProbeSourceMac'],
  ['reserved_2', 'reserved2', 'Reserved2'],
])('%s in TypeScript: %s, %s', (name, camel, pascal) => {
  expect([camelCase(name), pascalCase(name)]).toEqual([camel, pascal]);
});
