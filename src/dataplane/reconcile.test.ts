/** The order of the writes, and that whatever fails is made good by the next call. */
import { describe, expect, test } from 'vitest';
import { address, formatPrefix, parsePrefix, type Address } from '../model/address.ts';
import { ruleText, type SourceRule } from '../model/admission.ts';
import { serviceId } from '../model/service.ts';
import type { WantedService } from './dataplane.ts';
import { NatTable, type NatMaps } from './nat-sources.ts';
import type { ProgrammedBackend } from './plan.ts';
import { reconcileServices, type ReconcileContext, type WritableMaps } from './reconcile.ts';
import { Slots } from './slots.ts';

const LIMITS = { services: 4, backends: 6 };

/** Maps that write down what is written, and fail where they are told to. */
class RecordingMaps implements WritableMaps, NatMaps {
  readonly log: string[] = [];
  /** What a packet would find. */
  readonly vips = new Set<Address>();
  filter: ReadonlySet<Address> = new Set();
  readonly services = new Map<string, { index: number; ringSlots: number }>();
  readonly rings = new Map<number, Uint32Array>();
  readonly backends = new Map<number, string>();
  /** By service index: prefix and whether it admits. */
  readonly sources = new Map<number, Map<string, boolean>>();
  /** The writes that fail, by name. */
  broken = new Set<string>();

  #write(name: string, detail = ''): void {
    this.log.push(detail === '' ? name : `${name} ${detail}`);
    if (this.broken.has(name)) throw new Error(`${name} failed`);
    this.#checkInvariants(name);
  }

  /** Holds before every write, so also for a packet that comes in between. */
  #checkInvariants(before: string): void {
    for (const [id, { index, ringSlots }] of this.services) {
      const ring = this.rings.get(index);
      const known = ring === undefined ? 0 : Math.max(ring.length, 1);
      const slots = [...new Set(ring)].filter((slot) => !this.backends.has(slot));
      if (known < ringSlots && ring?.length !== 0) {
        throw new Error(`${before}: ${id} counts more slots than its ring has`);
      }
      if (slots.length > 0 && before !== 'clearBackends') {
        throw new Error(`${before}: the ring of ${id} names slots ${slots.join()} of no backend`);
      }
    }
  }

  readonly putBackends: WritableMaps['putBackends'] = (entries) => {
    if (entries.length === 0) return;
    this.#write('putBackends', entries.map(({ backend }) => backend.slot).join());
    for (const { backend } of entries) this.backends.set(backend.slot, describeBackend(backend));
  };
  readonly clearBackends: WritableMaps['clearBackends'] = (backends) => {
    if (backends.length === 0) return;
    this.#write('clearBackends', backends.map(({ slot }) => slot).join());
    for (const { slot } of backends) this.backends.delete(slot);
  };
  readonly putSources: WritableMaps['putSources'] = (service, rules) => {
    if (rules.length === 0) return;
    this.#write('putSources', `${service} ${rules.map(ruleText).join()}`);
    const known = this.sources.get(service) ?? new Map<string, boolean>();
    for (const { prefix, admits } of rules) known.set(formatPrefix(prefix), admits);
    this.sources.set(service, known);
  };
  readonly removeSources: WritableMaps['removeSources'] = (service, rules) => {
    if (rules.length === 0) return;
    this.#write('removeSources', `${service} ${rules.map(ruleText).join()}`);
    for (const { prefix } of rules) this.sources.get(service)?.delete(formatPrefix(prefix));
  };
  readonly resetLocals: WritableMaps['resetLocals'] = (slots) => {
    if (slots.length > 0) this.#write('resetLocals', slots.join());
  };
  readonly putRings: WritableMaps['putRings'] = (rings) => {
    if (rings.length === 0) return;
    this.#write('putRings', rings.map(({ index }) => index).join());
    for (const { index, ring } of rings) this.rings.set(index, ring);
  };
  readonly putService: WritableMaps['putService'] = ({ id, index, ringSlots }) => {
    this.#write('putService', id);
    this.services.set(id, { index, ringSlots });
  };
  readonly removeService: WritableMaps['removeService'] = (key) => {
    this.#write('removeService', serviceId(key));
    this.services.delete(serviceId(key));
  };
  readonly putVip: WritableMaps['putVip'] = (vip) => {
    this.#write('putVip', vip);
    this.vips.add(vip);
  };
  readonly removeVip: WritableMaps['removeVip'] = (vip) => {
    this.#write('removeVip', vip);
    this.vips.delete(vip);
  };
  readonly putNatSource: NatMaps['putNatSource'] = ({ address: from, port, candidates }) => {
    const texts = candidates.map((each) => `${each.vip}:${each.port}`);
    this.#write('putNatSource', `${from}:${port} -> ${texts.join()}`);
  };
  readonly removeNatSource: NatMaps['removeNatSource'] = ({ address: from, port }) => {
    this.#write('removeNatSource', `${from}:${port}`);
  };
  readonly writeVips = (vips: ReadonlySet<Address>) => {
    this.#write('writeVips', [...vips].join());
    this.filter = new Set(vips);
  };
}

