/**
 * The only door to the kernel's BPF: libbpf.so.1 by koffi. File descriptors and bytes go in and
 * out; what the bytes mean is for others to know. Every failure is a SkeinError that names the call.
 */
import { closeSync } from 'node:fs';
import { getSystemErrorName } from 'node:util';
import koffi from 'koffi';
import { SkeinError } from '../lib/errors.ts';

const libbpf = koffi.load('libbpf.so.1');
const libc = koffi.load('libc.so.6');

const MAP_CREATE_OPTS = koffi.struct('bpf_map_create_opts', {
  sz: 'size_t',
  btf_fd: 'uint32_t',
  btf_key_type_id: 'uint32_t',
  btf_value_type_id: 'uint32_t',
  btf_vmlinux_value_type_id: 'uint32_t',
  inner_map_fd: 'uint32_t',
  map_flags: 'uint32_t',
  map_extra: 'uint64_t',
  numa_node: 'uint32_t',
  map_ifindex: 'uint32_t',
});
const LINK_CREATE_OPTS = koffi.struct('bpf_link_create_opts', {
  sz: 'size_t',
  flags: 'uint32_t',
  iter_info: 'void *',
  iter_info_len: 'uint32_t',
  target_btf_id: 'uint32_t',
});
export const TEST_RUN_OPTS = koffi.struct('bpf_test_run_opts', {
  sz: 'size_t',
  data_in: 'void *',
  data_out: 'void *',
  data_size_in: 'uint32_t',
  data_size_out: 'uint32_t',
  ctx_in: 'void *',
  ctx_out: 'void *',
  ctx_size_in: 'uint32_t',
  ctx_size_out: 'uint32_t',
  retval: 'uint32_t',
  repeat: 'int',
  duration: 'uint32_t',
  flags: 'uint32_t',
  cpu: 'uint32_t',
  batch_size: 'uint32_t',
});

const call = {
  objectOpen: libbpf.func('void *bpf_object__open_file(const char *path, void *opts)'),
  objectLoad: libbpf.func('int bpf_object__load(void *obj)'),
  objectClose: libbpf.func('void bpf_object__close(void *obj)'),
  findMap: libbpf.func('void *bpf_object__find_map_by_name(void *obj, const char *name)'),
  findProgram: libbpf.func('void *bpf_object__find_program_by_name(void *obj, const char *name)'),
  mapFd: libbpf.func('int bpf_map__fd(void *map)'),
  mapKeyBytes: libbpf.func('uint32_t bpf_map__key_size(void *map)'),
  mapValueBytes: libbpf.func('uint32_t bpf_map__value_size(void *map)'),
  mapMaxEntries: libbpf.func('uint32_t bpf_map__max_entries(void *map)'),
  mapSetMaxEntries: libbpf.func('int bpf_map__set_max_entries(void *map, uint32_t entries)'),
  mapSetPinPath: libbpf.func('int bpf_map__set_pin_path(void *map, const char *path)'),
  mapReuseFd: libbpf.func('int bpf_map__reuse_fd(void *map, int fd)'),
  mapSetInitialValue: libbpf.func(
    'int bpf_map__set_initial_value(void *map, const void *data, size_t size)',
  ),
  programFd: libbpf.func('int bpf_program__fd(void *program)'),
  mapCreate: libbpf.func(
    'int bpf_map_create(uint32_t type, const char *name, uint32_t key_size, uint32_t value_size, uint32_t max_entries, bpf_map_create_opts *opts)',
  ),
  lookup: libbpf.func('int bpf_map_lookup_elem(int fd, const void *key, void *value)'),
  update: libbpf.func(
    'int bpf_map_update_elem(int fd, const void *key, const void *value, uint64_t flags)',
  ),
  remove: libbpf.func('int bpf_map_delete_elem(int fd, const void *key)'),
  lookupBatch: libbpf.func(
    'int bpf_map_lookup_batch(int fd, void *in, void *out, void *keys, void *values, void *count, void *opts)',
  ),
  updateBatch: libbpf.func(
    'int bpf_map_update_batch(int fd, const void *keys, const void *values, void *count, void *opts)',
  ),
  objectPin: libbpf.func('int bpf_obj_pin(int fd, const char *path)'),
  objectGet: libbpf.func('int bpf_obj_get(const char *path)'),
  linkCreate: libbpf.func(
    'int bpf_link_create(int prog_fd, int target_fd, uint32_t type, bpf_link_create_opts *opts)',
  ),
  linkUpdate: libbpf.func('int bpf_link_update(int link_fd, int prog_fd, void *opts)'),
  linkDetach: libbpf.func('int bpf_link_detach(int link_fd)'),
  iterCreate: libbpf.func('int bpf_iter_create(int link_fd)'),
  testRun: libbpf.func('int bpf_prog_test_run_opts(int prog_fd, _Inout_ bpf_test_run_opts *opts)'),
  possibleCpus: libbpf.func('int libbpf_num_possible_cpus()'),
  mmap: libc.func(
    'void *mmap(void *addr, size_t length, int prot, int flags, int fd, int64_t offset)',
  ),
  sysconf: libc.func('long sysconf(int name)'),
  munmap: libc.func('int munmap(void *addr, size_t length)'),
  interfaceIndex: libc.func('uint32_t if_nametoindex(const char *name)'),
  clockGettime: libc.func('int clock_gettime(int clock, void *timespec)'),
};

