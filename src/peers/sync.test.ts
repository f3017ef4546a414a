/** The engine over the real codec and seal, in a simulated network. Times are virtual. */
import { setImmediate } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { silentLogger } from '../lib/logger.ts';
import { BACKEND } from './fixture.ts';
import {
  HELLO_INTERVAL_MS,
  INBOX_DATAGRAMS_MAX,
  LISTEN_MS,
  PEER_LOST_MS,
  SNAPSHOTS_SERVED_MAX,
} from './limits.ts';
import { NO_FAULTS, type Faults } from './simulated.ts';
import { Cluster, type Client, type SimNode } from './simulation.ts';
import { VirtualTime } from './virtual-time.ts';

function cluster(nodes: number, faults: Partial<Faults> = {}, tuples = 60) {
  const time = new VirtualTime(() => setImmediate());
  const all = new Cluster({
    seed: 20_260_601,
    nodes,
    time,
    logger: silentLogger,
    faults: { ...NO_FAULTS, ...faults },
    tuples,
  });
  /** Runs until this is true; fails after so long. */
  const until = async (isTrue: () => boolean, withinMs: number) => {
    const startMs = time.nowMs;
    while (!isTrue() && time.nowMs - startMs < withinMs) await time.run(time.nowMs + 10);
    expect(isTrue(), `${withinMs} ms: ${isTrue.toString()}\n${all.describe()}`).toBe(true);
    return time.nowMs - startMs;
  };
  return { time, all, nodes: all.nodes, until };
}

async function startAll(nodes: readonly SimNode[]): Promise<void> {
  for (const node of nodes) await node.start();
}

function isOpen({ sync }: SimNode): boolean {
  return sync.gate().open;
}

function syncedBy({ sync }: SimNode): string | null {
  return sync.status().self.syncedBy;
}

/** Of a router, about a packet of 192.0.2.1:443 to a client. */
const ICMP_ERROR = Uint8Array.from([
  ...[0x45, 0, 0, 56, 0, 0, 0, 0, 64, 1, 0, 0, 203, 0, 113, 9, 192, 0, 2, 1],
  ...[3, 4, 0, 0, 0, 0, 5, 0xdc],
  ...[0x45, 0, 5, 0xdc, 0, 0, 0, 0, 64, 6, 0, 0, 192, 0, 2, 1, 198, 51, 100, 7],
  ...[1, 0xbb, 0x9c, 0x40, 0, 0, 0, 1],
]);

