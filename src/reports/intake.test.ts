/** The document changes while reports come in: real sockets on loopback, real key files. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { ReportsConfig } from '../config/types.ts';
import { until } from '../health/local-servers.ts';
import { ManualClock } from '../lib/clock.ts';
import { SkeinError } from '../lib/errors.ts';
import { address, type Address } from '../model/address.ts';
import { readKeys } from '../peers/keys.ts';
import { MulticastLink } from '../peers/multicast.ts';
import { UnicastLink } from '../peers/unicast.ts';
import { ReportBoard } from './board.ts';
import { B1, CLUSTER, key, report, signer as signerOf, WEB_ID } from './fixture.ts';
import { ReportIntake, RETRY_MIN_MS, type WantedReports } from './intake.ts';
import { placeOf } from './place.ts';
import { ReportLink } from './report-link.ts';
import { reporterKey, type ReportSigner } from './seal.ts';
import { encodeReport } from './wire.ts';

const LOOPBACK = address('127.0.0.1');
const GROUP = address('239.83.75.79');

/** Different for each test, below what the kernel gives out by itself. */
let nextPort = 26_700 + (process.pid % 100) * 40;
const newPort = (): number => (nextPort += 1);

let folder: string;
let node: Node;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'skein-intake-'));
  for (const each of [1, 2]) writeKey(`k${each}`, each);
  node = new Node();
});
afterEach(async () => {
  await node.intake.stop();
  rmSync(folder, { recursive: true });
});

function writeKey(name: string, number: number): void {
  writeFileSync(join(folder, name), Buffer.from(key(number)).toString('hex'), { mode: 0o600 });
}

/** A reporter of the backend on loopback. */
function signer(options: Parameters<typeof signerOf>[0] = {}): ReportSigner {
  return signerOf({ addresses: [LOOPBACK], ...options });
}

function setKey(reporter: ReportSigner, number: number): void {
  reporter.setKey(reporterKey(key(number), CLUSTER, [LOOPBACK]));
}

/** A node whose only address is that of loopback, and the backend B1 of it is there as well. */
class Node {
  readonly clock = new ManualClock();
  readonly errors: string[] = [];
  readonly board = new ReportBoard({ clock: this.clock, heard: () => undefined });
  /** Interfaces that have the node's address. */
  interfaces = ['lo'];
  readonly intake = new ReportIntake({
    board: this.board,
    clock: this.clock,
    logger: {
      info: () => undefined,
      warn: () => undefined,
      error: (what: unknown) => this.errors.push(JSON.stringify(what)),
    },
    readKeys,
    locate: (reports) => placeOf(reports, { ipv4: LOOPBACK, ipv6: undefined }, this.#interfaceWith),
    linkAt: ({ address: at, port, interface: name }) =>
      name === undefined
        ? new UnicastLink({ local: { address: at, port }, peers: [] })
        : new MulticastLink({ group: at, port, interface: name }),
  });

  readonly #interfaceWith = (own: Address): string => {
    const [name] = this.interfaces;
    if (name === undefined) throw new SkeinError('SYNC_ADDRESS', `no interface has ${own}`);
    return name;
  };

  async start(wanted: WantedReports | undefined): Promise<void> {
    await this.intake.prepare(wanted);
    await this.intake.start();
  }

  /** Resolves when a new document is followed as far as it can be. */
  async reload(wanted: WantedReports | undefined, listening: number | null | undefined) {
    this.intake.set(wanted);
    await this.untilListening(listening);
  }

  async untilListening(port: number | null | undefined): Promise<void> {
    await until(() => {
      const at = this.intake.status()?.listening;
      return typeof port === 'number' ? at?.includes(`:${port}`) === true : at === port;
    });
  }

  get problems(): readonly string[] | undefined {
    return this.intake.status()?.problems;
  }

  get accepted(): number | undefined {
    return this.intake.status()?.accepted;
  }

  refused(reason: string): number | undefined {
    return this.intake.status()?.refused[reason];
  }

  /** A report about the backend, by a reporter on it. */
  made(by: ReportSigner): Uint8Array {
    return by.sign(encodeReport(report({ addresses: [LOOPBACK] })), this.clock.wallMs());
  }
}

function wanted(
  port: number,
  { keys = ['k1'], ...more }: Partial<ReportsConfig> & { readonly keys?: readonly string[] } = {},
): WantedReports {
  const keyFiles = keys.map((name) => join(folder, name));
  const nodes = [{ address: LOOPBACK, port }];
  const reports = { group: undefined, nodes, keyFiles, maxSkewMs: 30_000, ...more };
  return { cluster: 'west', reports, backends: [LOOPBACK, B1] };
}

async function send(port: number, datagram: Uint8Array, to = LOOPBACK): Promise<void> {
  const link = new ReportLink({
    source: LOOPBACK,
    targets: [{ address: to, port }],
    interface: 'lo',
  });
  await link.start();
  link.send(datagram);
  await until(() => link.stats().sent === 1);
  await link.stop();
}

