import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { configOf, problemsOf, SAMPLE_CLUSTER, SAMPLE_NODE, SAMPLE_SYNC } from './load-sample.ts';
import { FILE_BYTES_MAX, loadClusterFile, loadFiles, type ReadResult } from './load.ts';
import { formatProblem } from './problems.ts';

describe('problems are placed in the text', () => {
  test('in YAML, all of them, in the order of the lines', () => {
    const cluster = `cluster: demo
backends:
  web:
    - { name: b1, address: 10.83.1.101, wieght: 2 }
    - 10.83.1.300
services:
  - name: web
    vip: 10.83.100.1
    ports: 80
    backends: [web, api]
    need: 3
    checks:
      - type: http
        interval_ms: 500
        timeout_ms: 800
      - { type: tcp, rise: 3/2 }
`;
    expect(problemsOf({ cluster, node: 'node: lb1\ninterfaces: eth0\n' })).toEqual([
      'skein.yaml:4:41: backends.web[0].wieght: unknown key "wieght" (did you mean "weight"?)',
      'skein.yaml:5:7: backends.web[1]: must be an IPv4 or IPv6 address, such as 192.0.2.1 or 2001:db8::1',
      'skein.yaml:7:5: services[0].port: is required',
      'skein.yaml:9:5: services[0].ports: unknown key "ports" (did you mean "port"?)',
      'skein.yaml:10:21: services[0].backends[1]: no group of backends is named "api"',
      'skein.yaml:15:21: services[0].checks[0].timeout_ms: must be at most 500, the interval',
      'skein.yaml:16:28: services[0].checks[1].rise: must be at most 2, the window',
      'node.yaml:2:13: interfaces: must be a list, not text',
    ]);
  });

  test('in JSON', () => {
    const node = '{\n  "node": "lb1",\n  "interfaces": ["eth0"],\n  "ipv4": 10\n}';
    expect(problemsOf({ node })).toEqual(['node.yaml:4:11: ipv4: must be text, not a number']);
  });

  test('a key written twice is found beside other mistakes', () => {
    const node = 'node: lb1\ninterfaces: [eth0]\nipv4: 10.83.1.11\nnode: lb2\ngobgp: x\n';
    expect(problemsOf({ node })).toEqual([
      'node.yaml:4:1: node: is written twice, first in line 1',
      'node.yaml:5:8: gobgp: must be host:port or unix:/path',
    ]);
  });

  test('a mistake that aliases repeat is reported once, where it is', () => {
    const checks = '[&check { type: tcp, interval: 5 }, *check]';
    const service = `{ name: a, vip: 10.83.100.1, port: 80, backends: web, checks: ${checks} }`;
    const cluster = `cluster: demo\nbackends: { web: [10.83.1.101] }\nservices:\n  - ${service}\n`;
    expect(problemsOf({ cluster })).toEqual([
      'skein.yaml:4:88: services[0].checks[0].interval: unknown key "interval" (did you mean "interval_ms"?)',
    ]);
  });
});

describe('a TCP MD5 key', () => {
  const cluster = { 'bgp/peers/0/password_file': 'router.key' };

  test('is read and trimmed', () => {
    const config = configOf({ cluster, readSecret: (path) => ({ ok: true, text: ` ${path}!\n` }) });
    expect(config.cluster.bgp?.peers[0]?.password).toBe('/etc/skein/router.key!');
  });

  test.each<[string, ReadResult, string]>([
    ['that cannot be read', { ok: false, message: 'cannot be read: why' }, 'cannot be read: why'],
    ['that is empty', { ok: true, text: ' \n' }, 'holds no key'],
    [
      'of two lines',
      { ok: true, text: 'secret\nsecret' },
      'must hold a key of one line of printable text',
    ],
    ['that is too long', { ok: true, text: 'é'.repeat(41) }, 'holds a key of 82 bytes; at most 80'],
  ])('%s is a problem that does not tell it', (_, result, message) => {
    const problems = problemsOf({ cluster, readSecret: () => result });
    expect(problems).toEqual([
      `skein.yaml:9:26: bgp.peers[0].password_file: router.key: ${message}`,
    ]);
  });

  test('of as many bytes as the kernel takes is one', () => {
    const text = 'x'.repeat(80);
    const config = configOf({ cluster, readSecret: () => ({ ok: true, text }) });
    expect(config.cluster.bgp?.peers[0]?.password).toBe(text);
  });
});

