/**
 * `npm run check`: everything that can be checked without privileges, two steps at a time. One line
 * a step; the output of a step only when it fails. `-- --fast` leaves the unit tests out, and
 * `-- types lint` runs just these steps. Must never change a file outside build/.
 */
import { spawn } from 'node:child_process';
import { existsSync, mkdirSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { repositoryFiles } from './tidy.ts';

interface Step {
  readonly name: string;
  readonly command: readonly [string, ...string[]];
}

interface Outcome {
  readonly ok: boolean;
  readonly seconds: number;
  readonly output: string;
}

const ROOT = join(import.meta.dirname, '..');
const CACHE = 'build/check';
const STEP_TIMEOUT_MS = 10 * 60_000;
/** Enough for any report that someone reads; what comes after is dropped. */
const OUTPUT_CHARS_MAX = 1_000_000;
const ENVIRONMENT = {
  ...process.env,
  // Debian keeps bpftool in a folder that is not on everybody's PATH.
  PATH: `${process.env['PATH'] ?? ''}:/usr/sbin`,
  ...(process.stdout.isTTY ? { FORCE_COLOR: '1' } : {}),
};
const AT_ONCE = Math.min(2, availableParallelism());

function steps(): Step[] {
  const cFiles = repositoryFiles(ROOT).filter((path) => /\.[ch]$/.test(path) && exists(path));
  // The longest come first, so that the last two end at about the same time.
  return [
    tool('lint', 'eslint', '.'),
    tool('unit', 'vitest', 'run', '--project', 'unit'),
    tool('types', 'tsc', '-p', '.', '--incremental', '--tsBuildInfoFile', `${CACHE}/types`),
    tool('page', 'tsc', '-p', 'src/console/public'),
    tool('format', 'prettier', '--check', '--cache', `--cache-location=${CACHE}/format`, '.'),
    { name: 'c-format', command: ['clang-format', '--dry-run', '-Werror', ...cFiles] },
    // A generator called with --check fails when what it would write is not what is there.
    script('abi', 'src/abi/generate.ts', '--check'),
    script('schema', 'src/config/json-schema.ts', '--check'),
    script('tidy', 'setup/tidy.ts'),
  ];
}

function tool(name: string, program: string, ...options: string[]): Step {
  return { name, command: [join(ROOT, 'node_modules/.bin', program), ...options] };
}

function script(name: string, path: string, ...options: string[]): Step {
  return { name, command: [process.execPath, path, ...options] };
}

/** Git lists a deleted file until the deletion is staged. */
function exists(path: string): boolean {
  return existsSync(join(ROOT, path));
}

function run(step: Step): Promise<Outcome> {
  const [program, ...options] = step.command;
  const startMs = performance.now();
  return new Promise((resolve) => {
    let output = '';
    const child = spawn(program, options, {
      cwd: ROOT,
      stdio: ['ignore', 'pipe', 'pipe'],
      timeout: STEP_TIMEOUT_MS,
      env: ENVIRONMENT,
    });
    const collect = (chunk: Buffer): void => {
      if (output.length < OUTPUT_CHARS_MAX) output += chunk.toString();
    };
    child.stdout.on('data', collect);
    child.stderr.on('data', collect);
    const end = (ok: boolean, reason: string): void => {
      const seconds = (performance.now() - startMs) / 1000;
      resolve({ ok, seconds, output: `${output}${reason}` });
    };
    child.on('error', (error) => {
      end(false, `cannot run ${program}: ${error.message} (sh setup/setup.sh installs it)\n`);
    });
    child.on('close', (code, signal) => {
      end(code === 0, signal === null ? '' : `ended by ${signal} (limit ${STEP_TIMEOUT_MS} ms)\n`);
    });
  });
}

function chosenSteps(): Step[] | string {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: { fast: { type: 'boolean', default: false } },
  });
  const all = steps();
  const unknown = positionals.filter((name) => !all.some((step) => step.name === name));
  if (unknown.length > 0) {
    const names = all.map(({ name }) => name).join(' ');
    return `no step ${unknown.join(', ')}; there are: ${names}`;
  }
  if (positionals.length > 0) return all.filter(({ name }) => positionals.includes(name));
  return values.fast ? all.filter(({ name }) => name !== 'unit') : all;
}

async function main(): Promise<void> {
  mkdirSync(join(ROOT, CACHE), { recursive: true });
  const waiting = chosenSteps();
  if (typeof waiting === 'string') {
    console.error(waiting);
    process.exitCode = 2;
    return;
  }
  const failures: string[] = [];
  const worker = async (): Promise<void> => {
    for (let step = waiting.shift(); step !== undefined; step = waiting.shift()) {
      const { ok, seconds, output } = await run(step);
      console.log(`${ok ? 'ok  ' : 'FAIL'}  ${step.name.padEnd(8)} ${seconds.toFixed(1)} s`);
      if (!ok) failures.push(`\n--- ${step.name}: ${step.command.join(' ')}\n${output.trimEnd()}`);
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
  for (const failure of failures) console.log(failure);
  if (failures.length > 0) process.exitCode = 1;
}

await main();
