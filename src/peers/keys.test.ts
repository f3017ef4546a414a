import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { randomNonce, readKeys } from './keys.ts';
import { STREAM_NONCE_BYTES } from './seal-stream.ts';

const KEY = Uint8Array.from({ length: 32 }, (_, index) => 255 - index);
const OTHER = KEY.toReversed();
const HEX = Buffer.from(KEY).toString('hex');
const BASE64 = Buffer.from(KEY).toString('base64');

let folder = '';
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'skein-keys-'));
});
afterAll(async () => {
  await rm(folder, { recursive: true });
});

async function file(name: string, content: string | Uint8Array, mode = 0o600): Promise<string> {
  const path = join(folder, name);
  await writeFile(path, content);
  await chmod(path, mode);
  return path;
}

test.each([
  ['hexadecimal', HEX],
  ['hexadecimal in capitals', HEX.toUpperCase()],
  ['hexadecimal on a line', `${HEX}\n`],
  ['base64', `${BASE64}\n`],
  ['base64 without padding', BASE64.replace('=', '')],
  ['base64 as in URLs', Buffer.from(KEY).toString('base64url')],
  ['base64 between blank lines', `\r\n${BASE64}\r\n\r\n`],
])('reads a key as %s', async (_, text) => {
  const { keys, warnings } = await readKeys([await file('key', text)]);
  expect(keys.map((key) => Uint8Array.from(key))).toEqual([KEY]);
  expect(warnings).toEqual([]);
});

test('reads two keys in their order', async () => {
  const first = await file('first', Buffer.from(OTHER).toString('hex'));
  const second = await file('second', HEX);
  const { keys } = await readKeys([first, second]);
  expect(keys.map((key) => Uint8Array.from(key))).toEqual([OTHER, KEY]);
});

test.each([
  ['nothing', ''],
  ['31 bytes', HEX.slice(2)],
  ['33 bytes', `${HEX}00`],
  ['33 bytes of base64', Buffer.from([...KEY, 0]).toString('base64')],
  ['base64 whose last digit has bits to spare', `${BASE64.slice(0, 42)}B=`],
  ['raw bytes', KEY],
  ['two keys', `${HEX}\n${HEX}\n`],
  ['a comment', `# key\n${HEX}\n`],
  ['a long text', 'x'.repeat(100_000)],
])('refuses a file with %s, and says how to make one', async (_, content) => {
  const reading = readKeys([await file('bad', content)]);
  await expect(reading).rejects.toMatchObject({ code: 'KEY_MALFORMED' });
  await expect(reading).rejects.toThrow(/bad is not a key of 32 bytes.*openssl rand -base64 32/);
});

test.each(['KEY_WEAK', 'KEY_TWICE', 'KEY_COUNT'])('refuses keys: %s', async (code) => {
  const good = await file('good', HEX);
  const zeros = await file('zeros', '00'.repeat(32));
  const paths = { KEY_WEAK: [zeros], KEY_TWICE: [good, good], KEY_COUNT: [good, zeros, good] };
  await expect(readKeys(paths[code as keyof typeof paths])).rejects.toMatchObject({ code });
});

test('refuses no key at all', async () => {
  await expect(readKeys([])).rejects.toMatchObject({ code: 'KEY_COUNT' });
});

test.each(['missing', '.'])('names the file that cannot be read: %s', async (name) => {
  const path = join(folder, name);
  const reading = readKeys([path]);
  await expect(reading).rejects.toMatchObject({ code: 'KEY_UNREADABLE' });
  await expect(reading).rejects.toThrow(path);
});

test('no error shows what is in the file', async () => {
  const path = await file('nearly', `${HEX}ff`);
  const error: unknown = await readKeys([path]).catch((reason: unknown) => reason);
  expect(String(error)).not.toContain(HEX.slice(0, 16));
});

test.each([
  [0o600, 0],
  [0o400, 0],
  [0o640, 1],
  [0o604, 1],
  [0o620, 1],
  [0o666, 1],
])('mode %o has %i warnings', async (mode, count) => {
  const path = await file('moded', HEX, mode);
  const { warnings } = await readKeys([path]);
  expect(warnings).toHaveLength(count);
  for (const warning of warnings) expect(warning).toContain(`chmod 600 ${path}`);
});

test('a nonce is never the same', () => {
  const nonces = Array.from({ length: 100 }, () => Buffer.from(randomNonce()).toString('hex'));
  expect(new Set(nonces).size).toBe(100);
  expect(nonces[0]).toHaveLength(2 * STREAM_NONCE_BYTES);
});
