/** The maps of one node, and every write and read that the supervisor makes. Bytes stop here. */
import {
  BACKEND_BYTES,
  BACKEND_NONE,
  BACKEND_LOCAL_AT,
  BACKEND_LOCAL_BYTES,
  COUNTERS,
  DecapKind,
  encodeDecapAddress,
  encodeService,
  encodeSettings,
  encodeTunnelSource as encodeTunnelSourceRecord,
  encodeVlanDevice,
  NAT_CANDIDATES_BYTES,
  NAT_SOURCE_BYTES,
  readBackend,
  readNatCandidates,
  readNatSource,
  readService,
  readServiceKey,
  readSettings,
  readSweep,
  SERVICE_BYTES,
  SERVICE_KEY_BYTES,
  writeBackend,
  type Backend as BackendRecord,
  type Settings,
  type VlanDevice,
} from '../abi/abi.generated.ts';
import { addressBytes, type Address } from '../model/address.ts';
import { ADMIT_ALL, type Admission, type SourceRule } from '../model/admission.ts';
import { isTunnel, type OwnTunnels } from '../model/forwarding.ts';
import { serviceId, type ServiceKey } from '../model/service.ts';
import {
  admissionRecord,
  affinityCode,
  affinityOf,
  backendRecord,
  decodeAdmission,
  decodeBackend,
  decodeKey,
  decodeNatSource,
  encodeKey,
  encodeNatSourceKey,
  encodeNatSourceValue,
  encodeVipKey,
  formatMac,
  isGuarded,
  QUIC_CODES,
  quicKey,
  unusedRecord,
} from './encode.ts';
import { encodeTunnelSource, type OwnAddresses } from './encode-forwarding.ts';
import { closeFd, createInnerArray, possibleCpus, type BpfMap, type BpfObject } from './libbpf.ts';
import type { NatSource } from './nat-sources.ts';
import type { ProgrammedBackend, ProgrammedService } from './plan.ts';
import { QuicServers } from './quic-servers.ts';
import { SourceRules } from './source-rules.ts';

/** Sums over all CPUs of what one backend slot has counted. */
export interface SlotTraffic {
  readonly packets: number;
  readonly bytes: number;
  readonly flowsScheduled: number;
  readonly flowsEstablished: number;
  readonly flowsEnded: number;
  /** Next hop as some CPU last used it; undefined when none has. */
  readonly nextHop: string | undefined;
}

export interface AdoptedMaps {
  readonly services: readonly ProgrammedService[];
  /** By slot: the last generation, for used and unused slots alike. */
  readonly generations: Uint16Array;
  readonly natSources: readonly NatSource[];
}

const U32_BYTES = 4;
function u32(value: number): Uint8Array {
  return new Uint8Array(Uint32Array.of(value).buffer);
}

/** Makes these the entries of a map, and no others; those that stay are never missing. */
function replaceAll(map: BpfMap, entries: readonly (readonly [Uint8Array, Uint8Array])[]): void {
  const text = (key: Uint8Array): string => key.join();
  const wanted = new Set(entries.map(([key]) => text(key)));
  const present: Uint8Array[] = [];
  map.readAll((keys, _, count) => {
    for (let i = 0; i < count; i += 1) {
      const at = keys.byteOffset + i * map.keyBytes;
      present.push(new Uint8Array(keys.buffer, at, map.keyBytes).slice());
    }
  });
  for (const key of present) if (!wanted.has(text(key))) map.delete(key);
  for (const [key, value] of entries) map.update(key, value);
}

/** A 64-bit counter as a number, without a bigint for each: these are read by the million. */
function counterAt(view: DataView, at: number): number {
  return view.getUint32(at, true) + view.getUint32(at + 4, true) * 2 ** 32;
}

