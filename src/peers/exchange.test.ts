/** Who gets a snapshot: over TCP on loopback, where anyone can connect. */
import { connect } from 'node:net';
import { afterEach, expect, test } from 'vitest';
import { until } from '../health/local-servers.ts';
import { systemClock } from '../lib/clock.ts';
import { silentLogger } from '../lib/logger.ts';
import { address } from '../model/address.ts';
import { SnapshotExchange } from './exchange.ts';
import { SNAPSHOTS_SERVED_MAX } from './limits.ts';
import { MemoryTable } from './memory-table.ts';
import { askSealed } from './seal-stream.ts';
import { TcpSnapshotTransport } from './snapshot-tcp.ts';
import { newCounters } from './status.ts';

const KEY = new Uint8Array(32).fill(1);
const PATIENT = { firstFrameMs: 60_000, idleMs: 60_000, connectMs: 60_000 };

const ends: (() => unknown)[] = [];
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end();
});

function identity(node: string, key = KEY) {
  const nonce = () => crypto.getRandomValues(new Uint8Array(16));
  return { cluster: 'west', node, incarnation: 1, keys: [key], nonce };
}

function transport(): TcpSnapshotTransport {
  const made = new TcpSnapshotTransport({ address: address('127.0.0.1'), port: 0, ...PATIENT });
  ends.push(() => made.stop());
  return made;
}

/** A node lb2 that gives snapshots, and which warnings it has logged. */
async function giver() {
  const given = transport();
  const counters = newCounters();
  const warnings: unknown[] = [];
  const logger = { ...silentLogger, warn: (...words: unknown[]) => void warnings.push(words) };
  const exchange = new SnapshotExchange({
    transport: given,
    table: new MemoryTable({ clock: systemClock }),
    identity: () => identity('lb2'),
    clock: systemClock,
    logger,
    counters,
    hello: () => ({
      kind: 'hello',
      version: 1,
      softwareVersion: '0',
      configDigest: '',
      snapshotEndpoint: given.endpoint,
      synced: true,
      uptimeMs: 1,
      heard: [],
    }),
    flows: () => 0,
  });
  await exchange.listen();
  ends.push(() => {
    exchange.stop();
  });
  return { endpoint: given.endpoint, counters, warnings };
}

async function ask(endpoint: string, key = KEY): Promise<number> {
  const stream = await transport().connect(endpoint, new AbortController().signal);
  let bytes = 0;
  for await (const payload of await askSealed(stream, identity('lb1', key), 'lb2')) {
    bytes += payload.length;
  }
  return bytes;
}

test('connections without the key take no place and fill no log', async () => {
  const { endpoint, counters, warnings } = await giver();
  const port = Number(endpoint.split(':').at(-1));
  const strangers = Array.from({ length: SNAPSHOTS_SERVED_MAX + 2 }, () => {
    const socket = connect(port, '127.0.0.1').on('error', () => undefined);
    ends.push(() => socket.destroy());
    return socket;
  });
  // Each was sent its challenge, so each is being answered.
  await until(() => strangers.every((socket) => socket.readableLength > 0));
  expect(await ask(endpoint)).toBeGreaterThan(0);
  expect(counters.snapshotsGiven).toBe(1);

  await expect(
    ask(
      endpoint,
      KEY.map((byte) => byte + 1),
    ),
  ).rejects.toThrow();
  for (const socket of strangers) socket.resetAndDestroy();
  await until(() => counters.snapshotsRefused === strangers.length + 1);
  expect(warnings).toEqual([]);
});
