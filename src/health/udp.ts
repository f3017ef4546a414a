/** A UDP check: one datagram, and the first one that comes back is the answer. */
import { createSocket, type Socket } from 'node:dgram';
import { performance } from 'node:perf_hooks';
import { familyOf, formatEndpoint, type Address } from '../model/address.ts';
import type { ReplyExpectation, UdpCheck } from '../model/check.ts';
import { failure, noDatagram, noPath, socketFailure } from './diagnose.ts';
import type { Probe, ProbeReport, ProbeTarget } from './probe.ts';

/** Of what came, in a sentence. */
const SHOWN_BYTES_MAX = 32;

export class UdpProbe implements Probe<UdpCheck> {
  check(spec: UdpCheck, target: ProbeTarget, signal: AbortSignal): Promise<ProbeReport> {
    const { via } = target;
    if (via === undefined) return Promise.resolve(noPath(target));
    if (signal.aborted) return Promise.resolve(noDatagram(target, spec.port, spec.timeoutMs));
    return exchange(spec, target, via, signal);
  }
}

/** Resolves once the socket is gone. */
function exchange(
  spec: UdpCheck,
  target: ProbeTarget,
  via: Address,
  signal: AbortSignal,
): Promise<ProbeReport> {
  const startMs = performance.now();
  const { promise, resolve } = Promise.withResolvers<ProbeReport>();
  const socket = createSocket(familyOf(via) === 'ipv6' ? 'udp6' : 'udp4');
  let report: ProbeReport | undefined;
  const settle = (found: ProbeReport) => {
    if (report !== undefined) return;
    report = found;
    signal.removeEventListener('abort', onAbort);
    socket.close(() => {
      resolve(found);
    });
  };
  const onAbort = () => {
    settle(noDatagram(target, spec.port, spec.timeoutMs));
  };
  const onError = (error: NodeJS.ErrnoException) => {
    settle(socketFailure(error, target, spec.port));
  };
  signal.addEventListener('abort', onAbort, { once: true });
  socket.on('error', onError);
  socket.on('message', (reply) => {
    const mismatch = report === undefined ? judge(spec.expect, reply) : undefined;
    if (mismatch === undefined) settle({ kind: 'pass', latencyMs: performance.now() - startMs });
    else settle(failure('answer_unexpected', `${sender(spec, target)}: ${mismatch}`));
  });
  send(socket, spec, via, () => report !== undefined, onError);
  return promise;
}

/** Connected, so that nothing but an answer of the backend is ever received. */
function send(
  socket: Socket,
  { port, sendHex }: UdpCheck,
  via: Address,
  isOver: () => boolean,
  onError: (error: Error) => void,
): void {
  socket.once('connect', () => {
    if (isOver()) return;
    socket.send(Buffer.from(sendHex, 'hex'), (error) => {
      if (error !== null) onError(error);
    });
  });
  socket.connect(port, via);
}

/** What is wrong with the reply; undefined where nothing is. */
function judge(expect: ReplyExpectation, reply: Buffer): string | undefined {
  if (expect.kind === 'any') return undefined;
  const wanted = Buffer.from(expect.hex, 'hex');
  switch (expect.kind) {
    case 'prefix':
      if (reply.subarray(0, wanted.length).equals(wanted)) return undefined;
      return `answered ${shown(reply)}, expected ${shown(wanted)} at its start`;
    case 'contains':
      if (reply.includes(wanted)) return undefined;
      return `answered ${shown(reply)}, expected ${shown(wanted)} in it`;
  }
}

/** As text where it is all printable, else as hexadecimal digits. */
function shown(bytes: Buffer): string {
  const start = bytes.subarray(0, SHOWN_BYTES_MAX);
  const more = bytes.length > SHOWN_BYTES_MAX ? '...' : '';
  const text = start.toString('latin1');
  return /^[\x20-\x7e\r\n\t]+$/.test(text)
    ? `${JSON.stringify(text)}${more}`
    : `0x${start.toString('hex')}${more}`;
}

function sender({ port }: UdpCheck, { vip, backend }: ProbeTarget): string {
  return `${backend} for ${formatEndpoint(vip, port)}`;
}
