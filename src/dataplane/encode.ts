/** Model values <-> the structs of abi.h. The ABI's types stop here and in the files beside it. */
import {
  Affinity as AffinityCode,
  encodeAdmission,
  encodeQuicKey,
  QUIC_ID_BYTES_MAX,
  QuicLayout as QuicCode,
  readAdmission,
  BackendState as StateCode,
  encodeNatCandidates,
  encodeNatSource,
  encodeServiceKey,
  SourceFilter as FilterCode,
  NAT_CANDIDATES_MAX,
  type Backend as BackendRecord,
  type NatCandidates as NatCandidatesRecord,
  type NatSource as NatSourceRecord,
  type ServiceKey as ServiceKeyRecord,
} from '../abi/abi.generated.ts';
import { addressBytes, addressFromBytes, type Address } from '../model/address.ts';
import type { Affinity, BackendState, L4Protocol, ServiceKey } from '../model/service.ts';
import type { Admission, SourceRule } from '../model/admission.ts';
import type { QuicRouting } from '../model/quic.ts';
import { decodeMode, encodeWay, NO_WAY, type OwnAddresses } from './encode-forwarding.ts';
import type { NatSource } from './nat-sources.ts';
import { filterOf, type ProgrammedBackend, type ProgrammedService } from './plan.ts';

const PROTOCOL_CODES: Record<L4Protocol, number> = { tcp: 6, udp: 17 };
const STATE_CODES: Record<BackendState, number> = {
  up: StateCode.BACKEND_UP,
  draining: StateCode.BACKEND_DRAINING,
  down: StateCode.BACKEND_DOWN,
};
const AFFINITY_CODES: Record<Affinity, number> = {
  flow: AffinityCode.AFFINITY_FLOW,
  client: AffinityCode.AFFINITY_CLIENT,
};

/** The name that a code stands for; undefined for a code that this build does not know. */
function nameOf<Name extends string>(codes: Record<Name, number>, code: number): Name | undefined {
  const names = Object.keys(codes) as Name[];
  return names.find((name) => codes[name] === code);
}

const FILTER_CODES = {
  any: FilterCode.SOURCES_ANY,
  unless_denied: FilterCode.SOURCES_UNLESS_DENIED,
  if_allowed: FilterCode.SOURCES_IF_ALLOWED,
} as const;

/** With a full bucket. */
export function admissionRecord({ sources, newFlowsPerS, newFlowsBurst }: Admission): Uint8Array {
  return encodeAdmission({
    newFlowsPerS: newFlowsPerS ?? 0,
    newFlowsBurst: newFlowsBurst ?? 0,
    filledMs: 0,
    spentMilli: 0n,
    sources: FILTER_CODES[filterOf(sources)],
  });
}

/** `sources` are in a map of their own. */
export function decodeAdmission(record: Uint8Array, sources: readonly SourceRule[]): Admission {
  const { newFlowsPerS, newFlowsBurst } = readAdmission(new DataView(record.buffer));
  const limited = newFlowsPerS > 0;
  return {
    sources,
    newFlowsPerS: limited ? newFlowsPerS : undefined,
    newFlowsBurst: limited ? newFlowsBurst : undefined,
  };
}

export function isGuarded({ sources, newFlowsPerS }: Admission): boolean {
  return sources.length > 0 || newFlowsPerS !== undefined;
}

export function affinityCode(affinity: Affinity): number {
  return AFFINITY_CODES[affinity];
}

export function affinityOf(code: number): Affinity {
  return nameOf(AFFINITY_CODES, code) ?? 'flow';
}

export function encodeKey(key: ServiceKey): Uint8Array {
  return encodeServiceKey({
    vip: addressBytes(key.vip),
    port: key.port,
    l4Proto: PROTOCOL_CODES[key.protocol],
  });
}

/** The record that makes an address a VIP, whatever services it has. */
export function encodeVipKey(vip: Address): Uint8Array {
  return encodeServiceKey({ vip: addressBytes(vip), port: 0, l4Proto: 0 });
}

