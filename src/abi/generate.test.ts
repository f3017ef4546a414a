import { describe, expect, test } from 'vitest';
import { counterDocs } from './generate.ts';

function header(...lines: readonly string[]): string {
  return ['enum other {', '\tDROP_NOT_THIS,', '};', 'enum counter {', ...lines, '};'].join('\n');
}

test('names and help texts come in the order of the enum', () => {
  const text = header(
    '\tCOUNT_PASSED = 0, /* Packets that pass */',
    '\tDROP_NO_ROUTE, /* No route */',
    '\tCOUNTER_COUNT,',
  );
  expect(counterDocs(text)).toEqual([
    { name: 'COUNT_PASSED', value: 0, help: 'Packets that pass' },
    { name: 'DROP_NO_ROUTE', value: 1, help: 'No route' },
  ]);
});

test('another enum of counters, whose names have a prefix of their own', () => {
  const text = [
    header('\tCOUNT_A = 0, /* A */'),
    'enum more_counter {',
    '\tBACKEND_COUNT_B = 0, /* B */',
    '\tBACKEND_DROP_C, /* C */',
    '};',
  ].join('\n');
  expect(counterDocs(text, 'more_counter').map(({ name }) => name)).toEqual([
    'BACKEND_COUNT_B',
    'BACKEND_DROP_C',
  ]);
});

test('an apostrophe is fit for the generated text', () => {
  const [made] = counterDocs(header("\tCOUNT_A = 0, /* The kernel's */"));
  expect(made?.help).toBe("The kernel\\'s");
});

describe('refused', () => {
  const rows = [
    ['a counter without a comment', '\tDROP_B,'],
    ['a comment that goes on in the next line', '\tDROP_B, /* One'],
    ['a comment of the other kind', '\tDROP_B, // One'],
    ['a value in between, which would shift the others', '\tDROP_B = 7, /* One */'],
  ] as const;

  test.each(rows)('%s', (_, line) => {
    const text = header('\tCOUNT_A = 0, /* A */', line);
    expect(() => counterDocs(text)).toThrow(/abi\.h: a counter needs a comment after it: DROP_B/);
  });

  test('a header without the enum', () => {
    expect(() => counterDocs('enum other {};')).toThrow('abi.h: no enum counter');
  });
});