describe('joining', () => {
  test('a node that is alone opens its gate after it has listened', async () => {
    const { nodes, time, until } = cluster(1);
    await startAll(nodes);
    await time.run(LISTEN_MS - 50);
    expect(nodes[0]!.sync.gate()).toEqual({ open: false, reason: 'listening' });
    await until(() => isOpen(nodes[0]!), 100);
    expect(syncedBy(nodes[0]!)).toBe('alone');
  });

  test('nodes that start at once do not wait for the deadline', async () => {
    const { nodes, until } = cluster(5);
    await startAll(nodes);
    const tookMs = await until(() => nodes.every(isOpen), 5_000);
    expect(tookMs).toBeLessThan(4_000);
    expect(nodes.map(syncedBy)).toEqual(['first', ...Array<string>(4).fill('snapshot')]);
  });

  test('a node that joins knows every flow before its gate opens', async () => {
    const { nodes, all, time, until } = cluster(3, {}, 400);
    const [one, two, joiner] = nodes as [SimNode, SimNode, SimNode];
    await startAll([one, two]);
    await until(() => isOpen(one) && isOpen(two), 5_000);
    for (let i = 0; i < 300; i += 1) all.traffic();
    await time.run(time.nowMs + 500);
    expect(one.table.size).toBeGreaterThan(100);
    await joiner.start();
    await until(() => {
      all.traffic();
      return isOpen(joiner);
    }, 3_000);
    expect(syncedBy(joiner)).toBe('snapshot');
    await until(() => all.isConverged(), 100);
  });

  test('a snapshot that breaks half way is asked of somebody else', async () => {
    const { nodes, all, until } = cluster(4, {}, 300);
    const [one, two, three, joiner] = nodes as [SimNode, SimNode, SimNode, SimNode];
    await startAll([one, two, three]);
    await until(() => [one, two, three].every(isOpen), 5_000);
    for (let i = 0; i < 300; i += 1) all.traffic();
    all.network.faults.breakRate = 0.4;
    await joiner.start();
    await until(() => joiner.sync.status().counters.snapshotsFailed > 0, 10_000);
    all.network.faults.breakRate = 0;
    await until(() => syncedBy(joiner) === 'snapshot', 9_000);
    await until(() => all.isConverged(), 8_000);
  });

  test('a node that cannot get a snapshot opens its gate at the deadline, and says so', async () => {
    const { nodes, all, until } = cluster(2, { breakRate: 1 });
    const [one, joiner] = nodes as [SimNode, SimNode];
    await one.start();
    await until(() => isOpen(one), 3_000);
    await joiner.start();
    const tookMs = await until(() => isOpen(joiner), 11_000);
    expect(tookMs).toBeGreaterThanOrEqual(10_000);
    expect(syncedBy(joiner)).toBe('deadline');
    expect(joiner.sync.status().counters.syncedByDeadline).toBe(1);
    all.network.faults.breakRate = 0;
    await until(() => joiner.sync.status().counters.snapshotsTaken === 1, 10_000);
  });

  test('no more snapshots are given at once than allowed, and everybody gets one', async () => {
    const { nodes, until } = cluster(8);
    const [one, ...joiners] = nodes as [SimNode, ...SimNode[]];
    await one.start();
    await until(() => isOpen(one), 3_000);
    await startAll(joiners);
    await until(() => joiners.every((node) => syncedBy(node) === 'snapshot'), 9_000);
    expect(joiners.length).toBeGreaterThan(SNAPSHOTS_SERVED_MAX);
  });
});

describe('news of flows', () => {
  test('reaches every peer within 20 ms, and is not said again by those', async () => {
    const { nodes, all, until } = cluster(3);
    await startAll(nodes);
    await until(() => nodes.every(isOpen), 5_000);
    const sent = () => nodes.reduce((sum, { sync }) => sum + sync.status().counters.flowsSent, 0);
    expect(sent()).toBe(0);
    all.open();
    await until(() => nodes.every(({ table }) => table.size === 1), 20);
    await until(() => sent() === 1, 1);
  });

  test('is with all peers within 100 ms, though one datagram in fifty is lost', async () => {
    const { nodes, all, time, until } = cluster(3, { lossRate: 0.02, delayMaxMs: 3 }, 600);
    await startAll(nodes);
    await until(() => nodes.every(isOpen), 8_000);
    const takenMs: number[] = [];
    let young: { client: Client; openedMs: number }[] = [];
    while (takenMs.length < 600) {
      if (takenMs.length + young.length < 600) {
        young.push({ client: all.open(), openedMs: time.nowMs });
      }
      await time.run(time.nowMs + 5);
      const isKnown = ({ client: { name } }: (typeof young)[number]) =>
        nodes.every(({ table }) => table.find(name) !== undefined);
      takenMs.push(...young.filter(isKnown).map(({ openedMs }) => time.nowMs - openedMs));
      young = young.filter((each) => !isKnown(each));
    }
    takenMs.sort((one, other) => one - other);
    expect(takenMs[300]).toBeLessThanOrEqual(20);
    expect(takenMs[594]).toBeLessThan(100);
    expect(nodes.some(({ sync }) => sync.status().counters.resendsTaken > 0)).toBe(true);
  });

  test('a flow that lives on at one node is kept by the others, and an idle one by none', async () => {
    const { nodes, all, time, until } = cluster(3);
    await startAll(nodes);
    await until(() => nodes.every(isOpen), 5_000);
    const [live, idle] = [all.open(), all.open()];
    for (let second = 0; second < 60; second += 1) {
      all.use(live);
      for (const { table } of nodes) table.expire(15_000);
      await time.run(time.nowMs + 1_000);
    }
    for (const { table } of nodes) {
      expect(table.find(live.name)).toBeDefined();
      expect(table.find(idle.name)).toBeUndefined();
    }
  });
});

