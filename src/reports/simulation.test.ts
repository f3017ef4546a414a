/**
 * Everything but sockets, in made-up time: reporters, a network that loses, repeats and reorders, an
 * attacker that records, changes and sends again, and a node that acts on what it hears.
 */
import { setImmediate as turn } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { address, formatEndpoint, type Address } from '../model/address.ts';
import { BACKEND_A, BACKEND_B, probesOf, reportCheck, service } from '../health/fixtures.ts';
import { ReportProbe } from '../health/report.ts';
import { HealthScheduler } from '../health/scheduler.ts';
import { ManualClock } from '../lib/clock.ts';
import { seededRandom } from '../peers/virtual-time.ts';
import { key, signer, TestLink, TestNode } from './fixture.ts';
import { Reporter } from './reporter.ts';

const WEB = service([reportCheck()]);
const SILENCE_MS = reportCheck().silenceMs;
const INTERVAL_MS = 3_000;
const STEP_MS = 50;

class Network {
  readonly clock = new ManualClock();
  readonly node: TestNode;
  readonly scheduler: HealthScheduler;
  /** Everything that was ever sent. */
  readonly recorded: { readonly datagram: Uint8Array; readonly from: Address }[] = [];
  readonly random: () => number;
  lossy = false;
  readonly #reporters = new Map<
    Address,
    { readonly reporter: Reporter; readonly link: TestLink }
  >();
  readonly #cut = new Set<TestLink>();

  constructor(seed: number) {
    this.random = seededRandom(seed);
    this.node = new TestNode(this.clock, (backend, changed) => {
      this.scheduler.hear(backend, changed);
    });
    this.node.board.setBackends([BACKEND_A, BACKEND_B]);
    const probe = new ReportProbe({
      clock: this.clock,
      said: (backend, id) => this.node.board.said(backend, id),
      silent: (backend) => {
        this.scheduler.hear(backend, true);
      },
    });
    const unused = { check: () => Promise.reject(new Error('not a check of reports')) };
    this.scheduler = new HealthScheduler({
      clock: this.clock,
      probes: probesOf(unused),
      reports: probe,
      path: () => undefined,
      diagnose: () => Promise.reject(new Error('nothing to look into')),
      random: this.random,
    });
    this.scheduler.set([WEB]);
  }

  async start(): Promise<void> {
    await this.node.receiver.listen(this.node.link);
    this.scheduler.start();
  }

  async startReporter(at: Address): Promise<void> {
    const link = new TestLink();
    const reporter = new Reporter({
      clock: this.clock,
      link,
      signer: signer({ reporter: at, incarnation: this.clock.wallMs(), addresses: [at] }),
      addresses: [at],
      checks: [],
      intervalMs: INTERVAL_MS,
      logger: { info: () => undefined, warn: () => undefined },
    });
    link.send = (datagram) => {
      if (this.#cut.has(link)) return;
      this.recorded.push({ datagram, from: at });
      this.#carry(datagram, at);
    };
    this.#reporters.set(at, { reporter, link });
    await reporter.open();
    reporter.begin();
  }

  /** SIGKILL: it says nothing more. */
  killReporter(at: Address): void {
    const found = this.#reporters.get(at);
    if (found !== undefined) this.#cut.add(found.link);
  }

  async stopReporter(at: Address): Promise<void> {
    const stopped = this.#reporters.get(at)?.reporter.stop();
    await this.pass(200);
    await stopped;
  }

  inject(datagram: Uint8Array, from: Address): void {
    this.node.link.deliver(datagram, formatEndpoint(from, 40_000));
  }

  async pass(ms: number, each: () => void = () => undefined): Promise<void> {
    for (let doneMs = 0; doneMs < ms; doneMs += STEP_MS) {
      this.clock.advance(STEP_MS);
      await turn();
      each();
    }
  }

  state(at: Address) {
    return this.scheduler.view().get(WEB.id)?.get(at)?.state;
  }

  #carry(datagram: Uint8Array, from: Address): void {
    if (!this.lossy) {
      this.inject(datagram, from);
      return;
    }
    // Half is lost or late; some comes twice.
    for (let copies = this.random() < 0.2 ? 2 : 1; copies > 0; copies -= 1) {
      if (this.random() < 0.25) continue;
      const delayMs = this.random() < 0.3 ? this.random() * 2 * INTERVAL_MS : 0;
      this.clock.after(delayMs, () => {
        this.inject(datagram, from);
      });
    }
  }
}

