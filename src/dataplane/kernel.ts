/**
 * The data plane in the kernel: XDP programs and maps over libbpf. Holds what the maps are known to
 * say; decides nothing about packets, and never detaches a program that is at work unless told to.
 */
import { networkInterfaces } from 'node:os';
import { COUNTERS, Feature, LAYOUT_DIGEST, type Settings } from '../abi/abi.generated.ts';
import { SkeinError } from '../lib/errors.ts';
import type { Logger } from '../lib/logger.ts';
import { addressBytes, familyOf, parseAddress, type Address } from '../model/address.ts';
import type { FlowTimeouts } from '../model/flow.ts';
import type { OwnTunnels } from '../model/forwarding.ts';
import type { ServiceId } from '../model/service.ts';
import {
  attach,
  detachOthers,
  loadObject,
  removeOtherLayouts,
  removePins,
  type LoadedObject,
  type MapSizes,
  type XdpModeWish,
} from './attachment.ts';
import { mountBpffs } from './bpffs.ts';
import type {
  BackendTraffic,
  Counters,
  Dataplane,
  DataplaneStatus,
  InterfaceStatus,
  ReconcileResult,
  WantedService,
} from './dataplane.ts';
import { parseMac } from './encode.ts';
import {
  attachMapIterator,
  closeFd,
  interfaceIndex,
  openIterator,
  testRun,
  type BpfMap,
} from './libbpf.ts';
import { KernelFlows, readSome } from './kernel-flows.ts';
import { NodeMaps } from './maps.ts';
import { featuresOf, NatTable } from './nat-sources.ts';
import { Neighbours } from './neighbours.ts';
import { Oversized } from './oversized.ts';
import type { Allocators } from './plan.ts';
import {
  allowFibLookups,
  openProbePath,
  privateAddress,
  removeProbePath,
  type ProbePath,
} from './probe-path.ts';
import { reconcileServices, type Programmed } from './reconcile.ts';
import { SlotNames } from './slot-names.ts';
import { Slots } from './slots.ts';
import { vipFilter } from './vip-filter.ts';
import { findVlanDevices, keepTagsInFrames } from './vlan-devices.ts';

export interface KernelOptions {
  readonly objectPath: string;
  /** Folder in a BPF file system that belongs to this node alone. */
  readonly bpffs: string;
  readonly interfaces: readonly string[];
  readonly xdpMode: XdpModeWish;
  readonly ipv4: Address | undefined;
  readonly ipv6: Address | undefined;
  readonly limits: MapSizes;
  /** Tunnels that end at this node; undefined: none. */
  readonly decap?: OwnTunnels | undefined;
  /** Tell what happens to flows, for peers. */
  readonly sharing?: boolean;
  /** Echo requests that each CPU answers, so many at once and then a second: ECHO_PER_SECOND. */
  readonly echoPerSecond?: number;
}

const NO_TUNNELS: OwnTunnels = { addresses: [], guePort: 0, fouPort: 0 };
/** Enough for every monitor there is, and little work for a flood. */
const ECHO_PER_SECOND = 1000;
/** Part of a flow table from which on room is made for flows that last. */
const CROWDED = 0.9;

const NO_ADDRESS = new Uint8Array(16);
const ETHERNET_BYTES = 14;
const ETH_P_IP = 0x0800;
const ETH_P_IPV6 = 0x86dd;
const CHANGE_LOST = COUNTERS.findIndex(({ name }) => name === 'change_lost');

export class KernelDataplane implements Dataplane {
  readonly #options: KernelOptions;
  readonly #loaded: LoadedObject;
  readonly #maps: NodeMaps;
  readonly #flows: readonly BpfMap[];
  readonly #path: ProbePath;
  readonly #interfaces: readonly InterfaceStatus[];
  readonly #programmed: Programmed = new Map();
  readonly #allocators: Allocators;
  readonly #adopted: readonly WantedService[];
  readonly #wasInService: boolean;
  #inService: boolean;
  #crowded = false;
  readonly #neighbours = new Neighbours();
  readonly #nat: NatTable;
  /** Bits of enum feature. */
  #features = 0;
  /** What runs in the background; see `settled`. */
  #background: Promise<void> = Promise.resolve();
  readonly #logger: Logger;
  #timeouts: FlowTimeouts | undefined;
  /** Those that have a record in the maps. */
  readonly #vips: Set<Address>;
  #flowEntries: readonly number[] = [0, 0];
  #names: SlotNames | undefined;
  #shared: KernelFlows | undefined;
  readonly #oversized: Oversized;
  #sweeping = false;
  /** The VLAN devices that the map has, as text. */
  #vlanText = '';

