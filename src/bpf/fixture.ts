/**
 * What the kernel tests stand on: a KernelDataplane on a veth pair, and frames run through its
 * programs. Must never run outside of a network namespace of its own.
 */
import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { COUNTERS } from '../abi/abi.generated.ts';
import { loadObject } from '../dataplane/attachment.ts';
import type { ReconcileResult, WantedBackend, WantedService } from '../dataplane/dataplane.ts';
import { KernelDataplane, type KernelOptions } from '../dataplane/kernel.ts';
import { FrameRunner } from '../dataplane/frame-runner.ts';
import {
  interfaceIndex,
  possibleCpus,
  testRun,
  type BpfMap,
  type BpfObject,
} from '../dataplane/libbpf.ts';
import { NodeMaps } from '../dataplane/maps.ts';
import { silentLogger } from '../lib/logger.ts';
import type { Address } from '../model/address.ts';
import type { Admission } from '../model/admission.ts';
import type { QuicRouting } from '../model/quic.ts';
import type { FlowTimeouts } from '../model/flow.ts';
import { serviceId, type Affinity, type L4Protocol } from '../model/service.ts';
import { build } from './build.ts';
import { ownerOf, readFlows, seenAt, type FlowEntry } from './fixture-flows.ts';
import {
  backendMac,
  backendNumber,
  IPV4,
  IPV6,
  makeNetwork,
  refuseForeignNamespace,
  removeNetwork,
  resolve,
  UPLINK,
} from './fixture-network.ts';
import { decode, macText, NODE_MAC, readdressed, type Packet } from './packet.ts';

export type CounterName = (typeof COUNTERS)[number]['name'];
type ProgramName = 'skein_lb' | 'skein_probe' | 'skein_relayed';

/** A different value for each state, so that one cannot stand for another. */
export const TIMEOUTS: FlowTimeouts = {
  tcpSynS: 30,
  tcpSynAckS: 31,
  tcpFinS: 32,
  tcpS: 900,
  udpS: 60,
  defaultS: 61,
};
const BPFFS = '/sys/fs/bpf';
/** Of a bucket: more than any test waits for. */
const SPENT_MILLI = 1_000_000_000n;
const LIMITS = { services: 16, backends: 64, flows: 4096, embryonicFlows: 4096 };

interface ServiceFields {
  readonly vip: Address;
  /** Default tcp. */
  readonly protocol?: L4Protocol;
  /** Default 80. */
  readonly port?: number;
  readonly affinity?: Affinity;
  readonly admission?: Admission;
  readonly quic?: QuicRouting;
  readonly backends: readonly (Address | (Partial<WantedBackend> & { address: Address }))[];
}

/** A service whose backends are up and weigh 1, unless they say otherwise. */
export function service(fields: ServiceFields): WantedService {
  const { vip, protocol = 'tcp', port = 80, affinity = 'flow', admission, quic } = fields;
  const defaults = { weight: 1, mode: 'l2dsr', state: 'up' } as const;
  const backends = fields.backends.map((each): WantedBackend => {
    return { ...defaults, ...(typeof each === 'string' ? { address: each } : each) };
  });
  const key = { vip, protocol, port };
  return {
    ...key,
    id: serviceId(key),
    affinity,
    ...(admission && { admission }),
    ...(quic && { quic }),
    backends,
  };
}

const VERDICTS = ['ABORTED', 'DROP', 'PASS', 'TX', 'REDIRECT'] as const;
export type VerdictName = (typeof VERDICTS)[number];

export interface Run {
  readonly verdict: VerdictName;
  readonly frame: Uint8Array;
}

export interface Outcome extends Run {
  /** Counters that changed, and by how much. */
  readonly counted: Partial<Record<CounterName, number>>;
  /** The frame taken apart; throws when it is not IP. */
  readonly packet: Packet;
}

/** What l2dsr makes of a frame for the `n`th backend. */
export function towards(n: number, frame: Uint8Array): Uint8Array {
  return readdressed(frame, { dmac: backendMac(n), smac: NODE_MAC });
}

