/**
 * A ping: one ICMP echo request to the VIP, by the `ping` of iputils, since Node has no sockets for
 * ICMP. The data plane carries it and its reply like the packets of any other check.
 */
import { familyOf, type Address } from '../model/address.ts';
import type { PingCheck } from '../model/check.ts';
import { failure, noPath } from './diagnose.ts';
import type { Probe, ProbeReport, ProbeTarget } from './probe.ts';
import { runProcess, type ProcessEnd } from './process.ts';

/** The exit status of `ping` when no reply came. */
const STATUS_SILENT = 1;

export class PingProbe implements Probe<PingCheck> {
  readonly #command: string;

  /** `command` takes the place of `ping`. */
  constructor(command = 'ping') {
    this.#command = command;
  }

  async check(spec: PingCheck, target: ProbeTarget, signal: AbortSignal): Promise<ProbeReport> {
    if (target.via === undefined) return noPath(target);
    const args = argumentsFor(target.via, spec.timeoutMs);
    const outcome = await runProcess({ command: this.#command, args }, signal);
    switch (outcome.kind) {
      case 'ended':
        return judge(outcome, spec, target);
      case 'aborted':
        return silent(spec, target);
      case 'not_started':
        return failure('no_path', notStarted(this.#command, outcome.error));
      case 'too_much_output':
        return failure('no_path', `${this.#command} of this node wrote too much`);
    }
  }
}

/** The signal ends it in time; `-W` is for the case that this process ends first. */
function argumentsFor(via: Address, timeoutMs: number): string[] {
  const family = familyOf(via) === 'ipv6' ? '-6' : '-4';
  return [family, '-n', '-c', '1', '-W', String(Math.ceil(timeoutMs / 1000)), via];
}

function judge(end: ProcessEnd, spec: PingCheck, target: ProbeTarget): ProbeReport {
  if (end.status === 0) {
    // Its own figure, because the start of a process takes longer than most replies.
    const latencyMs = Number(/ time[=<]([\d.]+) ms/.exec(end.stdout)?.[1]);
    return { kind: 'pass', latencyMs: Number.isFinite(latencyMs) ? latencyMs : end.latencyMs };
  }
  if (end.status === STATUS_SILENT) return silent(spec, target);
  const text = end.stderr.trim() || `ended by ${end.signal ?? `status ${end.status}`}`;
  if (/unreachable/i.test(text)) {
    return failure('unreachable', `no way to ${target.backend} for ${target.vip}: ${text}`);
  }
  return failure('no_path', `this node could not ping ${target.vip}: ${text}`);
}

function silent({ timeoutMs }: PingCheck, { vip, backend }: ProbeTarget): ProbeReport {
  const detail = `no echo reply from ${backend} for ${vip} within ${timeoutMs} ms`;
  return { ...failure('timeout', detail), unanswered: true };
}

function notStarted(command: string, error: NodeJS.ErrnoException): string {
  const code = error.code ?? error.message;
  return code === 'ENOENT'
    ? `this node has no ${command}: install iputils-ping`
    : `this node could not run ${command}: ${code}`;
}
