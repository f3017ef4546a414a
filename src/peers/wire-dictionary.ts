/**
 * Dictionaries of a flows message as bytes: addresses one after the other, each without the leading
 * bytes that it shares with the one before. Sixteen backends in one IPv6 subnet are then 60 bytes
 * and not 290, in a datagram that has room for 1,300.
 */
import { familyOf, type Address, type Family } from '../model/address.ts';
import type { Destination } from '../model/flow-batch.ts';
import type { L4Protocol } from '../model/service.ts';
import { addressBook } from './address-book.ts';
import { addressLength } from './batch.ts';

/** Entries of one dictionary, so that an index is one byte. */
export const WIRE_DICTIONARY_MAX = 256;

/*
 * An address: a byte, of which bit 7 says IPv6 and the others how many leading bytes are those of
 * the last address of that family (zeros at first), and then the others.
 * A destination: its VIP, protocol u8, port u16. A backend: its address.
 */
const IS_IPV6 = 0x80;
export const DESTINATION_TAIL_BYTES = 3;
const ENTRY_BYTES_MAX = 1 + 16 + DESTINATION_TAIL_BYTES;

/** Protocol numbers as IANA has them. */
const PROTOCOL_NUMBERS = { tcp: 6, udp: 17 } as const;

/** The last address of each family, as whoever writes them sees it. */
export class Neighbours {
  #ipv4: Uint8Array = new Uint8Array(4);
  #ipv6: Uint8Array = new Uint8Array(16);

  /** How many leading bytes the address has in common with the last. */
  shared(address: Uint8Array): number {
    const last = address.length === 4 ? this.#ipv4 : this.#ipv6;
    let shared = 0;
    while (shared < address.length && last[shared] === address[shared]) shared += 1;
    return shared;
  }

  /** What it takes to write this address next. */
  cost(address: Uint8Array): number {
    return 1 + address.length - this.shared(address);
  }

  /** The bytes must not change afterwards. */
  follow(address: Uint8Array): void {
    if (address.length === 4) this.#ipv4 = address;
    else this.#ipv6 = address;
  }
}

export function writeDestinations(destinations: readonly Destination[]): Uint8Array {
  const writer = new Writer(destinations.length);
  for (const { vip, protocol, port } of destinations) {
    writer.address(vip);
    writer.u8(PROTOCOL_NUMBERS[protocol]);
    writer.u8(port >>> 8);
    writer.u8(port);
  }
  return writer.bytes();
}

export function writeBackends(backends: readonly Address[]): Uint8Array {
  const writer = new Writer(backends.length);
  for (const backend of backends) writer.address(backend);
  return writer.bytes();
}

class Writer {
  readonly #bytes: Buffer;
  readonly #neighbours = new Neighbours();
  #at = 0;

  constructor(entries: number) {
    this.#bytes = Buffer.allocUnsafe(entries * ENTRY_BYTES_MAX);
  }

  address(address: Address): void {
    const bytes = addressBook.bytes(address);
    const shared = this.#neighbours.shared(bytes);
    this.u8(shared | (bytes.length === 16 ? IS_IPV6 : 0));
    for (let index = shared; index < bytes.length; index += 1) this.u8(bytes[index] ?? 0);
    this.#neighbours.follow(bytes);
  }

  u8(value: number): void {
    this.#bytes[this.#at] = value;
    this.#at += 1;
  }

  bytes(): Uint8Array {
    return this.#bytes.subarray(0, this.#at);
  }
}

export interface WireDestinations {
  readonly destinations: readonly Destination[];
  /** By the index on the wire: the place in `destinations`, NO_ENTRY or UNKNOWN_ENTRY. */
  readonly places: Int16Array;
}

export const NO_ENTRY = -1;
/** Of a protocol that only a later version knows. */
export const UNKNOWN_ENTRY = -2;

/** Undefined when it is no dictionary of VIPs of this family. */
export function readDestinations(bytes: Uint8Array, family: Family): WireDestinations | undefined {
  const reader = new Reader(bytes);
  const destinations: Destination[] = [];
  const places = new Int16Array(WIRE_DICTIONARY_MAX).fill(NO_ENTRY);
  for (let index = 0; !reader.isAtEnd; index += 1) {
    const vip = reader.address();
    const number = reader.u8();
    const port = reader.u16();
    if (vip === undefined || number === undefined || port === undefined) return undefined;
    if (familyOf(vip) !== family || index === WIRE_DICTIONARY_MAX) return undefined;
    const protocol = protocolOf(number);
    places[index] = protocol === undefined ? UNKNOWN_ENTRY : destinations.length;
    if (protocol !== undefined) destinations.push({ vip, protocol, port });
  }
  return { destinations, places };
}

function protocolOf(number: number): L4Protocol | undefined {
  if (number === PROTOCOL_NUMBERS.tcp) return 'tcp';
  return number === PROTOCOL_NUMBERS.udp ? 'udp' : undefined;
}

/** Undefined when it is no dictionary of addresses. */
export function readBackends(bytes: Uint8Array): readonly Address[] | undefined {
  const reader = new Reader(bytes);
  const backends: Address[] = [];
  while (!reader.isAtEnd) {
    const backend = reader.address();
    if (backend === undefined || backends.length === WIRE_DICTIONARY_MAX) return undefined;
    backends.push(backend);
  }
  return backends;
}

/** Reads what may end anywhere: undefined where there is nothing more. */
class Reader {
  readonly #bytes: Uint8Array;
  readonly #last = { ipv4: new Uint8Array(4), ipv6: new Uint8Array(16) };
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  get isAtEnd(): boolean {
    return this.#at >= this.#bytes.length;
  }

  address(): Address | undefined {
    const head = this.u8();
    if (head === undefined) return undefined;
    const family = (head & IS_IPV6) === 0 ? 'ipv4' : 'ipv6';
    const shared = head & ~IS_IPV6;
    const rest = addressLength(family) - shared;
    if (rest < 0 || this.#at + rest > this.#bytes.length) return undefined;
    const address = this.#last[family];
    for (let index = shared; index < address.length; index += 1) {
      address[index] = this.#bytes[this.#at] ?? 0;
      this.#at += 1;
    }
    return addressBook.address(address);
  }

  u8(): number | undefined {
    const value = this.#bytes[this.#at];
    this.#at += 1;
    return value;
  }

  u16(): number | undefined {
    const high = this.u8();
    const low = this.u8();
    return high === undefined || low === undefined ? undefined : (high << 8) | low;
  }
}
