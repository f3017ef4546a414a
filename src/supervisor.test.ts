/**
 * The order of things, with time driven by hand: a data plane in memory, an announcer that records,
 * and health that the test sets.
 */
import { beforeEach, describe, expect, test } from 'vitest';
import { RecordingAnnouncer } from './bgp/recording.ts';
import { MemoryDataplane } from './dataplane/memory.ts';
import { wantedService } from './desired.ts';
import { ManualClock } from './lib/clock.ts';
import { silentLogger } from './lib/logger.ts';
import type { Address } from './model/address.ts';
import type { BackendHealth, HealthState, HealthView } from './model/health.ts';
import type { ServiceId } from './model/service.ts';
import type { Gate } from './peers/join.ts';
import type { PeersStatus } from './peers/status.ts';
import { Supervisor, type Health, type Peers } from './supervisor.ts';
import { B1, B2, backend, nodeConfig, service, VIP } from './testing.ts';

class GivenHealth implements Health {
  version = 0;
  readonly adopted: string[] = [];
  readonly #view = new Map<ServiceId, Map<Address, BackendHealth>>();

  is(id: ServiceId, address: Address, state: HealthState): void {
    const known = this.#view.get(id) ?? new Map<Address, BackendHealth>();
    this.#view.set(id, known.set(address, { state, sinceMs: 0, reason: '', checks: [] }));
    this.version += 1;
  }

  set(): void {
    this.version += 1;
  }

  adopt(id: ServiceId, address: Address, state: HealthState): boolean {
    this.adopted.push(`${id} ${address} ${state}`);
    this.is(id, address, state);
    return true;
  }

  view(): HealthView {
    return this.#view;
  }
}

const web = service(80);
let clock: ManualClock;
let health: GivenHealth;
let announcer: RecordingAnnouncer;
let dataplane: MemoryDataplane;
let peers: Peers | undefined;

function supervise(config = nodeConfig([web])): Supervisor {
  const parts = { config, dataplane, announcer, health, clock, peers };
  const supervisor = new Supervisor({ ...parts, logger: silentLogger, version: '0' });
  supervisor.start();
  return supervisor;
}

function announced(): string[] {
  return announcer.history.at(-1)?.routes.map(({ prefix }) => prefix.address) ?? [];
}

function statesOf(id: ServiceId): string[] {
  const programmed = dataplane.services.find((each) => each.id === id);
  return programmed?.backends.map(({ state }) => state) ?? [];
}

beforeEach(() => {
  clock = new ManualClock();
  health = new GivenHealth();
  announcer = new RecordingAnnouncer();
  dataplane = new MemoryDataplane();
  peers = undefined;
});

