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
import { readKeys } from '../peers/keys.ts';
import { ReportLink } from '../reports/report-link.ts';
import { ADDRESSES_MAX, REPORTER_NAME, SERVICES_MAX } from '../reports/report.ts';
import { Reporter, type LocalCheck } from '../reports/reporter.ts';
import { ReportSigner } from '../reports/seal.ts';
import { parseLocalCheck } from './local-check.ts';
import { interfaceWith } from './sync.ts';

const INTERVAL_DEFAULT_MS = 3_000;
const INTERVAL_MS_MIN = 100;
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
  /** Reads key files again. Never rejects: keys that cannot be read stay as they were. */
  renewKeys(keyFiles: readonly string[]): Promise<void>;
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
    .option('-l, --log-level <level>', 'debug, info, warn, error', 'info')
    .action(runBackendReport);
}

async function runBackendReport(options: ReportOptions & { logLevel: string }): Promise<void> {
  const logger = createLogger({ level: options.logLevel });
  const plan = planReports(options);
  const reporting = await openReporting(plan, logger);
  reporting.begin();
  const renew = (): void => {
    void reporting.renewKeys(plan.keyFiles);
  };
  process.on('SIGHUP', renew);
  await new Promise<void>((resolve) => {
    process.once('SIGTERM', resolve);
    process.once('SIGINT', resolve);
  });
  await reporting.stop();
  process.off('SIGHUP', renew);
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

/** Everything that may fail is done here, and nothing is sent before `begin`. Throws a SkeinError. */
export async function openReporting(plan: ReportPlan, logger: Logger): Promise<Reporting> {
  const { cluster, reporter, addresses, targets, keyFiles, intervalMs, checks } = plan;
  const source = sourceFor(targets, addresses);
  const { keys, warnings } = await readKeys(keyFiles);
  for (const warning of warnings) logger.warn(warning);
  const incarnation = Math.floor(systemClock.wallMs());
  const signer = new ReportSigner({ cluster, reporter, incarnation, keys });
  const link = new ReportLink({ source, targets, interface: interfaceWith(source) });
  const parts = { clock: systemClock, link, signer, addresses, checks, intervalMs, logger };
  const sender = new Reporter(parts);
  await sender.open();
  return {
    begin() {
      logger.info({ reporter, addresses, targets, intervalMs }, 'reporting begins');
      sender.begin();
    },
    stop: () => sender.stop(),
    async renewKeys(files) {
      try {
        const renewed = await readKeys(files);
        for (const warning of renewed.warnings) logger.warn(warning);
        signer.setKeys(renewed.keys);
      } catch (error) {
        logger.error({ reason: errorMessage(error) }, 'the keys stay as they were');
      }
    },
  };
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

function readCluster(path: string): ClusterConfig {
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
  return invalid('a time from 100ms to 60s');
}

function invalid(what: string): never {
  throw new InvalidArgumentError(what);
}