/** Number of the backend that a frame was sent to; undefined when it was not sent. */
export function sentTo({ verdict, frame }: Run): number | undefined {
  return verdict === 'TX' ? backendNumber(macText(frame.subarray(0, 6))) : undefined;
}

/** Milliseconds of the clock that flows are stamped with, modulo 2^32. */
export function kernelNowMs(): number {
  return Number((process.hrtime.bigint() / 1_000_000n) & 0xffffffffn);
}

export class Fixture {
  readonly options: KernelOptions;
  #dataplane: KernelDataplane;
  /** A second handle on the same pinned maps: programs to run, maps to look into. */
  #object: BpfObject;
  #maps: NodeMaps;
  /** Where the frames of each program come in. */
  readonly #ingress: Readonly<Record<ProgramName, number>>;

  /** Makes the network and opens a data plane on the uplink. */
  static async open(change: Partial<KernelOptions> = {}): Promise<Fixture> {
    const options = await prepare(change);
    return new Fixture(options, await KernelDataplane.open(options, silentLogger));
  }

  private constructor(options: KernelOptions, dataplane: KernelDataplane) {
    this.options = options;
    this.#dataplane = dataplane;
    this.#object = loadObject(options.objectPath, options.bpffs, options.limits).object;
    this.#maps = new NodeMaps(this.#object, this.options);
    this.#ingress = {
      skein_lb: interfaceIndex(UPLINK),
      skein_probe: interfaceIndex('skein-probe1'),
      skein_relayed: interfaceIndex(UPLINK),
    };
  }

  get dataplane(): KernelDataplane {
    return this.#dataplane;
  }

  /** Closes the data plane and opens another over what it left, as a new supervisor does. */
  async restart(change: Partial<KernelOptions> = {}): Promise<void> {
    const options = { ...this.options, ...change };
    await this.#dataplane.close('keep');
    this.#object.close();
    this.#dataplane = await KernelDataplane.open(options, silentLogger);
    this.#object = loadObject(options.objectPath, options.bpffs, options.limits).object;
    this.#maps = new NodeMaps(this.#object, this.options);
  }

  /** Takes everything away, and fails when a program met what it calls a bug of its own. */
  async close(): Promise<void> {
    const bugs = this.count('internal');
    this.#object.close();
    await this.#dataplane.close('detach');
    await release(this.options);
    if (bugs > 0) throw new Error(`the counter "internal" stands at ${bugs}: see DROP_INTERNAL`);
  }

  /** Reconciles, and gives every backend of the plans a static neighbour entry. */
  async program(...services: readonly WantedService[]): Promise<ReconcileResult> {
    const result = this.#dataplane.reconcile(services, TIMEOUTS);
    if (result.failures.length > 0) throw new Error(result.failures.join('; '));
    const backends = services.flatMap((each) => each.backends.map((backend) => backend.address));
    // Marking an entry as managed takes a static one away, so this comes after that.
    await this.#dataplane.settled();
    await resolve(new Set(backends));
    return result;
  }

  /** Runs a frame as if it had come in where the program is attached, and looks at no counter. */
  run(frame: Uint8Array, program: ProgramName = 'skein_lb'): Run {
    const result = testRun(this.#object.program(program), {
      packet: frame,
      ingressIfindex: this.#ingress[program],
    });
    const verdict = VERDICTS[result.verdict];
    if (verdict === undefined) throw new RangeError(`no XDP verdict ${result.verdict}`);
    return { verdict, frame: result.packet.slice() };
  }

  /** For millions of frames of `skein_lb`. */
  runner(): FrameRunner {
    return new FrameRunner(this.#object.program('skein_lb'), this.#ingress.skein_lb);
  }

  send(frame: Uint8Array, program: ProgramName = 'skein_lb'): Outcome {
    const before = this.#maps.counterValues();
    const run = this.run(frame, program);
    const after = this.#maps.counterValues();
    const counted: Partial<Record<CounterName, number>> = {};
    COUNTERS.forEach(({ name }, index) => {
      const change = (after[index] ?? 0) - (before[index] ?? 0);
      if (change !== 0) counted[name] = change;
    });
    return {
      ...run,
      counted,
      get packet() {
        return decode(run.frame);
      },
    };
  }

  /** Every counter, in the order of COUNTERS. */
  counterValues(): readonly number[] {
    return this.#maps.counterValues();
  }

  count(name: CounterName): number {
    return this.#maps.counterValues()[COUNTERS.findIndex((each) => each.name === name)] ?? 0;
  }

  map(name: string): BpfMap {
    return this.#object.map(name);
  }

  /** Every token bucket of the CPUs is full, or holds nothing. */
  fillCpuBuckets(fill: 'full' | 'empty' = 'full'): void {
    const buckets = this.map('cpu_buckets');
    const spentMilli = fill === 'full' ? 0n : SPENT_MILLI;
    const value = BigUint64Array.from({ length: possibleCpus * 2 }, (_, i) =>
      i % 2 === 0 ? spentMilli : BigInt(kernelNowMs()),
    );
    for (let index = 0; index < buckets.maxEntries; index += 1) {
      const key = new Uint8Array(Uint32Array.of(index).buffer);
      buckets.updatePerCpu(key, new Uint8Array(value.buffer));
    }
  }

  established(): FlowEntry[] {
    return ['flows4', 'flows6'].flatMap((table) => readFlows(this.map(table)));
  }

  embryonic(): FlowEntry[] {
    return ['embryonic4', 'embryonic6'].flatMap((table) => readFlows(this.map(table)));
  }

  /** The backend of a flow; undefined when its slot has another owner now. */
  backendOf({ owner }: FlowEntry): Address | undefined {
    const { services } = this.#maps.adopt();
    const backends = services.flatMap((each) => [...each.backends.values()]);
    return backends.find((each) => ownerOf(each.slot, each.generation) === owner)?.address;
  }

  forgetFlows(): void {
    for (const { table, key } of [...this.established(), ...this.embryonic()]) {
      this.map(table).delete(key);
    }
    const translated = this.map('nat_flows');
    translated.readAll((keys, _values, count) => {
      for (let i = 0; i < count; i += 1) {
        const at = keys.byteOffset + i * translated.keyBytes;
        translated.delete(new Uint8Array(keys.buffer, at, translated.keyBytes).slice());
      }
    });
  }

  /** Makes a flow look as if its last packet had come `idleMs` milliseconds ago. */
  makeIdle({ table, key, value }: FlowEntry, idleMs: number, livedMs?: number): void {
    this.map(table).update(key, seenAt(value, kernelNowMs() - idleMs, livedMs));
  }
}