describe('trouble', () => {
  test('a lost datagram is sent again once, however many miss it', async () => {
    const { nodes, all, time, until } = cluster(16);
    await startAll(nodes);
    await until(() => nodes.every(isOpen), 9_000);
    await time.run(time.nowMs + 500);
    const sum = (counter: 'resendsSent' | 'nacksSent') =>
      nodes.reduce((total, { sync }) => total + sync.status().counters[counter], 0);
    const before = { resends: sum('resendsSent'), nacks: sum('nacksSent') };
    const { home } = all.open();
    all.network.faults.lossRate = 1;
    await time.run(time.nowMs + 15);
    all.network.faults.lossRate = 0;
    await until(() => nodes.every(({ table }) => table.size === 1), 150);
    expect(sum('resendsSent') - before.resends).toBe(1);
    expect(sum('nacksSent') - before.nacks).toBeLessThan(nodes.length - 1);
    expect(home.sync.status().counters.resendsSent).toBeGreaterThan(0);
  });

  test('both sides of a partition learn what the other has', async () => {
    const { nodes, all, time, until } = cluster(4, {}, 200);
    await startAll(nodes);
    await until(() => nodes.every(isOpen), 5_000);
    all.network.partition([
      ['lb1', 'lb2'],
      ['lb3', 'lb4'],
    ]);
    await time.run(time.nowMs + PEER_LOST_MS + 500);
    for (let i = 0; i < 300; i += 1) all.traffic();
    await time.run(time.nowMs + 1_000);
    expect(all.isConverged()).toBe(false);
    expect(nodes[0]!.sync.status().peers.map(({ state }) => state)).toEqual([
      'alive',
      'lost',
      'lost',
    ]);
    all.network.heal();
    await until(() => all.isConverged(), 12_000);
    all.checkTruth();
    expect(all.problems).toEqual([]);
  });

  test('tables far apart are brought together by a snapshot', async () => {
    const { nodes, all, time, until } = cluster(2, {}, 3_000);
    await startAll(nodes);
    await until(() => nodes.every(isOpen), 5_000);
    all.network.partition([['lb1'], ['lb2']]);
    await time.run(time.nowMs + PEER_LOST_MS + 500);
    for (let i = 0; i < 3_000; i += 1) all.open();
    // So long that the history of what was missed is of no use.
    for (const node of nodes) node.kill();
    await startAll(nodes);
    await until(() => nodes.every(isOpen), 3_000);
    all.network.heal();
    await until(() => all.isConverged(), 20_000);
    const taken = nodes.map(({ sync }) => sync.status().counters.snapshotsTaken);
    expect(Math.max(...taken)).toBe(1);
  });

  test('a node that starts again within a second is known anew, and loses nothing', async () => {
    const { nodes, all, time, until } = cluster(3);
    await startAll(nodes);
    await until(() => nodes.every(isOpen), 5_000);
    for (let i = 0; i < 100; i += 1) all.traffic();
    await time.run(time.nowMs + 200);
    const [one, two] = nodes as [SimNode, SimNode];
    const before = two.sync.status().peers.find(({ name }) => name === 'lb1');
    one.kill();
    one.reboot(-3_600_000);
    await time.run(time.nowMs + 300);
    await one.start();
    await until(() => isOpen(one), 2_000);
    expect(syncedBy(one)).toBe('snapshot');
    const after = two.sync.status().peers.find(({ name }) => name === 'lb1');
    expect(after).toMatchObject({ state: 'alive', missing: 0 });
    expect(after!.incarnation).toBeGreaterThan(before!.incarnation);
    await until(() => all.isConverged(), 100);
  });

  test('what was closed while a peer could not hear it is not brought back', async () => {
    const { nodes, all, time, until } = cluster(3);
    await startAll(nodes);
    await until(() => nodes.every(isOpen), 5_000);
    const client = all.open();
    await time.run(time.nowMs + 5_000);
    const away = nodes.find((node) => node !== client.home)!;
    all.network.partition([nodes.filter((node) => node !== away).map(({ name }) => name)]);
    all.end(client);
    // The history of the others does not reach back to it.
    const rest = nodes.filter((node) => node !== away);
    await time.run(time.nowMs + 5_000);
    expect(away.table.size).toBe(1);
    away.kill();
    await away.start();
    all.network.heal();
    await until(() => nodes.every(({ table }) => table.size === 0), 15_000);
    expect(rest.every(({ table }) => table.size === 0)).toBe(true);
  });
});

