import { expect, test } from 'vitest';
import { trafficCommand } from './client.ts';

test('options become flags, and what is undefined is left to its default', () => {
  const options = { url: 'http://10.83.100.1/', count: 5, sourcePort: undefined, timeoutMs: 100 };
  expect(trafficCommand('requests', options).slice(2)).toEqual([
    ...['requests', '--url', 'http://10.83.100.1/', '--count', '5', '--timeout-ms', '100'],
  ]);
});
