/**
 * The XDP program of a server: its maps filled before it meets a packet, and replaced as a whole, so
 * that no packet sees half of a change. Must never be attached without the maps being full.
 */
import { existsSync, readdirSync, rmdirSync } from 'node:fs';
import { join } from 'node:path';
import {
  BACKEND_COUNTERS,
  DecapKind,
  encodeDecapAddress,
  encodeDscpKey,
} from '../abi/abi.generated.ts';
import { attach, detachOthers, removePins, type XdpModeWish } from '../dataplane/attachment.ts';
import { mountBpffs } from '../dataplane/bpffs.ts';
import type { InterfaceStatus } from '../dataplane/dataplane.ts';
import { BpfObject, possibleCpus } from '../dataplane/libbpf.ts';
import { SkeinError } from '../lib/errors.ts';
import type { Logger } from '../lib/logger.ts';
import { addressBytes } from '../model/address.ts';
import type { TunnelMode } from '../model/forwarding.ts';
import type { Duties, TakenAddress } from './duties.ts';

export const OBJECT_PATH = join(import.meta.dirname, '../../build/backend.bpf.o');
export const PROGRAM = 'skein_decap';

export type BackendCounterName = (typeof BACKEND_COUNTERS)[number]['name'];

export interface BackendCounter {
  readonly name: BackendCounterName;
  /** Its packets were dropped. */
  readonly drop: boolean;
  /** What it counts, for people. */
  readonly help: string;
  readonly value: number;
}

const KINDS: Readonly<Record<TunnelMode, number>> = {
  ipip: DecapKind.DECAP_IPIP,
  gre: DecapKind.DECAP_GRE,
  gue: DecapKind.DECAP_GUE,
  fou: DecapKind.DECAP_FOU,
};

/** Loads the program with its maps filled; `previous` passes its counters on. */
export function loadProgram(
  { vips, addresses }: Pick<Duties, 'vips' | 'addresses'>,
  previous?: BpfObject,
): BpfObject {
  const object = new BpfObject(OBJECT_PATH);
  try {
    if (previous !== undefined) object.reuseMap('counters', previous.map('counters').fd);
    object.load();
    const [vipMap, addressMap, dscpMap] = [
      object.map('vips'),
      object.map('addresses'),
      object.map('dscps'),
    ];
    for (const vip of vips) vipMap.update(addressBytes(vip), new Uint8Array(4));
    for (const taken of addresses) {
      const key = addressBytes(taken.address);
      for (const [dscp, vip] of taken.dscps) {
        dscpMap.update(encodeDscpKey({ address: key, dscp }), addressBytes(vip));
      }
      addressMap.update(key, addressRecord(taken));
    }
    return object;
  } catch (error) {
    object.close();
    throw error;
  }
}

function addressRecord({ tunnels, guePort, fouPort, dscps }: TakenAddress): Uint8Array {
  return encodeDecapAddress({
    guePort,
    fouPort,
    tunnels: [...tunnels].reduce((bits, tunnel) => bits | KINDS[tunnel], 0),
    dscp: dscps.size > 0 ? 1 : 0,
  });
}

/** Every counter, with the sum over all CPUs. */
export function readCounters(object: BpfObject): readonly BackendCounter[] {
  const values: number[] = [];
  object.map('counters').readAllPerCpu(BACKEND_COUNTERS.length, (view, at) => {
    let sum = 0n;
    for (let cpu = 0; cpu < possibleCpus; cpu += 1) sum += view.getBigUint64(at + cpu * 8, true);
    values.push(Number(sum));
  });
  return BACKEND_COUNTERS.map((counter, index) => ({ ...counter, value: values[index] ?? 0 }));
}

/** The program on its interfaces. Its links are pinned: it goes on when the process is gone. */
export class AttachedProgram {
  readonly #bpffs: string;
  readonly #logger: Logger;
  #object: BpfObject | undefined;
  #interfaces: readonly InterfaceStatus[] = [];

  constructor(bpffs: string, logger: Logger) {
    this.#bpffs = bpffs;
    this.#logger = logger;
  }

  get interfaces(): readonly InterfaceStatus[] {
    return this.#interfaces;
  }

  /** Since the process was started; empty without a program. */
  counters(): readonly BackendCounter[] {
    return this.#object === undefined ? [] : readCounters(this.#object);
  }

  /** Takes the whole of what is wanted; on no interface when there is nothing to take apart. */
  async set(duties: Duties, interfaces: readonly string[], wish: XdpModeWish): Promise<void> {
    if (duties.addresses.length === 0) {
      this.remove();
      return;
    }
    if (!this.#isOurs()) {
      const text = `${this.#bpffs} holds more than links of skein backend: give another --bpffs`;
      throw new SkeinError('CONFIG', text);
    }
    await mountBpffs(this.#bpffs);
    const object = loadProgram(duties, this.#object);
    try {
      const program = object.program(PROGRAM);
      this.#interfaces = interfaces.map((name) =>
        attach(this.#bpffs, name, program, wish, this.#logger),
      );
    } catch (error) {
      object.close();
      throw error;
    }
    this.#object?.close();
    this.#object = object;
    detachOthers(this.#bpffs, this.#interfaces);
  }

  /** Off every interface, whoever attached it; without effect when it is nowhere. */
  remove(): void {
    this.#object?.close();
    this.#object = undefined;
    this.#interfaces = [];
    if (!existsSync(this.#bpffs) || !this.#isOurs()) return;
    removePins(this.#bpffs);
    rmdirSync(this.#bpffs);
  }

  /** The folder of a node has maps in it: a node goes on forwarding without its process. */
  #isOurs(): boolean {
    if (!existsSync(this.#bpffs)) return true;
    return readdirSync(this.#bpffs).every((name) => name.startsWith('link-'));
  }
}
