/**
 * `skein backend report`: says every few seconds that this backend is there and how it is. Also what
 * another command calls that wants to report from its own process.
 */
import { networkInterfaces, hostname } from 'node:os';
import { InvalidArgumentError, Option, type Command } from 'commander';
import { parseAddressPort, type AddressPort } from '../config/values.ts';
import { loadClusterFile } from '../config/load.ts';
import { formatProblem } from '../config/problems.ts';
import type { ClusterConfig } from '../config/types.ts';
import { systemClock } from '../lib/clock.ts';
import { SkeinError, errorMessage } from '../lib/errors.ts';
import { createLogger, type Logger } from '../lib/logger.ts';
import { familyOf, isMulticast, parseAddress, type Address } from '../model/address.ts';
import { REPORTS_PER_S } from '../reports/board.ts';
import { ReportLink } from '../reports/report-link.ts';
import { ADDRESSES_MAX, REPORTER_NAME, SERVICES_MAX } from '../reports/report.ts';
import { Reporter, type LocalCheck } from '../reports/reporter.ts';
import { ReportSigner, type ReporterKey } from '../reports/seal.ts';
import { parseLocalCheck } from './local-check.ts';
import { logLevelOption } from './log-level.ts';
import { readReporterKey } from './reporter-key.ts';
import { interfaceWith } from './sync.ts';

const INTERVAL_DEFAULT_MS = 3_000;
/** More often than a node takes them, the last word would be refused as one too many. */
const INTERVAL_MS_MIN = 1000 / REPORTS_PER_S;
const INTERVAL_MS_MAX = 60_000;

/** As the command line has them; what is left out comes from the cluster document. */
export interface ReportOptions {
  readonly config?: string;
  readonly cluster?: string;
  readonly to?: readonly AddressPort[];
  readonly keyFile?: readonly string[];
  readonly address?: readonly Address[];
  readonly name?: string | undefined;
  /** What the command calls the option of the name. */
  readonly nameOption?: string;
  readonly interval?: number | undefined;
  readonly check?: readonly LocalCheck[] | undefined;
}

/** Everything that a reporter is made of. */
export interface ReportPlan {
  readonly cluster: string;
  readonly reporter: string;
  readonly addresses: readonly Address[];
  readonly targets: readonly AddressPort[];
  readonly keyFiles: readonly string[];
  readonly intervalMs: number;
  readonly checks: readonly LocalCheck[];
}

export interface Reporting {
  /** From now on the backend is reported. */
  begin(): void;
  /** Says that the backend is going away, and resolves when that is sent. Says nothing before `begin`. */
  stop(): Promise<void>;
  /**
   * Reads the keys again, and reports what a new document says, to where it says. Never rejects: what
   * cannot be done is in the log, and reports go on as they were. To be called after `begin`.
   */
  follow(plan: ReportPlan): Promise<void>;
}

/** `--interval` of the subcommand, and under another name of the command above it. */
export function intervalOption(flag: string): Option {
  const what = 'from one report to the next, such as 500ms (default: 3s)';
  return new Option(`${flag} <time>`, what).argParser(interval);
}

export function checkOption(): Option {
  return new Option(
    '--check <[service=]kind:target...>',
    'must pass: tcp:PORT, tcp:ADDRESS:PORT or http:URL; for one service: tcp/10.0.0.1:80=tcp:80',
  ).argParser(eachOf(localCheck));
}

/** Adds `report` to `skein backend`. */
export function addBackendReport(backend: Command): void {
  backend
    .command('report')
    .description('tell the nodes every few seconds that this backend is healthy (SIGTERM: leaving)')
    .option('-c, --config <file>', 'cluster document; gives what is not given here')
    .option('--cluster <name>', 'name of the cluster')
    .option('--to <address:port...>', 'multicast group, or each node', eachOf(addressPort))
    .option('--key-file <file...>', 'key that reports are signed with; a second one is for later')
    .option('--address <address...>', "this backend's own addresses", eachOf(ownAddress))
    .option('--name <name>', 'unique among backends (default: the host name)')
    .addOption(intervalOption('--interval'))
    .addOption(checkOption())
    .addOption(logLevelOption())
    .action(runBackendReport);
}

