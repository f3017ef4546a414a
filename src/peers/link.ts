/**
 * Port: datagrams to every other node of the cluster. Fire and forget: may lose, repeat, reorder and
 * delay; may or may not hand back what this node sent itself. Never throws; a failure to send is
 * counted.
 */
export interface PeerLink {
  start(receive: (datagram: Uint8Array, from: string) => void): Promise<void>;
  /** To all peers. */
  send(datagram: Uint8Array): void;
  stats(): { readonly sent: number; readonly sendErrors: number; readonly received: number };
  stop(): Promise<void>;
}

/**
 * Port: a reliable, ordered stream of sealed frames between two nodes, for snapshots. The side that
 * asks connects; each frame is at most FRAME_BYTES_MAX.
 */
export interface SnapshotTransport {
  /** Called with a stream for each node that asks. */
  listen(serve: (stream: FrameStream) => Promise<void>): Promise<void>;
  /** Where others can ask this node, as `address:port`. */
  readonly endpoint: string;
  connect(endpoint: string, signal: AbortSignal): Promise<FrameStream>;
  stop(): Promise<void>;
}

export interface FrameStream {
  /** Resolves when the other side has room for more. */
  write(frame: Uint8Array): Promise<void>;
  /** Frames as they come; ends when the other side has ended. */
  readonly frames: AsyncIterable<Uint8Array>;
  close(): void;
}

export const FRAME_BYTES_MAX = 256 * 1024;
