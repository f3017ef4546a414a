/**
 * `skein backend`: a real server's side, from options or the cluster document to a BackendServer, and
 * with --report to reports of its health, until a signal ends it. Must never decide about the machine
 * itself: src/backend does.
 */
import { readFileSync } from 'node:fs';
import { loadClusterFile } from '../config/load.ts';
import { formatProblem } from '../config/problems.ts';
import type { XdpModeWish } from '../dataplane/attachment.ts';
import { assignmentsFor } from '../backend/document.ts';
import { dutiesOf, type Assignment, type Duties, type ServerMode } from '../backend/duties.ts';
import { readMachine } from '../backend/machine.ts';
import { LOOPBACK, type Found } from '../backend/plan.ts';
import { BackendServer } from '../backend/server.ts';
import { systemClock } from '../lib/clock.ts';
import { errorMessage, SkeinError } from '../lib/errors.ts';
import { createLogger, type Logger } from '../lib/logger.ts';
import { familyOf, isUnicast, type Address } from '../model/address.ts';
import type { LocalCheck } from '../reports/reporter.ts';
import { openReporting, planReports, type Reporting, type ReportPlan } from './backend-report.ts';
import { version } from './version.ts';
import { watchDocuments } from './watch.ts';

export interface BackendCommand {
  readonly config?: string;
  /** This server's own addresses; undefined: those of its interfaces. */
  readonly address?: readonly Address[];
  readonly vip?: readonly Address[];
  readonly mode?: readonly ServerMode[];
  readonly dscp?: readonly { readonly dscp: number; readonly vip: Address }[];
  readonly guePort?: number;
  readonly fouPort?: number;
  /** Undefined: those that have the own addresses. */
  readonly interface?: readonly string[];
  readonly mss: 'auto' | 'off' | number;
  readonly xdpMode: XdpModeWish;
  readonly report: boolean;
  readonly reportName?: string;
  readonly reportInterval?: number;
  readonly check?: readonly LocalCheck[];
  readonly stateDir: string;
  readonly bpffs: string;
  readonly logLevel: string;
}

/** Resolves when a signal ended it and everything is taken back. */
export async function runBackend(command: BackendCommand): Promise<void> {
  checkCommand(command);
  const logger = createLogger({ level: command.logLevel });
  const wanted = await readWanted(command);
  const stopped = stopSignal(command);
  // Opened first, since it changes nothing that would have to be taken back where it fails.
  const reporting = wanted.report && (await openReporting(wanted.report, logger));
  const server = await startServer(command, wanted, logger).catch(async (error: unknown) => {
    await reporting?.stop();
    throw error;
  });
  // Only now would packets that follow a report find their VIP.
  reporting?.begin();
  const watching = watch(command, wanted, { server, reporting }, logger);
  sayReady(server, logger);

  const signal = await stopped;
  if (reporting !== undefined) {
    await reporting.stop();
    logger.info('the nodes were told that this backend leaves');
  }
  await watching();
  const counted = server.status().counters.filter(({ value }) => value > 0);
  const counters = Object.fromEntries(counted.map(({ name, value }) => [name, value]));
  logger.info({ signal, counters }, 'taking everything back');
  await server.stop();
  logger.info('stopped');
}

function startServer(
  { stateDir, bpffs, xdpMode, mss }: BackendCommand,
  { duties, interfaces }: Wanted,
  logger: Logger,
): Promise<BackendServer> {
  return BackendServer.start(duties, { interfaces, stateDir, bpffs, xdpMode, mss, logger });
}

function sayReady(server: BackendServer, logger: Logger): void {
  const { vips, interfaces: attached, clamps } = server.status();
  for (const { name } of attached.filter((each) => each.xdpMode === 'generic')) {
    logger.warn(
      { interface: name },
      'the driver takes no native XDP: tunnels are taken apart more slowly',
    );
  }
  logger.info({ version, pid: process.pid, vips, attached, clamps }, 'backend is ready');
}

function checkCommand(command: BackendCommand): void {
  const { config, vip, dscp, mode, guePort, fouPort } = command;
  const { report, reportName, reportInterval, check } = command;
  const flags = [vip, dscp, mode, guePort, fouPort].some((each) => each !== undefined);
  if (config !== undefined && flags) {
    throw usage(
      '--vip, --mode, --dscp, --gue-port and --fou-port are in the document: give either them or --config',
    );
  }
  if (config === undefined && vip === undefined && dscp === undefined) {
    throw usage('which VIPs? give --config FILE, or --vip ADDRESS');
  }
  if (mode?.includes('dscp') === true) throw usage('mode dscp is asked for by --dscp NUMBER=VIP');
  if (report && config === undefined) {
    throw usage('--report needs --config FILE; without a document there is skein backend report');
  }
  if (!report && [reportName, reportInterval, check].some((each) => each !== undefined)) {
    throw usage(
      '--report-name, --report-interval and --check say how to report: give --report too',
    );
  }
}

interface Wanted {
  readonly duties: Duties;
  readonly interfaces: readonly string[];
  readonly report: ReportPlan | undefined;
}

