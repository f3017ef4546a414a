/** What replay.bpf.c is told: the frame, how to vary it, and how to walk over the flows. Pure. */

const GOLDEN_SECTION = 0.6180339887;
/** The same section of 2^32: a walk over flows that never comes back. */
const ENDLESS_STRIDE = 2_654_435_769;
const ETHERTYPE_OFFSET = 12;
const ETHERTYPE_IPV4 = 0x0800;
/** Offsets of the protocol, of the source address or its last four bytes, and of the source port. */
const OFFSETS = {
  4: { protocol: 23, source: 26, sourcePort: 34 },
  6: { protocol: 20, source: 34, sourcePort: 54 },
} as const;
const PROTOCOLS_WITH_PORTS = [6, 17];

/** Of a struct in replay.h. */
export type FieldValues = Readonly<Record<string, number | bigint | Uint8Array>>;

/** `in_order` walks through the cycle as flows were made, `scattered` as traffic would. */
export type Order = 'in_order' | 'scattered';

/** Step through a cycle of `flows`; scattered by the golden section. 0 flows: a cycle without end. */
export function strideOf(flows: number, order: Order): number {
  if (flows === 0) return ENDLESS_STRIDE;
  if (flows === 1) return 0;
  if (order === 'in_order') return 1;
  let stride = Math.max(1, Math.floor(flows * GOLDEN_SECTION));
  while (greatestCommonDivisor(stride, flows) !== 1) stride += 1;
  return stride;
}

function greatestCommonDivisor(a: number, b: number): number {
  return b === 0 ? a : greatestCommonDivisor(b, a % b);
}

/** Values of struct replay_config for an untagged IPv4 or IPv6 frame. */
export function replayConfig(frame: Uint8Array, flows: number, growthBytes = 0): FieldValues {
  const view = new DataView(frame.buffer, frame.byteOffset, frame.length);
  const ipVersion = view.getUint16(ETHERTYPE_OFFSET) === ETHERTYPE_IPV4 ? 4 : 6;
  const offsets = OFFSETS[ipVersion];
  const varyPorts = PROTOCOLS_WITH_PORTS.includes(view.getUint8(offsets.protocol));
  return {
    frameBytes: frame.length,
    ipVersion,
    varyPorts: varyPorts ? 1 : 0,
    flows,
    saddrFirst: view.getUint32(offsets.source),
    sportFirst: varyPorts ? view.getUint16(offsets.sourcePort) : 0,
    growthBytes,
    template: frame,
  };
}