describe('starting', () => {
  test('programs first, announces only once checks have passed', () => {
    const supervisor = supervise();
    expect(statesOf(web.id)).toEqual(['down', 'down']);
    expect(announced()).toEqual([]);
    expect(supervisor.snapshot().vips[0]?.reason).toBe('checks_pending');

    health.is(web.id, B1, 'up');
    clock.advance(100);
    expect(statesOf(web.id)).toEqual(['up', 'down']);
    expect(announced()).toEqual([VIP]);
    expect(announcer.history.at(-1)?.routes[0]?.nextHop).toBe('10.0.0.1');
  });

  test('a service that cannot be programmed keeps its VIP back, and is tried again', () => {
    dataplane.broken.add(web.id);
    const supervisor = supervise();
    health.is(web.id, B1, 'up');
    clock.advance(50);
    expect(announced()).toEqual([]);
    expect(supervisor.snapshot().vips[0]?.reason).toBe('not_programmed');
    expect(supervisor.snapshot().dataplane.failures).toEqual([`${web.id}: no room`]);

    dataplane.broken.clear();
    clock.advance(500);
    expect(announced()).toEqual([VIP]);
  });

  test('failed writes are tried ever less often', () => {
    dataplane.broken.add(web.id);
    supervise();
    clock.advance(60_000);
    expect(dataplane.reconciles).toBeGreaterThan(5);
    expect(dataplane.reconciles).toBeLessThan(20);
  });

  test('takes over the states that it finds in the maps, and announces without a gap', () => {
    health.is(web.id, B1, 'up');
    health.is(web.id, B2, 'down');
    dataplane = new MemoryDataplane([wantedService(web, health.view())]);
    health = new GivenHealth();
    supervise();
    expect(health.adopted).toEqual([`${web.id} ${B1} up`, `${web.id} ${B2} down`]);
    expect(statesOf(web.id)).toEqual(['up', 'down']);
    expect(announcer.history.map(({ routes }) => routes.length)).toEqual([1]);
  });

  test('a backend that was draining goes on draining', () => {
    const draining = service(80, {
      backends: [backend('b1'), backend('b2', { intent: 'draining' })],
    });
    for (const each of [B1, B2]) health.is(web.id, each, 'up');
    dataplane = new MemoryDataplane([wantedService(draining, health.view())]);
    expect(statesOf(web.id)).toEqual(['up', 'draining']);
    health = new GivenHealth();
    supervise(nodeConfig([draining]));
    clock.advance(20);
    expect(statesOf(web.id)).toEqual(['up', 'draining']);
  });

  test('keeps VIPs back until the flows of the peers are here', () => {
    let gate: Gate = { open: false, reason: 'snapshot', percent: 40 };
    peers = { gate: () => gate, status: () => ({}) as PeersStatus };
    const supervisor = supervise();
    health.is(web.id, B1, 'up');
    clock.advance(20);
    expect(announced()).toEqual([]);
    expect(supervisor.snapshot().vips[0]).toMatchObject({
      reason: 'not_synced',
      explanation: expect.stringContaining('40 %') as string,
    });

    const since = supervisor.snapshot().vips[0]?.sinceMs;
    gate = { open: false, reason: 'snapshot', percent: 80 };
    clock.advance(1000);
    const waiting = supervisor.snapshot().vips[0];
    expect(waiting?.explanation).toContain('80 %');
    // Still the same verdict: since then, and logged once.
    expect(waiting?.sinceMs).toBe(since);

    gate = { open: true };
    clock.advance(20);
    expect(announced()).toEqual([VIP]);
  });

  test('waits for them, too, when the supervisor before was stopped, or had not begun', () => {
    peers = {
      gate: () => ({ open: false, reason: 'listening' }),
      status: () => ({}) as PeersStatus,
    };
    health.is(web.id, B1, 'up');
    dataplane = new MemoryDataplane([wantedService(web, health.view())], false);
    const supervisor = supervise();
    clock.advance(20);
    expect(announced()).toEqual([]);
    expect(supervisor.snapshot().vips[0]?.reason).toBe('not_synced');
    expect(dataplane.inService).toBe(false);
  });

  test('does not wait for its peers when it took its own flows over', () => {
    health.is(web.id, B1, 'up');
    dataplane = new MemoryDataplane([wantedService(web, health.view())]);
    health = new GivenHealth();
    peers = {
      gate: () => ({ open: false, reason: 'listening' }),
      status: () => ({}) as PeersStatus,
    };
    supervise();
    expect(announced()).toEqual([VIP]);
    expect(dataplane.inService).toBe(true);
  });

  test('does nothing while nothing changes', () => {
    supervise();
    clock.advance(30_000);
    expect(dataplane.reconciles).toBe(1);
  });
});

describe('health', () => {
  test('too few backends withdraw the VIP; their return announces it again', () => {
    const needTwo = service(80, { need: 2 });
    const supervisor = supervise(nodeConfig([needTwo]));
    health.is(web.id, B1, 'up');
    health.is(web.id, B2, 'up');
    clock.advance(20);
    expect(announced()).toEqual([VIP]);

    health.is(web.id, B2, 'down');
    clock.advance(20);
    expect(announced()).toEqual([]);
    expect(supervisor.snapshot().vips[0]?.explanation).toContain('has 1 of 2 needed backends up');

    health.is(web.id, B2, 'up');
    clock.advance(20);
    expect(announced()).toEqual([VIP]);
  });

  test('a draining backend that is healthy keeps its flows and gets no new ones', () => {
    const draining = [backend('b1'), backend('b2', { intent: 'draining' })];
    supervise(nodeConfig([service(80, { backends: draining })]));
    health.is(web.id, B1, 'up');
    health.is(web.id, B2, 'up');
    clock.advance(20);
    expect(statesOf(web.id)).toEqual(['up', 'draining']);
  });
});

