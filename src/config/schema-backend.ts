/** A backend of the cluster document: where it is, and how packets reach it. */
import { z } from 'zod';
import { FORWARDING_MODES, isNat, isTunnel, type ForwardingMode } from '../model/forwarding.ts';
import { serverId } from './schema-quic.ts';
import { address, ADDRESS_PATTERN, backendName, sourcePrefix, whole } from './schema-pieces.ts';
import { didYouMean } from './suggest.ts';

const MTU_MIN = 576;
const TTL_MIN = 1;
const TTL_MAX = 255;

/** Keys that mean something for some modes only, and for which. */
const ONLY_FOR: Readonly<Record<string, { has: (mode: ForwardingMode) => boolean; of: string }>> = {
  tunnel_source: { has: isTunnel, of: 'ipip, gre, gue and fou' },
  tunnel_ttl: { has: isTunnel, of: 'ipip, gre, gue and fou' },
  tunnel_port: { has: (mode) => mode === 'gue' || mode === 'fou', of: 'gue and fou' },
  dscp: { has: (mode) => mode === 'dscp', of: 'dscp' },
  port: { has: isNat, of: 'nat and full_nat' },
};

/** Of what is no whole number: the range is said as well as the word. */
function notTtl({ input }: { readonly input?: unknown }): string {
  const meant = typeof input === 'string' ? didYouMean(input, ['copy']) : '';
  return `must be a number from ${TTL_MIN} to ${TTL_MAX}, or copy${meant}`;
}

const backendOptions = z
  .strictObject({
    name: backendName.optional().describe('Default: the address.'),
    address: address.describe('Own address of the host, of either family.'),
    weight: whole(1, 65535).default(1).describe("Share of a service's new flows: weight / sum."),
    drain: z.boolean().default(false).describe('Keep the flows it has, give it no new ones.'),
    mode: z.enum(FORWARDING_MODES).default('l2dsr').describe('How packets reach it.'),
    tunnel_source: sourcePrefix
      .optional()
      .describe(
        "Outer source address of a tunnel; bits beyond the length come from the flow's hash, " +
          "so that the backend's network card spreads flows. Default: the node's own address.",
      ),
    tunnel_port: whole(1, 65535)
      .optional()
      .describe('UDP destination port of a tunnel. Default: 6080 for gue, 5555 for fou.'),
    tunnel_ttl: z
      .union([whole(TTL_MIN, TTL_MAX), z.literal('copy', { error: notTtl })])
      .optional()
      .describe('TTL of the outer header; copy: that of the packet. Default: 64.'),
    dscp: whole(0, 63).optional().describe('DSCP that tells the backend which VIP was meant.'),
    port: whole(1, 65535)
      .optional()
      .describe("The backend's own port. Default: the service's, as where that takes every port."),
    vlan: whole(0, 4094)
      .optional()
      .describe('VLAN of frames to it, 0: untagged. Default: that of the interface of the route.'),
    mtu: whole(MTU_MIN, 65535)
      .optional()
      .describe('Largest IP packet on the way to it. Default: what the route says.'),
    server_id: serverId,
  })
  .superRefine((value, context) => {
    for (const [key, { has, of }] of Object.entries(ONLY_FOR)) {
      if (value[key as keyof typeof value] === undefined || has(value.mode)) continue;
      context.addIssue({ code: 'custom', path: [key], message: `is for mode ${of} only` });
    }
    if (value.mode === 'dscp' && value.dscp === undefined) {
      context.addIssue({ code: 'custom', path: ['dscp'], message: 'is required for mode dscp' });
    }
  });

/** An address alone is a backend too. */
export const backend = z.union([
  z
    .string()
    .meta({ pattern: ADDRESS_PATTERN })
    .transform((text) => ({ address: text }))
    .pipe(backendOptions),
  backendOptions,
]);

export type BackendEntry = z.output<typeof backend>;
