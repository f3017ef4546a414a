/** One TCP connection, opened and closed at once. Ends with RST, so that no TIME_WAIT piles up. */
import { connect, type Socket } from 'node:net';
import { performance } from 'node:perf_hooks';
import type { Address } from '../model/address.ts';

export type ConnectOutcome =
  | { readonly kind: 'connected'; readonly latencyMs: number }
  | { readonly kind: 'error'; readonly error: NodeJS.ErrnoException }
  | { readonly kind: 'aborted' };

/** Resolves when the socket is gone. Never rejects. */
export function tryConnect(
  host: Address,
  port: number,
  signal: AbortSignal,
): Promise<ConnectOutcome> {
  if (signal.aborted) return Promise.resolve({ kind: 'aborted' });
  const startMs = performance.now();
  return new Promise((resolve) => {
    const socket = connect({ host, port, autoSelectFamily: false });
    let outcome: ConnectOutcome = { kind: 'aborted' };
    const onAbort = () => {
      socket.destroy();
    };
    signal.addEventListener('abort', onAbort, { once: true });
    socket.once('connect', () => {
      outcome = { kind: 'connected', latencyMs: performance.now() - startMs };
      resetSocket(socket);
    });
    socket.once('error', (error) => {
      if (outcome.kind === 'aborted') outcome = { kind: 'error', error };
    });
    socket.once('close', () => {
      signal.removeEventListener('abort', onAbort);
      resolve(outcome);
    });
  });
}

/**
 * Ends a socket with RST where that is possible. Once a shutdown has begun Node refuses it, and would
 * leak the handle; `shutDown` tells so where the socket itself cannot know, as under TLS.
 */
export function resetSocket(socket: Socket, shutDown = false): void {
  if (socket.connecting || shutDown || socket.writableEnded) socket.destroy();
  else if (!socket.destroyed) socket.resetAndDestroy();
}
