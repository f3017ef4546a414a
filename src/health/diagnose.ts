/**
 * What failures mean: from socket errors and silence to a ProbeFailure and a sentence for people.
 * Text that came from the other side is cut and cleaned here before it goes anywhere.
 */
import { formatEndpoint } from '../model/address.ts';
import type { ProbeFailure, ProbeResult } from '../model/health.ts';
import { tryConnect } from './connect.ts';
import type { ProbeReport, ProbeTarget } from './probe.ts';

const DETAIL_CHARS_MAX = 240;

export type Failure = Extract<ProbeResult, { kind: 'fail' }>;

/** Looks into an unanswered timeout. Never rejects; gives up when `signal` fires. */
export type Diagnose = (target: ProbeTarget, port: number, signal: AbortSignal) => Promise<Failure>;

/** A failed result with `detail` made fit to be shown: one bounded line of printable characters. */
export function failure(reason: ProbeFailure, detail: string): Failure {
  const clean = detail.replace(/[\p{C}\p{Z}]+/gu, ' ').trim();
  const cut =
    clean.length > DETAIL_CHARS_MAX ? `${clean.slice(0, DETAIL_CHARS_MAX - 3)}...` : clean;
  return { kind: 'fail', reason, detail: cut };
}

export function noPath({ vip, backend }: ProbeTarget): Failure {
  // The second half is for a node that is its own backend: that has the VIP itself, or no path.
  return failure(
    'no_path',
    `the data plane has no path to ${backend} for ${vip} yet; is it the node's own, without the VIP?`,
  );
}

/** The check's timeout came before the TCP handshake was through. */
export function unanswered(target: ProbeTarget, port: number, timeoutMs: number): ProbeReport {
  const endpoint = formatEndpoint(target.vip, port);
  const detail = `no answer from ${target.backend} for ${endpoint} within ${timeoutMs} ms`;
  return { ...failure('timeout', detail), unanswered: true };
}

/**
 * The check's timeout came before a datagram did. Nothing tells a VIP that is missing from a port
 * that is closed: the ICMP error of the latter does not come back, and TCP to the backend's own
 * address proves nothing about UDP. So it is not worth a diagnosis.
 */
export function noDatagram(target: ProbeTarget, port: number, timeoutMs: number): Failure {
  const endpoint = formatEndpoint(target.vip, port);
  return failure(
    'timeout',
    `no answer from ${target.backend} for UDP ${endpoint} within ${timeoutMs} ms: does its server listen on the VIP, and is the VIP on its loopback?`,
  );
}

/** From the error of a socket on the live path. */
export function socketFailure(
  error: NodeJS.ErrnoException,
  target: ProbeTarget,
  port: number,
): ProbeReport {
  const { backend } = target;
  const endpoint = formatEndpoint(target.vip, port);
  switch (error.code) {
    case 'ECONNREFUSED':
      return failure(
        'refused',
        `${backend} refuses ${endpoint}: does its server listen on the VIP or on every address?`,
      );
    case 'ECONNRESET':
    case 'EPIPE':
      return failure('reset', `${backend} reset the connection to ${endpoint}`);
    case 'ETIMEDOUT':
      return {
        ...failure('timeout', `no answer from ${backend} for ${endpoint}`),
        unanswered: true,
      };
    case 'EHOSTUNREACH':
    case 'ENETUNREACH':
    case 'EHOSTDOWN':
    case 'ENETDOWN':
    case 'EACCES':
    case 'EPERM':
      return failure('unreachable', `no way to ${backend} for ${endpoint}: ${error.code}`);
    case 'EMFILE':
    case 'ENFILE':
    case 'ENOMEM':
    case 'ENOBUFS':
    case 'EADDRNOTAVAIL':
      return failure('no_path', `this node could not open a socket to ${endpoint}: ${error.code}`);
    default:
      return failure('protocol_error', `${backend} for ${endpoint}: ${error.message}`);
  }
}

/**
 * Tells a dead host from one that only lacks the VIP: one TCP connection to the backend's own
 * address, past the data plane. A refusal proves as much as an answer: somebody is there.
 */
export const diagnose: Diagnose = async (target, port, signal) => {
  const { vip, backend } = target;
  const outcome = await tryConnect(backend, port, signal);
  switch (outcome.kind) {
    case 'connected':
      return failure('vip_unanswered', aliveWithoutVip(target));
    case 'aborted':
      return failure('timeout', `${backend} answers neither for the VIP ${vip} nor for itself`);
    case 'error':
      break;
  }
  const meaning = socketFailure(outcome.error, target, port);
  if (meaning.kind === 'fail' && (meaning.reason === 'refused' || meaning.reason === 'reset')) {
    return failure('vip_unanswered', aliveWithoutVip(target));
  }
  if (meaning.kind === 'fail' && meaning.reason === 'unreachable') {
    const code = outcome.error.code ?? 'unknown error';
    return failure('unreachable', `${backend} cannot be reached from this node: ${code}`);
  }
  return failure('timeout', `no answer from ${backend} for the VIP ${vip}`);
};

function aliveWithoutVip({ vip, backend }: ProbeTarget): string {
  return `${backend} answers on its own address but not for the VIP ${vip}: is the VIP on its loopback?`;
}
