/**
 * What replies of nat backends come from, and what is to be put in its place: worked out from the
 * services, and kept in step with the kernel's map. Only reconcile.ts decides when.
 */
import { Feature } from '../abi/abi.generated.ts';
import type { Address } from '../model/address.ts';
import { natPort, NAT_SHARERS_MAX, type ForwardingMode } from '../model/forwarding.ts';
import type { ForwardingOptions } from '../model/forwarding.ts';
import type { L4Protocol, ServiceKey } from '../model/service.ts';

export interface NatCandidate {
  readonly vip: Address;
  /** 0: the port that the reply has. */
  readonly port: number;
}

/** An address and port of a backend, and what its replies may be sent on from. */
export interface NatSource {
  readonly address: Address;
  /** 0: every port that has no entry of its own. */
  readonly port: number;
  readonly protocol: L4Protocol;
  readonly candidates: readonly NatCandidate[];
}

interface NatBackend {
  readonly address: Address;
  readonly mode: ForwardingMode;
  readonly forwarding?: ForwardingOptions | undefined;
}

export interface NatService extends ServiceKey {
  readonly backends: ReadonlyMap<Address, NatBackend>;
}

/** Identifies an entry; the protocol is text since it is no part of an address. */
function nameOf(protocol: L4Protocol, address: Address, port: number): string {
  return `${protocol} ${address} ${port}`;
}

/** By name. A source that stands for more than NAT_SHARERS_MAX is an error: which it is, is said. */
export function natSources(services: Iterable<NatService>): Map<string, NatSource> {
  const sources = new Map<string, NatSource & { candidates: NatCandidate[] }>();
  for (const { vip, protocol, port: servicePort, backends } of services) {
    for (const { address, mode, forwarding } of backends.values()) {
      if (mode !== 'nat') continue;
      const port = natPort(servicePort, forwarding);
      const name = nameOf(protocol, address, port);
      const source = sources.get(name) ?? { address, port, protocol, candidates: [] };
      source.candidates.push({ vip, port: servicePort });
      sources.set(name, source);
    }
  }
  for (const [name, source] of sources) {
    // What takes every port takes those that have an entry of their own as well.
    const any = source.port === 0 ? undefined : nameOf(source.protocol, source.address, 0);
    source.candidates.push(...(sources.get(any ?? '')?.candidates ?? []));
    source.candidates.sort(byText);
    if (source.candidates.length > NAT_SHARERS_MAX) {
      throw new RangeError(`${name} stands for more than ${NAT_SHARERS_MAX} VIPs and ports`);
    }
  }
  return sources;
}

function byText(a: NatCandidate, b: NatCandidate): number {
  const [left, right] = [`${a.vip} ${a.port}`, `${b.vip} ${b.port}`];
  return left < right ? -1 : left > right ? 1 : 0;
}

/** Bits of enum feature that these services need. */
export function featuresOf(
  services: Iterable<{ readonly backends: Iterable<Pick<NatBackend, 'mode'>> }>,
): number {
  let features = 0;
  for (const { backends } of services) {
    for (const { mode } of backends) {
      if (mode === 'nat') features |= Feature.FEATURE_NAT;
      if (mode === 'full_nat') features |= Feature.FEATURE_FULL_NAT;
    }
  }
  return features;
}

/** The writes that NatTable makes; see maps.ts. */
export interface NatMaps {
  readonly putNatSource: (source: NatSource) => void;
  readonly removeNatSource: (source: NatSource) => void;
}

/** The kernel's map, as it is known to be. */
export class NatTable {
  readonly #maps: NatMaps;
  readonly #held: Map<string, NatSource>;

  /** `held`: what an earlier supervisor left. */
  constructor(maps: NatMaps, held: readonly NatSource[] = []) {
    this.#maps = maps;
    this.#held = new Map(
      held.map((source) => [nameOf(source.protocol, source.address, source.port), source]),
    );
  }

  /** Before packets go to these: nothing is taken away. Returns the number of writes. */
  add(services: Iterable<NatService>): number {
    let writes = 0;
    for (const [name, source] of natSources(services)) {
      if (equal(this.#held.get(name), source)) continue;
      this.#maps.putNatSource(source);
      this.#held.set(name, source);
      writes += 1;
    }
    return writes;
  }

  /** After packets go to these and nowhere else. Returns the number of writes. */
  settle(services: Iterable<NatService>): number {
    const wanted = natSources(services);
    let writes = 0;
    for (const [name, source] of this.#held) {
      if (wanted.has(name)) continue;
      this.#maps.removeNatSource(source);
      this.#held.delete(name);
      writes += 1;
    }
    return writes;
  }
}

function equal(a: NatSource | undefined, b: NatSource): boolean {
  if (a?.candidates.length !== b.candidates.length) return false;
  return b.candidates.every(({ vip, port }, at) => {
    const other = a.candidates[at];
    return other?.vip === vip && other.port === port;
  });
}
