import { connect as connectTcp, type Socket } from 'node:net';
import { afterEach, describe, expect, test } from 'vitest';
import {
  closedPort,
  listenRaw,
  listenSilently,
  resources,
  until,
} from '../health/local-servers.ts';
import { ManualClock } from '../lib/clock.ts';
import { address } from '../model/address.ts';
import { FRAME_BYTES_MAX, type FrameStream } from './link.ts';
import { answerSealed, askSealed } from './seal-stream.ts';
import { TcpSnapshotTransport, type TcpSnapshotOptions } from './snapshot-tcp.ts';

const NEVER = new AbortController().signal;

/** A test that is held up must not be taken for somebody who says nothing. */
const PATIENT = { firstFrameMs: 60_000, idleMs: 60_000, connectMs: 60_000 };

const ends: (() => unknown)[] = [];
afterEach(async () => {
  for (const end of ends.splice(0)) await end();
  await until(() => !resources().some((name) => name.startsWith('TCP')));
});

function transport(options: Partial<TcpSnapshotOptions> = {}): TcpSnapshotTransport {
  const made = new TcpSnapshotTransport({
    address: address('127.0.0.1'),
    port: 0,
    ...PATIENT,
    ...options,
  });
  ends.push(() => made.stop());
  return made;
}

/** A connection of somebody who knows TCP and no more. */
function stranger(to: TcpSnapshotTransport): Socket {
  const socket = connectTcp(Number(to.endpoint.split(':').at(-1)), '127.0.0.1');
  socket.on('error', () => undefined);
  ends.push(() => socket.destroy());
  return socket;
}

function header(length: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(length);
  return bytes;
}

async function collect(stream: FrameStream): Promise<Buffer[]> {
  const frames: Buffer[] = [];
  for await (const frame of stream.frames) frames.push(Buffer.from(frame));
  return frames;
}

interface Served {
  started: number;
  /** Of each stream that is over: how many frames came, or what went wrong. */
  readonly outcomes: (number | string)[];
}

/** Serves by reading to the end. */
async function readAll(by: TcpSnapshotTransport): Promise<Served> {
  const served: Served = { started: 0, outcomes: [] };
  await by.listen(async (stream) => {
    served.started += 1;
    await collect(stream).then(
      (frames) => served.outcomes.push(frames.length),
      (error: unknown) => served.outcomes.push(String(error)),
    );
  });
  return served;
}

/** Serves by sending back whatever comes, and ends with the other side. */
async function echo(by: TcpSnapshotTransport): Promise<void> {
  await by.listen(async (stream) => {
    for await (const frame of stream.frames) await stream.write(frame);
  });
}

test.each(['127.0.0.1', '::1'])('frames of all lengths go to and fro at %s', async (host) => {
  const giver = transport({ address: address(host) });
  await echo(giver);
  const stream = await transport().connect(giver.endpoint, NEVER);
  const frames = stream.frames[Symbol.asyncIterator]();
  for (const length of [0, 1, 3, 4, 5, 1_400, 65_536, FRAME_BYTES_MAX]) {
    const frame = Buffer.alloc(length, length & 0xff);
    await stream.write(frame);
    const { value } = (await frames.next()) as { value: Uint8Array };
    expect(Buffer.compare(Buffer.from(value), frame), `${length} bytes`).toBe(0);
  }
  stream.close();
});

test('frames arrive whole however they are cut on the way', async () => {
  const giver = transport();
  const served = await readAll(giver);
  const socket = stranger(giver);
  const bytes = Buffer.concat([
    header(3),
    Buffer.from('abc'),
    header(0),
    header(2),
    Buffer.from('de'),
  ]);
  for (const byte of bytes) {
    socket.write(Buffer.of(byte));
    await new Promise(setImmediate);
  }
  socket.end();
  await until(() => served.outcomes.length === 1);
  expect(served.outcomes).toEqual([3]);
});

test('all that was written arrives before the end, though it is closed at once', async () => {
  const giver = transport();
  await giver.listen(async (stream) => {
    for (let frame = 0; frame < 20; frame += 1) await stream.write(Buffer.alloc(100_000, frame));
  });
  const stream = await transport().connect(giver.endpoint, NEVER);
  const frames = await collect(stream);
  expect(frames.map((frame) => [frame.length, frame[0]])).toEqual(
    Array.from({ length: 20 }, (_, frame) => [100_000, frame]),
  );
});

test('who writes waits for who reads', async () => {
  const frames = 400;
  let written = 0;
  const giver = transport();
  await giver.listen(async (stream) => {
    for (; written < frames; written += 1) await stream.write(Buffer.alloc(FRAME_BYTES_MAX));
  });
  const stream = await transport().connect(giver.endpoint, NEVER);
  let read = 0;
  for await (const frame of stream.frames) {
    expect(frame).toHaveLength(FRAME_BYTES_MAX);
    read += 1;
    // What the kernel holds for both sides is far less than 100 MiB.
    expect(written - read).toBeLessThan(frames / 2);
  }
  expect(read).toBe(frames);
});