function describeBackend({ address: where, weight, state, generation }: ProgrammedBackend): string {
  return `${where} weight ${weight} ${state} generation ${generation}`;
}

function setUp(): { maps: RecordingMaps; context: ReconcileContext } {
  const maps = new RecordingMaps();
  const context = {
    maps,
    programmed: new Map(),
    vips: new Set<Address>(),
    allocators: {
      services: new Slots(LIMITS.services),
      backends: new Slots(LIMITS.backends),
      generations: new Uint16Array(LIMITS.backends),
    },
    nat: new NatTable(maps),
    writeVips: maps.writeVips,
  };
  return { maps, context };
}

/** `+10.0.0.0/8` admits, `-10.1.0.0/16` does not. */
function rules(...texts: readonly string[]): SourceRule[] {
  return texts.map((text) => ({
    prefix: parsePrefix(text.slice(1))!,
    admits: text.startsWith('+'),
  }));
}

function service(
  vip: number,
  port: number,
  backends: readonly number[],
  sources: readonly SourceRule[] = [],
): WantedService {
  const key = { vip: address(`192.0.2.${vip}`), protocol: 'tcp' as const, port };
  return {
    ...key,
    id: serviceId(key),
    affinity: 'flow',
    admission: { sources, newFlowsPerS: undefined, newFlowsBurst: undefined },
    backends: backends.map((n) => ({
      address: address(`10.0.0.${n}`),
      weight: 1,
      mode: 'l2dsr',
      state: 'up',
    })),
  };
}

/** What the maps say, without the numbers of slots and generations. */
function meaning(maps: RecordingMaps): unknown {
  return {
    vips: [...maps.vips].sort(),
    filter: [...maps.filter].sort(),
    services: [...maps.services]
      .map(([id, { index, ringSlots }]) => {
        const ring = maps.rings.get(index) ?? new Uint32Array(0);
        const owners = new Set(Array.from(ring, (slot) => maps.backends.get(slot)));
        const names = [...owners].map((each) => each?.split(' generation')[0]);
        const sources = [...(maps.sources.get(index) ?? [])].sort();
        return { id, ringSlots, owners: names.sort(), sources };
      })
      .sort((a, b) => a.id.localeCompare(b.id)),
    backends: [...maps.backends.values()].map((each) => each.split(' generation')[0]).sort(),
  };
}

function fresh(wanted: readonly WantedService[]): unknown {
  const { maps, context } = setUp();
  expect(reconcileServices(context, wanted).failures).toEqual([]);
  return meaning(maps);
}

