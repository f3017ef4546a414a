/** Reads key files, and makes what else must be secret or random. Must never show a key. */
import { randomBytes, timingSafeEqual } from 'node:crypto';
import { open } from 'node:fs/promises';
import { SkeinError, errorMessage } from '../lib/errors.ts';
import { KEY_BYTES, KEYS_MAX } from './seal-keys.ts';
import { STREAM_NONCE_BYTES } from './seal-stream.ts';

/** Both forms of a key are far shorter; a file that is longer is no key file. */
const FILE_BYTES_MAX = 1_024;
const GROUP_AND_WORLD = 0o066;
const MAKE_ONE = 'make one with: openssl rand -base64 32';

export interface KeyRing {
  /** The first seals, all open. */
  readonly keys: readonly Uint8Array[];
  /** What an operator should know: one sentence each. */
  readonly warnings: readonly string[];
}

/** One or two files, each a key as hexadecimal or base64 text. Throws a SkeinError. */
export async function readKeys(paths: readonly string[]): Promise<KeyRing> {
  if (paths.length === 0 || paths.length > KEYS_MAX) {
    throw new SkeinError(
      'KEY_COUNT',
      `${paths.length} key files are given: name one, or two while a key is replaced (the first seals)`,
    );
  }
  const files = await Promise.all(paths.map(readKey));
  const [first, second] = files;
  if (first !== undefined && second !== undefined && timingSafeEqual(first.key, second.key)) {
    throw new SkeinError(
      'KEY_TWICE',
      `${paths.join(' and ')} hold the same key: remove one of them`,
    );
  }
  return {
    keys: files.map(({ key }) => key),
    warnings: files.flatMap(({ warning }) => warning ?? []),
  };
}

interface KeyFile {
  readonly key: Uint8Array;
  readonly warning: string | undefined;
}

async function readKey(path: string): Promise<KeyFile> {
  const { text, warning } = await readKeyFile(path);
  const key = parseKey(text);
  if (key === undefined) {
    throw new SkeinError(
      'KEY_MALFORMED',
      `${path} is not a key of ${KEY_BYTES} bytes as hexadecimal or base64 text: ${MAKE_ONE}`,
    );
  }
  if (new Set(key).size === 1) {
    throw new SkeinError('KEY_WEAK', `${path} holds one byte ${KEY_BYTES} times: ${MAKE_ONE}`);
  }
  return { key, warning };
}

export interface KeyText {
  /** At most the first kibibyte of the file. */
  readonly text: string;
  /** What an operator should know, in one sentence. */
  readonly warning: string | undefined;
}

/** What is in the file is for the caller to check. Throws a SkeinError. */
export async function readKeyFile(path: string): Promise<KeyText> {
  try {
    await using file = await open(path);
    const { mode } = await file.stat();
    const { buffer, bytesRead } = await file.read({ buffer: Buffer.alloc(FILE_BYTES_MAX) });
    const warning =
      (mode & GROUP_AND_WORLD) === 0
        ? undefined
        : `others than its owner may read or change ${path}: chmod 600 ${path}`;
    return { text: buffer.toString('latin1', 0, bytesRead), warning };
  } catch (error) {
    throw new SkeinError(
      'KEY_UNREADABLE',
      `cannot read the key in ${path}: ${errorMessage(error)}`,
      {
        cause: error,
      },
    );
  }
}

const HEX = /^[0-9a-f]{64}$/i;
/** 43 digits, of which the last has two bits that are none of the key's. */
const BASE64 = /^[A-Za-z0-9+/_-]{42}[AEIMQUYcgkosw048]=?$/;

function parseKey(text: string): Buffer | undefined {
  const digits = text.trim();
  if (HEX.test(digits)) return Buffer.from(digits, 'hex');
  return BASE64.test(digits) ? Buffer.from(digits, 'base64') : undefined;
}

/** For StreamIdentity. */
export function randomNonce(): Uint8Array {
  return randomBytes(STREAM_NONCE_BYTES);
}
