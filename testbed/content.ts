/**
 * Bytes that both ends of a download can make for themselves: each four of them say where they are,
 * so that nothing can be missing, doubled or out of order without being noticed.
 */
import { createHash } from 'node:crypto';

export const CONTENT_BYTES_MAX = 256 << 20;

const CHUNK_BYTES = 65_536;

/** The first `bytes` bytes, in pieces. */
export function* content(bytes: number): Generator<Buffer> {
  for (let at = 0; at < bytes; at += CHUNK_BYTES) {
    const chunk = Buffer.alloc(CHUNK_BYTES);
    for (let offset = 0; offset < CHUNK_BYTES; offset += 4) {
      chunk.writeUInt32BE((at + offset) / 4, offset);
    }
    yield chunk.subarray(0, Math.min(CHUNK_BYTES, bytes - at));
  }
}

/** SHA-256 of the first `bytes` bytes, in hexadecimal. */
export function contentHash(bytes: number): string {
  const hash = createHash('sha256');
  for (const chunk of content(bytes)) hash.update(chunk);
  return hash.digest('hex');
}
