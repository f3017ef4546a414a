/**
 * Addresses between bytes and canonical text, remembered: the same few hundred come in every
 * datagram, and to make the text of one takes longer than to read fifty rows. Holds a bounded
 * number, and starts over when it is full; nobody can tell, except by the time it takes.
 */
import { addressBytes, addressFromBytes, familyOf, type Address } from '../model/address.ts';

const ENTRIES_MAX = 16_384;
const MAPPED_PREFIX = Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff);

class AddressBook {
  readonly #bytes = new Map<Address, Buffer>();
  readonly #ipv4 = new Map<number, Address>();
  readonly #ipv6 = new Map<string, Address>();

  /** 4 or 16 bytes in network order; not to be changed by the caller. */
  bytes(address: Address): Uint8Array {
    const known = this.#bytes.get(address);
    if (known !== undefined) return known;
    const mapped = addressBytes(address);
    const bytes = Buffer.from(familyOf(address) === 'ipv4' ? mapped.subarray(12) : mapped);
    return remember(this.#bytes, address, bytes);
  }

  /** Of 4 or 16 bytes. An IPv4-mapped IPv6 address is plain IPv4. */
  address(bytes: Uint8Array): Address {
    if (bytes.length === 4) {
      const [a = 0, b = 0, c = 0, d = 0] = bytes;
      const key = ((a << 24) | (b << 16) | (c << 8) | d) >>> 0;
      return this.#ipv4.get(key) ?? remember(this.#ipv4, key, textOf(bytes));
    }
    const key = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('latin1');
    return this.#ipv6.get(key) ?? remember(this.#ipv6, key, textOf(bytes));
  }
}

/** One for all: what it holds is the same for everybody. */
export const addressBook = new AddressBook();

function remember<Key, Value>(known: Map<Key, Value>, key: Key, value: Value): Value {
  if (known.size >= ENTRIES_MAX) known.clear();
  known.set(key, value);
  return value;
}

function textOf(bytes: Uint8Array): Address {
  if (bytes.length === 16) return addressFromBytes(bytes);
  const mapped = new Uint8Array(16);
  mapped.set(MAPPED_PREFIX);
  mapped.set(bytes, MAPPED_PREFIX.length);
  return addressFromBytes(mapped);
}
