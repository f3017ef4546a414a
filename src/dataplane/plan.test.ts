import { describe, expect, test } from 'vitest';
import { address } from '../model/address.ts';
import { serviceId } from '../model/service.ts';
import type { WantedBackend, WantedService } from './dataplane.ts';
import { planService, type Allocators, type ProgrammedService, type ServicePlan } from './plan.ts';
import { Slots } from './slots.ts';

const KEY = { vip: address('192.0.2.1'), protocol: 'tcp' as const, port: 80 };

function allocators(services = 4, backends = 8): Allocators {
  return {
    services: new Slots(services),
    backends: new Slots(backends),
    generations: new Uint16Array(backends),
  };
}

function backend(n: number, change: Partial<WantedBackend> = {}): WantedBackend {
  return { address: address(`10.0.0.${n}`), weight: 1, mode: 'l2dsr', state: 'up', ...change };
}

function wanted(backends: readonly WantedBackend[], change: Partial<WantedService> = {}) {
  return { ...KEY, id: serviceId(KEY), affinity: 'flow' as const, backends, ...change };
}

function planned(
  current: ProgrammedService | undefined,
  service: WantedService,
  from: Allocators,
): ServicePlan {
  const result = planService(current, service, from);
  if (result.kind !== 'plan') throw new Error(`no plan: ${result.kind}`);
  return result.plan;
}

/** Positions of backends in a plan, as `n:slot/generation`. */
function places({ next }: ServicePlan): string[] {
  return [...next.backends.values()].map(
    (each) => `${each.address.split('.')[3] ?? ''}:${each.slot}/${each.generation}`,
  );
}

describe('a new service', () => {
  const from = allocators();
  const plan = planned(undefined, wanted([backend(1), backend(2, { state: 'down' })]), from);

  test('takes an index, and a slot of a first generation for each backend', () => {
    expect(plan.next.index).toBe(0);
    expect(places(plan)).toEqual(['1:0/1', '2:1/1']);
    expect(from.services.available).toBe(3);
    expect(from.backends.available).toBe(6);
  });

  test('writes everything and removes nothing', () => {
    expect(plan.putBackends).toEqual([...plan.next.backends.values()]);
    expect(plan.putService).toBe(true);
    expect(plan.removeBackends).toEqual([]);
    expect(plan.resetSlots).toEqual([]);
  });

  test('has a ring of the slots that are up', () => {
    expect(plan.ring).toHaveLength(1021);
    expect(new Set(plan.ring)).toEqual(new Set([0]));
    expect(plan.next.ringSlots).toBe(1021);
  });
});

test('without a backend that is up the ring is empty, and written', () => {
  const plan = planned(undefined, wanted([backend(1, { state: 'draining' })]), allocators());
  expect(plan.ring).toHaveLength(0);
});

