/**
 * One testbed at a time: its namespaces have fixed names. The lock belongs to a living process, so a
 * lock whose process is gone is no lock. Must never be waited for: the second comer is told at once.
 */
import {
  linkSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { SkeinError } from '../src/lib/errors.ts';
import { STATE } from './places.ts';
import { isRunning, ownRecord, parseRecords, type ProcessRecord } from './processes.ts';

const ATTEMPTS_MAX = 3;

/**
 * Takes the lock for this process and returns what gives it back (idempotent). Throws a SkeinError
 * that names the living process which has it.
 */
export function takeLock(name: string, folder: string = STATE): () => void {
  mkdirSync(folder, { recursive: true });
  const file = `${folder}/lock`;
  const own = ownRecord(name);
  for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt += 1) {
    if (tryWrite(file, own)) {
      return () => {
        if (lockOwner(file)?.pid !== own.pid) return;
        rmSync(file, { force: true });
        removeIfEmpty(folder);
      };
    }
    const owner = lockOwner(file);
    if (owner !== undefined && isRunning(owner)) throw locked(owner);
    rmSync(file, { force: true });
  }
  throw new SkeinError('testbed_locked', `another testbed is just starting (see ${file})`);
}

/** Who holds the lock now; undefined when nobody does. */
export function lockHolder(folder: string = STATE): ProcessRecord | undefined {
  const owner = lockOwner(`${folder}/lock`);
  return owner !== undefined && isRunning(owner) ? owner : undefined;
}

/** By a link and not by opening the file, so that nobody ever reads a lock without its owner. */
function tryWrite(file: string, own: ProcessRecord): boolean {
  const draft = `${file}.${own.pid}`;
  writeFileSync(draft, `${JSON.stringify(own)}\n`);
  try {
    linkSync(draft, file);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  } finally {
    rmSync(draft, { force: true });
  }
}

/** A standing testbed has more in it than the lock. */
function removeIfEmpty(folder: string): void {
  if (readdirSync(folder).length === 0) rmdirSync(folder);
}

function lockOwner(file: string): ProcessRecord | undefined {
  try {
    return parseRecords(readFileSync(file, 'utf8'))[0];
  } catch {
    return undefined;
  }
}

function locked(owner: ProcessRecord): SkeinError {
  const text = `a testbed is in use by ${owner.name} (process ${owner.pid}): end that one first`;
  return new SkeinError('testbed_locked', text);
}
