/**
 * `skein backend key`: makes the key of one backend from that of the cluster, on a host that has it.
 * Must print nothing else to standard output: it goes into a file.
 */
import type { Command } from 'commander';
import type { ClusterConfig } from '../config/types.ts';
import { SkeinError } from '../lib/errors.ts';
import { parseAddress, type Address } from '../model/address.ts';
import { readKeys } from '../peers/keys.ts';
import { formatKeyFile } from '../reports/key-file.ts';
import { ADDRESSES_MAX } from '../reports/report.ts';
import { reporterKey } from '../reports/seal.ts';
import { readCluster } from './backend-report.ts';

export interface KeyOptions {
  readonly config?: string;
  readonly cluster?: string;
  readonly keyFile?: string;
}

/** Adds `key` to `skein backend`. */
export function addBackendKey(backend: Command): void {
  backend
    .command('key')
    .description("print the key that a backend's reports are signed with, for its key file")
    .argument('<backends...>', 'all addresses that it reports, or its names in the document')
    .option('-c, --config <file>', 'cluster document; gives what is not given here')
    .option('--cluster <name>', 'name of the cluster')
    .option('--key-file <file>', "the cluster's key (default: the first of the document)")
    .action(async (backends: readonly string[], options: KeyOptions) => {
      const { text, warnings } = await makeKey(backends, options);
      for (const warning of warnings) console.error(`skein: ${warning}`);
      process.stdout.write(text);
    });
}

/** The content of a key file. Throws a SkeinError that names what is missing or wrong. */
export async function makeKey(
  backends: readonly string[],
  options: KeyOptions,
): Promise<{ readonly text: string; readonly warnings: readonly string[] }> {
  const document = options.config === undefined ? undefined : readCluster(options.config);
  const cluster = options.cluster ?? document?.name ?? missing('--cluster');
  const keyFile = options.keyFile ?? document?.reports?.keyFiles[0] ?? missing('--key-file');
  const addresses = [...new Set(backends.flatMap((each) => addressesOf(each, document)))];
  if (addresses.length > ADDRESSES_MAX) {
    throw usage(`a backend reports at most ${ADDRESSES_MAX} addresses, not ${addresses.length}`);
  }
  const { keys, warnings } = await readKeys([keyFile]);
  const [first] = keys;
  // `readKeys` gives one for each file.
  if (first === undefined) throw usage(`${keyFile} holds no key`);
  const key = reporterKey(first, cluster, addresses);
  return { text: formatKeyFile({ key, addresses }), warnings };
}

/** A name may be that of several backends, such as one of each family. */
function addressesOf(text: string, document: ClusterConfig | undefined): readonly Address[] {
  const address = parseAddress(text);
  if (address !== undefined) return [address];
  const named = (document?.services ?? []).flatMap(({ backends }) =>
    backends.filter(({ name }) => name === text).map((each) => each.address),
  );
  if (named.length > 0) return named;
  throw usage(
    document === undefined
      ? `${text} is not an address; names need --config`
      : `no backend of a service is called ${text}`,
  );
}

function missing(option: string): never {
  throw usage(`${option} is required, or --config with a document that has it`);
}

function usage(text: string): SkeinError {
  return new SkeinError('CONFIG', text);
}
