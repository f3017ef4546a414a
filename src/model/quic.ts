/** How the connection IDs of a QUIC service name the backend that they belong to. */

export const QUIC_LAYOUTS = ['quic_lb', 'katran'] as const;
export type QuicLayout = (typeof QUIC_LAYOUTS)[number];

/** Host IDs of katran's layout are numbers of so many bytes at most. */
export const KATRAN_ID_BYTES = 4;
export const QUIC_ID_BYTES_MAX = 15;

export interface QuicRouting {
  /**
   * `quic_lb`: one octet and then the server ID, unencrypted (draft-ietf-quic-load-balancers-21,
   * section 5.3). `katran`: two bits of version and a host ID of 16, 24 or 32 bits, as mvfst makes.
   */
  readonly layout: QuicLayout;
  /** Bytes of a server ID; KATRAN_ID_BYTES for that layout. */
  readonly idBytes: number;
  /** The config rotation bits of quic_lb, 0 to 6. */
  readonly configId: number;
}
