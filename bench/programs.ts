/**
 * The programs under test, loaded and configured. A set of tables belongs to a copy of the program;
 * copies of skein_lb share every other map with a KernelDataplane, which programs them.
 */
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { COUNTERS } from '../src/abi/abi.generated.ts';
import { KernelDataplane } from '../src/dataplane/kernel.ts';
import { BpfObject, closeFd, openPinned } from '../src/dataplane/libbpf.ts';
import { NodeMaps } from '../src/dataplane/maps.ts';
import { SkeinError } from '../src/lib/errors.ts';
import { silentLogger } from '../src/lib/logger.ts';
import { address } from '../src/model/address.ts';
import { TABLES, type FloorTableSet, type SkeinTableSet } from './cases.ts';
import { answerFor, INTERFACE } from './place.ts';
import { BUILD_FOLDER } from './replay.ts';
import {
  BACKEND_ADDRESSES,
  DEFAULT_LIMITS,
  FEATURED_ADDRESSES,
  FEATURED_SERVICES,
  NODE,
  OWN_TUNNELS,
  SERVICES,
  TIMEOUTS,
} from './scene.ts';

const BPFFS = '/sys/fs/bpf/skein-bench';
const FLOOR_OBJECT = join(BUILD_FOLDER, 'floor.bpf.o');
const SKEIN_OBJECT = join(BUILD_FOLDER, 'lb.bpf.o');
/** Of these every copy has its own: what it knows of flows, and what it counts. */
const OWN_MAPS = ['backends_local', 'counters'];
const FLOW_MAPS = ['flows4', 'flows6', 'embryonic4', 'embryonic6'];
/** Slots are given out from 0. */
const BACKEND_SLOTS = [...SERVICES, ...FEATURED_SERVICES].reduce(
  (sum, { backends }) => sum + backends.length,
  0,
);

/** All that a program has done since it was loaded, over all backends. */
export interface Tally {
  readonly packets: number;
  readonly flowsScheduled: number;
  readonly flowsEstablished: number;
  readonly flowsEnded: number;
  readonly counters: Readonly<Record<string, number>>;
}

/** skein_lb with a set of tables. */
export interface SkeinCopy {
  readonly program: number;
  tally(): Tally;
}

export class Programs {
  readonly #dataplane: KernelDataplane;
  readonly #floors = new Map<FloorTableSet, BpfObject>();
  readonly #copies = new Map<SkeinTableSet, SkeinCopy>();
  #empty: BpfObject | undefined;

  /** Only inside the place that place.ts makes. `featured`: beside services that use all there is. */
  static async open(featured: boolean): Promise<Programs> {
    const [ipv4 = '', ipv6 = ''] = [NODE.ipv4, NODE.ipv6].map((each) => each.split('/')[0]);
    const dataplane = await KernelDataplane.open(
      {
        objectPath: SKEIN_OBJECT,
        bpffs: BPFFS,
        interfaces: [INTERFACE],
        xdpMode: 'native',
        ipv4: address(ipv4),
        ipv6: address(ipv6),
        // Its own flow tables see no frame.
        limits: { ...DEFAULT_LIMITS, flows: 1024, embryonicFlows: 1024 },
        // Echo requests are answered, each of them.
        echoPerSecond: 0xffff_ffff,
        decap: featured ? OWN_TUNNELS : undefined,
      },
      silentLogger,
    );
    const services = featured ? [...SERVICES, ...FEATURED_SERVICES] : SERVICES;
    const { failures } = dataplane.reconcile(services, TIMEOUTS);
    if (failures.length > 0) throw new SkeinError('BENCH', failures.join('; '));
    await answerFor(featured ? [...BACKEND_ADDRESSES, ...FEATURED_ADDRESSES] : BACKEND_ADDRESSES);
    return new Programs(dataplane);
  }

  private constructor(dataplane: KernelDataplane) {
    this.#dataplane = dataplane;
  }

  /** Interface by which frames come and go. */
  get ifindex(): number {
    const [first] = this.#dataplane.status().interfaces;
    if (first === undefined) throw new RangeError('opened with one interface');
    return first.ifindex;
  }

  floor(tables: FloorTableSet, program: string): number {
    const loaded = this.#floors.get(tables) ?? loadFloor(TABLES[tables]);
    this.#floors.set(tables, loaded);
    return loaded.program(program);
  }

  /** Returns XDP_TX and does nothing else. */
  empty(): number {
    this.#empty ??= loadFloor({});
    return this.#empty.program('floor_tx');
  }

  skein(tables: SkeinTableSet): SkeinCopy {
    const copy = this.#copies.get(tables) ?? loadCopy(tables);
    this.#copies.set(tables, copy);
    return copy;
  }

  async close(): Promise<void> {
    await this.#dataplane.close('detach');
  }
}

function loadFloor(entriesByMap: Readonly<Record<string, number>>): BpfObject {
  const object = new BpfObject(FLOOR_OBJECT);
  for (const [map, entries] of Object.entries(entriesByMap)) object.setMaxEntries(map, entries);
  object.load();
  return object;
}

function loadCopy(tables: SkeinTableSet): SkeinCopy {
  const object = new BpfObject(SKEIN_OBJECT);
  const pins = pinFolder();
  for (const map of readdirSync(pins)) {
    if (!OWN_MAPS.includes(map) && !FLOW_MAPS.includes(map))
      reusePinned(object, map, join(pins, map));
  }
  for (const map of FLOW_MAPS) object.setMaxEntries(map, TABLES[tables][map] ?? 1);
  object.setMaxEntries('relay_buckets', 1);
  object.setMaxEntries('backends_local', DEFAULT_LIMITS.backends);
  object.load();
  const maps = new NodeMaps(object, { ipv4: undefined, ipv6: undefined });
  return { program: object.program('skein_lb'), tally: () => tallyOf(maps) };
}

/** The folder of the maps, beside the pins of links. */
function pinFolder(): string {
  const folder = readdirSync(BPFFS, { withFileTypes: true }).find((entry) => entry.isDirectory());
  if (folder === undefined) throw new SkeinError('BENCH', `no maps are pinned below ${BPFFS}`);
  return join(BPFFS, folder.name);
}

function reusePinned(object: BpfObject, map: string, path: string): void {
  const fd = openPinned(path);
  if (fd === undefined) throw new SkeinError('BENCH', `${path} is gone`);
  object.reuseMap(map, fd);
  closeFd(fd);
}

function tallyOf(maps: NodeMaps): Tally {
  const slots = maps.traffic(BACKEND_SLOTS);
  const values = maps.counterValues();
  const sum = (pick: (slot: (typeof slots)[number]) => number): number =>
    slots.reduce((total, slot) => total + pick(slot), 0);
  return {
    packets: sum(({ packets }) => packets),
    flowsScheduled: sum(({ flowsScheduled }) => flowsScheduled),
    flowsEstablished: sum(({ flowsEstablished }) => flowsEstablished),
    flowsEnded: sum(({ flowsEnded }) => flowsEnded),
    counters: Object.fromEntries(COUNTERS.map(({ name }, index) => [name, values[index] ?? 0])),
  };
}
