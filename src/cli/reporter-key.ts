/** What a reporter signs with: its own key, or one made of the cluster's where it has that. */
import { SkeinError } from '../lib/errors.ts';
import type { Address } from '../model/address.ts';
import { readKeyFile, readKeys } from '../peers/keys.ts';
import { isReporterKey, parseKeyFile } from '../reports/key-file.ts';
import { reporterKey, type ReporterKey } from '../reports/seal.ts';

export interface ReporterKeyRing {
  readonly key: ReporterKey;
  /** What an operator should know: one sentence each. */
  readonly warnings: readonly string[];
}

/** The first of the files signs; the second is for later. Throws a SkeinError. */
export async function readReporterKey(
  keyFiles: readonly string[],
  cluster: string,
  addresses: readonly Address[],
): Promise<ReporterKeyRing> {
  const [path] = keyFiles;
  if (path === undefined) throw new SkeinError('KEY_COUNT', 'reports need a key file to be signed');
  const { text, warning } = await readKeyFile(path);
  if (isReporterKey(text)) {
    return { key: ownKey(text, path, addresses), warnings: warning === undefined ? [] : [warning] };
  }
  const { keys, warnings } = await readKeys(keyFiles);
  const [first] = keys;
  // `readKeys` gives one for each file.
  if (first === undefined) throw new SkeinError('KEY_COUNT', `${path} holds no key`);
  const whole = `${path} is the key of the whole cluster: whoever takes it from here speaks for every backend; on a node, make one for this backend alone with: ${keyCommand(addresses)}`;
  return { key: reporterKey(first, cluster, addresses), warnings: [...warnings, whole] };
}

function ownKey(text: string, path: string, addresses: readonly Address[]): ReporterKey {
  const parsed = parseKeyFile(text);
  const how = `on a node, make one with: ${keyCommand(addresses)}`;
  if (parsed === undefined) {
    throw new SkeinError('KEY_MALFORMED', `${path} is not a whole key of a backend: ${how}`);
  }
  const found = parsed.addresses.toSorted().join(', ');
  const wanted = addresses.toSorted().join(', ');
  if (found === wanted) return parsed.key;
  throw new SkeinError(
    'KEY_ADDRESSES',
    `${path} is for reports about ${found}, and this backend reports ${wanted}: ${how}`,
  );
}

function keyCommand(addresses: readonly Address[]): string {
  return `skein backend key --config FILE ${addresses.join(' ')}`;
}
