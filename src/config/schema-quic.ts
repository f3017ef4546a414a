/** How connection IDs of QUIC name a backend: a key of a service, and one of a backend. */
import { z } from 'zod';
import { KATRAN_ID_BYTES, QUIC_ID_BYTES_MAX } from '../model/quic.ts';
import { whole } from './schema-pieces.ts';

export const quic = z
  .discriminatedUnion('layout', [
    z
      .strictObject({
        layout: z.literal('quic_lb'),
        server_id_bytes: whole(1, QUIC_ID_BYTES_MAX).describe('Bytes of a server ID.'),
        config_id: whole(0, 6).default(0).describe('Config rotation bits of connection IDs.'),
      })
      .transform(({ layout, server_id_bytes: idBytes, config_id: configId }) => {
        return { layout, idBytes, configId };
      }),
    z.strictObject({ layout: z.literal('katran') }).transform(({ layout }) => {
      return { layout, idBytes: KATRAN_ID_BYTES, configId: 0 };
    }),
  ])
  .optional()
  .describe('Route QUIC by connection ID, so that clients may change their address.');

export const serverId = z
  .string()
  .regex(/^(?:[0-9a-fA-F]{2}){1,15}$/, 'must be 1 to 15 bytes in hex, such as "0a1b"')
  .transform((text) => text.toLowerCase())
  .optional()
  .describe('What QUIC connection IDs call the backend, in hex.');
