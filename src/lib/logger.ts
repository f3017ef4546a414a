/** Structured logs: JSON by default, readable lines on a terminal. The only door to pino. */
import { pino, type Logger as PinoLogger } from 'pino';
import pretty from 'pino-pretty';

export type Logger = Pick<PinoLogger, 'debug' | 'info' | 'warn' | 'error' | 'fatal' | 'child'>;

export interface LoggerOptions {
  readonly level?: string;
  readonly node?: string;
}

/** Logs go to standard output; `colour` and line form follow whether that is a terminal. */
export function createLogger(options: LoggerOptions = {}): Logger {
  const settings = {
    level: options.level ?? 'info',
    base: options.node === undefined ? null : { node: options.node },
    timestamp: pino.stdTimeFunctions.isoTime,
  };
  if (!process.stdout.isTTY) return pino(settings);
  return pino(settings, pretty({ colorize: true, ignore: 'node', translateTime: 'HH:MM:ss.l' }));
}

/** For tests and tools that must not write. */
export const silentLogger: Logger = pino({ level: 'silent' });
