/** The only door to iproute2: `ip` with JSON out, run to its end within a bound. */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { errorMessage, SkeinError } from '../lib/errors.ts';

const run = promisify(execFile);
const IP_TIMEOUT_MS = 20_000;
const IP_OUTPUT_BYTES_MAX = 64 << 20;

/** Runs one program; a failure is a SkeinError with the program's own words. */
export async function runTool(program: string, args: readonly string[]): Promise<string> {
  try {
    const { stdout } = await run(program, args, {
      timeout: IP_TIMEOUT_MS,
      maxBuffer: IP_OUTPUT_BYTES_MAX,
    });
    return stdout;
  } catch (error) {
    const said = (error as { stderr?: string }).stderr?.trim();
    const words = said === undefined || said === '' ? errorMessage(error) : said;
    throw new SkeinError('TOOL_FAILED', `${program} ${args.join(' ')}: ${words}`, {
      cause: error,
    });
  }
}

export async function ipJson(args: readonly string[]): Promise<unknown[]> {
  const text = await runTool('ip', ['-j', ...args]);
  return text.trim() === '' ? [] : (JSON.parse(text) as unknown[]);
}

/**
 * Many commands in one process. A command that fails does not stop the others: its words are in
 * `failures`. `outputs` has the JSON of those that print something, in order.
 */
export async function ipBatch(
  commands: readonly string[],
): Promise<{ outputs: unknown[]; failures: string[] }> {
  if (commands.length === 0) return { outputs: [], failures: [] };
  return await new Promise((resolve, reject) => {
    const limits = { timeout: IP_TIMEOUT_MS, maxBuffer: IP_OUTPUT_BYTES_MAX };
    const child = execFile('ip', ['-j', '-force', '-batch', '-'], limits, (error, out, errors) => {
      if (error?.killed === true || (error !== null && typeof error.code === 'string')) {
        reject(new SkeinError('TOOL_FAILED', `ip -batch: ${error.message}`, { cause: error }));
        return;
      }
      const outputs = out
        .split('\n')
        .filter((line) => line.startsWith('['))
        .flatMap((line) => JSON.parse(line) as unknown[]);
      const failures = errors.split('\n').filter((line) => line !== '');
      resolve({ outputs, failures });
    });
    child.stdin?.on('error', () => {
      // The callback above reports why the process ended.
    });
    child.stdin?.end(`${commands.join('\n')}\n`);
  });
}
