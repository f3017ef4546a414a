/** Node names as bytes and back. */
import { NODE_NAME_BYTES_MAX } from './message.ts';

/** A node's name as headers have it; throws a RangeError for one that no header holds. */
export function nameBytes(node: string): Buffer {
  const bytes = Buffer.from(node);
  if (bytes.length === 0 || bytes.length > NODE_NAME_BYTES_MAX) {
    throw new RangeError(`a node's name has 1 to ${NODE_NAME_BYTES_MAX} bytes: ${node}`);
  }
  return bytes;
}

const strictUtf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** Undefined for what is not UTF-8: no two names may come out as one. */
export function textOf(bytes: Uint8Array): string | undefined {
  try {
    return strictUtf8.decode(bytes);
  } catch {
    return undefined;
  }
}

/** The same memory. */
export function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
}
