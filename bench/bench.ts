/** `npm run bench`: nanoseconds per packet of the forwarding plane beside what is least possible. */
import { readFileSync, writeFileSync } from 'node:fs';
import { cpus, loadavg, release } from 'node:os';
import { Command } from 'commander';
import { SkeinError } from '../src/lib/errors.ts';
import { whole } from '../testbed/options.ts';
import { chosenCases } from './cases.ts';
import { PreparedCase, type Sample } from './measure.ts';
import { inside, makePlace, takeCpu } from './place.ts';
import { Programs } from './programs.ts';
import { readLayouts } from './replay.ts';
import { figures, tableText } from './report.ts';
import { NODE } from './scene.ts';

interface Options {
  readonly rounds: number;
  readonly only: string;
  readonly withFeatures: boolean;
  readonly json?: string;
}

const ROUNDS_MAX = 1000;

const { rounds, only, withFeatures, json } = new Command('bench')
  .description(
    'Nanoseconds per packet of the forwarding plane. README.md beside this says how to read it.',
  )
  .option('--rounds <n>', 'how often each case is measured', whole(1, ROUNDS_MAX), 11)
  .option('--only <prefix>', 'cases whose names begin like this, and their floors', '')
  .option('--with-features', 'beside services that use every feature', false)
  .option('--json <file>', 'write the figures there, too')
  .parse()
  .opts<Options>();

await inside(bench);

async function bench(): Promise<void> {
  const cases = chosenCases(only);
  if (cases.length === 0) throw new SkeinError('NO_CASE', `no case has a name like ${only}...`);
  await makePlace([NODE.ipv4, NODE.ipv6]);
  const layouts = await readLayouts();
  const programs = await Programs.open(withFeatures);
  const cpu = await takeCpu();
  const loadBefore = load();
  const stealBefore = cpuTimes();
  const prepared = cases.map((spec) => {
    progress(`preparing ${spec.name}`);
    return {
      name: spec.name,
      rounds: new PreparedCase(spec, programs, layouts),
      samples: [] as Sample[],
    };
  });
  for (let round = 1; round <= rounds; round += 1) {
    progress(`round ${round} of ${rounds}`);
    for (const each of prepared) each.samples.push(each.rounds.round());
  }
  progress('');
  const results = figures(cases, new Map(prepared.map(({ name, samples }) => [name, samples])));
  const machine = {
    kernel: release(),
    processor: cpus()[0]?.model ?? 'unknown',
    cpu,
    rounds,
    withFeatures,
    loadBefore,
    loadAfter: load(),
    stealPercent: stealPercent(stealBefore, cpuTimes()),
  };
  console.log(`kernel ${machine.kernel}, ${cpu}, ${machine.processor}`);
  console.log(
    `${rounds} rounds, load ${loadBefore} before and ${machine.loadAfter} after, ` +
      `steal ${machine.stealPercent} %, nanoseconds per packet:\n`,
  );
  console.log(tableText(results));
  if (json !== undefined) {
    writeFileSync(json, `${JSON.stringify({ machine, cases: results }, null, 2)}\n`);
  }
  await programs.close();
}

/** On one line of a terminal, which the next call overwrites. */
function progress(text: string): void {
  if (process.stderr.isTTY) process.stderr.write(`\r\x1b[K${text}`);
}

function load(): number {
  return Number((loadavg()[0] ?? 0).toFixed(2));
}

/** Since the machine came up, all CPUs together: proc_stat(5). */
function cpuTimes(): { readonly all: number; readonly steal: number } {
  const line = /^cpu +(.*)$/m.exec(readFileSync('/proc/stat', 'utf8'))?.[1] ?? '';
  // The last two of ten are counted in the first two already.
  const times = line.split(' ').slice(0, 8).map(Number);
  return { all: times.reduce((sum, each) => sum + each, 0), steal: times[7] ?? 0 };
}

function stealPercent(
  before: ReturnType<typeof cpuTimes>,
  after: ReturnType<typeof cpuTimes>,
): number {
  const all = Math.max(1, after.all - before.all);
  return Number(((100 * (after.steal - before.steal)) / all).toFixed(1));
}