describe('the order of writes', () => {
  test('in: VIP, backends, ring, service', () => {
    const { maps, context } = setUp();
    const result = reconcileServices(context, [service(1, 80, [1, 2])]);
    expect(maps.log).toEqual([
      'putVip 192.0.2.1',
      'writeVips 192.0.2.1',
      'putBackends 0,1',
      'putRings 0',
      'putService tcp/192.0.2.1:80',
    ]);
    expect(result).toMatchObject({ writes: 6, failures: [] });
    expect([...result.programmed]).toEqual(['tcp/192.0.2.1:80']);
  });

  test('out: service, backends, VIP', () => {
    const { maps, context } = setUp();
    reconcileServices(context, [service(1, 80, [1, 2])]);
    maps.log.length = 0;
    expect(reconcileServices(context, []).programmed.size).toBe(0);
    expect(maps.log).toEqual([
      'removeService tcp/192.0.2.1:80',
      'clearBackends 0,1',
      'removeVip 192.0.2.1',
      'writeVips',
    ]);
  });

  test('what goes makes room for what comes', () => {
    const { maps, context } = setUp();
    reconcileServices(context, [service(1, 80, [1, 2, 3, 4, 5, 6])]);
    maps.log.length = 0;
    const result = reconcileServices(context, [service(2, 80, [6, 7, 8, 9, 10, 11])]);
    expect(result.failures).toEqual([]);
    expect(maps.log.slice(0, 5).map((line) => line.split(' ')[0])).toEqual([
      'removeService',
      'clearBackends',
      'removeVip',
      'writeVips',
      'putVip',
    ]);
  });

  test('a backend is in the ring no more when its slot is cleared', () => {
    const { maps, context } = setUp();
    reconcileServices(context, [service(1, 80, [1, 2])]);
    maps.log.length = 0;
    reconcileServices(context, [service(1, 80, [2, 3])]);
    expect(maps.log).toEqual(['putBackends 2', 'putRings 0', 'clearBackends 0']);
  });

  test('rules come before the service that asks them, and go after', () => {
    const { maps, context } = setUp();
    reconcileServices(context, [service(1, 80, [1], rules('-10.0.0.0/8'))]);
    expect(maps.log.slice(-3)).toEqual([
      'putSources 0 deny 10.0.0.0/8',
      'putRings 0',
      'putService tcp/192.0.2.1:80',
    ]);
    maps.log.length = 0;
    reconcileServices(context, [service(1, 80, [1], rules('+10.0.0.0/8', '-10.1.0.0/16'))]);
    expect(maps.log).toEqual([
      'putSources 0 allow 10.0.0.0/8,deny 10.1.0.0/16',
      'putService tcp/192.0.2.1:80',
    ]);
    maps.log.length = 0;
    reconcileServices(context, [service(1, 80, [1])]);
    expect(maps.log).toEqual([
      'putService tcp/192.0.2.1:80',
      'removeSources 0 allow 10.0.0.0/8,deny 10.1.0.0/16',
    ]);
  });

  test('a second call with the same services writes nothing', () => {
    const { maps, context } = setUp();
    const wanted = [service(1, 80, [1]), service(1, 443, [1]), service(2, 80, [])];
    reconcileServices(context, wanted);
    maps.log.length = 0;
    expect(reconcileServices(context, wanted)).toMatchObject({ writes: 0, failures: [] });
    expect(maps.log).toEqual([]);
  });

  test('a VIP stays while a service of it is left', () => {
    const { maps, context } = setUp();
    reconcileServices(context, [service(1, 80, [1]), service(1, 443, [1])]);
    maps.log.length = 0;
    reconcileServices(context, [service(1, 443, [1])]);
    expect(maps.log).toEqual(['removeService tcp/192.0.2.1:80', 'clearBackends 0']);
  });
});

