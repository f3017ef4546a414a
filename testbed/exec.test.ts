import { expect, test } from 'vitest';
import { commandIn, run } from './exec.ts';

test('a command in a namespace is run by nsenter, which leaves /sys alone', () => {
  expect(commandIn('skein-lb1', ['ip', 'link'])).toEqual([
    'nsenter',
    ['--net=/run/netns/skein-lb1', '--', 'ip', 'link'],
  ]);
});

test('a command gets its input and gives its output', async () => {
  expect(await run(['cat'], { input: 'some text' })).toBe('some text');
});

test('a command that fails is quoted', async () => {
  const failing = run(['sh', '-c', 'echo it broke >&2; exit 3']);
  await expect(failing).rejects.toThrow('it broke');
});

test('a command that hangs is ended', async () => {
  await expect(run(['sleep', '60'], { timeoutMs: 50 })).rejects.toThrow('sleep 60');
});
