/**
 * The small grammars inside text values: `host:port`, communities, ranges of codes, `3/5`. Each
 * returns undefined for what it does not accept. Ranges that a schema can state are stated there.
 */
import { familyOf, parseAddress, type Address } from '../model/address.ts';
import type { StatusRange, Threshold } from '../model/check.ts';

export interface HostPort {
  readonly host: string;
  readonly port: number;
}

const HOST = /^[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?$/;
const PORT_MAX = 65535;

/** `127.0.0.1:8080`, `localhost:8080` or `[::1]:8080`; the host comes without brackets. */
export function parseHostPort(text: string): HostPort | undefined {
  const parts = /^(?:\[([^\]]+)\]|([^:]+)):(\d{1,5})$/.exec(text);
  if (parts === null) return undefined;
  const [, bracketed, plain = '', digits] = parts;
  const port = Number(digits);
  if (port < 1 || port > PORT_MAX) return undefined;
  if (bracketed === undefined) return HOST.test(plain) ? { host: plain, port } : undefined;
  const address = parseAddress(bracketed);
  if (address === undefined || familyOf(address) !== 'ipv6') return undefined;
  return { host: address, port };
}

export interface AddressPort {
  readonly address: Address;
  readonly port: number;
}

/** `192.0.2.1:7483` or `[2001:db8::1]:7483`: no names. */
export function parseAddressPort(text: string): AddressPort | undefined {
  const parsed = parseHostPort(text);
  const address = parsed && parseAddress(parsed.host);
  return address && { address, port: parsed.port };
}

/** What gRPC dials: `host:port`, or `unix:/path` for a socket of this host. */
export function parseDialTarget(text: string): string | undefined {
  if (/^unix:\/[\x21-\x7e]{1,100}$/.test(text)) return text;
  return parseHostPort(text) === undefined ? undefined : text;
}

/** A BGP identifier (RFC 6286): any four octets that are not all zero. */
export function parseRouterId(text: string): Address | undefined {
  const parsed = parseAddress(text);
  if (parsed === undefined || familyOf(parsed) !== 'ipv4') return undefined;
  return parsed === '0.0.0.0' ? undefined : parsed;
}

/** A standard community (RFC 1997): two parts of 16 bits. */
export function parseCommunity(text: string): string | undefined {
  return parseParts(text, 2, 0xffff);
}

/** A large community (RFC 8092): three parts of 32 bits. */
export function parseLargeCommunity(text: string): string | undefined {
  return parseParts(text, 3, 0xffffffff);
}

function parseParts(text: string, count: number, max: number): string | undefined {
  if (!/^\d{1,10}(?::\d{1,10}){1,2}$/.test(text)) return undefined;
  const parts = text.split(':').map(Number);
  if (parts.length !== count || parts.some((part) => part > max)) return undefined;
  return parts.join(':');
}

/** `200-299`, of status codes (RFC 9110, section 15). */
export function parseStatusRange(text: string): StatusRange | undefined {
  const parts = /^([1-5]\d\d)-([1-5]\d\d)$/.exec(text);
  if (parts === null) return undefined;
  const range = { from: Number(parts[1]), to: Number(parts[2]) };
  return range.from <= range.to ? range : undefined;
}

/** `3/5`: three of the last five. */
export function parseThreshold(text: string): Threshold | undefined {
  const parts = /^(\d{1,3})\/(\d{1,3})$/.exec(text);
  return parts === null ? undefined : { count: Number(parts[1]), window: Number(parts[2]) };
}

/** Pairs of hexadecimal digits, with spaces between them or without; comes in small letters. */
export function parseHex(text: string, bytesMax: number): string | undefined {
  const digits = text.replaceAll(' ', '').toLowerCase();
  if (!/^(?:[0-9a-f]{2})+$/.test(digits)) return undefined;
  return digits.length <= 2 * bytesMax ? digits : undefined;
}