describe('files', () => {
  let folder = '';
  const file = (name: string) => join(folder, name);

  function load(clusterPath = file('skein.json'), nodePath = file('node.json')): string[] {
    const result = loadFiles(clusterPath, nodePath);
    return result.ok ? [] : result.problems.map(formatProblem);
  }

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'skein-load-'));
    writeFileSync(file('skein.json'), JSON.stringify(SAMPLE_CLUSTER));
    writeFileSync(file('node.json'), JSON.stringify(SAMPLE_NODE));
  });
  afterEach(() => {
    rmSync(folder, { recursive: true });
  });

  test('are loaded', () => {
    expect(load()).toEqual([]);
  });

  test('that are not there are problems of the whole file, both at once', () => {
    expect(load(file('a'), file('b'))).toEqual([
      `${file('a')}: cannot be read: no such file or directory`,
      `${file('b')}: cannot be read: no such file or directory`,
    ]);
  });

  test('that are folders are refused', () => {
    mkdirSync(file('folder'));
    expect(load(file('folder'))).toEqual([`${file('folder')}: is not a regular file`]);
  });

  test('that are no UTF-8 text are refused', () => {
    writeFileSync(file('skein.json'), Buffer.from([0x22, 0xff, 0x22]));
    expect(load()).toHaveLength(1);
    expect(load()[0]).toContain('skein.json: cannot be read: ');
  });

  test('that are too large are refused', () => {
    writeFileSync(file('node.json'), ' '.repeat(FILE_BYTES_MAX + 1));
    expect(load()).toEqual([`${file('node.json')}: has more than ${FILE_BYTES_MAX} bytes`]);
  });

  test('a key file is looked for beside the document that names it', () => {
    mkdirSync(file('keys'));
    writeFileSync(file('keys/router.key'), 'opensesame\n');
    chmodSync(file('keys/router.key'), 0o600);
    const peers = [{ ...SAMPLE_CLUSTER.bgp.peers[0], password_file: 'keys/router.key' }];
    const cluster = { ...SAMPLE_CLUSTER, bgp: { ...SAMPLE_CLUSTER.bgp, peers } };
    writeFileSync(file('skein.json'), JSON.stringify(cluster));
    const result = loadFiles(file('skein.json'), file('node.json'));
    expect(result.ok && result.config.cluster.bgp?.peers[0]?.password).toBe('opensesame');
  });

  test('a key file of sync is named by its absolute path, and not read', () => {
    writeFileSync(file('skein.json'), JSON.stringify({ ...SAMPLE_CLUSTER, sync: SAMPLE_SYNC }));
    const result = loadFiles(relative('.', file('skein.json')), file('node.json'));
    expect(result.ok && result.config.cluster.sync?.keyFiles).toEqual([file('sync.key')]);
  });

  describe('the cluster document alone', () => {
    test('is loaded, and what it names is not read', () => {
      const peers = [{ ...SAMPLE_CLUSTER.bgp.peers[0], password_file: 'not-here.key' }];
      const bgp = { ...SAMPLE_CLUSTER.bgp, peers };
      const cluster = { ...SAMPLE_CLUSTER, bgp, sync: SAMPLE_SYNC };
      writeFileSync(file('skein.json'), JSON.stringify(cluster));
      const result = loadClusterFile(file('skein.json'));
      expect(result.ok && result.cluster.services.length).toBeGreaterThan(0);
    });

    test('is refused with every problem of its own', () => {
      const services = [{ name: 'web', vip: '192.0.2.1', port: 80, backends: 'nobody' }];
      writeFileSync(file('skein.json'), JSON.stringify({ ...SAMPLE_CLUSTER, services }));
      const result = loadClusterFile(file('skein.json'));
      expect(result.ok ? [] : result.problems.map(({ path }) => path)).toEqual(
        expect.arrayContaining(['services[0].backends', 'services[0].checks']),
      );
    });

    test('that is not there is a problem of the whole file', () => {
      expect(loadClusterFile(file('a'))).toMatchObject({
        problems: [{ message: 'cannot be read: no such file or directory' }],
      });
    });
  });
});