test('a sealed snapshot goes over TCP', async () => {
  const identity = (node: string, nonce: number) => ({
    cluster: 'west',
    node,
    incarnation: 1,
    keys: [new Uint8Array(32).fill(1)],
    nonce: () => new Uint8Array(16).fill(nonce),
  });
  const giver = transport();
  await giver.listen(async (stream) => {
    const asked = await answerSealed(stream, identity('lb2', 2));
    if (asked.kind === 'reject') return;
    for (let payload = 0; payload < 100; payload += 1) await asked.write(Buffer.alloc(10_000));
    await asked.end();
  });
  const stream = await transport().connect(giver.endpoint, NEVER);
  let bytes = 0;
  for await (const payload of await askSealed(stream, identity('lb1', 1), 'lb2')) {
    bytes += payload.length;
  }
  expect(bytes).toBe(1_000_000);
});

describe('what is refused', () => {
  test('a frame that is announced too long', async () => {
    const giver = transport();
    const served = await readAll(giver);
    stranger(giver).write(header(FRAME_BYTES_MAX + 1));
    await until(() => served.outcomes.length === 1);
    expect(served.outcomes[0]).toContain(`a frame of ${FRAME_BYTES_MAX + 1} bytes was announced`);
  });

  test('an end within a frame', async () => {
    const giver = transport();
    const served = await readAll(giver);
    stranger(giver).end(Buffer.concat([header(10), Buffer.from('abc')]));
    await until(() => served.outcomes.length === 1);
    expect(served.outcomes[0]).toContain('ended within a frame');
  });

  test('to write a frame that is too long', async () => {
    const giver = transport();
    await readAll(giver);
    const stream = await transport().connect(giver.endpoint, NEVER);
    await expect(stream.write(new Uint8Array(FRAME_BYTES_MAX + 1))).rejects.toThrow(RangeError);
    stream.close();
  });

  test('a connection that says nothing for too long, though bytes trickle', async () => {
    const clock = new ManualClock();
    const giver = transport({ clock, firstFrameMs: 2_000 });
    const served = await readAll(giver);
    stranger(giver).write(header(10));
    await until(() => served.started === 1);
    clock.advance(1_999);
    expect(giver.stats()).toEqual({ connections: 1, refused: 0 });
    clock.advance(1);
    await until(() => served.outcomes.length === 1);
    expect(served.outcomes[0]).toContain('no frame within 2000 ms');
    expect(giver.stats()).toEqual({ connections: 1, refused: 1 });
  });

  test('the oldest of those that say nothing, when there are too many of them', async () => {
    const giver = transport({ silentMax: 3 });
    const served = await readAll(giver);
    for (let connection = 1; connection <= 5; connection += 1) {
      stranger(giver);
      await until(() => served.started === connection);
    }
    await until(() => served.outcomes.length === 2);
    expect(served.outcomes[0]).toContain('newer connections took its place');
    expect(giver.stats()).toEqual({ connections: 5, refused: 2 });
    // Who asks in earnest still gets through.
    const stream = await transport().connect(giver.endpoint, NEVER);
    await stream.write(Buffer.from('ask'));
    stream.close();
    await until(() => served.outcomes.includes(1));
  });

  test('one more than there may be that have asked', async () => {
    const giver = transport({ streamsMax: 2 });
    const served = await readAll(giver);
    const askers = transport();
    const streams = [];
    for (let asker = 1; asker <= 3; asker += 1) {
      const stream = await askers.connect(giver.endpoint, NEVER);
      await stream.write(Buffer.from('ask'));
      streams.push(stream);
      await until(() => served.started === asker);
    }
    await until(() => served.outcomes.length === 1);
    expect(served.outcomes[0]).toContain('too many snapshots');
    expect(await collect(streams[2]!)).toEqual([]);
    // A place is free again when one has ended.
    streams[0]!.close();
    await until(() => served.outcomes.length === 2);
    const next = await askers.connect(giver.endpoint, NEVER);
    await next.write(Buffer.from('ask'));
    next.close();
    await until(() => served.outcomes.length === 3);
    expect(served.outcomes.slice(1)).toEqual([1, 1]);
  });

  test('silence', async () => {
    const giver = transport({ idleMs: 30 });
    const served = await readAll(giver);
    const socket = stranger(giver);
    socket.write(Buffer.concat([header(3), Buffer.from('ask')]));
    await until(() => served.outcomes.length === 1);
    expect(served.outcomes[0]).toContain('nothing came or went for 30 ms');
  });
});