export class NodeMaps {
  readonly #services: BpfMap;
  readonly #rings: BpfMap;
  readonly #backends: BpfMap;
  readonly #locals: BpfMap;
  readonly #settings: BpfMap;
  readonly #counters: BpfMap;
  readonly #sweeps: BpfMap;
  readonly #tunnelSources: BpfMap;
  readonly #vlanDevices: BpfMap;
  readonly #decapAddresses: BpfMap;
  readonly #admissions: BpfMap;
  readonly #sources: SourceRules;
  readonly #quicServers: QuicServers;
  readonly #natSources: BpfMap;
  readonly #own: OwnAddresses;

  /** `own`: the addresses of this node, which tunnels come from. */
  constructor(object: BpfObject, own: OwnAddresses) {
    this.#own = own;
    this.#services = object.map('services');
    this.#rings = object.map('rings');
    this.#backends = object.map('backends');
    this.#locals = object.map('backends_local');
    this.#settings = object.map('settings');
    this.#counters = object.map('counters');
    this.#sweeps = object.map('sweeps');
    this.#tunnelSources = object.map('tunnel_sources');
    this.#vlanDevices = object.map('vlan_devices');
    this.#decapAddresses = object.map('decap_addresses');
    this.#admissions = object.map('admissions');
    this.#sources = new SourceRules(object);
    this.#quicServers = new QuicServers(object);
    this.#natSources = object.map('nat_sources');
  }

  /** Makes these the VLAN devices, by index, and no others. */
  replaceVlanDevices(devices: ReadonlyMap<number, VlanDevice>): void {
    replaceAll(
      this.#vlanDevices,
      Array.from(devices, ([ifindex, device]) => [u32(ifindex), encodeVlanDevice(device)]),
    );
  }

  /** Makes these the addresses at which tunnels end, and no others. */
  replaceDecapAddresses({ addresses, guePort, fouPort }: OwnTunnels): void {
    const { DECAP_IPIP, DECAP_GRE, DECAP_GUE, DECAP_FOU } = DecapKind;
    const tunnels = DECAP_IPIP | DECAP_GRE | DECAP_GUE | DECAP_FOU;
    const value = encodeDecapAddress({ guePort, fouPort, tunnels, dscp: 0 });
    replaceAll(
      this.#decapAddresses,
      addresses.map((address) => [addressBytes(address), value]),
    );
  }

  /** As an earlier supervisor left it. */
  wasInService(): boolean {
    return this.#heldSettings()?.inService === 1;
  }

