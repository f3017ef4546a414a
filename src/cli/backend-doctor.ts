/**
 * `skein backend doctor`: what is wrong with a server that was set up by hand, one line for each
 * problem with the command that mends it. Must never change anything.
 */
import { type Command, InvalidArgumentError, Option } from 'commander';
import { diagnose } from '../backend/doctor.ts';
import type { Finding } from '../backend/doctor-check.ts';
import type { ServerState } from '../backend/doctor-facts.ts';
import { lookUpRoutes, readServer } from '../backend/doctor-read.ts';
import {
  BACKEND_MODES,
  defaultTunnelPort,
  rolesOf,
  routeQuestions,
  type BackendMode,
  type Role,
  type Wanted,
} from '../backend/doctor-wanted.ts';
import { loadClusterFile } from '../config/load.ts';
import { formatProblem } from '../config/problems.ts';
import type { ClusterConfig } from '../config/types.ts';
import { SkeinError } from '../lib/errors.ts';
import { parseAddress, type Address } from '../model/address.ts';
import type { L4Protocol } from '../model/service.ts';
import { printable } from './text.ts';

interface PortOption {
  readonly port: number;
  readonly protocol: L4Protocol;
}

export interface DoctorOptions {
  readonly config?: string;
  readonly address?: readonly Address[];
  readonly vip?: readonly Address[];
  readonly mode: BackendMode;
  readonly port?: readonly PortOption[];
  readonly interface?: string;
  readonly node?: readonly Address[];
  readonly client?: readonly Address[];
  readonly tunnelPort?: number;
  readonly dscp?: number;
  readonly mtu?: number;
  readonly json: boolean;
}

/** Adds `doctor` to `parent`. Exit code 0: fine, 1: problems, 2: the command line is wrong. */
export function addDoctor(parent: Command, setExitCode: (code: number) => void): void {
  const mode = insteadOfDocument('--mode <mode>', 'how packets reach this server')
    .choices(BACKEND_MODES)
    .default('l2dsr');
  const command: Command = parent
    // The parent may have options of the same names.
    .enablePositionalOptions()
    .command('doctor')
    .description('name what is wrong with this server as a backend, and the command that mends it')
    .option('-c, --config <file>', 'cluster document; the part of this server is found by address')
    .option('--address <address...>', 'own address that the nodes send to', addresses)
    .option('--vip <address...>', 'without --config: the VIPs', addresses)
    .addOption(mode)
    .addOption(
      insteadOfDocument(
        '--port <port...>',
        'where the service listens, such as 80 or 53/udp',
      ).argParser(ports),
    )
    .option('--interface <name>', 'where packets from the nodes arrive (default: by address)')
    .option('--node <address...>', 'addresses of the nodes', addresses)
    .option('--client <address...>', 'a client, to look up the way back (default: any)', addresses)
    .addOption(
      insteadOfDocument(
        '--tunnel-port <port>',
        'UDP port of gue (default: 6080) or fou (5555)',
      ).argParser(portNumber),
    )
    .addOption(
      insteadOfDocument('--dscp <number>', 'what stands for the VIP in mode dscp').argParser(
        dscpNumber,
      ),
    )
    .addOption(
      insteadOfDocument(
        '--mtu <bytes>',
        'largest packet that the nodes send here (default: no limit)',
      ).argParser(mtuBytes),
    )
    .option('--json', 'print the findings as JSON', false)
    .action(async (options: DoctorOptions) => {
      if ((options.config === undefined) === (options.vip === undefined))
        command.error('error: give either --config FILE or --vip ADDRESS');
      setExitCode((await examine(options)) ? 0 : 1);
    });
}

/** What a document says, and so is of no use beside one. */
function insteadOfDocument(flags: string, description: string): Option {
  return new Option(flags, description).conflicts('config');
}

