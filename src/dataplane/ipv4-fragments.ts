/**
 * Cuts IPv4 packets into fragments (RFC 791, sections 2.3 and 3.2), as a router must where they do
 * not fit and may be cut. Pure; never changes what it is given, and never throws for its content.
 */

const HEADER_BYTES_MIN = 20;
const MORE_FRAGMENTS = 0x2000;
const DONT_FRAGMENT = 0x4000;
const OFFSET_MASK = 0x1fff;
/** Unit of fragment offsets. */
const UNIT_BYTES = 8;
const PACKET_BYTES_MAX = 65_535;

const OPTION_END = 0;
const OPTION_NOP = 1;
/** Of an option's type: it belongs into every fragment. */
const COPIED_FLAG = 0x80;

/**
 * Fragments of at most `bytesMax` bytes each, header included, that together are `packet` (from its
 * IP header on; what stands behind it is left out). Empty when it is malformed, must not be cut, ends
 * beyond the longest packet, or leaves no room for data. One that fits comes back as the only one.
 */
export function cutPacket(packet: Uint8Array, bytesMax: number): Uint8Array[] {
  const view = new DataView(packet.buffer, packet.byteOffset, packet.length);
  if (packet.length < HEADER_BYTES_MIN || view.getUint8(0) >> 4 !== 4) return [];
  const headerBytes = (view.getUint8(0) & 0xf) * 4;
  const totalBytes = view.getUint16(2);
  if (headerBytes < HEADER_BYTES_MIN || totalBytes < headerBytes || totalBytes > packet.length) {
    return [];
  }
  if (totalBytes <= bytesMax) return [packet.slice(0, totalBytes)];
  const flags = view.getUint16(6);
  const endBytes = (flags & OFFSET_MASK) * UNIT_BYTES + totalBytes;
  const header = packet.subarray(0, headerBytes);
  const laterHeader = withCopiedOptions(header);
  const roomBytes = Math.floor((bytesMax - headerBytes) / UNIT_BYTES) * UNIT_BYTES;
  if ((flags & DONT_FRAGMENT) !== 0 || endBytes > PACKET_BYTES_MAX) return [];
  if (laterHeader === undefined || roomBytes <= 0) return [];

  const data = packet.subarray(headerBytes, totalBytes);
  const laterRoomBytes = Math.floor((bytesMax - laterHeader.length) / UNIT_BYTES) * UNIT_BYTES;
  const fragments: Uint8Array[] = [];
  let from = 0;
  while (from < data.length) {
    const to = from + (from === 0 ? roomBytes : laterRoomBytes);
    const more = to < data.length ? MORE_FRAGMENTS : flags & MORE_FRAGMENTS;
    const offset = (flags & OFFSET_MASK) + from / UNIT_BYTES;
    const part = data.subarray(from, to);
    fragments.push(fragment(from === 0 ? header : laterHeader, more | offset, part));
    from = to;
  }
  return fragments;
}

/** The header with the options of every fragment alone; undefined when they are malformed. */
function withCopiedOptions(header: Uint8Array): Uint8Array | undefined {
  const copied: number[] = [];
  let at = HEADER_BYTES_MIN;
  while (at < header.length) {
    const type = header[at] ?? OPTION_END;
    if (type === OPTION_END) break;
    const bytes = type === OPTION_NOP ? 1 : (header[at + 1] ?? 0);
    if (type !== OPTION_NOP && (bytes < 2 || at + bytes > header.length)) return undefined;
    if ((type & COPIED_FLAG) !== 0) copied.push(...header.subarray(at, at + bytes));
    at += bytes;
  }
  const result = new Uint8Array(HEADER_BYTES_MIN + Math.ceil(copied.length / 4) * 4);
  result.set(header.subarray(0, HEADER_BYTES_MIN));
  result.set(copied, HEADER_BYTES_MIN);
  result[0] = (4 << 4) | (result.length / 4);
  return result;
}

function fragment(header: Uint8Array, flagsAndOffset: number, data: Uint8Array): Uint8Array {
  const packet = new Uint8Array(header.length + data.length);
  packet.set(header);
  packet.set(data, header.length);
  const view = new DataView(packet.buffer);
  view.setUint16(2, packet.length);
  view.setUint16(6, flagsAndOffset);
  view.setUint16(10, 0);
  view.setUint16(10, headerChecksum(packet.subarray(0, header.length)));
  return packet;
}

function headerChecksum(header: Uint8Array): number {
  let sum = 0;
  for (let at = 0; at < header.length; at += 2) {
    sum += ((header[at] ?? 0) << 8) | (header[at + 1] ?? 0);
  }
  // At most 30 words: one carry may bring another one and no more.
  sum = (sum & 0xffff) + (sum >> 16);
  sum = (sum & 0xffff) + (sum >> 16);
  return ~sum & 0xffff;
}
