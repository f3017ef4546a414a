/** `npm run bench:scale`: what a large configuration costs the supervisor and the kernel. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Command } from 'commander';
import type { ReconcileResult, WantedService } from '../src/dataplane/dataplane.ts';
import { KernelDataplane } from '../src/dataplane/kernel.ts';
import { runTool } from '../src/dataplane/ip.ts';
import { BpfMap, closeFd, openPinned } from '../src/dataplane/libbpf.ts';
import { SkeinError } from '../src/lib/errors.ts';
import { silentLogger } from '../src/lib/logger.ts';
import { address } from '../src/model/address.ts';
import { serviceId } from '../src/model/service.ts';
import { whole } from '../testbed/options.ts';
import { INTERFACE, inside, makePlace, managedNeighbours, processesEnd } from './place.ts';
import { BUILD_FOLDER } from './replay.ts';
import { spread } from './report.ts';
import { DEFAULT_LIMITS, TIMEOUTS } from './scene.ts';

interface Options {
  readonly services: number;
  readonly backends: number;
  readonly hosts: number;
}

const NODE = '172.16.255.254/16';
const BPFFS = '/sys/fs/bpf/skein-scale';
/** Of calls that can be repeated; the median is printed. */
const REPEATS = 5;

const options = new Command('scale')
  .description(
    'Time and memory of a large configuration. README.md beside this says how to read it.',
  )
  .option('--services <n>', 'each on a VIP of its own', whole(1, DEFAULT_LIMITS.services), 1000)
  .option('--backends <n>', 'of each service', whole(1, 1000), 32)
  .option('--hosts <n>', 'machines that the backends share', whole(1000, 60_000), 1000)
  .parse()
  .opts<Options>();

await inside(scale);

async function scale(): Promise<void> {
  await makePlace([NODE]);
  row('services', `${options.services} with ${options.backends} backends each`);
  row('machines that are backends', String(options.hosts));
  const services = wantedServices(options);
  const first = await opened('open, nothing pinned');
  const memoryBefore = process.memoryUsage.rss();
  await programming(first, services);
  row('counters()', `${median(() => first.counters())} ms`);
  row('supervisor', `${mebibytes(process.memoryUsage.rss() - memoryBefore)} more resident memory`);
  await kernelMemory();
  await first.close('keep');

  const second = await opened('open, everything pinned');
  const adopted = second.adoptedServices().length;
  expectation(adopted === services.length, `${adopted} services were adopted`);
  timedReconcile('first reconcile of what was adopted', second, services);
  await processesEnd();
  const again = timedReconcile('reconcile, nothing changed', second, services);
  expectation(again.writes === 0, `${again.writes} writes although nothing changed`);
  await second.close('detach');
}

async function programming(
  dataplane: KernelDataplane,
  services: readonly WantedService[],
): Promise<void> {
  timedReconcile('reconcile, all new', dataplane, services);
  const startMs = performance.now();
  await processesEnd();
  const managed = await managedNeighbours();
  row('neighbours, in the background', `${milliseconds(startMs)}, ${managed} of ${options.hosts}`);
  row('reconcile, nothing changed', `${median(() => dataplane.reconcile(services, TIMEOUTS))} ms`);
  timedReconcile('reconcile, one backend down', dataplane, oneBackendDown(services));
  timedReconcile('reconcile, it is up again', dataplane, services);
  await processesEnd();
}

async function opened(what: string): Promise<KernelDataplane> {
  const startMs = performance.now();
  const dataplane = await KernelDataplane.open(
    {
      objectPath: join(BUILD_FOLDER, 'lb.bpf.o'),
      bpffs: BPFFS,
      interfaces: [INTERFACE],
      xdpMode: 'native',
      ipv4: address(NODE.split('/')[0] ?? ''),
      ipv6: undefined,
      limits: DEFAULT_LIMITS,
    },
    silentLogger,
  );
  row(what, milliseconds(startMs));
  return dataplane;
}

function timedReconcile(
  what: string,
  dataplane: KernelDataplane,
  services: readonly WantedService[],
): ReconcileResult {
  const startMs = performance.now();
  const result = dataplane.reconcile(services, TIMEOUTS);
  row(what, `${milliseconds(startMs)}, ${result.writes} writes`);
  expectation(result.failures.length === 0, result.failures.slice(0, 3).join('; '));
  return result;
}

