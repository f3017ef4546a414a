import { describe, expect, test } from 'vitest';
import { formatProblem, type Finding } from './problems.ts';
import { readSource, VALUES_MAX } from './source.ts';

function read(text: string) {
  return readSource({ file: 'f', text });
}

function problems(text: string): string[] {
  return read(text).problems.map(formatProblem);
}

describe('values', () => {
  test.each<[string, string, unknown]>([
    ['a mapping', 'a: 1\nb: [x, true, null, 1.5]', { a: 1, b: ['x', true, null, 1.5] }],
    ['JSON with tabs', '{\n\t"a": [\n\t\t1\n\t]\n}', { a: [1] }],
    [
      'an address is text',
      'a: 10.0.0.1\nb: [fd83::1, 65010:100]',
      { a: '10.0.0.1', b: ['fd83::1', '65010:100'] },
    ],
    ['no words for booleans but two', 'a: yes\nb: off', { a: 'yes', b: 'off' }],
    ['not even when the text asks for them', '%YAML 1.1\n---\na: yes', { a: 'yes' }],
    ['keys are text', '80: x', { 80: 'x' }],
    ['an alias', 'a: &x [1]\nb: *x', { a: [1], b: [1] }],
    ['an anchor defined again', 'a: &x 1\nb: *x\nc: &x 2\nd: *x', { a: 1, b: 1, c: 2, d: 2 }],
    ['merge keys are plain keys', '<<: { a: 1 }', { '<<': { a: 1 } }],
    ['Windows line ends', 'a: 1\r\nb: 2\r\n', { a: 1, b: 2 }],
    ['an empty text', '', null],
    ['only a comment', '# nothing\n', null],
  ])('%s', (_, text, expected) => {
    const source = read(text);
    expect(source.problems).toEqual([]);
    expect(source.value).toEqual(expected);
  });

  test('values of an alias are not shared', () => {
    const { a, b } = read('a: &x [1]\nb: *x').value as { a: unknown; b: unknown };
    expect(a).not.toBe(b);
  });
});

describe('what is wrong with a text has a place', () => {
  test.each<[string, string, string[]]>([
    [
      'a list without an end',
      'a: [1',
      [
        'f:1:6: syntax: Flow sequence in block collection must be sufficiently indented and end with a ]',
      ],
    ],
    [
      'two documents',
      'a: 1\n---\nb: 2',
      ['f:2:1: syntax: a second document begins here; there must be one'],
    ],
    ['an unknown tag', 'a: !date 2020', ['f:1:4: syntax: Unresolved tag: !date']],
    ['a key that is a list', '? [a]\n: 1', ['f:1:3: syntax: a key must be plain text']],
    ['an alias of nothing', 'a:\n  b: *x', ['f:2:6: a.b: no anchor &x before this']],
    ['an alias before its anchor', 'a: *x\nb: &x 1', ['f:1:4: a: no anchor &x before this']],
    [
      'a key written twice',
      'a:\n  b: 1\n  c: 1\n  b: 2',
      ['f:4:3: a.b: is written twice, first in line 2'],
    ],
    [
      'a key written twice in JSON',
      '{"a": 1, "a": 2}',
      ['f:1:10: a: is written twice, first in line 1'],
    ],
    ['the prototype', '__proto__: { a: 1 }', ['f:1:1: __proto__: unknown key "__proto__"']],
    [
      'deep nesting',
      `${'['.repeat(20)}${']'.repeat(20)}`,
      [`f:1:18: ${'[0]'.repeat(17)}: is more than 16 levels deep`],
    ],
  ])('%s', (_, text, expected) => {
    expect(problems(text)).toEqual(expected);
  });

  test('nesting without end is a problem and no crash', () => {
    for (const opening of ['[', '{a: ', '- ', 'a: [']) {
      const source = read(opening.repeat(5_000));
      expect(source.usable).toBe(false);
      expect(source.problems.length).toBeGreaterThan(0);
    }
  });

  test('aliases cannot make a small text a large document', () => {
    const tenfold = (of: string) => `[${Array.from({ length: 10 }, () => of).join(', ')}]`;
    const lines = ['a0: &a0 x'];
    for (let level = 1; level < 10; level++) {
      lines.push(`a${level}: &a${level} ${tenfold(`*a${level - 1}`)}`);
    }
    const source = read(lines.join('\n'));
    expect(source.usable).toBe(false);
    expect(source.problems).toHaveLength(1);
    expect(source.problems[0]?.message).toBe(`the document has more than ${VALUES_MAX} values`);
  });

  test('an alias of what it stands in is a problem', () => {
    expect(problems('a: &x { b: *x }')).toEqual([
      `f:1:12: a${'.b'.repeat(16)}: is more than 16 levels deep`,
    ]);
  });
});

describe('a finding is placed', () => {
  const text = [
    'name: x', // 1
    'list:', // 2
    '  - { a: 1, b: 2 }', // 3
    '  - &two', // 4
    '    a: 3', // 5
    '  - *two', // 6
    'short: 10.0.0.1', // 7
    'empty:', // 8
  ].join('\n');

  test.each<[string, Finding, string]>([
    ['at a value', { path: ['list', 0, 'b'], message: 'm' }, 'f:3:16: list[0].b: m'],
    ['at a key', { path: ['list', 0, 'b'], message: 'm', at: 'key' }, 'f:3:13: list[0].b: m'],
    ['in a block', { path: ['list', 1, 'a'], message: 'm' }, 'f:5:8: list[1].a: m'],
    ['where the anchor is', { path: ['list', 2, 'a'], message: 'm' }, 'f:5:8: list[2].a: m'],
    ['at what lacks it', { path: ['list', 0, 'c'], message: 'm' }, 'f:3:5: list[0].c: m'],
    [
      'at what lacks the key',
      { path: ['list', 0, 'c'], message: 'm', at: 'key' },
      'f:3:5: list[0].c: m',
    ],
    ['at the root', { path: ['absent', 'more'], message: 'm' }, 'f:1:1: absent.more: m'],
    ['at the short form', { path: ['short', 'address'], message: 'm' }, 'f:7:8: short: m'],
    ['at one value for a list', { path: ['short', 0], message: 'm' }, 'f:7:8: short: m'],
    ['at the key of nothing', { path: ['empty'], message: 'm' }, 'f:8:1: empty: m'],
    ['in the whole', { path: [], message: 'm' }, 'f:1:1: m'],
  ])('%s', (_, finding, expected) => {
    expect(formatProblem(read(text).place(finding))).toBe(expected);
  });

  test('in an empty text at its beginning', () => {
    expect(formatProblem(read('').place({ path: [], message: 'm' }))).toBe('f:1:1: m');
  });
});
