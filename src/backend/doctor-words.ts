/** The words of commands that the doctor suggests, fit for a shell. Pure. */
import { familyOf, formatPrefix, hostPrefix, type Address, type Family } from '../model/address.ts';

/** Names of interfaces may hold anything but blanks and slashes. */
export function quoted(word: string): string {
  return /^[\w@.,:+/-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
}

/** `path` as below /proc/sys/net/. Names with dots need the slashes of sysctl(8). */
export function sysctlSetting(path: string, value: number): string {
  const key = `net/${path}`;
  return quoted(key.includes('.') ? key : key.replaceAll('/', '.')) + `=${value}`;
}

export function setSysctl(path: string, value: number): string {
  return `sysctl -w ${sysctlSetting(path, value)}`;
}

export function ipCommand(family: Family): string {
  return family === 'ipv6' ? 'ip -6' : 'ip';
}

export function addToLoopback(vip: Address): string {
  return `ip addr add ${formatPrefix(hostPrefix(vip))} dev lo`;
}

export function removeAddress(vip: Address, prefixLength: number, interfaceName: string): string {
  return `ip addr del ${vip}/${prefixLength} dev ${quoted(interfaceName)}`;
}

/** `ip daddr 192.0.2.1` in the language of nft. */
export function nftAddress(side: 'saddr' | 'daddr', address: Address): string {
  return `${familyOf(address) === 'ipv6' ? 'ip6' : 'ip'} ${side} ${address}`;
}
