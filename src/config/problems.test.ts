import { expect, test } from 'vitest';
import { formatPath, formatProblem, orderProblems, PROBLEMS_MAX, type Path } from './problems.ts';

test.each<[Path, string]>([
  [[], ''],
  [['cluster'], 'cluster'],
  [['services', 0, 'checks', 1, 'timeout_ms'], 'services[0].checks[1].timeout_ms'],
  [['vips', '192.0.2.1', 'med'], 'vips["192.0.2.1"].med'],
  [['a"b'], '["a\\"b"]'],
  [[2], '[2]'],
])('path %j is shown as %j', (path, expected) => {
  expect(formatPath(path)).toBe(expected);
});

const problem = { file: 'skein.yaml', line: 12, column: 5, path: 'services[0].need' };

test('a problem is one line with file, line, column and path', () => {
  expect(formatProblem({ ...problem, message: 'must be at most 2' })).toBe(
    'skein.yaml:12:5: services[0].need: must be at most 2',
  );
});

test('a problem of the whole file has no line', () => {
  const whole = { file: 'skein.yaml', line: 0, column: 0, path: '', message: 'cannot be read' };
  expect(formatProblem(whole)).toBe('skein.yaml: cannot be read');
});

test('problems come in the order of the text, each once', () => {
  const at = (line: number, column: number) => ({ ...problem, line, column, message: 'x' });
  const ordered = orderProblems([at(9, 1), at(2, 7), at(2, 3), at(9, 1)]);
  expect(ordered.map(({ line, column }) => [line, column])).toEqual([
    [2, 3],
    [2, 7],
    [9, 1],
  ]);
});

test('too many problems are counted instead of shown', () => {
  const many = Array.from({ length: PROBLEMS_MAX + 5 }, (_, index) => {
    return { ...problem, line: index + 1, message: 'x' };
  });
  const ordered = orderProblems(many);
  expect(ordered).toHaveLength(PROBLEMS_MAX + 1);
  expect(ordered.at(-1)).toMatchObject({
    line: PROBLEMS_MAX + 1,
    message: 'and 5 more problems from here on',
  });
});
