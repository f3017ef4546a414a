/** The rules of source filters in the maps: one record for each service and prefix, one counter each. */
import {
  encodeSourceKey,
  encodeSourceRule,
  readSourceKey,
  readSourceRule,
  SOURCE_KEY_BYTES,
  SOURCE_RULE_BYTES,
} from '../abi/abi.generated.ts';
import {
  addressBytes,
  addressFromBytes,
  familyOf,
  formatPrefix,
  type Prefix,
} from '../model/address.ts';
import type { SourceRule } from '../model/admission.ts';
import { possibleCpus, type BpfMap, type BpfObject } from './libbpf.ts';
import { Slots } from './slots.ts';

const SERVICE_BITS = 32;
const IPV4_MAPPED_BITS = 96;
const COUNTER_BYTES = 8;

interface Placed extends SourceRule {
  /** Index of its counter. */
  readonly slot: number;
}

export class SourceRules {
  readonly #rules: BpfMap;
  readonly #hits: BpfMap;
  readonly #slots: Slots;
  /** By service index, then by prefix. */
  readonly #placed = new Map<number, Map<string, Placed>>();

  /** Goes on with what an earlier supervisor left in the maps. */
  constructor(object: BpfObject) {
    this.#rules = object.map('source_rules');
    this.#hits = object.map('source_hits');
    this.#slots = new Slots(this.#hits.maxEntries);
    const used = new Set<number>();
    this.#rules.readAll((keys, values, count) => {
      for (let i = 0; i < count; i += 1) {
        const { service, prefixBits, source } = readSourceKey(keys, i * SOURCE_KEY_BYTES);
        const { hits, admits } = readSourceRule(values, i * SOURCE_RULE_BYTES);
        const address = addressFromBytes(source);
        const mapped = familyOf(address) === 'ipv4' ? IPV4_MAPPED_BITS : 0;
        const prefix = { address, length: prefixBits - SERVICE_BITS - mapped };
        this.#of(service).set(formatPrefix(prefix), { prefix, admits: admits !== 0, slot: hits });
        used.add(hits);
      }
    });
    this.#slots.restore(used);
  }

  of(service: number): SourceRule[] {
    return [...(this.#placed.get(service)?.values() ?? [])].map(({ prefix, admits }) => {
      return { prefix, admits };
    });
  }

  /** Throws a RangeError when there is no room for another rule. */
  put(service: number, rules: readonly SourceRule[]): void {
    for (const { prefix, admits } of rules) {
      const text = formatPrefix(prefix);
      const before = this.#placed.get(service)?.get(text);
      const slot = before?.slot ?? this.#take();
      const value = encodeSourceRule({ hits: slot, admits: Number(admits) });
      this.#rules.update(keyOf(service, prefix), value);
      this.#of(service).set(text, { prefix, admits, slot });
    }
  }

  remove(service: number, rules: readonly SourceRule[]): void {
    const placed = this.#placed.get(service);
    for (const { prefix } of rules) {
      const text = formatPrefix(prefix);
      const found = placed?.get(text);
      if (found === undefined) continue;
      this.#rules.delete(keyOf(service, prefix));
      this.#slots.free(found.slot);
      placed?.delete(text);
    }
    if (placed?.size === 0) this.#placed.delete(service);
  }

  /** New flows that each rule decided on, with the index of its service. */
  hits(): (SourceRule & { readonly service: number; readonly hits: number })[] {
    const counted: number[] = [];
    this.#hits.readAllPerCpu(this.#slots.highWater, (view, at) => {
      let sum = 0;
      for (let cpu = 0; cpu < possibleCpus; cpu += 1) {
        sum += Number(view.getBigUint64(at + cpu * COUNTER_BYTES, true));
      }
      counted.push(sum);
    });
    return [...this.#placed].flatMap(([service, placed]) =>
      Array.from(placed.values(), ({ prefix, admits, slot }) => {
        return { service, prefix, admits, hits: counted[slot] ?? 0 };
      }),
    );
  }

  #of(service: number): Map<string, Placed> {
    const found = this.#placed.get(service) ?? new Map<string, Placed>();
    this.#placed.set(service, found);
    return found;
  }

  #take(): number {
    const slot = this.#slots.take();
    if (slot === undefined) {
      throw new RangeError(`no room for another source rule: the limit is ${this.#slots.capacity}`);
    }
    const zeroes = new Uint8Array(COUNTER_BYTES * possibleCpus);
    this.#hits.updatePerCpu(bytesOf(slot), zeroes);
    return slot;
  }
}

function bytesOf(slot: number): Uint8Array {
  return new Uint8Array(Uint32Array.of(slot).buffer);
}

function keyOf(service: number, prefix: Prefix): Uint8Array {
  const mapped = familyOf(prefix.address) === 'ipv4' ? IPV4_MAPPED_BITS : 0;
  return encodeSourceKey({
    prefixBits: SERVICE_BITS + mapped + prefix.length,
    service,
    source: addressBytes(prefix.address),
  });
}