async function readWanted(command: BackendCommand): Promise<Wanted> {
  const found = await readMachine();
  const assignments =
    command.config === undefined
      ? assignmentsOf(command, found)
      : documentAssignments(command.config, command.address ?? allAddresses(found));
  const result = dutiesOf(assignments);
  if (!result.ok) throw usage(result.problems.join('; '));
  const own = new Set(assignments.map(({ address }) => address));
  const interfaces = command.interface ?? interfacesOf(own, found);
  return { duties: result.duties, interfaces, report: planOf(command, found) };
}

function planOf(command: BackendCommand, found: Found): ReportPlan | undefined {
  const { report, config, address, reportName: name, reportInterval: interval, check } = command;
  if (!report || config === undefined) return undefined;
  const options = { config, name, nameOption: '--report-name', interval, check };
  return planReports(options, address ?? allAddresses(found));
}

function documentAssignments(config: string, own: readonly Address[]): readonly Assignment[] {
  const loaded = loadClusterFile(config);
  if (!loaded.ok) throw usage(loaded.problems.map(formatProblem).join('\n'));
  const assignments = assignmentsFor(loaded.cluster.services, new Set(own));
  if (assignments.length > 0) return assignments;
  const addresses = own.join(', ');
  throw usage(
    `no service of ${config} has a backend with an address of this server (${addresses})`,
  );
}

/** Every VIP comes to every own address of fitting family in every mode that was named. */
function assignmentsOf(command: BackendCommand, found: Found): readonly Assignment[] {
  const { vip: vips = [], dscp: dscps = [], mode: modes = ['l2dsr'] } = command;
  const virtual = new Set([...vips, ...dscps.map((each) => each.vip)]);
  const own = command.address ?? allAddresses(found).filter((each) => !virtual.has(each));
  if (own.length === 0) throw usage('this server has no address of its own: give --address');
  const byMode = vips.flatMap((vip) =>
    own.flatMap((address) =>
      modes.map((mode): Assignment => {
        const port = { gue: command.guePort, fou: command.fouPort };
        const tunnelPort = mode === 'gue' || mode === 'fou' ? port[mode] : undefined;
        return { vip, address, mode, tunnelPort };
      }),
    ),
  );
  const byDscp = dscps.flatMap(({ vip, dscp }) =>
    own
      .filter((address) => familyOf(address) === familyOf(vip))
      .map((address): Assignment => ({ vip, address, mode: 'dscp', dscp })),
  );
  return [...byMode, ...byDscp];
}

function allAddresses({ interfaces }: Found): readonly Address[] {
  return interfaces
    .filter(({ name }) => name !== LOOPBACK)
    .flatMap(({ addresses }) => addresses)
    .filter(isUnicast);
}

function interfacesOf(own: ReadonlySet<Address>, { interfaces }: Found): readonly string[] {
  const names = interfaces
    .filter(({ name, addresses }) => name !== LOOPBACK && addresses.some((each) => own.has(each)))
    .map(({ name }) => name);
  if (names.length > 0) return names;
  throw usage(`no interface has ${[...own].join(' or ')}: give --interface`);
}

/** What takes a new document over. */
interface Running {
  readonly server: BackendServer;
  readonly reporting: Reporting | undefined;
}

/**
 * A document that changes is followed; interfaces stay those of the start. By file event only a text
 * that differs counts as a change. Returns how to stop, which waits for a change under way.
 */
function watch(
  command: BackendCommand,
  started: Wanted,
  { server, reporting }: Running,
  logger: Logger,
): () => Promise<void> {
  const { config } = command;
  if (config === undefined) return () => Promise.resolve();
  let busy = Promise.resolve();
  let lastText = documentText(config);
  let plan = started.report;
  const reload = async (): Promise<void> => {
    try {
      const served = { ...command, interface: started.interfaces, report: false };
      const next = await readWanted(served);
      await server.set(next.duties);
      logger.info({ vips: server.status().vips }, 'the document was read again');
      // Last, so that VIPs follow a document that has no reports any more.
      plan = planOf(command, await readMachine());
    } catch (error) {
      logger.error({ reason: errorMessage(error) }, 'the document was not followed');
    }
    // The keys are read again even where the document was not followed.
    if (plan !== undefined) await reporting?.follow(plan);
  };
  const onChange = (cause: 'signal' | 'file'): void => {
    const text = documentText(config);
    if (cause === 'file' && text === lastText) return;
    lastText = text;
    busy = busy.then(reload);
  };
  const watching = watchDocuments([config], systemClock, logger);
  watching.tell(onChange);
  return async () => {
    watching.stop();
    await busy;
  };
}

function documentText(config: string): string {
  try {
    return readFileSync(config, 'utf8');
  } catch (error) {
    return errorMessage(error);
  }
}

/** The first signal starts an orderly stop; what a second one leaves, the next run takes back. */
async function stopSignal({ config }: BackendCommand): Promise<string> {
  // Without a document to read again, SIGHUP says that the terminal is gone.
  const signals = ['SIGTERM', 'SIGINT', ...(config === undefined ? ['SIGHUP'] : [])];
  const signal = await new Promise<string>((resolve) => {
    for (const each of signals) process.once(each, resolve);
  });
  for (const each of signals) process.once(each, () => process.exit(1));
  return signal;
}

function usage(text: string): SkeinError {
  return new SkeinError('CONFIG', text);
}