  #heldSettings(): Settings | undefined {
    const bytes = this.#settings.lookup(u32(0));
    return bytes && readSettings(new DataView(bytes.buffer));
  }

  writeSettings(settings: Settings): void {
    this.#settings.update(u32(0), encodeSettings(settings));
  }

  /** Leaves everything else as the maps have it, also what an earlier supervisor wrote. */
  changeSettings(change: Partial<Settings>): void {
    const held = this.#heldSettings();
    if (held !== undefined) this.writeSettings({ ...held, ...change });
  }

  putBackends(
    entries: readonly { service: ProgrammedService; backend: ProgrammedBackend }[],
  ): void {
    for (const { backend } of entries) this.#putTunnelSource(backend);
    this.#writeBackends(
      entries.map(({ service, backend }) => ({
        slot: backend.slot,
        record: backendRecord(service, backend, this.#own),
      })),
    );
    this.#quicServers.put(
      entries.map(({ service, backend: { slot, serverId } }) => ({
        slot,
        key: service.quic && serverId ? quicKey(service.index, serverId) : undefined,
      })),
    );
  }

  /** Before the record that has it read. */
  #putTunnelSource(backend: ProgrammedBackend): void {
    if (!isTunnel(backend.mode)) return;
    const source = encodeTunnelSource(backend, this.#own);
    this.#tunnelSources.update(u32(backend.slot), encodeTunnelSourceRecord(source));
  }

  clearBackends(backends: readonly ProgrammedBackend[]): void {
    this.#quicServers.remove(backends.map(({ slot }) => slot));
    this.#writeBackends(
      backends.map(({ slot, generation }) => ({ slot, record: unusedRecord(generation) })),
    );
  }

  #writeBackends(entries: readonly { slot: number; record: BackendRecord }[]): void {
    const keys = Uint32Array.from(entries, ({ slot }) => slot);
    const values = new Uint8Array(entries.length * BACKEND_BYTES);
    const view = new DataView(values.buffer);
    entries.forEach(({ record }, i) => {
      writeBackend(view, i * BACKEND_BYTES, record);
    });
    this.#backends.updateBatch(new Uint8Array(keys.buffer), values, entries.length);
  }

  /** Counters and next hops of these slots start from nothing. */
  resetLocals(slots: readonly number[]): void {
    const zeroes = new Uint8Array(BACKEND_LOCAL_BYTES * possibleCpus);
    for (const slot of slots) this.#locals.updatePerCpu(u32(slot), zeroes);
  }

  /**
   * Replaces rings as a whole, each in one step. All in one system call, since the kernel waits for
   * every running program after each. An empty ring has a single slot, which names no backend.
   */
  putRings(rings: readonly { readonly index: number; readonly ring: Uint32Array }[]): void {
    const made: BpfMap[] = [];
    try {
      for (const { ring } of rings) made.push(this.#makeRing(ring));
      const indexes = Uint32Array.from(rings, ({ index }) => index);
      const fds = Uint32Array.from(made, ({ fd }) => fd);
      this.#rings.updateBatch(
        new Uint8Array(indexes.buffer),
        new Uint8Array(fds.buffer),
        rings.length,
      );
    } finally {
      // The outer map holds them from here on.
      for (const { fd } of made) closeFd(fd);
    }
  }

  #makeRing(ring: Uint32Array): BpfMap {
    const entries = ring.length === 0 ? Uint32Array.of(BACKEND_NONE) : ring;
    const inner = createInnerArray('ring', U32_BYTES, entries.length);
    const slots = Uint32Array.from(entries, (_, slot) => slot);
    const bytes = new Uint8Array(entries.buffer, entries.byteOffset, entries.byteLength);
    inner.updateBatch(new Uint8Array(slots.buffer), bytes, entries.length);
    return inner;
  }

  putService(service: ProgrammedService): void {
    const value = encodeService({
      index: service.index,
      ringSlots: service.ringSlots,
      affinity: affinityCode(service.affinity),
      guarded: Number(isGuarded(service.admission)),
      quic: service.quic === undefined ? 0 : QUIC_CODES[service.quic.layout],
    });
    this.#admissions.update(u32(service.index), admissionRecord(service.admission));
    this.#services.update(encodeKey(service), value);
  }

  putSources(service: number, rules: readonly SourceRule[]): void {
    this.#sources.put(service, rules);
  }

  removeSources(service: number, rules: readonly SourceRule[]): void {
    this.#sources.remove(service, rules);
  }

  sourceHits(): ReturnType<SourceRules['hits']> {
    return this.#sources.hits();
  }

  removeService(key: ServiceKey): void {
    this.#services.delete(encodeKey(key));
  }

  putVip(vip: Address): void {
    this.#services.update(encodeVipKey(vip), new Uint8Array(SERVICE_BYTES));
  }

  removeVip(vip: Address): void {
    this.#services.delete(encodeVipKey(vip));
  }

  putNatSource(source: NatSource): void {
    this.#natSources.update(encodeNatSourceKey(source), encodeNatSourceValue(source));
  }

  removeNatSource(source: NatSource): void {
    this.#natSources.delete(encodeNatSourceKey(source));
  }

  #adoptNatSources(): NatSource[] {
    const sources: NatSource[] = [];
    this.#natSources.readAll((keys, values, count) => {
      for (let i = 0; i < count; i += 1) {
        const key = readNatSource(keys, i * NAT_SOURCE_BYTES);
        const value = readNatCandidates(values, i * NAT_CANDIDATES_BYTES);
        const source = decodeNatSource(key, value);
        if (source !== undefined) sources.push(source);
      }
    });
    return sources;
  }

  /** What an earlier supervisor left: enough to go on without moving a flow. */
  adopt(): AdoptedMaps {
    const generations = new Uint16Array(this.#backends.maxEntries);
    const byService = new Map<number, Map<Address, ProgrammedBackend>>();
    this.#backends.readAll((keys, values, count) => {
      for (let i = 0; i < count; i += 1) {
        const slot = keys.getUint32(i * U32_BYTES, true);
        const record = readBackend(values, i * BACKEND_BYTES);
        generations[slot] = record.generation;
        const backend = decodeBackend(record, slot);
        if (backend === undefined) continue;
        const siblings = byService.get(record.service) ?? new Map<Address, ProgrammedBackend>();
        byService.set(record.service, siblings.set(backend.address, backend));
      }
    });
    const services: ProgrammedService[] = [];
    this.#services.readAll((keys, values, count) => {
      for (let i = 0; i < count; i += 1) {
        const key = decodeKey(readServiceKey(keys, i * SERVICE_KEY_BYTES));
        if (key === undefined) continue;
        const value = readService(values, i * SERVICE_BYTES);
        services.push({
          ...key,
          id: serviceId(key),
          index: value.index,
          affinity: affinityOf(value.affinity),
          admission: this.#admissionOf(value.index),
          admissionCertain: true,
          // Not read back: where there is routing, the next plan writes the records once more.
          quic: undefined,
          ringSlots: value.ringSlots,
          ringSource: undefined,
          backends: byService.get(value.index) ?? new Map(),
        });
      }
    });
    return { services, generations, natSources: this.#adoptNatSources() };
  }

  #admissionOf(service: number): Admission {
    const record = this.#admissions.lookup(u32(service));
    return record === undefined ? ADMIT_ALL : decodeAdmission(record, this.#sources.of(service));
  }

  /** Traffic of the slots below `highWater`, by slot. */
  traffic(highWater: number): SlotTraffic[] {
    const result: SlotTraffic[] = [];
    this.#locals.readAllPerCpu(highWater, (view, at) => {
      const sum = { packets: 0, bytes: 0, scheduled: 0, established: 0, ended: 0 };
      let nextHop: string | undefined;
      for (let cpu = 0; cpu < possibleCpus; cpu += 1) {
        const base = at + cpu * BACKEND_LOCAL_BYTES;
        sum.packets += counterAt(view, base + BACKEND_LOCAL_AT.packets);
        sum.bytes += counterAt(view, base + BACKEND_LOCAL_AT.bytes);
        sum.scheduled += counterAt(view, base + BACKEND_LOCAL_AT.flowsScheduled);
        sum.established += counterAt(view, base + BACKEND_LOCAL_AT.flowsEstablished);
        sum.ended += counterAt(view, base + BACKEND_LOCAL_AT.flowsEnded);
        if (view.getUint32(base + BACKEND_LOCAL_AT.ifindex, true) !== 0) {
          nextHop ??= formatMac(new Uint8Array(view.buffer, base + BACKEND_LOCAL_AT.dmac, 6));
        }
      }
      result.push({
        packets: sum.packets,
        bytes: sum.bytes,
        flowsScheduled: sum.scheduled,
        flowsEstablished: sum.established,
        flowsEnded: sum.ended,
        nextHop,
      });
    });
    return result;
  }

  counterValues(): number[] {
    const values: number[] = [];
    this.#counters.readAllPerCpu(COUNTERS.length, (view, at) => {
      let sum = 0;
      for (let cpu = 0; cpu < possibleCpus; cpu += 1) sum += counterAt(view, at + cpu * 8);
      values.push(sum);
    });
    return values;
  }

  /** Zeroes, then reads, the tally of a walk over the flow tables. */
  resetSweeps(): void {
    this.#sweeps.update(u32(0), new Uint8Array(16));
    this.#sweeps.update(u32(1), new Uint8Array(16));
  }

  sweeps(): { scanned: number; expired: number }[] {
    return [0, 1].map((table) => {
      const bytes = this.#sweeps.lookup(u32(table)) ?? new Uint8Array(16);
      const { scanned, expired } = readSweep(new DataView(bytes.buffer));
      return { scanned: Number(scanned), expired: Number(expired) };
    });
  }
}
