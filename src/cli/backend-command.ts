/** The options of `skein backend`, and what each may be. */
import { type Command, InvalidArgumentError, Option } from 'commander';
import type { ServerMode } from '../backend/duties.ts';
import { didYouMean } from '../config/suggest.ts';
import { parseAddress, type Address } from '../model/address.ts';
import { TUNNEL_MODES, TUNNEL_PORTS } from '../model/forwarding.ts';
import { checkOption, intervalOption } from './backend-report.ts';
import { showBackend } from './backend-status.ts';
import { runBackend, type BackendCommand } from './backend.ts';
import { logLevelOption } from './log-level.ts';

const STATE_DIR = '/run/skein-backend';
const BPFFS = '/sys/fs/bpf/skein-backend';
const DSCP_MAX = 63;
const INTERFACE_NAME = /^[^\s/:]{1,15}$/;
/** Of any segment that Linux sends, and of the MSS option. */
const MSS = { min: 48, max: 65_495 };
/** By DSCP they come through --dscp, which says what it stands for; nat needs nothing here. */
const MODES = ['l2dsr', ...TUNNEL_MODES] as const;

/** Returns the command, for the parts of it that live in other files. */
export function addBackendCommand(program: Command): Command {
  const backend = program
    .command('backend')
    .description("a real server's side: VIPs on loopback, tunnels taken apart, until SIGTERM")
    .option('-c, --config <file>', 'cluster document: serve what it gives the backend that this is')
    .option(
      '-a, --address <address...>',
      'own addresses (default: all on its interfaces)',
      addresses,
    )
    .option('--vip <address...>', 'VIPs to serve, without a document', addresses)
    .option('--mode <mode...>', `how they come: ${MODES.join(', ')} (default: l2dsr)`, modes)
    .option('--dscp <number=vip...>', 'a DSCP, and the VIP that it stands for', dscps)
    .option('--gue-port <port>', `where gue comes (default: ${TUNNEL_PORTS.gue})`, port)
    .option('--fou-port <port>', `where fou comes (default: ${TUNNEL_PORTS.fou})`, port)
    .option(
      '-i, --interface <name...>',
      'where packets arrive (default: those of --address)',
      names,
    )
    .option('--mss <bytes>', 'largest TCP segment: auto, off or a number', mss, 'auto')
    .addOption(
      new Option('--xdp-mode <mode>', 'auto: native, or generic where the driver has none')
        .choices(['auto', 'native', 'generic'])
        .default('auto'),
    )
    .option('--report', 'also tell the nodes that this backend is healthy; needs --config', false)
    .option('--report-name <name>', 'unique among backends (default: the host name)')
    .addOption(intervalOption('--report-interval'))
    .addOption(checkOption())
    .option('--state-dir <folder>', 'keeps what was changed, to be taken back', STATE_DIR)
    .option('--bpffs <folder>', 'for the pinned program, one for each namespace', BPFFS)
    .addOption(logLevelOption())
    .helpCommand(true)
    .action(async (options: BackendCommand) => {
      refuseWords(backend);
      await runBackend(options);
    });
  backend
    .command('status')
    .description('show what a running skein backend does')
    .option('--state-dir <folder>', 'as given to skein backend', STATE_DIR)
    .option('--json', 'print everything as JSON', false)
    .action(showBackend);
  return backend;
}

/** A word that is left over was meant as a subcommand. */
function refuseWords(backend: Command): void {
  const [word] = backend.args;
  if (word === undefined) return;
  const names = backend.commands.map((each) => each.name());
  const meant = didYouMean(word, names);
  backend.error(
    `error: skein backend has no command '${word}'${meant}; there are ${names.join(', ')}`,
  );
}

/** Options that take a list are parsed word by word. */
function addresses(text: string, before: readonly Address[] = []): readonly Address[] {
  const parsed = parseAddress(text);
  if (parsed === undefined) throw new InvalidArgumentError('an IP address is wanted');
  return [...before, parsed];
}

function modes(text: string, before: readonly ServerMode[] = []): readonly ServerMode[] {
  const mode = MODES.find((each) => each === text);
  if (mode === undefined) throw new InvalidArgumentError(`one of ${MODES.join(', ')}`);
  return [...before, mode];
}

function dscps(
  text: string,
  before: NonNullable<BackendCommand['dscp']> = [],
): NonNullable<BackendCommand['dscp']> {
  const [, digits = '', word = ''] = /^(\d{1,2})=(.+)$/.exec(text) ?? [];
  const vip = parseAddress(word);
  if (vip === undefined || Number(digits) > DSCP_MAX) {
    throw new InvalidArgumentError(`0 to ${DSCP_MAX} and a VIP, such as 10=192.0.2.1`);
  }
  return [...before, { dscp: Number(digits), vip }];
}

function names(text: string, before: readonly string[] = []): readonly string[] {
  if (!INTERFACE_NAME.test(text))
    throw new InvalidArgumentError('the name of an interface is wanted');
  return [...before, text];
}

function port(text: string): number {
  return whole(text, 1, 65_535);
}

function mss(text: string): BackendCommand['mss'] {
  return text === 'auto' || text === 'off' ? text : whole(text, MSS.min, MSS.max);
}

function whole(text: string, min: number, max: number): number {
  const value = Number(text);
  if (/^\d+$/.test(text) && value >= min && value <= max) return value;
  throw new InvalidArgumentError(`a number from ${min} to ${max}`);
}
