/**
 * The socket under multicast and unicast links: counts, and keeps what waits to be sent bounded.
 * Must never throw once it is open.
 */
import { createSocket, type Socket, type SocketOptions } from 'node:dgram';
import { SkeinError, errorMessage } from '../lib/errors.ts';
import { familyOf, formatEndpoint, type Address } from '../model/address.ts';

/** Datagrams that the kernel had no room for yet; beyond it they are lost, and counted. */
const UNSENT_MAX = 512;
/** Asked of the kernel, which gives at most net.core.rmem_max and net.core.wmem_max. */
const RECEIVE_BUFFER_BYTES = 8 * 1024 * 1024;
const SEND_BUFFER_BYTES = 4 * 1024 * 1024;

export interface Target {
  readonly address: Address;
  readonly port: number;
}

/** Where to listen: `host` is what bind(2) gets, so it may have a zone. */
export interface Binding {
  readonly address: Address;
  readonly host: string;
  readonly port: number;
  /** Whether other programs of this node may listen there, too. */
  readonly shared: boolean;
}

export type Receive = (datagram: Uint8Array, from: string) => void;

export interface UdpStats {
  readonly sent: number;
  readonly sendErrors: number;
  readonly received: number;
}

export class UdpSocket {
  #socket: Socket | undefined;
  #sent = 0;
  #sendErrors = 0;
  #received = 0;

  /** Throws a SkeinError when the address is not to be had. `prepare` runs once it is bound. */
  async open(binding: Binding, receive: Receive, prepare: (socket: Socket) => void): Promise<void> {
    if (this.#socket !== undefined) throw new Error('the socket is open');
    const options: SocketOptions = {
      type: familyOf(binding.address) === 'ipv4' ? 'udp4' : 'udp6',
      ipv6Only: familyOf(binding.address) === 'ipv6',
      reuseAddr: binding.shared,
      // Addresses only: no name is looked up, and a datagram leaves at once.
      lookup: (host, { family }, found) => found(null, host, family === 6 ? 6 : 4),
    };
    const socket = createSocket(options);
    this.#socket = socket;
    try {
      await bound(socket, binding);
      prepare(socket);
      socket.setRecvBufferSize(RECEIVE_BUFFER_BYTES);
      socket.setSendBufferSize(SEND_BUFFER_BYTES);
    } catch (error) {
      await this.close();
      const where = formatEndpoint(binding.address, binding.port);
      throw new SkeinError(
        'PEERS_SOCKET',
        `cannot send and receive at ${where} (UDP): ${errorMessage(error)}; does the address belong to this node, and is no other program there?`,
        { cause: error },
      );
    }
    // Such as ICMP errors of earlier datagrams: the next one may well arrive.
    socket.on('error', () => (this.#sendErrors += 1));
    socket.on('message', (datagram, { address, port }) => {
      this.#received += 1;
      receive(datagram, address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`);
    });
  }

  /** The bytes must not change afterwards: the kernel may take them later. */
  send(datagram: Uint8Array, host: string, port: number): void {
    if (this.#socket === undefined || this.#socket.getSendQueueCount() >= UNSENT_MAX) {
      this.#sendErrors += 1;
      return;
    }
    this.#socket.send(datagram, port, host, (error) => {
      if (error === null) this.#sent += 1;
      else this.#sendErrors += 1;
    });
  }

  stats(): UdpStats {
    return { sent: this.#sent, sendErrors: this.#sendErrors, received: this.#received };
  }

  /** Undefined while it is closed; what the kernel gave is half of what it counts. */
  get receiveBufferBytes(): number | undefined {
    return this.#socket === undefined ? undefined : this.#socket.getRecvBufferSize() / 2;
  }

  async close(): Promise<void> {
    const socket = this.#socket;
    if (socket === undefined) return;
    this.#socket = undefined;
    await new Promise<void>((resolve) => socket.close(() => resolve()));
  }
}

function bound(socket: Socket, { host, port }: Binding): Promise<void> {
  return new Promise((resolve, reject) => {
    const closed = () => reject(new Error('it was closed'));
    socket.once('error', reject);
    socket.once('close', closed);
    socket.bind({ address: host, port }, () => {
      socket.removeListener('error', reject);
      socket.removeListener('close', closed);
      resolve();
    });
  });
}
