/**
 * Traffic from the client: run it inside the client's namespace, and it reports in JSON lines on
 * standard output (traffic/report.ts). A mode that goes on reads commands on standard input and ends with
 * it, so that no traffic outlives whoever asked for it.
 */
import { createInterface } from 'node:readline';
import { Command } from 'commander';
import { CONTENT_BYTES_MAX } from './content.ts';
import { whole } from './options.ts';
import { ECHO_PORT, UDP_ECHO_PORT } from './topology.ts';
import { Download, type DownloadOptions } from './traffic/download.ts';
import { HeldConnections, type HoldOptions } from './traffic/hold.ts';
import { say } from './traffic/report.ts';
import { sendRequests, type RequestsOptions } from './traffic/requests.ts';
import { streamRequests, type StreamOptions } from './traffic/stream.ts';
import { transfer, type TransfersOptions } from './traffic/transfers.ts';
import { DATAGRAM_BYTES_MAX, sendDatagrams, type UdpOptions } from './traffic/udp.ts';

const port = whole(1, 65535);

const program = new Command('traffic').description('Traffic for the testbed; reports JSON lines.');

function mode(name: string, description: string): Command {
  return program
    .command(name)
    .description(description)
    .option('--source-address <address>', 'send from this address')
    .option('--source-port <port>', 'send from this port (and those that follow)', port);
}

mode('requests', 'HTTP requests, each on a new TCP connection; one report at the end')
  .requiredOption('--url <url>', 'what to ask for')
  .option('--count <n>', 'requests', whole(1, 1_000_000), 100)
  .option('--concurrency <n>', 'requests at once', whole(1, 1_000), 8)
  .option('--timeout-ms <ms>', 'for one request', whole(1, 60_000), 10_000)
  .action(async (options: RequestsOptions) => {
    say(await sendRequests(options));
  });

mode('hold', 'TCP connections that stay; commands on standard input: report, mark, stop')
  .requiredOption('--host <address>', 'where to')
  .option('--port <port>', 'echo port', port, ECHO_PORT)
  .option('--count <n>', 'connections', whole(1, 20_000), 100)
  .option('--interval-ms <ms>', 'between two lines of a connection', whole(1, 60_000), 100)
  .option('--open-timeout-ms <ms>', 'for opening one', whole(1, 60_000), 20_000)
  .option('--stall-ms <ms>', 'waiting longer for an echo is a stall', whole(1, 60_000), 5_000)
  .action(async (options: HoldOptions) => {
    const held = new HeldConnections(options);
    await Promise.all([
      held.open().then((ready) => {
        say({ kind: 'ready', ...ready });
      }),
      commands({
        report: () => {
          say(held.report());
        },
        mark: () => {
          held.mark();
        },
      }),
    ]);
    say(held.report());
    held.close();
  });

program
  .command('stream')
  .description('a steady stream of HTTP requests, a result line each; ends with standard input')
  .requiredOption('--url <url...>', 'what to ask for, in turn')
  .option('--rate-per-s <n>', 'requests a second', whole(1, 2_000), 20)
  .option('--timeout-ms <ms>', 'for one request', whole(1, 60_000), 5_000)
  .action(async ({ url, ...options }: Omit<StreamOptions, 'urls'> & { url: string[] }) => {
    await streamRequests({ ...options, urls: url }, untilStopped(), say);
  });

mode('udp', 'datagrams to the UDP echo; one report at the end')
  .requiredOption('--host <address>', 'where to')
  .option('--port <port>', 'echo port', port, UDP_ECHO_PORT)
  .option('--count <n>', 'datagrams; else until standard input ends', whole(1, 1_000_000))
  .option('--flows <n>', 'source ports', whole(1, 4_096), 16)
  .option('--rate-per-s <n>', 'datagrams a second', whole(1, 50_000), 500)
  .option('--timeout-ms <ms>', 'for the last answers', whole(1, 60_000), 5_000)
  .option(
    '--bytes-max <n>',
    'they grow in even steps to this size, over --count',
    whole(1, DATAGRAM_BYTES_MAX),
  )
  .action(async (options: UdpOptions) => {
    const isEndless = options.count === undefined;
    say(await sendDatagrams(options, isEndless ? untilStopped() : untilSignalled().signal));
  });

mode('download', 'a page, later a large one; commands on standard input: start, report, stop')
  .requiredOption('--url <url>', "the backends' root")
  .option('--bytes <n>', 'of the large page', whole(1, CONTENT_BYTES_MAX), 4 << 20)
  .action(async (options: DownloadOptions) => {
    const download = new Download(options);
    say(await download.open());
    await commands({
      start: () => {
        void download.start();
      },
      report: () => {
        say(download.report());
      },
    });
    say(download.report());
    download.close();
  });

program
  .command('transfers')
  .description('downloads and uploads at once, checked by SHA-256; one report at the end')
  .requiredOption('--url <url>', "the backends' root")
  .option('--bytes <n>', 'of each', whole(1, CONTENT_BYTES_MAX), 2_000_000)
  .option('--downloads <n>', 'how many', whole(0, 100), 10)
  .option('--uploads <n>', 'how many', whole(0, 100), 10)
  .option('--timeout-ms <ms>', 'for one of them', whole(1, 600_000), 60_000)
  .action(async (options: TransfersOptions) => {
    say(await transfer(options));
  });

/** Runs a function for each line of standard input that names it, until `stop` or the end. */
async function commands(known: Readonly<Record<string, () => void>>): Promise<void> {
  const lines = createInterface({ input: process.stdin });
  for await (const line of lines) {
    if (line === 'stop') break;
    known[line]?.();
  }
  lines.close();
}

/** Aborted by a signal or the end of standard input, whichever comes first. */
function untilStopped(): AbortSignal {
  const stopped = untilSignalled();
  const stop = (): void => {
    stopped.abort();
  };
  void commands({}).then(stop, stop);
  return stopped.signal;
}

function untilSignalled(): AbortController {
  const stopped = new AbortController();
  const stop = (): void => {
    stopped.abort();
  };
  process.once('SIGTERM', stop);
  process.once('SIGINT', stop);
  return stopped;
}

await program.parseAsync();
// A mode that ended by itself must not wait for a terminal that still offers commands.
process.stdin.destroy();
