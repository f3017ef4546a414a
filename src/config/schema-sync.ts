/** The shape of `sync`: by which addresses and with which keys nodes share their flows. */
import { z } from 'zod';
import { isMulticast, isUnicast, type Address } from '../model/address.ts';
import { filePath, NOT_UNICAST, parsed, whole } from './schema-pieces.ts';
import { parseAddressPort } from './values.ts';

const PATTERN = '^\\S+:\\d+$';

/** Of nodes that hear each other, or hear others; `instead` is the key that lists them one by one. */
export const groupOr = (instead: string) =>
  parsed(
    parseAddressPort,
    'must be address:port, such as 239.83.75.78:7483 or "[ff02::5ce1]:7483"',
    PATTERN,
  )
    .refine(({ address }) => isMulticast(address), `must be a multicast address, or use ${instead}`)
    .refine(({ address }) => leavesNode(address), 'is a group that no other node can hear');

export const syncPeer = parsed(
  parseAddressPort,
  'must be address:port, such as 10.83.1.11:7483 or "[fd83:1::11]:7483"',
  PATTERN,
).refine(({ address }) => isUnicast(address), NOT_UNICAST);

export const sync = z
  .strictObject({
    group: groupOr('peers')
      .optional()
      .describe('Multicast group, as address:port. Excludes peers.'),
    peers: z
      .array(syncPeer)
      .min(2)
      .max(64)
      .optional()
      .describe('Every node of the cluster, as address:port, for networks without multicast.'),
    key_files: z
      .array(filePath)
      .min(1)
      .max(2)
      .describe('Files with a key each: the first one seals, all open.'),
    join_deadline_ms: whole(1000, 600_000)
      .default(10_000)
      .describe('A node that starts announces at the latest after this time.'),
  })
  .superRefine((value, context) => {
    const refuse = (key: string, message: string) => {
      context.addIssue({ code: 'custom', path: [key], message });
    };
    if (value.group !== undefined && value.peers !== undefined) refuse('peers', 'excludes group');
    if (value.group === undefined && value.peers === undefined) {
      refuse('group', 'is required, unless peers lists every node');
    }
  });

/** Scopes 0 and 1 of IPv6 multicast (RFC 4291, section 2.7) end at the interface. */
function leavesNode(address: Address): boolean {
  return !/^ff[0-9a-f][01]:/.test(address);
}
