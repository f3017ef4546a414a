/**
 * The composition root: the one place that knows which adapter stands behind which port, and the
 * order of starting and stopping. The console comes first, since its port is also the lock that
 * keeps a second supervisor of the same node away from the data plane.
 */
import { join } from 'node:path';
import { GobgpAnnouncer } from '../bgp/gobgp.ts';
import type { NodePart } from '../config/types.ts';
import { loadFiles } from '../config/load.ts';
import { formatProblem } from '../config/problems.ts';
import { ConsoleServer } from '../console/server.ts';
import type { View } from '../console/view.ts';
import { KernelDataplane } from '../dataplane/kernel.ts';
import { diagnose } from '../health/diagnose.ts';
import { createProbes } from '../health/probes.ts';
import { HealthScheduler } from '../health/scheduler.ts';
import { systemClock } from '../lib/clock.ts';
import { SkeinError } from '../lib/errors.ts';
import { createLogger, type Logger } from '../lib/logger.ts';
import { FlowLister } from '../peers/flow-list.ts';
import type { FlowSync } from '../peers/sync.ts';
import { Supervisor } from '../supervisor.ts';
import type { ConfigPaths } from './check.ts';
import { reloader } from './reload.ts';
import { createReports } from './reports.ts';
import { createSync } from './sync.ts';
import { version } from './version.ts';
import { watchDocuments } from './watch.ts';

export interface RunOptions extends ConfigPaths {
  readonly logLevel: string;
  readonly keepForwarding: boolean;
}

/** How long the withdrawal may take before the node is stopped without its confirmation. */
const WITHDRAW_TIMEOUT_MS = 5_000;
/** A path-MTU error may wait this long for its way to the peers. */
const ICMP_INTERVAL_MS = 10;
/**
 * How often packets that have to be cut are looked for, and for how long they are cut then: some
 * hundred microseconds each, and never more than a quarter of this thread's time.
 */
const CUT_INTERVAL_MS = 10;
const CUT_BUDGET_MS = 3;
const OBJECT_PATH = join(import.meta.dirname, '../../build/lb.bpf.o');

/** Resolves when the node was stopped by a signal and everything is taken down in order. */
export async function runNode(options: RunOptions): Promise<void> {
  const loaded = loadFiles(options.config, options.node);
  if (!loaded.ok) {
    const problems = loaded.problems.map(formatProblem).join('\n');
    throw new SkeinError('CONFIG', `the configuration is not valid\n${problems}`);
  }
  const { config } = loaded;
  const logger = createLogger({ level: options.logLevel, node: config.node.name });
  logger.info({ version, pid: process.pid, digest: config.cluster.digest }, 'starting');
  dieLoudly(logger);

  const stopped = stopSignal(logger);

  // What was started is stopped in reverse, whether the node was told to stop or could not start.
  await using started = new AsyncDisposableStack();
  const watching = watchDocuments([options.config, options.node], systemClock, logger);
  started.defer(watching.stop);
  const running: Running = {};
  const console = new ConsoleServer({ view: viewOf(running), ...config.node.console, logger });
  started.defer(() => console.stop());
  logger.info(await console.start(), 'console is listening');

  const dataplane = await openDataplane(config.node, config.cluster.sync !== undefined, logger);
  // A node that fails to start goes on forwarding what was adopted.
  const closing: { how: 'keep' | 'detach' } = { how: 'keep' };
  started.defer(() => dataplane.close(closing.how));

  const digest = (): string => running.supervisor?.configDigest ?? config.cluster.digest;
  const { sync } = config.cluster;
  const parts = { config, dataplane, configDigest: digest, logger };
  const peers = sync === undefined ? undefined : await createSync({ ...parts, sync });
  if (peers !== undefined) started.defer(() => peers.stop());
  const flows = listerOf(dataplane, peers);
  started.defer(() => flows.stop());

  const announcer = new GobgpAnnouncer({ target: config.node.gobgp, clock: systemClock, logger });
  started.defer(() => announcer.stop());
  const hear: HealthScheduler['hear'] = (...news) => health.hear(...news);
  const reports = await createReports({ config, hear, logger });
  started.defer(() => reports.stop());
  const health = new HealthScheduler({
    clock: systemClock,
    reports: reports.probe,
    probes: createProbes(),
    path: (service, backend) => dataplane.probeAddress(service, backend),
    diagnose,
  });
  started.defer(() => health.stop());
  const supervisor = new Supervisor({
    config,
    dataplane,
    announcer,
    health,
    peers,
    reports,
    clock: systemClock,
    logger,
    version,
  });
  Object.assign(running, { supervisor, flows });
  // Flows name their backends, so the maps come first.
  supervisor.start();
  started.defer(() => {
    supervisor.stop();
  });
  started.defer(cutOversized(dataplane));
  await peers?.start();
  health.start();
  await reports.start();
  if (peers !== undefined) started.defer(relayIcmpErrors(dataplane, peers));
  const reload = reloader(options, config, { supervisor, peers, reports }, logger);
  watching.tell(reload);

  await stopped;
  await supervisor.drain(WITHDRAW_TIMEOUT_MS);
  closing.how = options.keepForwarding ? 'keep' : 'detach';
  await started.disposeAsync();
  logger.info('stopped');
}