async function runBackendReport(options: ReportOptions & { logLevel: string }): Promise<void> {
  const logger = createLogger({ level: options.logLevel });
  const plan = planReports(options);
  const reporting = await openReporting(plan, logger);
  reporting.begin();
  const reload = (): void => {
    void reporting.follow(planAgain(options, plan, logger));
  };
  process.on('SIGHUP', reload);
  await new Promise<void>((resolve) => {
    process.once('SIGTERM', resolve);
    process.once('SIGINT', resolve);
  });
  await reporting.stop();
  process.off('SIGHUP', reload);
}

/** Throws a SkeinError `CONFIG` that names what is missing or wrong. */
export function planReports(
  options: ReportOptions,
  own: readonly Address[] = addressesOfHost(),
): ReportPlan {
  const document = options.config === undefined ? undefined : readCluster(options.config);
  const section = document?.reports;
  const complete = options.to !== undefined && options.keyFile !== undefined;
  if (document !== undefined && section === undefined && !complete) {
    wrong(`${options.config} has no section "reports", which says where to and with which key`);
  }
  const cluster = options.cluster ?? document?.name ?? missing('--cluster');
  const group = section?.group === undefined ? undefined : [section.group];
  const targets = options.to ?? group ?? section?.nodes ?? missing('--to');
  const keyFiles = options.keyFile ?? section?.keyFiles ?? missing('--key-file');
  const addresses =
    options.address ?? (document && backendsAmong(own, document)) ?? missing('--address');
  const reporter = options.name ?? hostname();
  if (!REPORTER_NAME.test(reporter)) {
    wrong(
      `${reporter} cannot be the name of a reporter: give one with ${options.nameOption ?? '--name'}`,
    );
  }
  if (addresses.length > ADDRESSES_MAX) wrong(`at most ${ADDRESSES_MAX} addresses can be reported`);
  const { interval: intervalMs = INTERVAL_DEFAULT_MS, check: checks = [] } = options;
  if (checks.length > SERVICES_MAX) wrong(`there may be at most ${SERVICES_MAX} checks`);
  return { cluster, reporter, addresses, targets, keyFiles, intervalMs, checks };
}

/** With a document that is wrong, the keys at least are read again. */
function planAgain(options: ReportOptions, before: ReportPlan, logger: Logger): ReportPlan {
  try {
    return planReports(options);
  } catch (error) {
    logger.error({ reason: errorMessage(error) }, 'the document was not followed');
    return before;
  }
}

/** Everything that may fail is done here, and nothing is sent before `begin`. Throws a SkeinError. */
export async function openReporting(plan: ReportPlan, logger: Logger): Promise<Reporting> {
  let followed = plan;
  let opened = await openReporter(plan, logger);
  let busy = Promise.resolve();
  const follow = async (next: ReportPlan): Promise<void> => {
    const isSame = whatIsReported(next) === whatIsReported(followed);
    try {
      if (isSame) {
        opened.signer.setKey(await readKey(next, logger));
      } else {
        const successor = await openReporter(next, logger);
        await opened.reporter.fallSilent();
        opened = successor;
        begin(next);
      }
      followed = next;
    } catch (error) {
      const what = isSame ? 'the keys stay as they were' : 'reports go on as they were';
      logger.error({ reason: errorMessage(error) }, what);
    }
  };
  const begin = ({ reporter, addresses, targets, intervalMs }: ReportPlan): void => {
    logger.info({ reporter, addresses, targets, intervalMs }, 'reporting begins');
    opened.reporter.begin();
  };
  return {
    begin: () => {
      begin(plan);
    },
    async stop() {
      await busy;
      await opened.reporter.stop();
    },
    follow: (next) => (busy = busy.then(() => follow(next))),
  };
}

