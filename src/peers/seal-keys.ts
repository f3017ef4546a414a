/** Master keys, and the keys that are derived from them: one for each sender's life or stream. */
import { createHash, createSecretKey, hkdfSync, type KeyObject } from 'node:crypto';

export const KEY_BYTES = 32;
/** Two, so that a key can be replaced node by node. */
export const KEYS_MAX = 2;
export const CLUSTER_ID_BYTES = 8;

export interface MasterKey {
  /** First byte of the key's SHA-256: tells keys apart, and nothing about them that matters. */
  readonly id: number;
  readonly secret: Uint8Array;
}

/** Throws a RangeError unless there are one or two keys of 32 bytes: keys.ts gives no others. */
export function masterKeys(keys: readonly Uint8Array[]): readonly [MasterKey, ...MasterKey[]] {
  const [first, ...others] = keys.map((secret) => {
    if (secret.length !== KEY_BYTES) throw new RangeError(`a key has ${KEY_BYTES} bytes`);
    return { id: sha256(secret)[0] ?? 0, secret };
  });
  if (first === undefined || keys.length > KEYS_MAX) {
    throw new RangeError(`one key, or two while they are being replaced; not ${keys.length}`);
  }
  return [first, ...others];
}

/** What datagrams carry instead of the cluster's name. */
export function clusterId(cluster: string): Buffer {
  return sha256(`skein cluster ${cluster}`).subarray(0, CLUSTER_ID_BYTES);
}

/** HKDF-SHA256 (RFC 5869). `info` must say what for, and name whatever must not share a key. */
export function deriveSecret(master: MasterKey, cluster: Uint8Array, info: Uint8Array): Uint8Array {
  return new Uint8Array(hkdfSync('sha256', master.secret, cluster, info, KEY_BYTES));
}

/** See `deriveSecret`. */
export function deriveKey(master: MasterKey, cluster: Uint8Array, info: Uint8Array): KeyObject {
  return createSecretKey(deriveSecret(master, cluster, info));
}

function sha256(data: string | Uint8Array): Buffer {
  return createHash('sha256').update(data).digest();
}