const BPF_MAP_TYPE_ARRAY = 2;
const BPF_F_INNER_MAP = 1 << 12;
const BPF_TRACE_ITER = 28;
const BPF_XDP = 37;
const BPF_F_TEST_XDP_LIVE_FRAMES = 1 << 1;
export const XDP_FLAGS_SKB_MODE = 1 << 1;
export const XDP_FLAGS_DRV_MODE = 1 << 2;
const ENOENT = 2;
const CLOCK_THREAD_CPUTIME_ID = 3;
/** Entries of a per-CPU array that one system call reads. */
const PER_CPU_CHUNK = 1024;

/** libbpf 1.x returns -errno. */
export function checked(what: string, result: number): number {
  if (result >= 0) return result;
  const name = getSystemErrorName(result);
  throw new SkeinError(`BPF_${name}`, `${what}: ${name}`);
}

export function closeFd(fd: number): void {
  closeSync(fd);
}

export const possibleCpus = checked('possible CPUs', call.possibleCpus() as number);

/** Index of a network interface of this process's namespace; 0 when there is none. */
export function interfaceIndex(name: string): number {
  return call.interfaceIndex(name) as number;
}

/**
 * CPU time of the calling thread. `process.threadCpuUsage()` is brought up to date once a tick, so
 * it tells nothing about what takes a few milliseconds.
 */
export function threadCpuNs(): number {
  const timespec = new BigInt64Array(2);
  checked('thread CPU time', call.clockGettime(CLOCK_THREAD_CPUTIME_ID, timespec) as number);
  const [seconds = 0n, nanoseconds = 0n] = timespec;
  return Number(seconds * 1_000_000_000n + nanoseconds);
}

/** One map by file descriptor. Keys and values are bytes of exactly `keyBytes` and `valueBytes`. */
export class BpfMap {
  readonly name: string;
  readonly fd: number;
  readonly keyBytes: number;
  readonly valueBytes: number;
  readonly maxEntries: number;

  constructor(name: string, fd: number, keyBytes: number, valueBytes: number, maxEntries: number) {
    this.name = name;
    this.fd = fd;
    this.keyBytes = keyBytes;
    this.valueBytes = valueBytes;
    this.maxEntries = maxEntries;
  }

  /** The value, or undefined when there is no such key. */
  lookup(key: Uint8Array): Uint8Array | undefined {
    this.#checkLength(key, this.keyBytes);
    const value = new Uint8Array(this.valueBytes);
    const result = call.lookup(this.fd, key, value) as number;
    if (result === -ENOENT) return undefined;
    checked(`lookup in ${this.name}`, result);
    return value;
  }

  update(key: Uint8Array, value: Uint8Array): void {
    this.#checkLength(key, this.keyBytes);
    this.#checkLength(value, this.valueBytes);
    checked(`update of ${this.name}`, call.update(this.fd, key, value, 0) as number);
  }

