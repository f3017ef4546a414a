/**
 * A script: a program of the operator's decides. It runs as the supervisor's user, without its
 * environment, and is killed at the timeout. Documents with scripts are only loaded where the node
 * part has `allow_scripts`; nothing here asks again.
 */
import type { ScriptCheck } from '../model/check.ts';
import { failure, noPath } from './diagnose.ts';
import type { Probe, ProbeReport, ProbeTarget } from './probe.ts';
import { runProcess, type ProcessEnd } from './process.ts';

/** Not the program's fault but this machine's. */
const EXHAUSTED = new Set(['EAGAIN', 'EMFILE', 'ENFILE', 'ENOMEM']);

export class ScriptProbe implements Probe<ScriptCheck> {
  async check(spec: ScriptCheck, target: ProbeTarget, signal: AbortSignal): Promise<ProbeReport> {
    const { via } = target;
    if (via === undefined) return noPath(target);
    const { command, args } = spec;
    const environment = {
      SKEIN_CHECK: spec.name,
      SKEIN_VIP: target.vip,
      SKEIN_PORT: String(spec.port),
      SKEIN_BACKEND: target.backend,
      SKEIN_PROBE_ADDRESS: via,
      SKEIN_TIMEOUT_MS: String(spec.timeoutMs),
    };
    const outcome = await runProcess({ command, args, environment }, signal);
    switch (outcome.kind) {
      case 'ended':
        return judge(outcome, spec, target);
      case 'aborted':
        return failure(
          'timeout',
          `${command} for ${target.backend} did not end within ${spec.timeoutMs} ms`,
        );
      case 'too_much_output':
        return failure('script_failed', `${command} for ${target.backend} wrote too much`);
      case 'not_started': {
        const code = outcome.error.code ?? outcome.error.message;
        const reason = EXHAUSTED.has(code) ? 'no_path' : 'script_failed';
        return failure(reason, `${command} could not be run on this node: ${code}`);
      }
    }
  }
}

function judge(end: ProcessEnd, { command }: ScriptCheck, { backend }: ProbeTarget): ProbeReport {
  if (end.status === 0) return { kind: 'pass', latencyMs: end.latencyMs };
  const how = end.signal === null ? `exit status ${end.status}` : `ended by ${end.signal}`;
  const said = firstLine(end.stdout) || firstLine(end.stderr) || 'it said nothing';
  return failure('script_failed', `${command} for ${backend}: ${how}: ${said}`);
}

/** The first line that is not blank. */
function firstLine(text: string): string {
  return text.trimStart().split('\n', 1)[0]?.trim() ?? '';
}
