import { mkdtempSync, existsSync, readdirSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { lockHolder, takeLock } from './lock.ts';

function folder(): string {
  return mkdtempSync(join(tmpdir(), 'skein-lock-'));
}

describe('the lock', () => {
  test('names its holder to the second comer', () => {
    const place = folder();
    const release = takeLock('the demo', place);
    expect(() => takeLock('a test', place)).toThrow(`in use by the demo (process ${process.pid})`);
    release();
  });

  test('can be taken again once it is given back, and leaves nothing', () => {
    const place = folder();
    takeLock('one', place)();
    expect(existsSync(place)).toBe(false);
    const release = takeLock('two', place);
    expect(lockHolder(place)?.name).toBe('two');
    release();
  });

  test('giving it back leaves other files alone', () => {
    const place = folder();
    const release = takeLock('one', place);
    writeFileSync(join(place, 'shape.json'), '{}');
    release();
    expect(readdirSync(place)).toEqual(['shape.json']);
  });

  test.each([
    ['whose process is gone', '{"pid":999999999,"startedTicks":"1","name":"gone"}\n'],
    ['whose process id is used anew', `{"pid":${process.pid},"startedTicks":"1","name":"old"}\n`],
    ['that is not readable', 'garbage'],
  ])('%s is no lock', (_, text) => {
    const place = folder();
    writeFileSync(join(place, 'lock'), text);
    const release = takeLock('the next', place);
    expect(lockHolder(place)?.name).toBe('the next');
    release();
  });
});
