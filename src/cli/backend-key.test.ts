/** From the cluster's key to what a backend signs with, by files. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { address } from '../model/address.ts';
import { ReportOpener, ReportSigner } from '../reports/seal.ts';
import { encodeReport } from '../reports/wire.ts';
import { makeKey } from './backend-key.ts';
import { readReporterKey } from './reporter-key.ts';

const MASTER = new Uint8Array(32).map((_, index) => index);
const B1 = address('10.0.0.1');
const B1_V6 = address('2001:db8::1');
const B2 = address('10.0.0.2');

let folder: string;
let config: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'skein-key-'));
  write('cluster.key', Buffer.from(MASTER).toString('hex'));
  const backends = {
    web: [{ name: 'web1', address: B1 }, B2],
    web6: [{ name: 'web1', address: B1_V6 }],
  };
  const service = { name: 'web', vip: '192.0.2.1', port: 80, checks: [] };
  const services = [
    { ...service, backends: 'web' },
    { ...service, name: 'more', port: 81, backends: ['web', 'web6'] },
  ];
  const reports = { group: '239.83.75.79:7484', key_files: ['cluster.key'] };
  config = write('skein.yaml', JSON.stringify({ cluster: 'west', reports, backends, services }));
});
afterEach(() => {
  rmSync(folder, { recursive: true });
});

function write(name: string, text: string, mode = 0o600): string {
  const path = join(folder, name);
  writeFileSync(path, text, { mode });
  return path;
}

/** What becomes of a report that is signed with a key file and is about these addresses. */
async function outcome(path: string, addresses = [B1]): Promise<string> {
  const { key } = await readReporterKey([path], 'west', addresses);
  const signer = new ReportSigner({ cluster: 'west', reporter: 'web1', incarnation: 1, key });
  const payload = encodeReport({ addresses, state: 'healthy', detail: '', services: [] });
  const opened = new ReportOpener('west', [MASTER]).open(signer.sign(payload, 1));
  return opened.kind === 'opened' ? 'opened' : opened.reason;
}

describe('a key that was made for a backend', () => {
  test.each([
    ['by its addresses', ['10.0.0.1', '2001:db8:0::1']],
    ['by its name, which both of them have', ['web1']],
    ['by one and the other', ['2001:db8::1', 'web1']],
  ])('%s, opens at the nodes', async (_, names) => {
    const { text, warnings } = await makeKey(names, { config });
    expect(warnings).toEqual([]);
    expect(await outcome(write('own.key', text), [B1_V6, B1])).toBe('opened');
  });

  test('by options alone, is the same', async () => {
    const byHand = { cluster: 'west', keyFile: join(folder, 'cluster.key') };
    expect(await makeKey(['10.0.0.2'], byHand)).toEqual(await makeKey(['10.0.0.2'], { config }));
  });

  test('does not serve to report anything else, and says what would', async () => {
    const { text } = await makeKey(['10.0.0.2'], { config });
    const path = write('own.key', text);
    await expect(readReporterKey([path], 'west', [B1, B1_V6])).rejects.toMatchObject({
      code: 'KEY_ADDRESSES',
      message: `${path} is for reports about 10.0.0.2, and this backend reports 10.0.0.1, 2001:db8::1: on a node, make one with: skein backend key --config FILE 10.0.0.1 2001:db8::1`,
    });
    // And who takes it for another's finds the nodes unmoved.
    write('own.key', text.replace('10.0.0.2', '10.0.0.1'));
    expect(await outcome(path)).toBe('forged');
  });

  test('is for one cluster', async () => {
    const { text } = await makeKey(['10.0.0.1'], { config, cluster: 'east' });
    expect(await outcome(write('own.key', text))).toBe('forged');
  });
});

test('a backend with the key of the cluster reports as well, and is warned', async () => {
  const path = join(folder, 'cluster.key');
  expect(await outcome(path)).toBe('opened');
  const { warnings } = await readReporterKey([path], 'west', [B1]);
  expect(warnings).toEqual([
    expect.stringMatching(/the key of the whole cluster: .* skein backend key .* 10\.0\.0\.1$/),
  ]);
});

test('a key file that others may read is warned of', async () => {
  const { text } = await makeKey(['10.0.0.1'], { config });
  const { warnings } = await readReporterKey([write('own.key', text, 0o644)], 'west', [B1]);
  expect(warnings).toEqual([expect.stringContaining('chmod 600')]);
});

test.each<[string, string, string]>([
  ['a broken key of a backend', 'skein-report-key 00 10.0.0.1 abc', 'KEY_MALFORMED'],
  ['a broken key of the cluster', 'abc', 'KEY_MALFORMED'],
])('%s is refused, and not shown', async (_, text, code) => {
  const reading = readReporterKey([write('own.key', text)], 'west', [B1]);
  await expect(reading).rejects.toMatchObject({
    code,
    message: expect.not.stringContaining('abc') as string,
  });
});

test.each<[string, readonly string[], Parameters<typeof makeKey>[1], RegExp]>([
  ['no cluster', ['10.0.0.1'], { keyFile: 'k' }, /^--cluster is required/],
  ['no key', ['10.0.0.1'], { cluster: 'west' }, /^--key-file is required/],
  ['a name without a document', ['web1'], { cluster: 'west', keyFile: 'k' }, /names need --config/],
])('refused: %s', async (_, names, options, message) => {
  await expect(makeKey(names, options)).rejects.toMatchObject({
    code: 'CONFIG',
    message: expect.stringMatching(message) as string,
  });
});

test.each([
  ['a name that no backend has', ['web9'], /no backend of a service is called web9/],
  [
    'too many addresses',
    Array.from({ length: 9 }, (_, index) => `10.0.3.${index}`),
    /at most 8 addresses, not 9/,
  ],
])('refused with a document: %s', async (_, names, message) => {
  await expect(makeKey(names, { config })).rejects.toThrow(message);
});