/** Undefined for the record of a VIP itself. */
export function decodeKey(record: ServiceKeyRecord): ServiceKey | undefined {
  const protocol = nameOf(PROTOCOL_CODES, record.l4Proto);
  if (protocol === undefined) return undefined;
  return { vip: addressFromBytes(record.vip), protocol, port: record.port };
}

export function encodeNatSourceKey({ address, port, protocol }: NatSource): Uint8Array {
  const l4Proto = PROTOCOL_CODES[protocol];
  return encodeNatSource({ address: addressBytes(address), port, l4Proto });
}

export function encodeNatSourceValue({ candidates }: NatSource): Uint8Array {
  const vips = new Uint8Array(NAT_CANDIDATES_MAX * 16);
  const ports = new Array<number>(NAT_CANDIDATES_MAX).fill(0);
  candidates.forEach(({ vip, port }, index) => {
    vips.set(addressBytes(vip), index * 16);
    ports[index] = port;
  });
  return encodeNatCandidates({ vips, ports, count: candidates.length });
}

/** Undefined for a protocol that this build does not know. */
export function decodeNatSource(
  key: NatSourceRecord,
  value: NatCandidatesRecord,
): NatSource | undefined {
  const protocol = nameOf(PROTOCOL_CODES, key.l4Proto);
  if (protocol === undefined) return undefined;
  const candidates = value.ports.slice(0, value.count).map((port, index) => {
    const vip = addressFromBytes(value.vips.slice(index * 16, (index + 1) * 16));
    return { vip, port };
  });
  return { address: addressFromBytes(key.address), port: key.port, protocol, candidates };
}

export function backendRecord(
  service: ProgrammedService,
  backend: ProgrammedBackend,
  own: OwnAddresses,
): BackendRecord {
  return {
    address: addressBytes(backend.address),
    vip: addressBytes(service.vip),
    service: service.index,
    weight: backend.weight,
    generation: backend.generation,
    state: STATE_CODES[backend.state],
    ...quicFields(service.quic),
    ...encodeWay(backend, service.port, own),
  };
}

export const QUIC_CODES = {
  quic_lb: QuicCode.QUIC_LB,
  katran: QuicCode.QUIC_KATRAN,
} as const;

function quicFields(quic: QuicRouting | undefined) {
  if (quic === undefined) return { quic: QuicCode.QUIC_NONE, quicIdBytes: 0, quicConfig: 0 };
  const { layout, idBytes, configId } = quic;
  return { quic: QUIC_CODES[layout], quicIdBytes: idBytes, quicConfig: configId };
}

/** What connection IDs call a backend of a service. */
export function quicKey(service: number, serverId: string): Uint8Array {
  const id = new Uint8Array(QUIC_ID_BYTES_MAX);
  const bytes = Buffer.from(serverId, 'hex');
  id.set(bytes);
  return encodeQuicKey({ service, bytes: bytes.length, id });
}

/** A slot that was given up: its generation stays, so that the next owner gets another one. */
export function unusedRecord(generation: number): BackendRecord {
  const none = new Uint8Array(16);
  return {
    address: none,
    vip: none,
    service: 0,
    weight: 0,
    generation,
    state: StateCode.BACKEND_UNUSED,
    ...quicFields(undefined),
    ...NO_WAY,
  };
}

/** Undefined for an unused slot. */
export function decodeBackend(record: BackendRecord, slot: number): ProgrammedBackend | undefined {
  const state = nameOf(STATE_CODES, record.state);
  const mode = decodeMode(record.mode);
  if (state === undefined || mode === undefined) return undefined;
  const { generation, weight } = record;
  return { slot, generation, weight, mode, state, address: addressFromBytes(record.address) };
}

/** `02:00:00:00:00:01` */
export function formatMac(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join(':');
}

export function parseMac(text: string): Uint8Array {
  return Uint8Array.from(text.split(':'), (part) => Number.parseInt(part, 16));
}
