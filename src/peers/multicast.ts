/** PeerLink over UDP multicast: one group, one interface, and no further than the next router. */
import type { Socket } from 'node:dgram';
import { networkInterfaces } from 'node:os';
import { SkeinError } from '../lib/errors.ts';
import { familyOf, type Address } from '../model/address.ts';
import type { PeerLink } from './link.ts';
import { UdpSocket, type Receive, type UdpStats } from './udp.ts';

export interface MulticastOptions {
  readonly group: Address;
  readonly port: number;
  /** Name of the interface to send by and to listen on. */
  readonly interface: string;
  /** How many hops; 1 stays on the link. */
  readonly ttl?: number;
  /** Whether other programs on this node hear what is sent: for several nodes on one machine. */
  readonly loopback?: boolean;
}

export class MulticastLink implements PeerLink {
  readonly #options: MulticastOptions;
  readonly #host: string;
  readonly #socket = new UdpSocket();

  constructor(options: MulticastOptions) {
    this.#options = options;
    const { group } = options;
    // A link-local IPv6 group means nothing without its link.
    this.#host = familyOf(group) === 'ipv6' ? `${group}%${options.interface}` : group;
  }

  /** Throws a SkeinError when the interface is not there, or has no address of the group's family. */
  async start(receive: Receive): Promise<void> {
    const { group, port } = this.#options;
    const scope = scopeOf(group, this.#options.interface);
    // Bound to the group: datagrams to the port that are not for it never arrive.
    const binding = { address: group, host: this.#host, port, shared: true };
    await this.#socket.open(binding, receive, (socket) => this.#join(socket, scope));
  }

  send(datagram: Uint8Array): void {
    this.#socket.send(datagram, this.#host, this.#options.port);
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

  #join(socket: Socket, scope: string): void {
    const { group, ttl = 1, loopback = false } = this.#options;
    socket.setMulticastInterface(scope);
    socket.setMulticastTTL(ttl);
    socket.setMulticastLoopback(loopback);
    socket.addMembership(group, scope);
  }
}

/** How the kernel is told of an interface: by an address in IPv4, by a zone in IPv6. */
function scopeOf(group: Address, name: string): string {
  if (familyOf(group) === 'ipv6') return `::%${name}`;
  const address = networkInterfaces()[name]?.find(({ family }) => family === 'IPv4')?.address;
  if (address !== undefined) return address;
  throw new SkeinError(
    'PEERS_INTERFACE',
    `cannot join ${group}: there is no interface ${name} that is up and has an IPv4 address`,
  );
}