describe('a change of a service with two backends', () => {
  const before = [backend(1), backend(2)];

  interface Row {
    readonly name: string;
    readonly service: WantedService;
    readonly put: readonly string[];
    readonly removed?: readonly string[];
    readonly ring: boolean;
    readonly putService?: boolean;
  }
  const many = Array.from({ length: 11 }, (_, i) => backend(i + 1));
  const rows: readonly Row[] = [
    {
      name: 'one goes down',
      service: wanted([backend(1), backend(2, { state: 'down' })]),
      put: ['10.0.0.2'],
      ring: true,
    },
    {
      name: 'one drains',
      service: wanted([backend(1, { state: 'draining' }), backend(2)]),
      put: ['10.0.0.1'],
      ring: true,
    },
    {
      name: 'one has another weight',
      service: wanted([backend(1, { weight: 3 }), backend(2)]),
      put: ['10.0.0.1'],
      ring: true,
    },
    {
      name: 'one comes, down',
      service: wanted([...before, backend(3, { state: 'down' })]),
      put: ['10.0.0.3'],
      ring: false,
    },
    {
      name: 'one comes, up',
      service: wanted([...before, backend(3)]),
      put: ['10.0.0.3'],
      ring: true,
    },
    {
      name: 'one goes',
      service: wanted([backend(2)]),
      put: [],
      removed: ['10.0.0.1'],
      ring: true,
    },
    {
      name: 'one replaces another',
      service: wanted([backend(1), backend(3)]),
      put: ['10.0.0.3'],
      removed: ['10.0.0.2'],
      ring: true,
    },
    {
      name: 'another affinity',
      service: wanted(before, { affinity: 'client' }),
      put: [],
      ring: false,
      putService: true,
    },
    {
      name: 'enough come for a larger ring',
      service: wanted(many),
      put: many.slice(2).map((each) => each.address),
      ring: true,
      putService: true,
    },
  ];

  test.each(rows)('$name', ({ service, put, removed = [], ring, putService = false }) => {
    const from = allocators(4, 16);
    const current = planned(undefined, wanted(before), from).next;
    const plan = planned(current, service, from);
    expect(plan.putBackends.map((each) => each.address)).toEqual(put);
    expect(plan.removeBackends.map((each) => each.address)).toEqual(removed);
    expect(plan.ring !== undefined).toBe(ring);
    expect(plan.putService).toBe(putService);
    expect(plan.next.index).toBe(current.index);
    for (const [owner, place] of current.backends) {
      const now = plan.next.backends.get(owner);
      if (now === undefined) continue;
      expect([now.slot, now.generation], 'who stays keeps its slot').toEqual([
        place.slot,
        place.generation,
      ]);
    }
  });

  test.each([
    ['the same again', wanted([backend(1), backend(2)])],
    ['in another order', wanted([backend(2), backend(1)])],
  ])('%s: unchanged', (_, service) => {
    const from = allocators();
    const { next } = planned(undefined, wanted(before), from);
    expect(planService(next, service, from)).toEqual({ kind: 'unchanged' });
    expect(from.backends.available).toBe(6);
  });

  test('two that are both down: a weight changes no ring', () => {
    const from = allocators();
    const down = [backend(1), backend(2, { state: 'down' })];
    const { next } = planned(undefined, wanted(down), from);
    const heavier = [backend(1), backend(2, { state: 'down', weight: 9 })];
    expect(planned(next, wanted(heavier), from).ring).toBeUndefined();
  });
});

describe('no room', () => {
  test('for a service', () => {
    const from = allocators(0);
    expect(planService(undefined, wanted([]), from)).toEqual({
      kind: 'no_room',
      message: 'tcp/192.0.2.1:80: no room, the limit is 0 services',
    });
  });

  test('for all of its backends: none is taken', () => {
    const from = allocators(4, 2);
    expect(planService(undefined, wanted([backend(1), backend(2), backend(3)]), from)).toEqual({
      kind: 'no_room',
      message: 'tcp/192.0.2.1:80: no room, the limit is 2 backends',
    });
    expect(from.backends.available).toBe(2);
    expect(from.services.available).toBe(4);
  });

  test('for one more, but enough for those that are there', () => {
    const from = allocators(1, 2);
    const { next } = planned(undefined, wanted([backend(1), backend(2)]), from);
    expect(planService(next, wanted([backend(1), backend(2), backend(3)]), from).kind).toBe(
      'no_room',
    );
    expect(planService(next, wanted([backend(1), backend(2, { weight: 2 })]), from).kind).toBe(
      'plan',
    );
  });
});

describe('a slot that is used again', () => {
  test('has another generation, and its counters start anew', () => {
    const from = allocators(4, 1);
    const first = planned(undefined, wanted([backend(1)]), from);
    expect(first.resetSlots).toEqual([]);
    from.backends.free(0);
    const second = planned(undefined, wanted([backend(2)]), from);
    expect(places(second)).toEqual(['2:0/2']);
    expect(second.resetSlots).toEqual([0]);
  });

  test('never has generation 0, which stands for never used', () => {
    const from = allocators(4, 1);
    from.generations[0] = 0xffff;
    expect(places(planned(undefined, wanted([backend(1)]), from))).toEqual(['1:0/1']);
  });
});

test('after a restart the ring is not known, so it is written; the rest stays', () => {
  const from = allocators();
  const { next } = planned(undefined, wanted([backend(1)]), from);
  const plan = planned({ ...next, ringSource: undefined }, wanted([backend(1)]), from);
  expect(plan).toMatchObject({ putBackends: [], removeBackends: [], putService: false });
  expect(plan.ring).toHaveLength(1021);
});