function wantedServices({ services, backends, hosts }: Options): WantedService[] {
  return Array.from({ length: services }, (_, n) => {
    const key = { vip: hostAddress('10.64', n), protocol: 'tcp', port: 80 } as const;
    const members = Array.from({ length: backends }, (_member, member) => ({
      address: hostAddress('172.16', (n * backends + member) % hosts),
      weight: 1 + (member % 3),
      mode: 'l2dsr' as const,
      state: 'up' as const,
    }));
    return { ...key, id: serviceId(key), affinity: 'flow', backends: members };
  });
}

function hostAddress(prefix: string, n: number) {
  return address(`${prefix}.${Math.floor(n / 250)}.${(n % 250) + 1}`);
}

function oneBackendDown(services: readonly WantedService[]): WantedService[] {
  return services.map((service, n) => {
    if (n > 0) return service;
    const backends = service.backends.map((backend, member) =>
      member > 0 ? backend : { ...backend, state: 'down' as const },
    );
    return { ...service, backends };
  });
}

interface MapAnswer {
  readonly id: number;
  readonly name: string;
  readonly bytes_memlock: number;
}

/** As the kernel accounts for it: pinned maps, and the rings that are in one of them. */
async function kernelMemory(): Promise<void> {
  const all = JSON.parse(await runTool('bpftool', ['-j', 'map', 'show'])) as readonly MapAnswer[];
  const folder = readdirSync(BPFFS, { withFileTypes: true }).find((entry) => entry.isDirectory());
  if (folder === undefined) throw new SkeinError('BENCH', `nothing is pinned below ${BPFFS}`);
  const pins = join(BPFFS, folder.name);
  const pinned = new Set(readdirSync(pins).map((map) => mapId(join(pins, map))));
  const ringIds = innerIds(join(pins, 'rings'));
  const rings = all.filter(({ id }) => ringIds.has(id));
  const maps = all.filter(({ id }) => pinned.has(id));
  const total = [...maps, ...rings].reduce((sum, map) => sum + map.bytes_memlock, 0);
  row('kernel', mebibytes(total));
  const ringBytes = rings.reduce((sum, map) => sum + map.bytes_memlock, 0);
  row(`  ${rings.length} rings`, mebibytes(ringBytes));
  for (const map of maps.toSorted((a, b) => b.bytes_memlock - a.bytes_memlock)) {
    if (map.bytes_memlock >= 1 << 20) row(`  ${map.name}`, mebibytes(map.bytes_memlock));
  }
}

function mapId(path: string): number {
  return withPinned(path, (fd) => {
    const info = readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8');
    return Number(/^map_id:\s*(\d+)$/m.exec(info)?.[1]);
  });
}

/** User space reads the ids of the maps that are in a map. */
function innerIds(path: string): Set<number> {
  const ids = new Set<number>();
  withPinned(path, (fd) => {
    new BpfMap('rings', fd, 4, 4, DEFAULT_LIMITS.services).readAll((_keys, values, count) => {
      for (let n = 0; n < count; n += 1) ids.add(values.getUint32(4 * n, true));
    });
  });
  return ids;
}

function withPinned<Result>(path: string, use: (fd: number) => Result): Result {
  const fd = openPinned(path);
  if (fd === undefined) throw new SkeinError('BENCH', `${path} is gone`);
  try {
    return use(fd);
  } finally {
    closeFd(fd);
  }
}

function median(call: () => unknown): string {
  const times = Array.from({ length: REPEATS }, () => {
    const startMs = performance.now();
    call();
    return performance.now() - startMs;
  });
  return spread(times).median.toFixed(1);
}

function milliseconds(startMs: number): string {
  return `${(performance.now() - startMs).toFixed(1)} ms`;
}

function mebibytes(bytes: number): string {
  return `${(bytes / 2 ** 20).toFixed(1)} MiB`;
}

function row(what: string, value: string): void {
  console.log(`${what.padEnd(38)} ${value}`);
}

function expectation(held: boolean, otherwise: string): void {
  if (!held) throw new SkeinError('BENCH', otherwise);
}