/** What an attacker on the network can make without the key. */
function attack(network: Network): void {
  const { recorded, random } = network;
  const pick = <T>(from: readonly T[]) => from[Math.floor(random() * from.length)];
  const one = pick(recorded);
  if (one === undefined) return;
  network.inject(one.datagram, one.from);
  const flipped = Uint8Array.from(one.datagram);
  const at = Math.floor(random() * flipped.length);
  flipped[at] = (flipped[at] ?? 0) ^ (1 << Math.floor(random() * 8));
  network.inject(flipped, one.from);
  network.inject(one.datagram.subarray(0, -32), one.from);
  const about = { addresses: [one.from] };
  network.inject(
    network.node.made(signer({ reporter: one.from, key: key(9), ...about }), about),
    one.from,
  );
  network.inject(network.node.made(signer({ cluster: 'east', ...about }), about), one.from);
  // Who has the cluster's key and speaks for somebody who lives, from elsewhere.
  const incarnation = network.clock.wallMs();
  const insider = signer({ reporter: 'insider', incarnation, ...about });
  network.inject(network.node.made(insider, about), address('10.0.0.66'));
  // Who has the key of another backend, and sends as the one that it is about.
  const other = one.from === BACKEND_A ? BACKEND_B : BACKEND_A;
  const intruder = signer({ reporter: one.from, incarnation, addresses: [other] });
  network.inject(network.node.made(intruder, about), one.from);
}

const SEEDS = [1, 2, 3, Date.now() % 2 ** 31];

test.each(SEEDS)(
  'a reporter dies, its backend leaves in time, and nobody else can bring it back, seed %i',
  async (seed) => {
    const network = new Network(seed);
    await network.start();
    await network.startReporter(BACKEND_A);
    await network.startReporter(BACKEND_B);
    await network.pass(1_000);
    expect([network.state(BACKEND_A), network.state(BACKEND_B)]).toEqual(['up', 'up']);

    // Attacked all the while, nothing changes.
    await network.pass(30_000, () => {
      attack(network);
      expect([network.state(BACKEND_A), network.state(BACKEND_B)]).toEqual(['up', 'up']);
    });

    network.killReporter(BACKEND_A);
    const diedMs = network.clock.nowMs();
    let leftMs: number | undefined;
    await network.pass(2 * SILENCE_MS, () => {
      attack(network);
      if (network.state(BACKEND_A) === 'down') leftMs ??= network.clock.nowMs();
      else expect(leftMs, 'it came back').toBeUndefined();
      expect(network.state(BACKEND_B)).toBe('up');
    });
    expect(leftMs).toBeDefined();
    expect((leftMs ?? Infinity) - diedMs).toBeLessThanOrEqual(SILENCE_MS + STEP_MS);

    await network.startReporter(BACKEND_A);
    await network.pass(2 * STEP_MS);
    expect(network.state(BACKEND_A)).toBe('up');

    const { refused } = network.node.receiver.status();
    for (const reason of ['forged', 'unsigned', 'other_key', 'other_cluster', 'replayed']) {
      expect(refused[reason], reason).toBeGreaterThan(100);
    }
    expect(refused['foreign_source']).toBeGreaterThan(100);
    expect(network.node.board.reporters).toBe(2);
  },
);

test.each(SEEDS)('half the reports lost or late is not silence, seed %i', async (seed) => {
  const network = new Network(seed);
  // Enough reports that all of one silence are lost less often than once in a thousand runs.
  network.scheduler.set([service([reportCheck({ silenceMs: 20 * INTERVAL_MS })])]);
  network.lossy = true;
  await network.start();
  await network.startReporter(BACKEND_A);
  await network.pass(20 * INTERVAL_MS);
  await network.pass(60_000, () => {
    expect(network.state(BACKEND_A)).toBe('up');
  });
});

test('a backend that stops in order leaves at once', async () => {
  const network = new Network(1);
  await network.start();
  await network.startReporter(BACKEND_A);
  await network.pass(INTERVAL_MS + 500);
  await network.stopReporter(BACKEND_A);
  expect(network.state(BACKEND_A)).toBe('down');
  const health = network.scheduler.view().get(WEB.id)?.get(BACKEND_A);
  expect(health?.reason).toContain('going away');
  expect(health?.checks[0]?.last).toMatchObject({ reason: 'report_unhealthy' });
});