describe('reload', () => {
  test('a removed VIP is withdrawn at once and forwarded for as long as a drain takes', () => {
    const other = { ...service(81), vip: B2 };
    const supervisor = supervise(nodeConfig([web, other]));
    health.is(web.id, B1, 'up');
    health.is(other.id, B1, 'up');
    clock.advance(20);
    expect(announced()).toEqual([VIP, B2]);

    supervisor.reload(nodeConfig([web]));
    clock.advance(20);
    expect(announced()).toEqual([VIP]);
    expect(dataplane.services.map(({ id }) => id)).toEqual([web.id, other.id]);

    clock.advance(1000);
    expect(dataplane.services.map(({ id }) => id)).toEqual([web.id]);
  });

  test('a service that comes back while it leaves is not programmed twice', () => {
    const other = service(81);
    const supervisor = supervise(nodeConfig([web, other]));
    supervisor.reload(nodeConfig([web]));
    clock.advance(100);
    supervisor.reload(nodeConfig([web, other]));
    clock.advance(100);
    expect(dataplane.services.map(({ id }) => id)).toEqual([web.id, other.id]);
  });

  test('a refused document changes nothing but what is shown, until a good one comes', () => {
    const supervisor = supervise();
    const { digest } = supervisor.snapshot().config;
    const problem = { file: 'a.yaml', line: 3, column: 7, path: 'services', message: 'is missing' };
    supervisor.refuse([problem]);
    clock.advance(1000);
    expect(supervisor.snapshot().config).toMatchObject({
      digest,
      refused: [{ line: 3, column: 7, path: 'services', message: 'is missing' }],
    });
    expect(dataplane.reconciles).toBe(1);

    supervisor.reload(nodeConfig([web]));
    expect(supervisor.snapshot().config.refused).toEqual([]);
  });
});

describe('a bgp section', () => {
  const config = nodeConfig([web]);
  const silent = { ...config, cluster: { ...config.cluster, bgp: undefined } };

  test('that is taken out takes the routes with it, and nothing comes back', async () => {
    const supervisor = supervise();
    health.is(web.id, B1, 'up');
    clock.advance(20);
    expect(announced()).toEqual([VIP]);
    const { speaker } = announcer.history.at(-1) ?? {};

    supervisor.reload(silent);
    clock.advance(20);
    expect(announcer.history.at(-1)).toEqual({ speaker, routes: [] });
    expect(supervisor.snapshot().bgp).toBeNull();

    health.is(web.id, B2, 'up');
    clock.advance(20);
    expect(announced()).toEqual([]);
    supervisor.reload(config);
    clock.advance(20);
    expect(announced()).toEqual([VIP]);
    supervisor.reload(silent);
    // The withdrawal is waited for, and then that traffic has moved.
    const drained = supervisor.drain(1000);
    expect(announced()).toEqual([]);
    await announcer.settled();
    clock.advance(1000);
    await drained;
  });

  test('that comes with a reload announces what is up', () => {
    const supervisor = supervise(silent);
    health.is(web.id, B1, 'up');
    clock.advance(20);
    expect(announcer.history).toEqual([]);
    supervisor.reload(config);
    clock.advance(20);
    expect(announced()).toEqual([VIP]);
  });
});

describe('stopping', () => {
  test('withdraws, goes on forwarding while traffic moves, and only then is done', async () => {
    const supervisor = supervise();
    health.is(web.id, B1, 'up');
    clock.advance(20);
    expect(announced()).toEqual([VIP]);

    let done = false;
    const drained = supervisor.drain(1000).then(() => {
      done = true;
    });
    expect(announced()).toEqual([]);
    expect(supervisor.snapshot().vips[0]?.reason).toBe('stopping');
    expect(dataplane.inService, 'the next one waits for the peers').toBe(false);
    await announcer.settled();
    clock.advance(900);
    await Promise.resolve();
    expect(done).toBe(false);
    expect(statesOf(web.id)).toEqual(['up', 'down']);

    clock.advance(200);
    await drained;
    health.is(web.id, B1, 'down');
    clock.advance(1000);
    expect(statesOf(web.id)).toEqual(['up', 'down']);
  });
});
