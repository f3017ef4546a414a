/**
 * Bytes that both ends of a transfer can make for themselves: each four of them say where they are,
 * so that nothing can be missing, doubled or out of order without being noticed.
 */
import { createHash } from 'node:crypto';

export const CONTENT_BYTES_MAX = 256 << 20;

const CHUNK_BYTES = 65_536;
/** Room for the name and a sequence number. */
const CUT_ECHO_BYTES = 64;

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

/**
 * What backends answer to a datagram: the name comes first. It is cut to the datagram's own size unless
 * that is small, so that what fits through the way in one direction does in the other one too.
 */
export function echoOf(name: string, datagram: string): string {
  const answer = `${name} ${datagram}`;
  return datagram.length < CUT_ECHO_BYTES ? answer : answer.slice(0, datagram.length);
}