/** Whether a UDP port of loopback can be had. */
async function isFree(port: number): Promise<boolean> {
  const link = new UnicastLink({ local: { address: LOOPBACK, port }, peers: [] });
  try {
    await link.start(() => undefined);
    return true;
  } catch {
    return false;
  } finally {
    await link.stop();
  }
}

describe('a reload', () => {
  test('that adds reports opens the socket, and silence counts from then on', async () => {
    const port = newPort();
    await node.start(undefined);
    expect(node.intake.status()).toBeUndefined();
    expect(node.board.said(LOOPBACK, WEB_ID)).toBeUndefined();
    node.clock.advance(5_000);
    await node.reload(wanted(port), port);
    expect(node.board.said(LOOPBACK, WEB_ID)).toEqual({ kind: 'nothing', waitedMs: 0 });
    await send(port, node.made(signer()));
    await until(() => node.accepted === 1);
    expect(node.board.said(LOOPBACK, WEB_ID)).toMatchObject({ kind: 'report', healthy: true });
  });

  test('that removes them closes it, and nothing is known of any backend', async () => {
    const port = newPort();
    await node.start(wanted(port));
    await send(port, node.made(signer()));
    await until(() => node.accepted === 1);
    expect(await isFree(port)).toBe(false);
    node.intake.set(undefined);
    await until(() => node.board.said(LOOPBACK, WEB_ID) === undefined);
    expect(node.intake.status()).toBeUndefined();
    while (!(await isFree(port)));
  });

  test('that removes them and brings them back brings no old report back', async () => {
    const port = newPort();
    await node.start(wanted(port));
    const first = node.made(signer());
    await send(port, first);
    await until(() => node.accepted === 1);
    node.intake.set(undefined);
    await until(() => node.board.said(LOOPBACK, WEB_ID) === undefined);
    await node.reload(wanted(port), port);
    await send(port, first);
    await until(() => node.refused('replayed') === 1);
    expect(node.board.said(LOOPBACK, WEB_ID)?.kind).toBe('nothing');
  });

  test('that moves them opens the new place and closes the old one; who was heard stays heard', async () => {
    const [from, to] = [newPort(), newPort()];
    const reporter = signer();
    await node.start(wanted(from));
    const first = node.made(reporter);
    await send(from, first);
    await until(() => node.accepted === 1);
    await node.reload(wanted(to), to);
    expect(await isFree(from)).toBe(true);
    expect(node.board.said(LOOPBACK, WEB_ID)).toMatchObject({ kind: 'report', healthy: true });
    await send(to, first);
    await until(() => node.refused('replayed') === 1);
    await send(to, node.made(reporter));
    await until(() => node.accepted === 2);
    expect(node.intake.status()).toMatchObject({ received: 3, reporters: 1, problems: [] });
  });

  test('moves them from an address to a group and back', async () => {
    const [port, groupPort] = [newPort(), newPort()];
    const reporter = signer();
    const group = { address: GROUP, port: groupPort };
    await node.start(wanted(port));
    await node.reload(wanted(port, { group, nodes: [] }), groupPort);
    expect(node.intake.status()?.listening).toBe(`239.83.75.79:${groupPort} on lo`);
    await send(groupPort, node.made(reporter), GROUP);
    await until(() => node.accepted === 1);
    await node.reload(wanted(port), port);
    await send(port, node.made(reporter));
    await until(() => node.accepted === 2);
  });

  test('takes a new key, and refuses the old one once that is gone; replays stay known', async () => {
    const port = newPort();
    const reporter = signer();
    await node.start(wanted(port));
    const first = node.made(reporter);
    await send(port, first);
    await until(() => node.accepted === 1);
    await reloadKeys(port, ['k1', 'k2']);
    await send(port, first);
    await until(() => node.refused('replayed') === 1);
    setKey(reporter, 2);
    await send(port, node.made(reporter));
    await until(() => node.accepted === 2);
    await reloadKeys(port, ['k2']);
    await send(port, node.made(signer({ reporter: 'late' })));
    await until(() => node.refused('other_key') === 1);
    expect(node.intake.status()).toMatchObject({ reporters: 1, problems: [] });
  });

  test('changes how far clocks may differ, and the name of the cluster', async () => {
    const port = newPort();
    await node.start(wanted(port, { maxSkewMs: 30_000 }));
    const old = node.made(signer());
    node.clock.advance(5_000);
    node.intake.set({ ...wanted(port, { maxSkewMs: 1_000 }), cluster: 'east' });
    const east = signer({ cluster: 'east', reporter: 'b2' });
    // There is no telling when the socket's owner has followed but by what it does.
    await resent(
      port,
      () => node.made(east),
      () => node.accepted === 1,
    );
    await send(port, old);
    await until(() => node.refused('other_cluster') !== 0);
    node.clock.advance(1_000);
    const late = node.made(east);
    node.clock.advance(1_001);
    await send(port, late);
    await until(() => node.refused('too_old') === 1);
  });

  test('follows the last of several', async () => {
    const ports = Array.from({ length: 4 }, newPort);
    await node.start(undefined);
    for (const port of ports) node.intake.set(wanted(port));
    node.intake.set(undefined);
    const last = newPort();
    await node.reload(wanted(last), last);
    for (const port of ports) expect(await isFree(port)).toBe(true);
  });
});

