/**
 * `npm start`: raises the testbed, lets a small stream of requests run to the VIP of both families,
 * and shows live which balancer and which backend serve them. Takes everything away when it ends.
 */
import { Command } from 'commander';
import { errorMessage } from '../src/lib/errors.ts';
import type { Stream } from './client.ts';
import { NodeWatch, serving, summaryLine, table, type View } from './demo-view.ts';
import { whole } from './options.ts';
import { Testbed } from './testbed.ts';
import { BACKENDS_MAX, NODES_MAX } from './topology.ts';

const RATE_PER_S = 20;
const REDRAW_MS = 500;
const SUMMARY_MS = 5_000;

interface DemoOptions {
  readonly nodes: number;
  readonly backends: number;
  /** Seconds; undefined: until it is stopped. */
  readonly for?: number;
}

const program = new Command('demo')
  .description('Raises the testbed and shows requests being balanced, until Ctrl-C.')
  .option('--nodes <n>', 'balancers', whole(1, NODES_MAX), 3)
  .option('--backends <n>', 'backends', whole(1, BACKENDS_MAX), 4)
  .option(
    '--for <seconds>',
    'end by itself; exit code 1 if nothing was balanced',
    whole(1, 86_400),
  );

async function main(): Promise<number> {
  const options = program.parse().opts<DemoOptions>();
  const stop = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.on(signal, () => {
      stop.abort(new Error(`stopped by ${signal}`));
    });
  }
  const startedMs = performance.now();
  const step = steps(startedMs);
  let testbed: Testbed | undefined;
  try {
    testbed = await raise(options, step, stop.signal);
    return await show(testbed, options, stop.signal);
  } catch (error) {
    if (!stop.signal.aborted) throw error;
    return 0;
  } finally {
    if (testbed !== undefined) {
      step('removing everything');
      await testbed.down();
    }
  }
}

async function raise(
  options: DemoOptions,
  step: (name: string) => void,
  signal: AbortSignal,
): Promise<Testbed> {
  const testbed = await Testbed.up({
    nodes: options.nodes,
    backends: options.backends,
    owner: 'the demo',
    config: { standardServices: ['web'] },
    onStep: step,
    signal,
  });
  try {
    step('health checks, BGP and BFD');
    await testbed.untilAnnouncing(signal);
  } catch (error) {
    await testbed.down();
    throw error;
  }
  step('every balancer announces the VIP');
  return testbed;
}

/** Shows the stream until it is time to end; the exit code says whether anything was balanced. */
async function show(testbed: Testbed, options: DemoOptions, signal: AbortSignal): Promise<number> {
  const [vip] = testbed.topology.vips;
  const urls = [`http://${String(vip?.ipv4)}/`, `http://[${String(vip?.ipv6)}]/`];
  console.log(`\n${introduction(testbed, urls, options)}\n`);

  const stream = testbed.client.stream({ urls, ratePerS: RATE_PER_S });
  const watches = testbed.nodes.map((node) => new NodeWatch(node));
  const endMs = performance.now() + (options.for ?? Number.POSITIVE_INFINITY) * 1000;
  const screen = process.stdout.isTTY ? new Screen() : undefined;
  let summaryMs = performance.now() + SUMMARY_MS;
  while (!signal.aborted && performance.now() < endMs) {
    await sleepUnless(Math.min(REDRAW_MS, Math.max(0, endMs - performance.now())), signal);
    const view = await look(watches, stream);
    if (screen !== undefined) screen.draw(table(view));
    else if (performance.now() >= summaryMs) {
      console.log(summaryLine(view));
      summaryMs += SUMMARY_MS;
    }
  }
  const results = await stream.stop();
  const view: View = await look(watches, { results });
  console.log(`\n${summaryLine(view)}`);
  const balanced = results.some((result) => result.error === null);
  return balanced || options.for === undefined ? 0 : 1;
}

async function look(watches: readonly NodeWatch[], stream: Pick<Stream, 'results'>): Promise<View> {
  const nodes = await Promise.all(watches.map((watch) => watch.look()));
  return { nodes, ...serving(stream.results, Date.now()) };
}

function introduction(testbed: Testbed, urls: readonly string[], options: DemoOptions): string {
  const consoles = testbed.nodes.map((node) => `  ${node.site.name}  ${node.consoleUrl}`);
  const end = options.for === undefined ? 'Ctrl-C ends it.' : `It ends after ${options.for} s.`;
  return [
    'Consoles:',
    ...consoles,
    '',
    `${RATE_PER_S} requests a second from the client to ${urls.join(' and ')}.`,
    `Try in another terminal: npm run testbed -- cut lb1, then join lb1. ${end}`,
  ].join('\n');
}

/** Prints each step when it begins and how long the one before took. */
function steps(startedMs: number): (name: string) => void {
  return (name) => {
    const seconds = ((performance.now() - startedMs) / 1000).toFixed(1);
    console.log(`${seconds.padStart(5)} s  ${name}`);
  };
}

async function sleepUnless(ms: number, signal: AbortSignal): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<undefined>();
  const wake = (): void => {
    resolve(undefined);
  };
  const timer = setTimeout(wake, ms);
  signal.addEventListener('abort', wake, { once: true });
  await promise;
  signal.removeEventListener('abort', wake);
  clearTimeout(timer);
}

/** Draws over what it drew before. */
class Screen {
  #lines = 0;

  draw(text: string): void {
    const up = this.#lines === 0 ? '' : `\u001b[${this.#lines}A`;
    const lines = text.split('\n');
    process.stdout.write(`${up}${lines.map((line) => `\u001b[2K${line}\n`).join('')}`);
    // What is left of a longer drawing stays blank below.
    for (let extra = lines.length; extra < this.#lines; extra += 1) {
      process.stdout.write('\u001b[2K\n');
    }
    this.#lines = Math.max(lines.length, this.#lines);
  }
}

try {
  process.exitCode = await main();
} catch (error) {
  console.error(`demo: ${errorMessage(error)}`);
  process.exitCode = 1;
}
