/** The shape of `reports`: where nodes listen for what backends say of themselves, and with which keys. */
import { z } from 'zod';
import { filePath, whole } from './schema-pieces.ts';
import { groupOr, syncPeer } from './schema-sync.ts';

export const reports = z
  .strictObject({
    group: groupOr('nodes')
      .optional()
      .describe('Multicast group, as address:port. Excludes nodes.'),
    nodes: z
      .array(syncPeer)
      .min(1)
      .max(64)
      .optional()
      .describe('Every node, as address:port, where backends cannot reach nodes by multicast.'),
    key_files: z
      .array(filePath)
      .min(1)
      .max(2)
      .describe('Files with a key of the cluster each, not those of sync; all are accepted.'),
    max_skew_ms: whole(1000, 600_000)
      .default(30_000)
      .describe('By how much the clocks of backends and nodes may differ.'),
  })
  .superRefine((value, context) => {
    const refuse = (key: string, message: string) => {
      context.addIssue({ code: 'custom', path: [key], message });
    };
    if (value.group !== undefined && value.nodes !== undefined) refuse('nodes', 'excludes group');
    if (value.group === undefined && value.nodes === undefined) {
      refuse('group', 'is required, unless nodes lists every node');
    }
  });

/** Of a check of type report. */
export const silenceMs = whole(500, 3_600_000)
  .default(10_000)
  .describe('A backend that has not reported for so long fails.');
