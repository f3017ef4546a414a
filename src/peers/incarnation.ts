/**
 * The number of this life of the node: greater than that of any before, whatever the clock says.
 * Must be written down before it is used, since keys and nonces hang on it.
 */
import { open, readFile, rename } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { Clock } from '../lib/clock.ts';
import { SkeinError, errorMessage } from '../lib/errors.ts';

/** Milliseconds since 1970, or one more than the last. Throws a SkeinError. */
export async function nextIncarnation(path: string, clock: Pick<Clock, 'wallMs'>): Promise<number> {
  const last = await readLast(path);
  const next = Math.max(Math.floor(clock.wallMs()), last + 1);
  try {
    await replaceFile(path, `${next}\n`);
  } catch (error) {
    throw new SkeinError(
      'INCARNATION_UNWRITABLE',
      `cannot write ${path}: ${errorMessage(error)}; without it a restart could use a nonce twice`,
      { cause: error },
    );
  }
  return next;
}

/** 0 when there is none yet. */
async function readLast(path: string): Promise<number> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return 0;
    throw new SkeinError('INCARNATION_UNREADABLE', `cannot read ${path}: ${errorMessage(error)}`, {
      cause: error,
    });
  }
  const last = Number(text);
  if (/^\d+\n?$/.test(text) && Number.isSafeInteger(last + 1)) return last;
  throw new SkeinError(
    'INCARNATION_DAMAGED',
    `${path} does not hold the number of this node's last start: if this node's clock is right, remove the file`,
  );
}

/** On the disk before it returns, and whole at any moment. */
async function replaceFile(path: string, text: string): Promise<void> {
  const temporary = `${path}.new`;
  {
    await using file = await open(temporary, 'w', 0o644);
    await file.writeFile(text);
    await file.sync();
  }
  await rename(temporary, path);
  await using folder = await open(dirname(path));
  await folder.sync();
}
