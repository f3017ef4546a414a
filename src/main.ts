#!/usr/bin/env node
/**
 * The command line. The only reader of argv and the only setter of exit codes:
 * 0 done, 1 it could not be done, 2 the command line or the configuration is wrong.
 */
import { Command, CommanderError, InvalidArgumentError } from 'commander';
import { addBackendCommand } from './cli/backend-command.ts';
import { addDoctor } from './cli/backend-doctor.ts';
import { addBackendKey } from './cli/backend-key.ts';
import { addBackendReport } from './cli/backend-report.ts';
import { checkConfig } from './cli/check.ts';
import { detachNode } from './cli/detach.ts';
import { showFlows } from './cli/flows.ts';
import { showPeers } from './cli/peers.ts';
import { logLevelOption } from './cli/log-level.ts';
import { runNode } from './cli/run.ts';
import { showStatus } from './cli/status.ts';
import { version } from './cli/version.ts';
import { errorMessage, SkeinError } from './lib/errors.ts';

const EXIT_FAILED = 1;
const EXIT_USAGE = 2;
const DEFAULT_URL = 'http://127.0.0.1:8080/';

function httpUrl(value: string): string {
  const url = URL.parse(value);
  if (url?.protocol === 'http:' || url?.protocol === 'https:') return url.href;
  throw new InvalidArgumentError('an http or https URL');
}

function withConfig(command: Command): Command {
  return command
    .requiredOption('-c, --config <file>', 'cluster document, the same on every node')
    .requiredOption('-n, --node <file>', "this node's own part");
}

function withUrl(command: Command): Command {
  return command.option('-u, --url <url>', 'console of the node', httpUrl, DEFAULT_URL);
}

function commandLine(setExitCode: (code: number) => void): Command {
  const program = new Command('skein')
    .description('A distributed layer-4 load balancer: XDP forwarding, VIPs announced over BGP.')
    .version(version, '-V, --version', 'show the version')
    // A command and its subcommands may have an option of the same name.
    .enablePositionalOptions()
    .exitOverride();
  withConfig(program.command('run'))
    .description('run a node until it is told to stop (SIGTERM); SIGHUP reloads the document')
    .addOption(logLevelOption())
    .option('--keep-forwarding', 'leave the data plane at work when the node is stopped', false)
    .action(runNode);
  withConfig(program.command('check'))
    .description('check both documents and name everything that is wrong with them')
    .action((options: { config: string; node: string }) => {
      setExitCode(checkConfig(options) ? 0 : EXIT_USAGE);
    });
  withUrl(program.command('status'))
    .description('show what a running node does, and why')
    .option('--json', 'print the whole snapshot as JSON', false)
    .action(showStatus);
  withUrl(program.command('peers'))
    .description('show the other nodes as a running node knows them')
    .option('--json', 'print everything about flow sync as JSON', false)
    .action(showPeers);
  withUrl(program.command('flows'))
    .description('list established flows of a running node, and which peers know them')
    .option('--client <address>', 'only flows of this client')
    .option('--vip <address>', 'only flows to this VIP')
    .option('--port <number>', 'only flows to this port of a VIP')
    .option('--protocol <protocol>', 'only tcp or only udp')
    .option('--backend <address>', 'only flows on this backend')
    .option('--state <state>', 'only those that are open, closing, or udp')
    .option('--limit <number>', 'list so many at most, up to 1000; all are counted (default: 100)')
    .option('--json', 'print what the node answers as JSON', false)
    .action(showFlows);
  withConfig(program.command('detach'))
    .description('take the data plane of a node that is not running off its interfaces')
    .action(detachNode);
  const backend = addBackendCommand(program);
  addBackendReport(backend);
  addBackendKey(backend);
  addDoctor(backend, setExitCode);
  program
    .command('version')
    .description('show the version')
    .action(() => {
      console.log(version);
    });
  hintAtHelp(program, program.name());
  // Not sooner, since subcommands would inherit it: what is in excess is one that does not exist.
  backend.allowExcessArguments();
  return program;
}

/** After an error: the help of the command that failed. */
function hintAtHelp(command: Command, words: string): void {
  command.showHelpAfterError(`(${words} --help shows what there is)`);
  for (const each of command.commands) hintAtHelp(each, `${words} ${each.name()}`);
}

async function main(): Promise<void> {
  const program = commandLine((code) => {
    process.exitCode = code;
  });
  try {
    await program.parseAsync();
  } catch (error) {
    if (error instanceof CommanderError) {
      process.exitCode = error.exitCode === 0 ? 0 : EXIT_USAGE;
      return;
    }
    console.error(`skein: ${errorMessage(error)}`);
    process.exitCode =
      error instanceof SkeinError && error.code === 'CONFIG' ? EXIT_USAGE : EXIT_FAILED;
  }
}

await main();
