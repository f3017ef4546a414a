/** A TCP check: passes once the handshake is through. */
import type { TcpCheck } from '../model/check.ts';
import { tryConnect } from './connect.ts';
import { noPath, socketFailure, unanswered } from './diagnose.ts';
import type { Probe, ProbeReport, ProbeTarget } from './probe.ts';

export class TcpProbe implements Probe<TcpCheck> {
  async check(spec: TcpCheck, target: ProbeTarget, signal: AbortSignal): Promise<ProbeReport> {
    if (target.via === undefined) return noPath(target);
    const outcome = await tryConnect(target.via, spec.port, signal);
    switch (outcome.kind) {
      case 'connected':
        return { kind: 'pass', latencyMs: outcome.latencyMs };
      case 'error':
        return socketFailure(outcome.error, target, spec.port);
      case 'aborted':
        return unanswered(target, spec.port, spec.timeoutMs);
    }
  }
}