describe('a close', () => {
  test('by a node that missed the reopening ends the later life everywhere', async () => {
    const { nodes, all, time, until } = cluster(3);
    await startAll(nodes);
    await until(() => nodes.every(isOpen), 5_000);
    const { name, home } = all.open();
    await time.run(time.nowMs + 500);
    const away = nodes.find((node) => node !== home)!;
    all.network.partition([nodes.filter((node) => node !== away).map((node) => node.name)]);
    home.table.end(name);
    await time.run(time.nowMs + 500);
    home.table.syn(name, BACKEND);
    // So soon that on the wire, where its time is rounded, the close is earlier than the opening.
    await time.run(time.nowMs + 3);
    away.table.end(name);
    await time.run(time.nowMs + 100);
    all.network.heal();
    await until(() => nodes.every(({ table }) => table.find(name) === undefined), 8_000);
  });
});

describe('a recording of a peer', () => {
  /** A station that hears everything and has no key. */
  async function recorder(all: Cluster) {
    const link = all.network.link('recorder');
    const recorded: Uint8Array[] = [];
    await link.start((datagram) => recorded.push(datagram));
    return { link, recorded };
  }

  test('is not believed by a node that starts, whenever it is played', async () => {
    const { nodes, all, time, until } = cluster(3);
    const [one, two, victim] = nodes as [SimNode, SimNode, SimNode];
    const { link, recorded } = await recorder(all);
    await startAll([one, two]);
    await until(() => isOpen(one) && isOpen(two), 5_000);
    for (let i = 0; i < 10; i += 1) all.open();
    await time.run(time.nowMs + 500);
    for (const client of all.clients) all.end(client);
    await time.run(time.nowMs + 500);
    const tape = [...recorded];
    const play = () => {
      for (const datagram of tape) link.send(datagram);
    };
    await victim.start();
    const opening = until(() => {
      play();
      return isOpen(victim);
    }, 3_000);
    await opening;
    play();
    await time.run(time.nowMs + 500);
    expect(victim.table.size).toBe(0);
    expect(victim.sync.status().counters.unproven).toBeGreaterThan(0);
    expect(victim.sync.status().peers.map(({ proven }) => proven)).toEqual([true, true]);
  });

  test('makes a node that is alone wait for the deadline, and believe nothing', async () => {
    const { nodes, all, time, until } = cluster(2);
    const [one, victim] = nodes as [SimNode, SimNode];
    const { link, recorded } = await recorder(all);
    await one.start();
    await until(() => isOpen(one), 5_000);
    all.open();
    await time.run(time.nowMs + 1_500);
    one.kill();
    const tape = [...recorded];
    await victim.start();
    while (!isOpen(victim) && time.nowMs < 30_000) {
      for (const datagram of tape.splice(0, 1)) link.send(datagram);
      await time.run(time.nowMs + 500);
    }
    expect(syncedBy(victim)).toBe('deadline');
    expect(victim.table.size).toBe(0);
  });
});

describe('an ICMP error about a flow that is not known here', () => {
  test('is given to every other data plane once, and goes no further', async () => {
    const { nodes, time, until } = cluster(4);
    const [one, ...others] = nodes as [SimNode, ...SimNode[]];
    await startAll(nodes);
    await until(() => nodes.every(isOpen), 5_000);
    one.sync.relayIcmp(ICMP_ERROR);
    await time.run(time.nowMs + 500);
    expect(one.injected).toEqual([]);
    // Each of these data planes hands it back, since it does not know the flow either.
    for (const { injected, sync } of others) {
      expect(injected.map((packet) => Uint8Array.from(packet))).toEqual([ICMP_ERROR]);
      expect(sync.status().icmp).toMatchObject({ injected: 1, relayed: 0, repeated: 1 });
    }
  });

  test('is dropped before the start', () => {
    const { nodes } = cluster(1);
    nodes[0]!.sync.relayIcmp(ICMP_ERROR);
    expect(nodes[0]!.sync.status().counters.datagramsSent).toBe(0);
  });
});