describe('a backend in mode nat', () => {
  const nat = (vip: number, port: number): WantedService => {
    const plain = service(vip, 80, [1]);
    const [backend] = plain.backends;
    return { ...plain, backends: [{ ...backend!, mode: 'nat', forwarding: { port } }] };
  };

  test('is expected before packets go to it, and for as long as they do', () => {
    const { maps, context } = setUp();
    reconcileServices(context, [nat(1, 8080)]);
    expect(maps.log.slice(2, 4)).toEqual([
      'putNatSource 10.0.0.1:8080 -> 192.0.2.1:80',
      'putBackends 0',
    ]);
    maps.log.length = 0;
    expect(reconcileServices(context, [nat(1, 8081)])).toMatchObject({ writes: 3, failures: [] });
    expect(maps.log).toEqual([
      'putNatSource 10.0.0.1:8081 -> 192.0.2.1:80',
      'putBackends 0',
      'removeNatSource 10.0.0.1:8080',
    ]);
  });

  test('is not used while its replies are not', () => {
    const { maps, context } = setUp();
    maps.broken = new Set(['putNatSource']);
    const wanted = [nat(1, 8080), service(2, 80, [2])];
    const first = reconcileServices(context, wanted);
    expect(first.failures).toEqual(['NAT: putNatSource failed']);
    expect([...first.programmed]).toEqual(['tcp/192.0.2.2:80']);
    maps.broken = new Set();
    expect(reconcileServices(context, wanted).programmed.size).toBe(2);
  });
});

test('a service for which there is no room is named, and the others are programmed', () => {
  const { maps, context } = setUp();
  const wanted = [service(1, 80, [1, 2, 3, 4, 5, 6, 7]), service(2, 80, [1])];
  const result = reconcileServices(context, wanted);
  expect([...result.programmed]).toEqual(['tcp/192.0.2.2:80']);
  expect(result.failures).toEqual(['tcp/192.0.2.1:80: no room, the limit is 6 backends']);
  expect(meaning(maps)).toEqual(fresh([service(2, 80, [1])]));
});

describe('a write that fails', () => {
  const before = [
    service(1, 80, [1, 2, 3], rules('+10.0.0.0/8', '-10.1.0.0/16')),
    service(2, 80, [4], rules('-10.2.0.0/16')),
  ];
  const after = [
    service(1, 80, [2, 3, 5], rules('-10.0.0.0/8', '+10.3.0.0/16')),
    service(3, 80, [6], rules('+10.4.0.0/16')),
  ];
  const writes = [
    'putVip',
    'removeVip',
    'writeVips',
    'resetLocals',
    'putBackends',
    'clearBackends',
    'putRings',
    'putService',
    'putSources',
    'removeSources',
    'removeService',
  ];

  test.each(writes)('%s: said, and made good by the next call that works', (name) => {
    const { maps, context } = setUp();
    reconcileServices(context, before);
    maps.broken.add(name);
    // More often than there are slots, so that one lost at each attempt would be missed.
    for (let i = 0; i < 10; i += 1) {
      const result = reconcileServices(context, after);
      if (name !== 'resetLocals') {
        expect(result.failures.join()).toContain(`${name} failed`);
      }
    }
    maps.broken.clear();
    const result = reconcileServices(context, after);
    expect(result.failures).toEqual([]);
    expect([...result.programmed]).toEqual(after.map(({ id }) => id));
    expect(meaning(maps)).toEqual(fresh(after));

    expect(reconcileServices(context, after).writes).toBe(0);
    expect(reconcileServices(context, before).failures).toEqual([]);
    expect(meaning(maps)).toEqual(fresh(before));
  });

  test.each(writes)('%s: what was not carried out can be taken back', (name) => {
    const { maps, context } = setUp();
    reconcileServices(context, before);
    maps.broken.add(name);
    reconcileServices(context, after);
    maps.broken.clear();
    expect(reconcileServices(context, before).failures).toEqual([]);
    expect(meaning(maps)).toEqual(fresh(before));
    expect(reconcileServices(context, []).failures).toEqual([]);
    expect(meaning(maps)).toEqual(fresh([]));
    expect(context.allocators.backends.available).toBe(LIMITS.backends);
    expect(context.allocators.services.available).toBe(LIMITS.services);
  });

  test('a service that is not programmed is not said to be', () => {
    const { maps, context } = setUp();
    maps.broken.add('putRings');
    const result = reconcileServices(context, before);
    expect(result.programmed.size).toBe(0);
    expect(result.failures).toEqual(['tcp/192.0.2.1:80 and 1 more: putRings failed']);
  });
});
