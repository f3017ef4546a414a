/** PeerLink over UDP to a list of peers, for networks without multicast: each datagram once to each. */
import { SkeinError } from '../lib/errors.ts';
import { familyOf, formatEndpoint } from '../model/address.ts';
import type { PeerLink } from './link.ts';
import { UdpSocket, type Receive, type Target, type UdpStats } from './udp.ts';

export interface UnicastOptions {
  /** Where this node listens, and sends from. */
  readonly local: Target;
  /** All nodes; this one may be among them, so that the list can be the same everywhere. */
  readonly peers: readonly Target[];
}

export class UnicastLink implements PeerLink {
  readonly #local: Target;
  readonly #peers: readonly Target[];
  readonly #socket = new UdpSocket();

  /** Throws a SkeinError when a peer's address is of another family than the local one. */
  constructor({ local, peers }: UnicastOptions) {
    this.#local = local;
    this.#peers = peers.filter(
      ({ address, port }) => address !== local.address || port !== local.port,
    );
    const stranger = peers.find(({ address }) => familyOf(address) !== familyOf(local.address));
    if (stranger !== undefined) {
      throw new SkeinError(
        'PEERS_FAMILY',
        `peer ${formatEndpoint(stranger.address, stranger.port)} cannot be reached from ` +
          `${local.address}: list addresses of one family`,
      );
    }
  }

  /** Throws a SkeinError when the local address is not to be had. */
  async start(receive: Receive): Promise<void> {
    const { address, port } = this.#local;
    const binding = { address, host: address, port, shared: false };
    await this.#socket.open(binding, receive, () => undefined);
  }

  send(datagram: Uint8Array): void {
    for (const { address, port } of this.#peers) this.#socket.send(datagram, address, port);
  }

  stats(): UdpStats {
    return this.#socket.stats();
  }

  /** What the kernel gave for datagrams that wait to be read: net.core.rmem_max is its bound. */
  get receiveBufferBytes(): number | undefined {
    return this.#socket.receiveBufferBytes;
  }

  stop(): Promise<void> {
    return this.#socket.close();
  }
}
