import { setImmediate } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { NO_FAULTS, SimulatedNetwork, type Faults } from './simulated.ts';
import { seededRandom, SimulatedClock, VirtualTime } from './virtual-time.ts';

const NEVER = new AbortController().signal;

function setUp(faults: Partial<Faults> = {}, seed = 1) {
  const time = new VirtualTime(() => setImmediate());
  const network = new SimulatedNetwork(time, seededRandom(seed), { ...NO_FAULTS, ...faults });
  return { time, network };
}

/** Nodes a, b, c, and what each has received: the first byte of each datagram. */
async function listeners(network: SimulatedNetwork) {
  const heard: Record<string, number[]> = { a: [], b: [], c: [] };
  for (const [name, bytes] of Object.entries(heard)) {
    await network.link(name).start(([first]) => bytes.push(first ?? -1));
  }
  return heard;
}

function numbered(count: number): Uint8Array[] {
  return Array.from({ length: count }, (_, index) => Uint8Array.of(index));
}

describe('time', () => {
  test('runs what falls due in order, and nothing that lies ahead', async () => {
    const { time } = setUp();
    const ran: string[] = [];
    for (const [name, atMs] of [
      ['c', 30],
      ['a', 10],
      ['b', 10],
      ['d', 31],
    ] as const) {
      time.at(atMs, () => ran.push(`${name} ${time.nowMs}`));
    }
    await time.run(30);
    expect(ran).toEqual(['a 10', 'b 10', 'c 30']);
  });

  test('of a node that died stands still', async () => {
    const { time } = setUp();
    const clock = new SimulatedClock(time, 5_000, 1_000_000);
    const ran: number[] = [];
    const cancel = clock.after(10, () => ran.push(1));
    clock.after(20, () => ran.push(2));
    cancel();
    clock.after(5, () => {
      clock.killTimers();
      clock.after(10, () => ran.push(3));
    });
    await time.run(100);
    expect(ran).toEqual([3]);
    clock.jumpWall(-500);
    expect([clock.nowMs(), clock.wallMs()]).toEqual([5_100, 999_600]);
  });

  test('the same seed gives the same chance', () => {
    const [one, other] = [seededRandom(7), seededRandom(7)];
    const numbers = Array.from({ length: 1_000 }, () => one());
    expect(numbers).toEqual(Array.from({ length: 1_000 }, () => other()));
    expect(Math.min(...numbers)).toBeGreaterThanOrEqual(0);
    expect(Math.max(...numbers)).toBeLessThan(1);
    expect(numbers.reduce((sum, each) => sum + each) / 1_000).toBeCloseTo(0.5, 1);
  });
});

describe('datagrams', () => {
  test('reach everybody, the sender too', async () => {
    const { time, network } = setUp();
    const heard = await listeners(network);
    network.link('a').send(Uint8Array.of(7));
    await time.run(10);
    expect(heard).toEqual({ a: [7], b: [7], c: [7] });
    expect(network.link('a').stats()).toEqual({ sent: 1, sendErrors: 0, received: 1 });
  });

  test('are lost, repeated and overtake each other, as often as they should', async () => {
    const { time, network } = setUp({ lossRate: 0.2, duplicateRate: 0.1, delayMaxMs: 20 });
    const heard = await listeners(network);
    for (const datagram of numbered(200)) network.link('a').send(datagram);
    await time.run(100);
    const { b = [] } = heard;
    expect(new Set(b).size).toBeGreaterThan(130);
    expect(new Set(b).size).toBeLessThan(190);
    expect(b.length).toBeGreaterThan(new Set(b).size);
    expect(b).not.toEqual(b.toSorted((one, other) => one - other));
  });

  test('stay on their side of a partition', async () => {
    const { time, network } = setUp();
    const heard = await listeners(network);
    network.partition([['a', 'b']]);
    network.link('a').send(Uint8Array.of(1));
    network.link('c').send(Uint8Array.of(2));
    await time.run(10);
    network.heal();
    network.link('a').send(Uint8Array.of(3));
    await time.run(20);
    expect(heard).toEqual({ a: [1, 3], b: [1, 3], c: [2, 3] });
  });

  test('do not reach a later life of a node', async () => {
    const { time, network } = setUp();
    const heard = await listeners(network);
    network.link('a').send(Uint8Array.of(1));
    network.kill('b');
    await network.link('b').start(([first]) => heard['b']?.push(first ?? -1));
    await time.run(10);
    expect(heard).toEqual({ a: [1], b: [], c: [1] });
  });
});

describe('streams', () => {
  /** b serves by sending 0 to 9; what a gets, and how it ends. */
  async function read(network: SimulatedNetwork, time: VirtualTime, meanwhile?: () => void) {
    await network.transport('b').listen(async (stream) => {
      for (const frame of numbered(10)) await stream.write(frame);
      stream.close();
    });
    const got: number[] = [];
    let end = 'open';
    const reading = (async () => {
      const stream = await network.transport('a').connect('b', NEVER);
      for await (const [first] of stream.frames) {
        got.push(first ?? -1);
        if (got.length === 5) meanwhile?.();
      }
      end = 'ended';
    })().catch(() => {
      end = 'broken';
    });
    await time.run(time.nowMs + 200);
    return { got, end: () => end, reading };
  }

  test('bring every frame in order, and end', async () => {
    const { time, network } = setUp();
    const { got, end } = await read(network, time);
    expect(got).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    expect(end()).toBe('ended');
  });

  test('break by chance, or when a node dies', async () => {
    const fragile = setUp({ breakRate: 1 });
    expect((await read(fragile.network, fragile.time)).end()).toBe('broken');
    const { time, network } = setUp();
    const { end } = await read(network, time, () => {
      network.kill('b');
    });
    expect(end()).toBe('broken');
  });

  test('stall in a partition, and go on after it', async () => {
    const { time, network } = setUp();
    const { got, end } = await read(network, time, () => {
      network.partition([['a']]);
    });
    expect(got.length).toBeLessThan(10);
    expect(end()).toBe('open');
    network.heal();
    await time.run(time.nowMs + 200);
    expect(end()).toBe('ended');
  });

  test('make a writer wait for its reader', async () => {
    const { time, network } = setUp();
    let written = 0;
    await network.transport('b').listen(async (stream) => {
      for (const frame of numbered(100)) {
        await stream.write(frame);
        written += 1;
      }
    });
    const connecting = network.transport('a').connect('b', NEVER);
    await time.run(100);
    await connecting;
    expect(written).toBeLessThan(10);
  });

  test('cannot be had of a node that does not listen, or while it is out of reach', async () => {
    const { time, network } = setUp();
    const refused = network.transport('a').connect('b', NEVER);
    const waiting = expect(refused).rejects.toThrow('does not listen');
    await time.run(50);
    await waiting;
    network.partition([['a']]);
    const given = new AbortController();
    const unreachable = network.transport('a').connect('b', given.signal);
    const aborted = expect(unreachable).rejects.toThrow('too long');
    given.abort(new Error('too long'));
    await time.run(200);
    await aborted;
  });
});
