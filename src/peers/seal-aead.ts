/** AES-256-GCM (NIST SP 800-38D) with a count for a nonce: a key must never see a count twice. */
import { createCipheriv, createDecipheriv, type KeyObject } from 'node:crypto';

export const TAG_BYTES = 16;
const CIPHER = 'aes-256-gcm';
const NONCE_BYTES = 12;
const OPTIONS = { authTagLength: TAG_BYTES };

/** `clear`, the ciphertext and the tag over both, in one piece. */
export function encrypt(
  key: KeyObject,
  count: number,
  clear: Uint8Array,
  payload: Uint8Array,
): Buffer {
  const cipher = createCipheriv(CIPHER, key, nonceOf(count), OPTIONS);
  cipher.setAAD(clear);
  const ciphertext = cipher.update(payload);
  cipher.final();
  return Buffer.concat([clear, ciphertext, cipher.getAuthTag()]);
}

/** The inverse, of `clearBytes` and what follows; undefined when the tag does not verify. */
export function decrypt(
  key: KeyObject,
  count: number,
  sealed: Buffer,
  clearBytes: number,
): Buffer | undefined {
  const tagAt = sealed.length - TAG_BYTES;
  const decipher = createDecipheriv(CIPHER, key, nonceOf(count), OPTIONS);
  decipher.setAAD(sealed.subarray(0, clearBytes));
  decipher.setAuthTag(sealed.subarray(tagAt));
  const payload = decipher.update(sealed.subarray(clearBytes, tagAt));
  try {
    decipher.final();
  } catch {
    return undefined;
  }
  return payload;
}

/** A count as the nonce of AES-GCM, 12 bytes big endian. */
function nonceOf(count: number): Buffer {
  const nonce = Buffer.alloc(NONCE_BYTES);
  writeCount(nonce, NONCE_BYTES - 8, count);
  return nonce;
}

/** A whole number that JavaScript holds exactly, as 64 bits big endian. */
export function writeCount(bytes: Buffer, at: number, count: number): void {
  bytes.writeUInt32BE(Math.floor(count / 0x1_0000_0000), at);
  bytes.writeUInt32BE(count >>> 0, at + 4);
}

/** The inverse; undefined for a number that JavaScript does not hold exactly. */
export function readCount(bytes: Buffer, at: number): number | undefined {
  const count = bytes.readUInt32BE(at) * 0x1_0000_0000 + bytes.readUInt32BE(at + 4);
  return Number.isSafeInteger(count) ? count : undefined;
}
