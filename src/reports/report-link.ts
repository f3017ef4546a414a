/**
 * Reports on their way out: from an address of the backend, which nodes compare with what the report
 * says, to a multicast group or to each node. Must not join the group: what others say is not for us.
 */
import { familyOf, isMulticast, type Address } from '../model/address.ts';
import type { PeerLink } from '../peers/link.ts';
import { UdpSocket, type Target, type UdpStats } from '../peers/udp.ts';

export interface ReportLinkOptions {
  readonly source: Address;
  /** A multicast group, or nodes; of the family of `source`. */
  readonly targets: readonly Target[];
  /** Name of the interface that has `source`. */
  readonly interface: string;
}

export class ReportLink implements PeerLink {
  readonly #options: ReportLinkOptions;
  readonly #socket = new UdpSocket();

  constructor(options: ReportLinkOptions) {
    this.#options = options;
  }

  /** Throws a SkeinError when the source address is not to be had. */
  async start(): Promise<void> {
    const { source, targets, interface: name } = this.#options;
    const binding = { address: source, host: source, port: 0, shared: false };
    await this.#socket.open(
      binding,
      () => undefined,
      (socket) => {
        if (!targets.some(({ address }) => isMulticast(address))) return;
        // How the kernel is told of an interface: by an address in IPv4, by a zone in IPv6.
        socket.setMulticastInterface(familyOf(source) === 'ipv4' ? source : `::%${name}`);
        socket.setMulticastTTL(1);
        // A node may be a backend itself.
        socket.setMulticastLoopback(true);
      },
    );
  }

  send(datagram: Uint8Array): void {
    for (const { address, port } of this.#options.targets) {
      this.#socket.send(datagram, this.#hostOf(address), port);
    }
  }

  stats(): UdpStats {
    return this.#socket.stats();
  }

  stop(): Promise<void> {
    return this.#socket.close();
  }

  /** A link-local group means nothing without its link. */
  #hostOf(address: Address): string {
    const needsZone = familyOf(address) === 'ipv6' && isMulticast(address);
    return needsZone ? `${address}%${this.#options.interface}` : address;
  }
}
