/** Tells when a document may have changed: by SIGHUP, or since its file did. */
import { watch, type FSWatcher } from 'node:fs';
import { dirname } from 'node:path';
import type { Clock } from '../lib/clock.ts';
import type { Logger } from '../lib/logger.ts';

/** Editors write a file in several steps; what follows within this time is one change. */
const SETTLE_MS = 200;

type Cause = 'signal' | 'file';

export interface Watching {
  /** From here on changes are told; also one that came before. */
  tell(onChange: (cause: Cause) => void): void;
  readonly stop: () => void;
}

/**
 * Watches the folders and not the files: editors and orchestrators put a new file in the place of
 * the old one, which a watch on the file itself would not survive. To be called before anything says
 * that the process is there: a SIGHUP that nobody waits for ends it.
 */
export function watchDocuments(files: readonly string[], clock: Clock, logger: Logger): Watching {
  let cancel: (() => void) | undefined;
  let missed: Cause | undefined;
  let changed = (cause: Cause): void => {
    missed ??= cause;
  };
  const settle = (): void => {
    cancel?.();
    cancel = clock.after(SETTLE_MS, () => {
      changed('file');
    });
  };
  const onSignal = (): void => {
    changed('signal');
  };
  const watchers: FSWatcher[] = [...new Set(files.map((file) => dirname(file)))].map((folder) => {
    const watcher = watch(folder, settle);
    watcher.on('error', (error) => {
      logger.warn({ folder, reason: error.message }, 'file changes are no longer seen; use SIGHUP');
    });
    return watcher;
  });
  process.on('SIGHUP', onSignal);
  return {
    tell(onChange) {
      changed = onChange;
      if (missed !== undefined) onChange(missed);
      missed = undefined;
    },
    stop: () => {
      cancel?.();
      for (const watcher of watchers) watcher.close();
      process.off('SIGHUP', onSignal);
    },
  };
}