/** What answers the console, as soon as it is there. */
interface Running {
  supervisor?: Supervisor;
  flows?: FlowLister;
}

function viewOf(running: Running): View {
  const started = <T>(part: T | undefined): T => {
    if (part !== undefined) return part;
    throw new SkeinError('STARTING', 'the node is starting');
  };
  return {
    snapshot: () => started(running.supervisor).snapshot(),
    flows: async (query) => started(running.flows).list(query),
  };
}

async function openDataplane(
  node: NodePart,
  sharing: boolean,
  logger: Logger,
): Promise<KernelDataplane> {
  const { bpffs, interfaces, xdpMode, ipv4, ipv6, decap, limits } = node;
  const dataplane = await KernelDataplane.open(
    { objectPath: OBJECT_PATH, bpffs, interfaces, xdpMode, ipv4, ipv6, decap, limits, sharing },
    logger,
  );
  const { adopted, interfaces: attached } = dataplane.status();
  logger.info({ adopted, interfaces: attached }, 'data plane is attached');
  return dataplane;
}

function listerOf(dataplane: KernelDataplane, peers: FlowSync | undefined): FlowLister {
  return new FlowLister({
    // Without sharing nothing else needs the tables: they are opened when somebody asks.
    table: { read: () => dataplane.flowTable.read() },
    knowledge: peers && (() => peers.knowledge()),
    clock: systemClock,
  });
}

/** ICMP errors that the data plane could not place go to the peers. Returns how to stop that. */
function relayIcmpErrors(dataplane: KernelDataplane, peers: FlowSync): () => void {
  const timer = setInterval(() => {
    for (const packet of dataplane.drainIcmpErrors()) peers.relayIcmp(packet);
  }, ICMP_INTERVAL_MS);
  return () => {
    clearInterval(timer);
  };
}

/** Packets that do not fit their way are cut by this process. Returns how to stop that. */
function cutOversized(dataplane: KernelDataplane): () => void {
  let timer = setTimeout(cut, CUT_INTERVAL_MS);
  function cut(): void {
    const untilMs = systemClock.nowMs() + CUT_BUDGET_MS;
    while (dataplane.cutOversized() > 0 && systemClock.nowMs() < untilMs);
    timer = setTimeout(cut, CUT_INTERVAL_MS);
  }
  return () => {
    clearTimeout(timer);
  };
}

/**
 * The first signal starts an orderly stop, as soon as everything has started; a second one ends the
 * process at once.
 */
async function stopSignal(logger: Logger): Promise<void> {
  const signal = await new Promise<string>((resolve) => {
    process.once('SIGTERM', resolve);
    process.once('SIGINT', resolve);
  });
  logger.info({ signal }, 'stopping: withdrawing first');
  const atOnce = (): never => {
    logger.warn('second signal: stopping at once, the data plane stays at work');
    process.exit(1);
  };
  process.once('SIGTERM', atOnce);
  process.once('SIGINT', atOnce);
}

/** A bug ends the process; the pinned data plane goes on, and the service manager starts anew. */
function dieLoudly(logger: Logger): void {
  process.on('uncaughtException', (error) => {
    logger.fatal({ err: error }, 'internal error: the data plane stays at work');
    process.exit(1);
  });
}