  /** `values` holds one value for each possible CPU, each padded to 8 bytes. */
  updatePerCpu(key: Uint8Array, values: Uint8Array): void {
    this.#checkLength(key, this.keyBytes);
    this.#checkLength(values, this.#perCpuBytes);
    checked(`update of ${this.name}`, call.update(this.fd, key, values, 0) as number);
  }

  /** True when there was such a key. */
  delete(key: Uint8Array): boolean {
    this.#checkLength(key, this.keyBytes);
    const result = call.remove(this.fd, key) as number;
    if (result === -ENOENT) return false;
    checked(`delete from ${this.name}`, result);
    return true;
  }

  /** Writes `count` entries that lie one after the other; one system call for all of them. */
  updateBatch(keys: Uint8Array, values: Uint8Array, count: number): void {
    this.#checkLength(keys, count * this.keyBytes);
    this.#checkLength(values, count * this.valueBytes);
    if (count === 0) return;
    const done = Uint32Array.of(count);
    const result = call.updateBatch(this.fd, keys, values, done, null) as number;
    checked(`update of ${count} entries of ${this.name}`, result);
  }

  /** Calls back with views of `keys` and `values` for up to `chunk` entries at a time. */
  readAll(each: (keys: DataView, values: DataView, count: number) => void, chunk = 4096): void {
    const keys = new Uint8Array(chunk * this.keyBytes);
    const values = new Uint8Array(chunk * this.valueBytes);
    const position = new Uint8Array(Math.max(this.keyBytes, 8));
    let started = false;
    for (;;) {
      const count = Uint32Array.of(chunk);
      const from = started ? position : null;
      const result = call.lookupBatch(this.fd, from, position, keys, values, count, null) as number;
      if (result < 0 && result !== -ENOENT) checked(`read of ${this.name}`, result);
      const read = count[0] ?? 0;
      if (read > 0) each(new DataView(keys.buffer), new DataView(values.buffer), read);
      if (result === -ENOENT) return;
      started = true;
    }
  }

  /**
   * Reads the first `entries` of a per-CPU array in order. `at` is where an entry's values begin:
   * one for each possible CPU, each padded to 8 bytes.
   */
  readAllPerCpu(entries: number, each: (values: DataView, at: number) => void): void {
    const chunk = Math.min(entries, PER_CPU_CHUNK);
    const keys = new Uint8Array(chunk * this.keyBytes);
    const values = new Uint8Array(chunk * this.#perCpuBytes);
    const view = new DataView(values.buffer);
    const position = new Uint8Array(8);
    let read = 0;
    while (read < entries) {
      const count = Uint32Array.of(Math.min(chunk, entries - read));
      const from = read === 0 ? null : position;
      const result = call.lookupBatch(this.fd, from, position, keys, values, count, null) as number;
      if (result < 0 && result !== -ENOENT) checked(`read of ${this.name}`, result);
      const got = count[0] ?? 0;
      for (let i = 0; i < got; i += 1) each(view, i * this.#perCpuBytes);
      read += got;
      if (result === -ENOENT || got === 0) return;
    }
  }

  get #perCpuBytes(): number {
    return Math.ceil(this.valueBytes / 8) * 8 * possibleCpus;
  }

  #checkLength(bytes: Uint8Array, wanted: number): void {
    if (bytes.length !== wanted) {
      throw new RangeError(`${this.name}: ${wanted} bytes wanted, got ${bytes.length}`);
    }
  }
}

/** An object file on its way into the kernel: open, set sizes and pins, load, take maps and programs. */
export class BpfObject {
  #handle: unknown;
  readonly #path: string;

  constructor(path: string) {
    this.#path = path;
    this.#handle = call.objectOpen(path, null);
    if (this.#handle === null) {
      throw new SkeinError('BPF_OPEN', `${path} cannot be opened as a BPF object`);
    }
  }

