/**
 * The filter by which the data plane tells, without a map lookup, that an address is surely no VIP.
 * One bit by hash of the address; maybe_vip() in src/bpf/vip.h reads it.
 */
import { VIP_FILTER_BITS } from '../abi/abi.generated.ts';
import { addressBytes, type Address } from '../model/address.ts';

const MULTIPLIER = 0x9e3779b1;
const BIT_SHIFT = 32 - Math.log2(VIP_FILTER_BITS);

export function vipFilterBit(vip: Address): number {
  const view = new DataView(addressBytes(vip).buffer);
  const folded = view.getUint32(0) ^ view.getUint32(4) ^ view.getUint32(8) ^ view.getUint32(12);
  return Math.imul(folded, MULTIPLIER) >>> BIT_SHIFT;
}

/** The filter's 64-bit words for exactly these VIPs. */
export function vipFilter(vips: Iterable<Address>): bigint[] {
  const words = new Array<bigint>(VIP_FILTER_BITS / 64).fill(0n);
  for (const vip of vips) {
    const bit = vipFilterBit(vip);
    words[bit >> 6] = (words[bit >> 6] ?? 0n) | (1n << BigInt(bit & 63));
  }
  return words;
}
