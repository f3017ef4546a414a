/** Where a node listens for reports, out of the document and the node's own addresses. Pure. */
import type { NodePart, ReportsConfig } from '../config/types.ts';
import { SkeinError } from '../lib/errors.ts';
import { familyOf, formatEndpoint, type Address } from '../model/address.ts';

export interface Place {
  /** A multicast group, or one of the node's own addresses. */
  readonly address: Address;
  readonly port: number;
  /** Where a group is joined; undefined for an own address. */
  readonly interface: string | undefined;
}

/** Throws a SkeinError when the node has no address for it, or what `interfaceWith` throws. */
export function placeOf(
  { group, nodes }: ReportsConfig,
  own: Pick<NodePart, 'ipv4' | 'ipv6'>,
  interfaceWith: (address: Address) => string,
): Place {
  if (group === undefined) {
    const found = nodes.find(({ address }) => address === own.ipv4 || address === own.ipv6);
    return found === undefined
      ? noAddress('neither ipv4 nor ipv6 of this node is among reports.nodes')
      : { ...found, interface: undefined };
  }
  const family = familyOf(group.address);
  const address = own[family];
  return address === undefined
    ? noAddress(`backends report by ${family}, and this node was started without ${family}`)
    : { ...group, interface: interfaceWith(address) };
}

export function isSamePlace(a: Place, b: Place): boolean {
  return a.address === b.address && a.port === b.port && a.interface === b.interface;
}

/** Such as `239.83.75.79:7484 on eth0`. */
export function formatPlace({ address, port, interface: name }: Place): string {
  const endpoint = formatEndpoint(address, port);
  return name === undefined ? endpoint : `${endpoint} on ${name}`;
}

function noAddress(why: string): never {
  throw new SkeinError('REPORTS_ADDRESS', `nowhere to listen for reports: ${why}`);
}
