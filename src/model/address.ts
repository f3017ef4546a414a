/**
 * IP addresses as values. Inside the program an address is its canonical text (RFC 5952 for IPv6),
 * so equality is `===` and any Map can be keyed by it; on the kernel boundary it is 16 bytes, IPv4
 * mapped (RFC 4291, section 2.5.5.2). The only door to ipaddr.js.
 */
import ipaddr from 'ipaddr.js';

declare const addressBrand: unique symbol;

/** Canonical text of an IPv4 or IPv6 address. Made by `parseAddress` or `addressFromBytes` only. */
export type Address = string & { readonly [addressBrand]: true };

export type Family = 'ipv4' | 'ipv6';

export interface Prefix {
  readonly address: Address;
  readonly length: number;
}

/**
 * Strict: four decimal parts for IPv4 (no octal, no short forms), no zone, no surrounding space.
 * An IPv4-mapped IPv6 address becomes plain IPv4, since both would be the same 16 bytes.
 */
export function parseAddress(text: string): Address | undefined {
  if (ipaddr.IPv4.isValidFourPartDecimal(text))
    return ipaddr.IPv4.parse(text).toString() as Address;
  if (text.includes('%') || !ipaddr.IPv6.isValid(text)) return undefined;
  const parsed = ipaddr.IPv6.parse(text);
  const plain = parsed.isIPv4MappedAddress() ? parsed.toIPv4Address() : parsed;
  return canonicalText(plain);
}

/** `10.0.0.0/8` or `2001:db8::/32`; bits beyond the length must be 0. A bare address is a host. */
export function parsePrefix(text: string): Prefix | undefined {
  const [, head = '', digits] = /^([^/]+)(?:\/(\d{1,3}))?$/.exec(text) ?? [];
  const value = parseAddress(head);
  if (value === undefined) return undefined;
  const host = hostPrefix(value);
  const length = digits === undefined ? host.length : Number(digits);
  if (length > host.length) return undefined;
  const mask = prefixMask({ address: value, length });
  const stray = addressBytes(value).some((byte, index) => (byte & ~(mask[index] ?? 0)) !== 0);
  return stray ? undefined : { address: value, length };
}

/** 16 bytes with ones where the prefix says something; all of ::ffff:0:0/96 is said for IPv4. */
export function prefixMask({ address: value, length }: Prefix): Uint8Array {
  const bits = familyOf(value) === 'ipv4' ? 96 + length : length;
  return Uint8Array.from({ length: 16 }, (_, index) => {
    return 0xff & (0xff00 >> Math.max(0, Math.min(8, bits - index * 8)));
  });
}

/** For constants and tests: throws a TypeError where `parseAddress` would return undefined. */
export function address(text: string): Address {
  const parsed = parseAddress(text);
  if (parsed === undefined) throw new TypeError(`not an IP address: ${text}`);
  return parsed;
}

export function familyOf(value: Address): Family {
  return value.includes(':') ? 'ipv6' : 'ipv4';
}

/** 16 bytes in network order, IPv4 mapped into ::ffff:0:0/96. */
export function addressBytes(value: Address): Uint8Array {
  const parsed = ipaddr.parse(value);
  const v6 = parsed.kind() === 'ipv4' ? (parsed as ipaddr.IPv4).toIPv4MappedAddress() : parsed;
  return Uint8Array.from(v6.toByteArray());
}

/** The inverse of `addressBytes`. */
export function addressFromBytes(bytes: Uint8Array): Address {
  const parsed = ipaddr.fromByteArray(Array.from(bytes)) as ipaddr.IPv6;
  return canonicalText(parsed.isIPv4MappedAddress() ? parsed.toIPv4Address() : parsed);
}

/** A multicast, loopback, link-local, broadcast or unspecified address is never a VIP or a backend. */
export function isUnicast(value: Address): boolean {
  const range = ipaddr.parse(value).range();
  return !['multicast', 'loopback', 'linkLocal', 'broadcast', 'unspecified'].includes(range);
}

/** 224.0.0.0/4 or ff00::/8. */
export function isMulticast(value: Address): boolean {
  return ipaddr.parse(value).range() === 'multicast';
}

/** The host prefix of an address: /32 or /128. */
export function hostPrefix(value: Address): Prefix {
  return { address: value, length: familyOf(value) === 'ipv4' ? 32 : 128 };
}

export function formatPrefix(prefix: Prefix): string {
  return `${prefix.address}/${prefix.length}`;
}

/** `192.0.2.1:80` or `[2001:db8::1]:80`. */
export function formatEndpoint(value: Address, port: number): string {
  return familyOf(value) === 'ipv6' ? `[${value}]:${port}` : `${value}:${port}`;
}

function canonicalText(parsed: ipaddr.IPv4 | ipaddr.IPv6): Address {
  return (
    parsed.kind() === 'ipv6' ? (parsed as ipaddr.IPv6).toRFC5952String() : parsed.toString()
  ) as Address;
}
