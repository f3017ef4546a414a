import { afterEach, describe, expect, test, vi } from 'vitest';
import type { Scenario } from '../console/fixture-plans.ts';
import { fixtureSnapshot } from '../console/fixture.ts';
import { ConsoleServer } from '../console/server.ts';
import { silentLogger } from '../lib/logger.ts';
import type { PeersStatus } from '../peers/status.ts';
import { describePeers, showPeers, summarizePeers } from './peers.ts';
import { describeNode } from './status.ts';

function peersOf(scenario: Scenario): PeersStatus {
  const { peers } = fixtureSnapshot(scenario);
  if (peers === null) throw new Error(`${scenario} has no peers`);
  return peers;
}

const usual = peersOf('usual');

describe('the table', () => {
  test('has a line for each peer, in columns', () => {
    const lines = describePeers(usual);
    expect(lines[0]).toBe(
      'lb1: synced (snapshot); 431204 flows; software 0.1.0, configuration 3f9a2c10b7e8',
    );
    const table = lines.slice(3, 8);
    expect(table[0]).toMatch(/^PEER +STATE +FOR +SYNCED +SOFTWARE +CONFIG +FLOWS/);
    expect(table[2]).toMatch(/^lb3 +alive +11 min +yes +0\.2\.0-rc\.1 +DIFFERS 91e0d7c4b7e8 /);
    expect(table[3]).toMatch(/^lb4 +LOST +1 min +- +0\.1\.0 +same +918204 +0 +31 +19 +10212$/);
    expect(table[4]).toMatch(/^lb5 +left /);
    expect(new Set(table.map((line) => line.length)).size).toBe(1);
  });

  test('names rejected datagrams by reason, and says nothing of those that were not', () => {
    const [rejected] = describePeers(usual).filter((line) => line.startsWith('rejected'));
    expect(rejected).toMatch(/^rejected datagrams: 41 not_skein, \d+ other_cluster, 3 forged$/);
    const rejects = { ...usual.rejects, not_skein: 0, other_cluster: 0, forged: 0 };
    expect(describePeers({ ...usual, rejects }).join()).not.toContain('rejected');
  });

  test('tells of flows for which there was no room', () => {
    const dropped = { refresh: 5, close: 0, open: 1 };
    expect(describePeers({ ...usual, dropped }).at(-1)).toBe(
      'flows not told for want of room: 5 refresh, 1 open',
    );
  });

  test('is not there without peers', () => {
    expect(describePeers(peersOf('empty'))).toContain('no other node is heard');
  });

  test('shows dashes for a peer that has not said hello', () => {
    const [first] = usual.peers;
    const peer = { ...first!, softwareVersion: null, configDigest: null, synced: false };
    expect(describePeers({ ...usual, peers: [peer] })[4]).toMatch(/^lb2 +alive +3 d +- +- +- /);
  });

  test('lets no peer steer the terminal', () => {
    const [first] = usual.peers;
    const peer = {
      ...first!,
      name: 'a\u001b[2Jb',
      softwareVersion: '\r\n',
      configDigest: '\u0007',
    };
    const lines = describePeers({ ...usual, peers: [{ ...peer, drift: true }] });
    expect(lines.join('')).not.toMatch(/\p{C}/u);
    expect(lines[4]).toMatch(/^a\?\[2Jb /);
  });
});

describe('in one line', () => {
  test.each([
    [usual, 'peers: 2 of 4 alive; synced (snapshot); LOST: lb4; OTHER CONFIGURATION: lb3'],
    [peersOf('empty'), 'peers: 0 of 0 alive; synced (alone)'],
    [
      peersOf('joining'),
      'peers: 2 of 2 alive; waiting for the flows of the other nodes (snapshot, 42 %)',
    ],
    [
      { ...peersOf('joining'), gate: { open: false, reason: 'listening' } as const },
      'peers: 2 of 2 alive; waiting for the flows of the other nodes (listening)',
    ],
    [
      { ...peersOf('empty'), self: { ...usual.self, syncedBy: 'deadline' as const } },
      'peers: 0 of 0 alive; NOT synced: the flows of the other nodes did not come in time',
    ],
    [null, 'peers: flow sync is not configured'],
  ])('%#', (status, line) => {
    expect(summarizePeers(status)).toBe(line);
  });

  test('is a part of what `skein status` shows', () => {
    const snapshot = fixtureSnapshot('usual');
    expect(describeNode(snapshot)).toContain(summarizePeers(snapshot.peers));
  });
});

describe('asking a node', () => {
  const servers: ConsoleServer[] = [];

  afterEach(async () => {
    vi.restoreAllMocks();
    await Promise.all(servers.splice(0).map((server) => server.stop()));
  });

  async function start(scenario: Scenario): Promise<string> {
    const view = { snapshot: () => fixtureSnapshot(scenario) };
    const server = new ConsoleServer({ view, host: '127.0.0.1', port: 0, logger: silentLogger });
    servers.push(server);
    return `http://127.0.0.1:${(await server.start()).port}/`;
  }

  test('prints the table, or the JSON', async () => {
    const print = vi.spyOn(console, 'log').mockReturnValue();
    const url = await start('usual');
    await showPeers({ url, json: false });
    expect(print).toHaveBeenLastCalledWith(describePeers(usual).join('\n'));
    await showPeers({ url, json: true });
    expect(JSON.parse(String(print.mock.lastCall?.[0]))).toEqual(usual);
  });

  test('says why there is nothing to show', async () => {
    await expect(showPeers({ url: await start('no-sync'), json: false })).rejects.toThrow(
      'api/v1/peers answered: the cluster document has no sync section',
    );
  });

  test('says so when nobody answers', async () => {
    const url = await start('usual');
    await servers.splice(0)[0]?.stop();
    await expect(showPeers({ url, json: true })).rejects.toMatchObject({ code: 'UNREACHABLE' });
  });
});
