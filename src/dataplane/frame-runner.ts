/**
 * Test runs by the million, for tests that throw as many frames at a program as they can. The second
 * door to libbpf.so.1, since the first one makes every call safe and this one makes it cheap.
 */
import koffi from 'koffi';
import { checked, TEST_PACKET_BYTES_MAX, TEST_RUN_OPTS } from './libbpf.ts';

const testRun = koffi
  .load('libbpf.so.1')
  .func('int bpf_prog_test_run_opts(int prog_fd, void *opts)');

/** struct xdp_md: data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex. */
const XDP_MD_BYTES = 24;
const RUN_WORD = {
  bytesIn: koffi.offsetof(TEST_RUN_OPTS, 'data_size_in') / 4,
  bytesOut: koffi.offsetof(TEST_RUN_OPTS, 'data_size_out') / 4,
  verdict: koffi.offsetof(TEST_RUN_OPTS, 'retval') / 4,
};

/** Memory at a place that does not change; never freed. */
function allocate(bytes: number): { readonly at: unknown; readonly memory: ArrayBuffer } {
  const at: unknown = koffi.alloc('uint8_t', bytes);
  return { at, memory: koffi.view(at, bytes) };
}

/**
 * Test runs of one XDP program on millions of frames: all buffers are used again, so that a run costs
 * little more than what the kernel takes. Its memory is never freed.
 */
export class FrameRunner {
  /** Where the next frame is to be written. */
  readonly input: Uint8Array;
  /** The frame as the program left it is at the start, `outputBytes` long. */
  readonly output: Uint8Array;
  outputBytes = 0;
  readonly #programFd: number;
  readonly #opts: unknown;
  readonly #words: Uint32Array;
  readonly #context: Uint32Array;

  /** `ingressIfindex`: as in TestRun; 0: from nowhere in particular. */
  constructor(programFd: number, ingressIfindex = 0) {
    const input = allocate(TEST_PACKET_BYTES_MAX);
    const output = allocate(TEST_PACKET_BYTES_MAX);
    const context = allocate(XDP_MD_BYTES);
    const opts = allocate(koffi.sizeof(TEST_RUN_OPTS));
    koffi.encode(opts.at, TEST_RUN_OPTS, {
      sz: koffi.sizeof(TEST_RUN_OPTS),
      data_in: input.at,
      data_out: output.at,
      ctx_in: context.at,
      ctx_size_in: XDP_MD_BYTES,
      repeat: 1,
    });
    this.input = new Uint8Array(input.memory);
    this.output = new Uint8Array(output.memory);
    this.#context = new Uint32Array(context.memory);
    this.#context.set([0, 0, 0, ingressIfindex, 0, 0]);
    this.#programFd = programFd;
    this.#opts = opts.at;
    this.#words = new Uint32Array(opts.memory);
  }

  /** Runs the program on the first `bytes` of `input`, at least 14, and returns its verdict. */
  run(bytes: number): number {
    this.#context[1] = bytes;
    this.#words[RUN_WORD.bytesIn] = bytes;
    this.#words[RUN_WORD.bytesOut] = TEST_PACKET_BYTES_MAX;
    checked('test run', testRun(this.#programFd, this.#opts) as number);
    this.outputBytes = this.#words[RUN_WORD.bytesOut] ?? 0;
    return this.#words[RUN_WORD.verdict] ?? 0;
  }
}
