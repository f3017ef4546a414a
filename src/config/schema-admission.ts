/** Which new flows a service takes: keys of a service of the cluster document. */
import { z } from 'zod';
import { sourcePrefix, whole } from './schema-pieces.ts';

/** Rules that one list may have. */
const RULES_MAX = 4096;
const PER_S_MAX = 100_000_000;

export const admission = {
  sources: z
    .strictObject({
      allow: z.array(sourcePrefix).max(RULES_MAX).default([]),
      deny: z.array(sourcePrefix).max(RULES_MAX).default([]),
    })
    .optional()
    .describe(
      'Clients that may open flows: of all prefixes that match, the longest decides. ' +
        'Clients that none matches are admitted unless there is an allow.',
    ),
  new_flows_per_s: whole(1, PER_S_MAX)
    .optional()
    .describe('New flows that a node takes in a second. Default: any number.'),
  new_flows_burst: whole(1, PER_S_MAX)
    .optional()
    .describe('New flows that may come at once. Default: those of a second.'),
};