/** The network, and the options of a data plane on its uplink. */
export async function prepare(change: Partial<KernelOptions> = {}): Promise<KernelOptions> {
  await refuseForeignNamespace();
  build();
  stayOnOneCpu();
  removeLeftovers();
  await makeNetwork();
  return {
    objectPath: join(import.meta.dirname, '../../build/lb.bpf.o'),
    bpffs: `${BPFFS}/skein-test-${process.pid}`,
    interfaces: [UPLINK],
    xdpMode: 'auto',
    ipv4: IPV4.node,
    ipv6: IPV6.node,
    limits: LIMITS,
    ...change,
  };
}

/** Undoes `prepare`. Whatever was opened in between must be closed. */
export async function release({ bpffs }: KernelOptions): Promise<void> {
  await removeNetwork();
  rmSync(bpffs, { recursive: true, force: true });
}

/** What a run left that was killed. */
function removeLeftovers(): void {
  for (const name of existsSync(BPFFS) ? readdirSync(BPFFS) : []) {
    const pid = /^skein-test-(\d+)/.exec(name)?.[1];
    if (pid === undefined || existsSync(`/proc/${pid}`)) continue;
    rmSync(join(BPFFS, name), { recursive: true });
  }
}

/** A test run takes place on the CPU of its caller, and each CPU has next hops of its own. */
function stayOnOneCpu(): void {
  const status = readFileSync('/proc/self/status', 'utf8');
  const first = /^Cpus_allowed_list:\s*(\d+)/m.exec(status)?.[1] ?? '0';
  execFileSync('taskset', ['-acp', first, `${process.pid}`], { stdio: 'ignore' });
}