  /** Loads, adopts what is pinned, makes the path of the health checks, and attaches. */
  static async open(options: KernelOptions, logger: Logger): Promise<KernelDataplane> {
    requireInterfaces(options.interfaces);
    await mountBpffs(options.bpffs);
    allowFibLookups();
    const path = await openProbePath();
    await keepTagsInFrames(options.interfaces, logger);
    const dataplane = new KernelDataplane(options, path, logger);
    await dataplane.#refreshVlanDevices();
    return dataplane;
  }

  private constructor(options: KernelOptions, path: ProbePath, logger: Logger) {
    const { bpffs, limits } = options;
    this.#options = options;
    this.#path = path;
    this.#logger = logger;
    this.#loaded = loadObject(options.objectPath, bpffs, limits);
    const { object, layout } = this.#loaded;
    this.#maps = new NodeMaps(object, { ipv4: options.ipv4, ipv6: options.ipv6 });
    this.#flows = [object.map('flows4'), object.map('flows6')];
    this.#oversized = new Oversized(object.map('oversized'), (packet) => {
      this.#inject('skein_lb', packet);
    });

    this.#wasInService = this.#maps.wasInService();
    this.#inService = this.#wasInService;
    this.#maps.replaceDecapAddresses(options.decap ?? NO_TUNNELS);

    const { services, generations, natSources } = this.#maps.adopt();
    this.#nat = new NatTable(this.#maps, natSources);
    this.#allocators = {
      services: new Slots(limits.services),
      backends: new Slots(limits.backends),
      generations,
    };
    this.#allocators.services.restore(new Set(services.map(({ index }) => index)));
    const slots = services.flatMap((each) => [...each.backends.values()].map(({ slot }) => slot));
    this.#allocators.backends.restore(new Set(slots));
    for (const service of services) this.#programmed.set(service.id, service);
    this.#vips = new Set(services.map(({ vip }) => vip));
    this.#adopted = services.map((each) => ({ ...each, backends: [...each.backends.values()] }));

    this.#interfaces = options.interfaces.map((name) =>
      attach(bpffs, name, object.program('skein_lb'), options.xdpMode, logger),
    );
    const generic = this.#interfaces.some(({ xdpMode }) => xdpMode === 'generic');
    // XDP redirect from native to an interface without a native program is not for every driver.
    const probeMode = generic ? 'generic' : options.xdpMode;
    const probe = attach(bpffs, 'skein-probe1', object.program('skein_probe'), probeMode, logger);
    detachOthers(bpffs, [...this.#interfaces, probe]);
    const left = removeOtherLayouts(bpffs, layout);
    if (left.length > 0) {
      logger.warn({ left }, 'maps of another layout or size were left behind, with their flows');
    }
  }

  reconcile(services: readonly WantedService[], timeouts: FlowTimeouts): ReconcileResult {
    // On before the first packet that needs them, off after the last.
    const features = this.#features | featuresOf(services);
    if (this.#timeouts !== timeouts || this.#features !== features) {
      this.#timeouts = timeouts;
      this.#features = features;
      this.#writeSettings(this.#vips);
    }
    const result = reconcileServices(
      {
        maps: this.#maps,
        programmed: this.#programmed,
        vips: this.#vips,
        allocators: this.#allocators,
        nat: this.#nat,
        writeVips: (vips) => {
          this.#writeSettings(vips);
        },
      },
      services,
    );
    if (result.writes > 0) {
      this.#names = undefined;
      this.#settleFeatures();
      const addresses = [...this.#programmed.values()]
        .flatMap((each) => [...each.backends.keys()])
        .filter((address) => !this.#isLocal(address));
      this.#manageNeighbours(this.#neighbours.set(new Set(addresses), this.#features !== 0));
    }
    return result;
  }

  #settleFeatures(): void {
    const programmed = [...this.#programmed.values()];
    const features = featuresOf(
      programmed.map(({ backends }) => ({ backends: backends.values() })),
    );
    if (features === this.#features) return;
    this.#features = features;
    this.#writeSettings(this.#vips);
  }

  #writeSettings(vips: ReadonlySet<Address>): void {
    this.#maps.writeSettings(this.#settings(vips));
  }

  #settings(vips: ReadonlySet<Address>): Settings {
    const { ipv4, ipv6 } = this.#options;
    const timeouts = this.#timeouts;
    const seconds =
      timeouts === undefined
        ? [0, 0, 0, 0, 0, 0]
        : [
            timeouts.tcpSynS,
            timeouts.tcpSynAckS,
            timeouts.tcpFinS,
            timeouts.tcpS,
            timeouts.udpS,
            timeouts.defaultS,
          ];
    return {
      timeoutMs: seconds.map((each) => each * 1000),
      probeOutIfindex: this.#path.programIfindex,
      sharing: this.#options.sharing === true ? 1 : 0,
      echoPerSecond: this.#options.echoPerSecond ?? ECHO_PER_SECOND,
      inService: Number(this.#inService),
      crowded: Number(this.#crowded),
      node4: ipv4 === undefined ? NO_ADDRESS : addressBytes(ipv4),
      node6: ipv6 === undefined ? NO_ADDRESS : addressBytes(ipv6),
      probeSource4: addressBytes(this.#path.source4),
      probeSource6: addressBytes(this.#path.source6),
      probeSourceMac: parseMac(this.#path.sourceMac),
      features: this.#features | (this.#opensTunnels ? Feature.FEATURE_DECAP : 0),
      probeBase4: addressBytes(this.#path.base4),
      probeBase6: addressBytes(this.#path.base6),
      vipFilter: vipFilter(vips),
    };
  }

  setInService(inService: boolean): void {
    if (inService === this.#inService) return;
    this.#inService = inService;
    this.#maps.changeSettings({ inService: Number(inService) });
  }

  /** In the background: forwarding works without, only slower to start. */
  #manageNeighbours(change: Promise<readonly string[]>): void {
    this.#background = Promise.all([change, this.#background]).then(
      ([failures]) => {
        if (failures.length > 0) this.#logger.warn({ failures }, 'neighbours not managed');
      },
      (error: unknown) => {
        this.#logger.warn({ err: error }, 'neighbours not managed');
      },
    );
  }

  /** The host may add and remove devices as it likes; what cannot be read stays as it was. */
  async #refreshVlanDevices(): Promise<void> {
    try {
      const found = await findVlanDevices();
      const text = JSON.stringify([[...found.devices], found.unusable]);
      if (text === this.#vlanText) return;
      this.#maps.replaceVlanDevices(found.devices);
      this.#vlanText = text;
      if (found.unusable.length > 0) {
        this.#logger.warn({ devices: found.unusable }, 'VLAN devices that frames cannot leave by');
      }
    } catch (error) {
      this.#logger.warn({ err: error }, 'VLAN devices not read');
    }
  }

  /** Resolves when the kernel has been told of the neighbours of the last reconcile. */
  async settled(): Promise<void> {
    await this.#background;
  }

  adoptedServices(): readonly WantedService[] {
    return this.#adopted;
  }

  probeAddress(service: ServiceId, backend: Address): Address | undefined {
    const programmed = this.#programmed.get(service);
    const slot = programmed?.backends.get(backend)?.slot;
    if (programmed === undefined || slot === undefined) return undefined;
    // Frames that a node sends to itself reach nobody, but its sockets are where the VIP is.
    if (this.#isLocal(backend)) return hasAddress(programmed.vip) ? programmed.vip : undefined;
    return privateAddress(slot, familyOf(programmed.vip));
  }

  get #opensTunnels(): boolean {
    return (this.#options.decap?.addresses.length ?? 0) > 0;
  }

  #isLocal(address: Address): boolean {
    return this.#options[familyOf(address)] === address;
  }

  counters(): Counters {
    const traffic = this.#maps.traffic(this.#allocators.backends.highWater);
    const backends: BackendTraffic[] = [];
    for (const service of this.#programmed.values()) {
      for (const { address, slot } of service.backends.values()) {
        const counted = traffic[slot];
        if (counted === undefined) continue;
        backends.push({
          service: service.id,
          backend: address,
          packets: counted.packets,
          bytes: counted.bytes,
          flowsOpened: counted.flowsScheduled,
          flowsActive: Math.max(0, counted.flowsEstablished - counted.flowsEnded),
          nextHop: counted.nextHop,
        });
      }
    }
    const values = this.#maps.counterValues();
    const services = new Map([...this.#programmed.values()].map(({ index, id }) => [index, id]));
    return {
      global: COUNTERS.map((counter, index) => ({ ...counter, value: values[index] ?? 0 })),
      backends,
      tables: this.#flows.map((map, index) => ({
        name: map.name,
        entries: this.#flowEntries[index] ?? 0,
        capacity: map.maxEntries,
      })),
      sources: this.#maps.sourceHits().flatMap(({ service, ...rule }) => {
        const id = services.get(service);
        return id === undefined ? [] : [{ ...rule, service: id }];
      }),
    };
  }

  /** The flow tables, for the peers and for lists; changes are told with `sharing` only. */
  get flowTable(): KernelFlows {
    this.#shared ??= new KernelFlows(
      this.#loaded.object,
      () => (this.#names ??= new SlotNames(this.#programmed)),
      () => this.#maps.counterValues()[CHANGE_LOST] ?? 0,
    );
    return this.#shared;
  }

  /** ICMP errors of flows that are not known here, from the IP header on. */
  drainIcmpErrors(): Uint8Array[] {
    return this.flowTable.drainIcmpErrors();
  }

  /** Gives an ICMP error of a peer, from the IP header on, to the program that relays no further. */
  injectIcmpError(packet: Uint8Array): void {
    this.#inject('skein_relayed', packet);
  }

  /** Cuts packets that do not fit their way and may be cut; returns how many, of a bounded number. */
  cutOversized(): number {
    return this.#oversized.cut();
  }

  /** Runs a program on a packet as if that had come in; what it sends is sent. */
  #inject(program: 'skein_lb' | 'skein_relayed', packet: Uint8Array): void {
    const [first] = this.#interfaces;
    if (first === undefined || packet.length === 0) return;
    const frame = new Uint8Array(ETHERNET_BYTES + packet.length);
    new DataView(frame.buffer).setUint16(12, (packet[0] ?? 0) >> 4 === 6 ? ETH_P_IPV6 : ETH_P_IP);
    frame.set(packet, ETHERNET_BYTES);
    testRun(this.#loaded.object.program(program), {
      packet: frame,
      ingressIfindex: first.ifindex,
      live: true,
    });
  }

  status(): DataplaneStatus {
    return {
      interfaces: this.#interfaces,
      adopted: this.#loaded.adopted,
      wasInService: this.#wasInService,
      layoutDigest: LAYOUT_DIGEST,
    };
  }

  async maintain(): Promise<{ scanned: number; expired: number }> {
    if (this.#sweeping) return { scanned: 0, expired: 0 };
    this.#sweeping = true;
    this.#manageNeighbours(this.#neighbours.refresh());
    try {
      await this.#refreshVlanDevices();
      this.#maps.resetSweeps();
      for (const map of this.#flows) await this.#sweep(map);
      const sweeps = this.#maps.sweeps();
      this.#flowEntries = sweeps.map(({ scanned, expired }) => scanned - expired);
      this.#setCrowded(Math.max(...this.#flowEntries) > CROWDED * this.#options.limits.flows);
      return {
        scanned: sweeps.reduce((sum, { scanned }) => sum + scanned, 0),
        expired: sweeps.reduce((sum, { expired }) => sum + expired, 0),
      };
    } finally {
      this.#sweeping = false;
    }
  }

  #setCrowded(crowded: boolean): void {
    if (crowded === this.#crowded) return;
    this.#crowded = crowded;
    this.#maps.changeSettings({ crowded: Number(crowded) });
    if (crowded) this.#logger.warn('the flow tables are nearly full: brief flows time out sooner');
  }

  /** The kernel walks the table while this reads; the read runs on a thread of the pool. */
  async #sweep(map: BpfMap): Promise<void> {
    const link = attachMapIterator(this.#loaded.object.program(`sweep_${map.name}`), map.fd);
    const iterator = openIterator(link);
    try {
      // A walk that writes nothing ends with the first read that is not cut short.
      while ((await readSome(iterator, Buffer.alloc(64))) !== 0);
    } finally {
      closeFd(iterator);
      closeFd(link);
    }
  }

  async close(how: 'keep' | 'detach'): Promise<void> {
    // What stays at work needs its neighbours.
    await this.settled();
    if (how === 'detach') {
      await this.#neighbours.set(new Set(), false);
      removePins(this.#options.bpffs);
      await removeProbePath();
    }
    this.#shared?.close();
    this.#oversized.close();
    this.#loaded.object.close();
  }
}

/** Is the address one of this host, on whatever interface? */
function hasAddress(wanted: Address): boolean {
  const all = Object.values(networkInterfaces()).flatMap((each) => each ?? []);
  return all.some(({ address }) => parseAddress(address) === wanted);
}

/** Before anything is loaded, so that a typo leaves nothing behind. */
function requireInterfaces(names: readonly string[]): void {
  const missing = names.filter((name) => interfaceIndex(name) === 0);
  if (missing.length === 0) return;
  throw new SkeinError('NO_INTERFACE', `there is no network interface ${missing.join(', ')}`);
}
