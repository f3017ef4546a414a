/**
 * Looks over msgpack before the library does: only plain values, shallow, few, and all there. The
 * library builds code from record extensions and objects from maps; bytes with either never reach it.
 */

/** Values of one payload; the largest message has about a thousand. */
const VALUES_MAX = 4_096;
/** Arrays within arrays; no message has more than three. */
const DEPTH_MAX = 4;

const NOT_ALLOWED = -1;

/**
 * Whether `bytes` are exactly one msgpack value made of nil, booleans, numbers, strings, binary and
 * arrays (https://github.com/msgpack/msgpack/blob/master/spec.md).
 */
export function isPlainMsgpack(bytes: Uint8Array): boolean {
  let position = 0;
  let values = 0;
  let depth = 0;
  /** Values still to come on each level. */
  const left = [1, 0, 0, 0, 0];
  while (depth >= 0) {
    if (left[depth] === 0) {
      depth -= 1;
      continue;
    }
    left[depth] = (left[depth] ?? 0) - 1;
    values += 1;
    if (values > VALUES_MAX) return false;
    const token = bytes[position];
    if (token === undefined) return false;
    if (isArray(token)) {
      const header = token < 0xa0 ? 0 : token === 0xdc ? 2 : 4;
      if (position + 1 + header > bytes.length) return false;
      const length = header === 0 ? token & 0x0f : bigEndian(bytes, position + 1, header);
      position += 1 + header;
      // Each of them takes a byte at least.
      if (length > bytes.length - position || depth === DEPTH_MAX) return false;
      depth += 1;
      left[depth] = length;
    } else {
      const size = scalarSize(bytes, position, token);
      if (size === NOT_ALLOWED) return false;
      position += size;
      if (position > bytes.length) return false;
    }
  }
  return position === bytes.length;
}

function isArray(token: number): boolean {
  return (token >= 0x90 && token < 0xa0) || token === 0xdc || token === 0xdd;
}

/** Bytes of a value that holds no others, its token included; may reach past the end. */
function scalarSize(bytes: Uint8Array, position: number, token: number): number {
  if (token < 0x80 || token >= 0xe0) return 1; // fixint
  if (token >= 0xa0 && token < 0xc0) return 1 + (token & 0x1f); // fixstr
  switch (token) {
    case 0xc0: // nil
    case 0xc2: // false
    case 0xc3: // true
      return 1;
    case 0xcc: // uint 8
    case 0xd0: // int 8
      return 2;
    case 0xcd: // uint 16
    case 0xd1: // int 16
      return 3;
    case 0xca: // float 32
    case 0xce: // uint 32
    case 0xd2: // int 32
      return 5;
    case 0xcb: // float 64
    case 0xcf: // uint 64
    case 0xd3: // int 64
      return 9;
    case 0xc4: // bin 8
    case 0xd9: // str 8
      return lengthPrefixed(bytes, position, 1);
    case 0xc5: // bin 16
    case 0xda: // str 16
      return lengthPrefixed(bytes, position, 2);
    case 0xc6: // bin 32
    case 0xdb: // str 32
      return lengthPrefixed(bytes, position, 4);
    default: // maps, extensions, the byte that is never used
      return NOT_ALLOWED;
  }
}

function lengthPrefixed(bytes: Uint8Array, position: number, header: number): number {
  if (position + 1 + header > bytes.length) return NOT_ALLOWED;
  return 1 + header + bigEndian(bytes, position + 1, header);
}

function bigEndian(bytes: Uint8Array, position: number, length: number): number {
  let value = 0;
  for (let i = 0; i < length; i += 1) value = value * 256 + (bytes[position + i] ?? 0);
  return value;
}