  setMaxEntries(map: string, entries: number): void {
    checked(`size of ${map}`, call.mapSetMaxEntries(this.#find(map), entries) as number);
  }

  /** A map that is already pinned there is reused by `load`, if its layout is the same. */
  setPinPath(map: string, path: string): void {
    checked(`pin of ${map}`, call.mapSetPinPath(this.#find(map), path) as number);
  }

  /** Takes a map that is there already, with its size, in place of a new one. */
  reuseMap(map: string, fd: number): void {
    checked(`reuse of ${map}`, call.mapReuseFd(this.#find(map), fd) as number);
  }

  /** Content of a map that the object declares with a value, such as `.rodata`. */
  setInitialValue(map: string, value: Uint8Array): void {
    const result = call.mapSetInitialValue(this.#find(map), value, value.length) as number;
    checked(`initial value of ${map}`, result);
  }

  load(): void {
    checked(`load of ${this.#path}`, call.objectLoad(this.#open) as number);
  }

  map(name: string): BpfMap {
    const map = this.#find(name);
    return new BpfMap(
      name,
      call.mapFd(map) as number,
      call.mapKeyBytes(map) as number,
      call.mapValueBytes(map) as number,
      call.mapMaxEntries(map) as number,
    );
  }

  /** File descriptor of a program; it belongs to the object. */
  program(name: string): number {
    const program: unknown = call.findProgram(this.#open, name);
    if (program === null) throw new SkeinError('BPF_ENOENT', `no program ${name}`);
    return call.programFd(program) as number;
  }

  /** Closes every descriptor of the object; what is pinned or attached stays. Idempotent. */
  close(): void {
    if (this.#handle !== undefined) call.objectClose(this.#handle);
    this.#handle = undefined;
  }

  /** Throws once it is closed: libbpf has freed it, and would read what is there now. */
  get #open(): unknown {
    if (this.#handle === undefined) throw new SkeinError('BPF_CLOSED', `${this.#path} is closed`);
    return this.#handle;
  }

  #find(name: string): unknown {
    const map: unknown = call.findMap(this.#open, name);
    if (map === null) throw new SkeinError('BPF_ENOENT', `no map ${name} in ${this.#path}`);
    return map;
  }
}

/** An array that can be put into an array of maps beside others of another size. */
export function createInnerArray(name: string, valueBytes: number, entries: number): BpfMap {
  const opts = { sz: koffi.sizeof(MAP_CREATE_OPTS), map_flags: BPF_F_INNER_MAP };
  const fd = call.mapCreate(BPF_MAP_TYPE_ARRAY, name, 4, valueBytes, entries, opts) as number;
  return new BpfMap(name, checked(`create ${name}`, fd), 4, valueBytes, entries);
}

/** Attaches an XDP program and returns the link's descriptor; closing it unpinned detaches. */
export function attachXdp(programFd: number, ifindex: number, flags: number): number {
  const opts = { sz: koffi.sizeof(LINK_CREATE_OPTS), flags };
  return checked('attach XDP', call.linkCreate(programFd, ifindex, BPF_XDP, opts) as number);
}

/** A link for an iterator program over one map; read it through `openIterator`. */
export function attachMapIterator(programFd: number, mapFd: number): number {
  const info = Uint32Array.of(mapFd);
  const opts = {
    sz: koffi.sizeof(LINK_CREATE_OPTS),
    iter_info: info,
    iter_info_len: info.byteLength,
  };
  return checked('attach iterator', call.linkCreate(programFd, 0, BPF_TRACE_ITER, opts) as number);
}

/** A descriptor whose reading runs the iterator to its end. */
export function openIterator(linkFd: number): number {
  return checked('open iterator', call.iterCreate(linkFd) as number);
}

/** Replaces the program of a link in one step: no packet sees neither. */
export function updateLink(linkFd: number, programFd: number): void {
  checked('update link', call.linkUpdate(linkFd, programFd, null) as number);
}

/** Takes the program off its interface at once; when the link is merely closed, the kernel does it later. */
export function detachLink(linkFd: number): void {
  checked('detach link', call.linkDetach(linkFd) as number);
}

export function pin(fd: number, path: string): void {
  checked(`pin ${path}`, call.objectPin(fd, path) as number);
}

/** Descriptor of a pinned map, program or link; undefined when nothing is pinned there. */
export function openPinned(path: string): number | undefined {
  const fd = call.objectGet(path) as number;
  return fd === -ENOENT ? undefined : checked(`open ${path}`, fd);
}

const PROT_READ = 1;
const PROT_WRITE = 2;
const MAP_SHARED = 1;
const MAP_FAILED = -1n;
const SC_PAGESIZE = 30;
const PAGE_BYTES = call.sysconf(SC_PAGESIZE) as number;

/** Memory that the kernel shares, until `unmap`: touching `memory` after that ends the process. */
export interface MappedMemory {
  readonly memory: ArrayBuffer;
  unmap(): void;
}

function mapMemory(fd: number, offset: number, bytes: number, protection: number): MappedMemory {
  const at: unknown = call.mmap(null, bytes, protection, MAP_SHARED, fd, offset);
  if (at === null || koffi.address(at) === BigInt.asUintN(64, MAP_FAILED)) {
    throw new SkeinError('BPF_MMAP', `mmap of ${bytes} bytes failed`);
  }
  return {
    memory: koffi.view(at, bytes),
    unmap() {
      call.munmap(at, bytes);
    },
  };
}

/**
 * The memory of a ring buffer map (kernel Documentation/bpf/ringbuf.rst): the consumer's position,
 * ours to write, and the producer's, followed by the data twice over, so that no record is cut.
 */
export function mapRingBuffer(map: BpfMap): {
  readonly consumer: MappedMemory;
  readonly producer: MappedMemory;
  /** Where the data begin in the producer's memory. */
  readonly dataOffset: number;
} {
  const data = 2 * map.maxEntries;
  return {
    consumer: mapMemory(map.fd, 0, PAGE_BYTES, PROT_READ | PROT_WRITE),
    producer: mapMemory(map.fd, PAGE_BYTES, PAGE_BYTES + data, PROT_READ),
    dataOffset: PAGE_BYTES,
  };
}

/** The values of an array map with BPF_F_MMAPABLE, one after the other, each padded to 8 bytes. */
export function mapArray(map: BpfMap): MappedMemory {
  const bytes = map.maxEntries * Math.ceil(map.valueBytes / 8) * 8;
  const pages = Math.ceil(bytes / PAGE_BYTES);
  return mapMemory(map.fd, 0, pages * PAGE_BYTES, PROT_READ | PROT_WRITE);
}

export interface TestRun {
  readonly packet?: Uint8Array;
  /** The argument of a program that takes no packet. */
  readonly context?: Uint8Array;
  /** What the program sends, the kernel really transmits; nothing is returned. */
  readonly live?: boolean;
  /** Interface that the packet seems to come from; it must carry an XDP program. */
  readonly ingressIfindex?: number;
  readonly repeat?: number;
}

export interface TestRunResult {
  readonly verdict: number;
  readonly packet: Uint8Array;
  /** Mean of all repetitions, as the kernel measured it. */
  readonly durationNs: number;
}

/** Longest frame that a test run returns. */
export const TEST_PACKET_BYTES_MAX = 4096;

/** Runs a program on a packet that no wire carries (BPF_PROG_TEST_RUN, kernel Documentation/bpf). */
export function testRun(programFd: number, run: TestRun): TestRunResult {
  const out = new Uint8Array(run.packet === undefined ? 0 : TEST_PACKET_BYTES_MAX);
  const opts: Record<string, unknown> = { sz: koffi.sizeof(TEST_RUN_OPTS) };
  if (run.packet !== undefined) {
    opts['repeat'] = run.repeat ?? 1;
    opts['data_in'] = run.packet;
    opts['data_size_in'] = run.packet.length;
    if (run.repeat === undefined && run.live !== true) {
      opts['data_out'] = out;
      opts['data_size_out'] = out.length;
    }
  }
  if (run.ingressIfindex !== undefined && run.packet !== undefined) {
    // struct xdp_md: data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex
    opts['ctx_in'] = Uint32Array.of(0, run.packet.length, 0, run.ingressIfindex, 0, 0);
    opts['ctx_size_in'] = 24;
  }
  if (run.live === true) opts['flags'] = BPF_F_TEST_XDP_LIVE_FRAMES;
  if (run.context !== undefined) {
    opts['ctx_in'] = run.context;
    opts['ctx_size_in'] = run.context.length;
  }
  checked('test run', call.testRun(programFd, opts) as number);
  return {
    verdict: Number(opts['retval']),
    packet: out.subarray(0, Number(opts['data_size_out'] ?? 0)),
    durationNs: Number(opts['duration'] ?? 0),
  };
}
