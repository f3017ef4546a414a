import { describe, expect, test } from 'vitest';
import { SkeinError } from '../src/lib/errors.ts';
import { until } from './until.ts';

describe('waiting for a condition', () => {
  test('gives the first answer there is', async () => {
    const answers = [undefined, false, 'yes', 'no'] as const;
    let asked = 0;
    expect(await until(() => answers[asked++], { what: 'an answer', everyMs: 1 })).toBe('yes');
    expect(asked).toBe(3);
  });

  test('says at its limit what it waited for and why not', async () => {
    const failing = until(() => Promise.reject(new Error('refused')), {
      what: 'the server',
      timeoutMs: 5,
      everyMs: 1,
    });
    await expect(failing).rejects.toThrow('still waiting for the server: refused');
  });

  test('gives up at once when there is no hope', async () => {
    let asked = 0;
    const hopeless = until(
      () => {
        asked += 1;
        throw new SkeinError('hopeless', 'it ended');
      },
      { what: 'it' },
    );
    await expect(hopeless).rejects.toThrow('it ended');
    expect(asked).toBe(1);
  });

  test('ends with its signal', async () => {
    const signal = AbortSignal.abort(new Error('stopped'));
    await expect(until(() => false, { what: 'it', signal })).rejects.toThrow('stopped');
  });
});