/** Key files have no other sign of having been read than what is accepted afterwards. */
async function reloadKeys(port: number, keys: readonly string[]): Promise<void> {
  const other = newPort();
  await node.reload(wanted(other, { keys }), other);
  await node.reload(wanted(port, { keys }), port);
}

async function resent(port: number, make: () => Uint8Array, arrived: () => boolean) {
  while (!arrived()) await send(port, make());
}

describe('what cannot be had is named, tried again, and changes nothing else', () => {
  let blocked: number;
  let blocker: UnicastLink;
  beforeEach(async () => {
    blocked = newPort();
    blocker = new UnicastLink({ local: { address: LOOPBACK, port: blocked }, peers: [] });
    await blocker.start(() => undefined);
  });
  afterEach(() => blocker.stop());

  test('a port in use, when reports move: the old place stays', async () => {
    const port = newPort();
    const reporter = signer();
    await node.start(wanted(port));
    node.intake.set(wanted(blocked, { keys: ['k1', 'k2'] }));
    await until(() => node.problems?.length === 1);
    const problem = `cannot send and receive at 127.0.0.1:${blocked}`;
    expect(node.problems?.[0]).toContain(problem);
    expect(node.errors).toEqual([expect.stringContaining(problem)]);
    expect(node.intake.status()?.listening).toBe(`127.0.0.1:${port}`);
    setKey(reporter, 2);
    await send(port, node.made(reporter));
    await until(() => node.accepted === 1);

    await blocker.stop();
    node.clock.advance(RETRY_MIN_MS);
    await node.untilListening(blocked);
    await until(() => node.problems?.length === 0);
    expect(node.errors).toHaveLength(1);
  });

  test('a port in use, when there were no reports: nobody is said to be silent', async () => {
    await node.start(undefined);
    node.intake.set(wanted(blocked));
    await until(() => node.problems?.length === 1);
    expect(node.intake.status()?.listening).toBeNull();
    expect(node.board.said(LOOPBACK, WEB_ID)).toBeUndefined();
    // The document goes back: no trace of it.
    node.intake.set(undefined);
    expect(node.intake.status()).toBeUndefined();
  });

  test('an interface that is missing, until it is there', async () => {
    const [port, groupPort] = [newPort(), newPort()];
    await node.start(wanted(port));
    node.interfaces = [];
    node.intake.set(wanted(port, { group: { address: GROUP, port: groupPort }, nodes: [] }));
    await until(() => node.problems?.length === 1);
    expect(node.problems).toEqual(['no interface has 127.0.0.1']);
    expect(node.intake.status()?.listening).toBe(`127.0.0.1:${port}`);
    node.interfaces = ['lo'];
    node.clock.advance(RETRY_MIN_MS);
    await node.untilListening(groupPort);
  });

  test('a key that cannot be read: the keys stay, and all else is followed', async () => {
    const [from, to] = [newPort(), newPort()];
    await node.start(wanted(from));
    await node.reload(wanted(to, { keys: ['k3'] }), to);
    await until(() => node.problems?.length === 1);
    expect(node.problems?.[0]).toContain(`cannot read the key in ${join(folder, 'k3')}`);
    const reporter = signer();
    await send(to, node.made(reporter));
    await until(() => node.accepted === 1);
    writeKey('k3', 3);
    node.clock.advance(RETRY_MIN_MS);
    await until(() => node.problems?.length === 0);
    setKey(reporter, 3);
    await send(to, node.made(reporter));
    await until(() => node.accepted === 2);
  });

  test('no key at all: no socket either', async () => {
    const port = newPort();
    await node.start(undefined);
    node.intake.set(wanted(port, { keys: ['k3'] }));
    await until(() => node.problems?.length === 1);
    expect(node.intake.status()?.listening).toBeNull();
    expect(await isFree(port)).toBe(true);
  });

  test('at the start it ends the node', async () => {
    await expect(node.start(wanted(blocked))).rejects.toMatchObject({ code: 'PEERS_SOCKET' });
    await expect(node.start(wanted(newPort(), { keys: ['k3'] }))).rejects.toMatchObject({
      code: 'KEY_UNREADABLE',
    });
  });

  test('it is tried again ever more seldom, and not after the end', async () => {
    await node.start(undefined);
    node.intake.set(wanted(blocked));
    await until(() => node.problems?.length === 1);
    await node.intake.stop();
    await blocker.stop();
    node.clock.advance(100_000);
    expect(await isFree(blocked)).toBe(true);
  });
});