/** What a reporter cannot change while it runs. */
function whatIsReported({ cluster, addresses, targets }: ReportPlan): string {
  return JSON.stringify([cluster, addresses, targets]);
}

async function openReporter(plan: ReportPlan, logger: Logger) {
  const { cluster, reporter: name, addresses, targets, intervalMs, checks } = plan;
  const source = sourceFor(targets, addresses);
  const key = await readKey(plan, logger);
  const incarnation = Math.floor(systemClock.wallMs());
  const signer = new ReportSigner({ cluster, reporter: name, incarnation, key });
  const link = new ReportLink({ source, targets, interface: interfaceWith(source) });
  const parts = { clock: systemClock, link, signer, addresses, checks, intervalMs, logger };
  const reporter = new Reporter(parts);
  await reporter.open();
  return { reporter, signer };
}

async function readKey(plan: ReportPlan, logger: Logger): Promise<ReporterKey> {
  const { key, warnings } = await readReporterKey(plan.keyFiles, plan.cluster, plan.addresses);
  for (const warning of warnings) logger.warn(warning);
  return key;
}

/** Nodes take a report only from an address that it is about. */
function sourceFor(targets: readonly AddressPort[], addresses: readonly Address[]): Address {
  const families = new Set(targets.map(({ address }) => familyOf(address)));
  const [family, ...others] = families;
  const source = addresses.find((address) => familyOf(address) === family);
  if (others.length > 0)
    wrong('reports can be sent by one family only: give --to addresses of one');
  return source ?? wrong(`reports are sent by ${family}, and this backend has no such address`);
}

/** Throws a SkeinError `CONFIG`. */
export function readCluster(path: string): ClusterConfig {
  const loaded = loadClusterFile(path);
  if (loaded.ok) return loaded.cluster;
  return wrong(`the configuration is not valid\n${loaded.problems.map(formatProblem).join('\n')}`);
}

function addressesOfHost(): Address[] {
  return Object.values(networkInterfaces())
    .flatMap((addresses) => addresses ?? [])
    .flatMap(({ address }) => parseAddress(address) ?? []);
}

function backendsAmong(own: readonly Address[], { services }: ClusterConfig): Address[] {
  const backends = services.flatMap((service) => service.backends.map(({ address }) => address));
  const found = [...new Set(backends)].filter((address) => own.includes(address));
  return found.length > 0
    ? found
    : wrong('no address of this host is a backend in the document: give --address');
}

function missing(option: string): never {
  return wrong(`${option} is required, or --config with a document that has it`);
}

function wrong(message: string): never {
  throw new SkeinError('CONFIG', message);
}

/** For options that take several values: commander calls back for each. */
function eachOf<T>(parse: (text: string) => T): (text: string, before?: readonly T[]) => T[] {
  return (text, before = []) => [...before, parse(text)];
}

function addressPort(text: string): AddressPort {
  return parseAddressPort(text) ?? invalid('address:port, such as 239.83.75.79:7484');
}

function ownAddress(text: string): Address {
  const address = parseAddress(text);
  if (address !== undefined && !isMulticast(address)) return address;
  return invalid('an IPv4 or IPv6 address');
}

function localCheck(text: string): LocalCheck {
  return parseLocalCheck(text) ?? invalid('such as tcp:80 or http:http://127.0.0.1/healthz');
}

function interval(text: string): number {
  const [, digits, unit] = /^(\d{1,6})(ms|s)$/.exec(text) ?? [];
  const ms = Number(digits) * (unit === 's' ? 1000 : 1);
  if (ms >= INTERVAL_MS_MIN && ms <= INTERVAL_MS_MAX) return ms;
  return invalid(`a time from ${INTERVAL_MS_MIN}ms to 60s`);
}

function invalid(what: string): never {
  throw new InvalidArgumentError(what);
}