describe('what is shown', () => {
  test('peers, whether their configuration differs, and how far behind they are', async () => {
    const { nodes, all, time, until } = cluster(2);
    await startAll(nodes);
    await until(() => nodes.every(isOpen), 5_000);
    const [one, two] = nodes as [SimNode, SimNode];
    two.configDigest = 'another';
    for (let i = 0; i < 30; i += 1) all.traffic();
    await time.run(time.nowMs + 1_500);
    const status = one.sync.status();
    expect(status).toEqual(JSON.parse(JSON.stringify(status)));
    expect(status.peers).toMatchObject([
      {
        name: 'lb2',
        state: 'alive',
        version: 1,
        softwareVersion: '0.0.0',
        configDigest: 'another',
        drift: true,
        synced: true,
        missing: 0,
      },
    ]);
    expect(status.peers[0]!.lagDatagrams).toBeLessThan(20);
    expect(status.rejects.own).toBeGreaterThan(0);
    expect(status.rejects.forged).toBe(0);
    expect(status.self.flows).not.toBeNull();
  });
});

describe('a flood of datagrams that are none of ours', () => {
  test('fills the inbox and no more, and what it pushed out is had again', async () => {
    const { nodes, all, time, until } = cluster(3);
    const flooder = all.network.link('flooder');
    await startAll(nodes);
    await until(() => nodes.every(isOpen), 5_000);
    for (let i = 0; i < INBOX_DATAGRAMS_MAX; i += 1) flooder.send(Uint8Array.of(i));
    await time.run(time.nowMs + 0.3, 0.1);
    const queues = nodes.map(({ sync }) => sync.status().queues.inboxDatagrams);
    for (let i = 0; i < 30; i += 1) all.open();
    await until(() => all.isConverged() && nodes[0]!.table.size === 30, 1_000);
    expect(Math.max(...queues)).toBeLessThanOrEqual(INBOX_DATAGRAMS_MAX);
    for (const { sync } of nodes) {
      const { rejects, counters } = sync.status();
      expect(rejects.too_short + counters.inboxDropped).toBeGreaterThanOrEqual(INBOX_DATAGRAMS_MAX);
      expect(counters.datagramsReceived).toBeGreaterThan(1_000);
    }
  });
});

describe('life and death', () => {
  test('starting and stopping twice is doing it once, and it can start again', async () => {
    const { nodes, time, until } = cluster(2);
    const [one, two] = nodes as [SimNode, SimNode];
    await startAll(nodes);
    await two.sync.start();
    await until(() => nodes.every(isOpen), 5_000);
    await two.sync.stop();
    await two.sync.stop();
    await time.run(time.nowMs + 100);
    const seen = () => one.sync.status().peers[0]?.state;
    expect(seen()).toBe('left');
    await time.run(time.nowMs + 2 * HELLO_INTERVAL_MS);
    expect(seen()).toBe('left');
    await two.sync.start();
    await until(() => seen() === 'alive', 100);
    await until(() => isOpen(two), 3_000);
    await two.sync.stop();
  });

  test('stopping before the start does nothing', async () => {
    const { nodes } = cluster(1);
    await expect(nodes[0]!.sync.stop()).resolves.toBeUndefined();
  });

  test('what was opened just before the end is said', async () => {
    const { nodes, all, time, until } = cluster(2);
    await startAll(nodes);
    await until(() => nodes.every(isOpen), 5_000);
    const { home } = all.open();
    await home.stop();
    await time.run(time.nowMs + 50);
    expect(nodes.map(({ table }) => table.size)).toEqual([1, 1]);
  });
});
