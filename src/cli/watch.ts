/** Tells when a document may have changed: by SIGHUP, or since its file did. */
import { watch, type FSWatcher } from 'node:fs';
import { dirname } from 'node:path';
import type { Clock } from '../lib/clock.ts';
import type { Logger } from '../lib/logger.ts';

/** Editors write a file in several steps; what follows within this time is one change. */
const SETTLE_MS = 200;

export interface Watching {
  stop(): void;
}

/**
 * Watches the folders and not the files: editors and orchestrators put a new file in the place of
 * the old one, which a watch on the file itself would not survive.
 */
export function watchDocuments(
  files: readonly string[],
  onChange: (cause: 'signal' | 'file') => void,
  clock: Clock,
  logger: Logger,
): Watching {
  let cancel: (() => void) | undefined;
  const settle = (): void => {
    cancel?.();
    cancel = clock.after(SETTLE_MS, () => {
      onChange('file');
    });
  };
  const onSignal = (): void => {
    onChange('signal');
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
    stop() {
      cancel?.();
      for (const watcher of watchers) watcher.close();
      process.off('SIGHUP', onSignal);
    },
  };
}
