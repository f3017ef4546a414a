/** Cuts a frame into fragments as a sender or router does (RFC 791, section 3.2; RFC 8200, 4.5). */
import { checksum, ETHERNET_BYTES, patched, PROTOCOL } from './packet.ts';

const IPV6_ETHERTYPE = 0x86dd;
const IPV6_BYTES = 40;
const MORE_FRAGMENTS = 0x2000;

/**
 * `sizes`: bytes behind the IP header of each fragment but the last, multiples of 8. An IPv6 frame
 * must have no extension headers; IPv4 options go into every fragment.
 */
export function fragmentsOf(frame: Uint8Array, sizes: readonly number[], id = 77): Uint8Array[] {
  const view = new DataView(frame.buffer, frame.byteOffset, frame.length);
  const v6 = view.getUint16(12) === IPV6_ETHERTYPE;
  const headerBytes = v6 ? IPV6_BYTES : (view.getUint8(ETHERNET_BYTES) & 0xf) * 4;
  const start = ETHERNET_BYTES + headerBytes;
  const length = frame.length - start;
  const fragments: Uint8Array[] = [];
  for (let offset = 0; offset < length;) {
    const bytes = sizes[fragments.length] ?? length - offset;
    const more = offset + bytes < length;
    const head = frame.subarray(0, start);
    const part = frame.subarray(start + offset, start + offset + bytes);
    fragments.push(
      v6 ? fragment6(head, part, offset, more, id) : fragment4(head, part, offset, more, id),
    );
    offset += bytes;
  }
  return fragments;
}

function fragment4(
  head: Uint8Array,
  part: Uint8Array,
  offset: number,
  more: boolean,
  id: number,
): Uint8Array {
  const total = head.length - ETHERNET_BYTES + part.length;
  const word = (more ? MORE_FRAGMENTS : 0) | (offset / 8);
  const at = ETHERNET_BYTES;
  let header = patched(head, at + 2, total >> 8, total & 0xff, (id >> 8) & 0xff, id & 0xff);
  header = patched(header, at + 6, word >> 8, word & 0xff);
  header = patched(header, at + 10, 0, 0);
  const sum = checksum(header.subarray(at));
  return Uint8Array.from([...patched(header, at + 10, sum >> 8, sum & 0xff), ...part]);
}

function fragment6(
  head: Uint8Array,
  part: Uint8Array,
  offset: number,
  more: boolean,
  id: number,
): Uint8Array {
  const word = offset | (more ? 1 : 0);
  const protocol = head[ETHERNET_BYTES + 6] ?? 0;
  const bytes = [protocol, 0, word >> 8, word & 0xff, id >>> 24, (id >> 16) & 0xff];
  const between = Uint8Array.of(...bytes, (id >> 8) & 0xff, id & 0xff);
  const length = between.length + part.length;
  const header = patched(head, ETHERNET_BYTES + 4, length >> 8, length & 0xff, PROTOCOL.fragment);
  return Uint8Array.from([...header, ...between, ...part]);
}

/** Puts the fragments of one packet together; throws where bytes are missing. */
export function reassembled(fragments: readonly Uint8Array[]): Uint8Array {
  const parts = fragments.map(takeApart).sort((a, b) => a.offset - b.offset);
  const [first] = parts;
  if (first === undefined) throw new RangeError('no fragments');
  let payload = new Uint8Array(0);
  for (const { offset, bytes } of parts) {
    if (offset !== payload.length) throw new RangeError(`nothing at ${payload.length}`);
    payload = Uint8Array.from([...payload, ...bytes]);
  }
  const { head, v6, protocol } = first;
  const at = ETHERNET_BYTES;
  if (v6) {
    const length = [payload.length >> 8, payload.length & 0xff];
    return Uint8Array.from([...patched(head, at + 4, ...length, protocol), ...payload]);
  }
  const total = head.length - at + payload.length;
  let header = patched(head, at + 2, total >> 8, total & 0xff);
  header = patched(patched(header, at + 6, 0, 0), at + 10, 0, 0);
  const sum = checksum(header.subarray(at));
  return Uint8Array.from([...patched(header, at + 10, sum >> 8, sum & 0xff), ...payload]);
}

interface Part {
  readonly v6: boolean;
  /** Up to what belongs to every fragment. */
  readonly head: Uint8Array;
  readonly protocol: number;
  readonly offset: number;
  readonly bytes: Uint8Array;
}

function takeApart(frame: Uint8Array): Part {
  const view = new DataView(frame.buffer, frame.byteOffset, frame.length);
  const v6 = view.getUint16(12) === IPV6_ETHERTYPE;
  const at = ETHERNET_BYTES;
  if (v6) {
    const end = at + IPV6_BYTES;
    const offset = view.getUint16(end + 2) & 0xfff8;
    const bytes = frame.subarray(end + 8);
    return { v6, head: frame.subarray(0, end), protocol: view.getUint8(end), offset, bytes };
  }
  const end = at + (view.getUint8(at) & 0xf) * 4;
  const offset = (view.getUint16(at + 6) & 0x1fff) * 8;
  const head = frame.subarray(0, end);
  return { v6, head, protocol: view.getUint8(at + 9), offset, bytes: frame.subarray(end) };
}