/** Prints the findings; true when none of them is a problem. */
async function examine(options: DoctorOptions): Promise<boolean> {
  const isRoot = process.getuid?.() === 0;
  const state = await readServer(isRoot);
  const wanted = wantedOf(options, state);
  const lookups = await lookUpRoutes(routeQuestions(state, wanted));
  const findings = diagnose({ ...state, lookups }, wanted);
  const problems = findings.filter(({ severity }) => severity === 'problem').length;
  if (options.json) {
    console.log(JSON.stringify({ fine: problems === 0, findings, unseen: state.unseen }, null, 2));
  } else {
    for (const line of report(findings, state.unseen)) console.log(printable(line));
  }
  return problems === 0;
}

/** One line for each finding, then what was not seen, then the sum. */
export function report(findings: readonly Finding[], unseen: readonly string[]): string[] {
  const problems = findings.filter(({ severity }) => severity === 'problem').length;
  const advice = findings.length - problems;
  const count = `${problems} problem${problems === 1 ? '' : 's'}`;
  const sum = problems === 0 ? 'fine: no problem was found' : count;
  return [
    ...findings.map(
      ({ code, severity, sentence, command }) =>
        `${severity === 'problem' ? '' : 'advice: '}${code}: ${sentence}; mend it: ${command}`,
    ),
    ...unseen.map((what) => `not seen: ${what}`),
    advice === 0 ? sum : `${sum}, and ${advice} ${advice === 1 ? 'piece' : 'pieces'} of advice`,
  ];
}

export function wantedOf(options: DoctorOptions, state: ServerState): Wanted {
  const {
    config,
    address: told,
    interface: name,
    node: nodes = [],
    client: clients = [],
  } = options;
  const common = { interface: name, nodes, clients, config };
  if (config === undefined) {
    const own = options.address ?? [undefined];
    return { ...common, roles: own.map((address) => roleOf(options, address)) };
  }
  const cluster = loadCluster(config);
  const own = new Set(told ?? state.addresses.map(({ address }) => address));
  const roles = rolesOf(cluster.services, own);
  if (roles.length === 0) {
    const advised = told === undefined ? '; if another is meant, give --address' : '';
    throw new SkeinError('CONFIG', `${config}: no backend is at ${[...own].join(', ')}${advised}`);
  }
  const peers = cluster.sync?.peers.map(({ address }) => address) ?? [];
  return { ...common, roles, nodes: nodes.length > 0 ? nodes : peers };
}

function roleOf(options: DoctorOptions, address: Address | undefined): Role {
  const { mode, vip: vips = [], port = [], tunnelPort, mtu, dscp } = options;
  return {
    mode,
    address,
    vips,
    services: vips.flatMap((vip) => port.map((entry) => ({ vip, ...entry }))),
    tunnelPort: tunnelPort ?? defaultTunnelPort(mode),
    mtuBytes: mtu,
    dscp,
  };
}

function loadCluster(file: string): ClusterConfig {
  const result = loadClusterFile(file);
  if (result.ok) return result.cluster;
  throw new SkeinError('CONFIG', result.problems.map(formatProblem).join('\n'));
}

function addresses(text: string, before: readonly Address[] = []): readonly Address[] {
  const address = parseAddress(text);
  if (address === undefined) throw new InvalidArgumentError('an IPv4 or IPv6 address');
  return [...before, address];
}

function ports(text: string, before: readonly PortOption[] = []): readonly PortOption[] {
  const [number = '', protocol = 'tcp', ...rest] = text.split('/');
  if (rest.length > 0 || (protocol !== 'tcp' && protocol !== 'udp'))
    throw new InvalidArgumentError('such as 80 or 53/udp');
  return [...before, { port: portNumber(number), protocol }];
}

function portNumber(text: string): number {
  return within(text, 1, 65_535, 'a port');
}

function dscpNumber(text: string): number {
  return within(text, 0, 63, 'a number');
}

function mtuBytes(text: string): number {
  return within(text, 68, 65_535, 'a number of bytes');
}

function within(text: string, min: number, max: number, what: string): number {
  const value = /^\d{1,5}$/.test(text) ? Number(text) : NaN;
  if (value >= min && value <= max) return value;
  throw new InvalidArgumentError(`${what} from ${min} to ${max}`);
}
