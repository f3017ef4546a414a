/**
 * One program under replay.bpf.c: how often it runs over which flows, and how long that took.
 * Knows nothing of what the program is; that each frame took the path meant is for others to check.
 */
import { join } from 'node:path';
import { structsOf, type BtfType, type Field, type Struct } from '../src/abi/btf.ts';
import { runTool } from '../src/dataplane/ip.ts';
import { BpfObject, testRun, threadCpuNs, type BpfMap } from '../src/dataplane/libbpf.ts';
import { SkeinError } from '../src/lib/errors.ts';
import { replayConfig, strideOf, type FieldValues, type Order } from './replay-config.ts';

export const BUILD_FOLDER = join(import.meta.dirname, '../build');
const OBJECT = join(BUILD_FOLDER, 'replay.bpf.o');

/** The structs of replay.h, as the object has them. */
export interface Layouts {
  readonly config: Struct;
  readonly state: Struct;
}

export interface ReplayOptions {
  /** Program under test; it stays open as long as the replay is used. */
  readonly program: number;
  readonly frame: Uint8Array;
  /** Length of the cycle; 0: each frame starts a flow that was never seen before. */
  readonly flows: number;
  /** Interface that the frames seem to come from. */
  /** Bytes that the program puts in front of the packet; default 0. */
  readonly growthBytes?: number;
  readonly ingressIfindex: number;
}

export interface ReplayResult {
  /** CPU time of one frame, the replay's own share included. */
  readonly frameNs: number;
  /** The verdict of the last frame. */
  readonly verdict: number;
  /** Frames that were not as they had to be, before or after. */
  readonly odd: number;
}

/** The layouts that the object was built with. */
export async function readLayouts(): Promise<Layouts> {
  const dump = await runTool('bpftool', ['-j', 'btf', 'dump', 'file', OBJECT, 'format', 'raw']);
  const { types } = JSON.parse(dump) as { types: BtfType[] };
  const [config, state] = structsOf(types, ['replay_config', 'replay_state']);
  if (config === undefined || state === undefined) throw new RangeError('asked for two structs');
  return { config, state };
}

export class Replay {
  readonly #options: ReplayOptions;
  readonly #layouts: Layouts;
  readonly #program: number;
  readonly #state: BpfMap;
  #nextFlow = 0;

  constructor(options: ReplayOptions, layouts: Layouts) {
    this.#options = options;
    this.#layouts = layouts;
    const object = new BpfObject(OBJECT);
    object.setInitialValue(
      '.rodata',
      encode(layouts.config, replayConfig(options.frame, options.flows, options.growthBytes)),
    );
    object.load();
    object.map('target').update(word(0), word(options.program));
    this.#program = object.program('replay');
    this.#state = object.map('.bss');
  }

  /** Goes on where the run before ended. */
  run(frames: number, order: Order): ReplayResult {
    const { flows, frame, ingressIfindex, growthBytes = 0 } = this.#options;
    this.#writeState(strideOf(flows, order));
    const startNs = threadCpuNs();
    // As long as the program leaves it, also the first time.
    const packet = new Uint8Array(growthBytes + frame.length);
    packet.set(frame, growthBytes);
    const run = { packet, repeat: frames, ingressIfindex };
    const { verdict } = testRun(this.#program, run);
    const frameNs = (threadCpuNs() - startNs) / frames;
    const { runs, odd, nextFlow } = this.#readState();
    if (runs !== frames)
      throw new SkeinError('REPLAY', `${runs} of ${frames} frames were replayed`);
    this.#nextFlow = nextFlow;
    return { frameNs, verdict, odd };
  }

  #writeState(stride: number): void {
    const nextFlow = this.#nextFlow;
    const state = { runs: 0n, otherLengths: 0n, failures: 0n, nextFlow, stride };
    this.#state.update(word(0), encode(this.#layouts.state, state));
  }

  #readState(): { runs: number; odd: number; nextFlow: number } {
    const bytes = this.#state.lookup(word(0));
    if (bytes === undefined) throw new SkeinError('REPLAY', 'the state of the replay is gone');
    const view = new DataView(bytes.buffer);
    const value = (name: string): number => readNumber(view, this.#layouts.state, name);
    return {
      runs: value('runs'),
      odd: value('otherLengths') + value('failures'),
      nextFlow: value('nextFlow'),
    };
  }
}

function encode(struct: Struct, values: FieldValues): Uint8Array {
  const bytes = new Uint8Array(struct.bytes);
  const view = new DataView(bytes.buffer);
  for (const { name, offset, width, bytes: room } of struct.fields) {
    const value = values[name];
    if (value === undefined) throw new TypeError(`${struct.name}: no value for ${name}`);
    if (typeof value === 'object') bytes.set(value.subarray(0, room), offset);
    else if (width === 8) view.setBigUint64(offset, BigInt(value), true);
    else view.setUint32(offset, Number(value), true);
  }
  return bytes;
}

function readNumber(view: DataView, struct: Struct, name: string): number {
  const { offset, width } = field(struct, name);
  return width === 8 ? Number(view.getBigUint64(offset, true)) : view.getUint32(offset, true);
}

function field(struct: Struct, name: string): Field {
  const found = struct.fields.find((each) => each.name === name);
  if (found === undefined) throw new TypeError(`${struct.name} has no ${name}`);
  return found;
}

function word(value: number): Uint8Array {
  return new Uint8Array(Uint32Array.of(value).buffer);
}
