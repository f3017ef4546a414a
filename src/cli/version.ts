import { readFileSync } from 'node:fs';
import { join } from 'node:path';

const packageJson = join(import.meta.dirname, '../../package.json');

/** As in package.json. */
export const { version } = JSON.parse(readFileSync(packageJson, 'utf8')) as { version: string };