describe('connect', () => {
  test.each([
    '',
    ':1',
    '127.0.0.1',
    '127.0.0.1:0',
    '127.0.0.1:65536',
    'localhost:80',
    '::1:80',
    '[::1]',
    '[127.0.0.1:80',
    '127.0.0.1:80/',
  ])('%j is no endpoint', async (endpoint) => {
    const connecting = transport().connect(endpoint, NEVER);
    await expect(connecting).rejects.toThrow(`${endpoint} is not address:port`);
  });

  test('nobody is there', async () => {
    const endpoint = `127.0.0.1:${await closedPort()}`;
    const connecting = transport().connect(endpoint, NEVER);
    await expect(connecting).rejects.toMatchObject({ code: 'SNAPSHOT_CONNECT' });
    await expect(connecting).rejects.toThrow(/cannot reach 127.0.0.1:\d+: .*ECONNREFUSED/);
  });

  test('nobody answers', async () => {
    const silent = await listenSilently();
    ends.push(() => silent.close());
    const clock = new ManualClock();
    const dialler = transport({ clock, connectMs: 2_000 });
    const connecting = dialler.connect(`127.0.0.1:${silent.port}`, NEVER);
    clock.advance(2_000);
    await expect(connecting).rejects.toThrow('no connection within 2000 ms');
  });

  test('it was given up before, during or after', async () => {
    const server = await listenRaw(() => undefined);
    ends.push(() => server.close());
    const endpoint = `127.0.0.1:${server.port}`;
    const before = transport().connect(endpoint, AbortSignal.abort());
    await expect(before).rejects.toThrow('it was given up');
    const abort = new AbortController();
    const during = transport().connect(endpoint, abort.signal);
    abort.abort();
    await expect(during).rejects.toThrow('it was given up');
    const later = new AbortController();
    const stream = await transport().connect(endpoint, later.signal);
    const reading = collect(stream);
    later.abort();
    await expect(reading).rejects.toThrow('it was given up');
    await expect(stream.write(Buffer.from('x'))).rejects.toThrow('it was given up');
  });
});

test('who serves and fails ends the stream', async () => {
  const giver = transport();
  await giver.listen(async (stream) => {
    await stream.write(Buffer.from('one'));
    throw new Error('the table is gone');
  });
  const stream = await transport().connect(giver.endpoint, NEVER);
  const frames = await collect(stream);
  expect(frames.length).toBeLessThanOrEqual(1);
  await expect(stream.write(Buffer.from('x'))).rejects.toMatchObject({ code: 'SNAPSHOT_STREAM' });
});

test('a write to a reader that is gone fails, also one that waits for room', async () => {
  const giver = transport();
  const { promise, resolve } = Promise.withResolvers<unknown>();
  await giver.listen(async (stream) => {
    try {
      for (;;) await stream.write(Buffer.alloc(FRAME_BYTES_MAX));
    } catch (error) {
      resolve(error);
    }
  });
  const stream = await transport().connect(giver.endpoint, NEVER);
  for await (const frame of stream.frames) {
    expect(frame).toHaveLength(FRAME_BYTES_MAX);
    break;
  }
  expect(await promise).toMatchObject({ code: 'SNAPSHOT_STREAM' });
});

describe('start and stop', () => {
  test('the endpoint has the port that the kernel chose', async () => {
    const giver = transport({ address: address('::1') });
    await echo(giver);
    expect(giver.endpoint).toMatch(/^\[::1\]:[1-9]\d+$/);
  });

  test('an address that is taken is named', async () => {
    const first = transport();
    await echo(first);
    const port = Number(first.endpoint.split(':')[1]);
    const listening = echo(transport({ port }));
    await expect(listening).rejects.toMatchObject({ code: 'SNAPSHOT_LISTEN' });
    await expect(listening).rejects.toThrow(first.endpoint);
  });

  test('an address that is not ours is named', async () => {
    const listening = echo(transport({ address: address('192.0.2.77') }));
    await expect(listening).rejects.toThrow(/192\.0\.2\.77.*does the address belong to this node/);
  });

  test('stop ends what runs, may come twice or first, and another start works', async () => {
    const giver = transport();
    await giver.stop();
    const served = await readAll(giver);
    const socket = stranger(giver);
    await until(() => served.started === 1);
    await giver.stop();
    await giver.stop();
    await until(() => served.outcomes.length === 1 && socket.destroyed);
    expect(served.outcomes[0]).toContain('this node stops');
    await echo(giver);
    const stream = await transport().connect(giver.endpoint, NEVER);
    await stream.write(Buffer.from('again'));
    stream.close();
  });

  test('stop right after start leaves nothing behind', async () => {
    const giver = transport();
    const listening = echo(giver);
    const stopping = giver.stop();
    await expect(listening).rejects.toThrow('it was stopped');
    await stopping;
    await echo(giver);
  });
});
