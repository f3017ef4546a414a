/**
 * A DNS check: one question to the VIP by UDP, judged by the response code and the records. Asks as
 * Node's resolver does (c-ares), with one server and one try, so nothing of it is retried elsewhere.
 */
import {
  BADRESP,
  CANCELLED,
  FORMERR,
  NODATA,
  NOTFOUND,
  NOTIMP,
  REFUSED,
  SERVFAIL,
  TIMEOUT,
} from 'node:dns';
import { Resolver } from 'node:dns/promises';
import { performance } from 'node:perf_hooks';
import { formatEndpoint, parseAddress } from '../model/address.ts';
import type { DnsCheck, DnsRcode } from '../model/check.ts';
import { failure, noDatagram, noPath, socketFailure } from './diagnose.ts';
import type { Probe, ProbeReport, ProbeTarget } from './probe.ts';

/** The resolver's own timeout is never to come before the check's. */
const TIMEOUT_MARGIN_MS = 5_000;
/** Of the records that a sentence names. */
const SHOWN_MAX = 4;

/** How c-ares tells the codes; whatever else the answer had, it does not show. */
const RCODES: Readonly<Record<string, DnsRcode>> = {
  [FORMERR]: 'FORMERR',
  [SERVFAIL]: 'SERVFAIL',
  [NOTFOUND]: 'NXDOMAIN',
  [NOTIMP]: 'NOTIMP',
  [REFUSED]: 'REFUSED',
};

export class DnsProbe implements Probe<DnsCheck> {
  async check(spec: DnsCheck, target: ProbeTarget, signal: AbortSignal): Promise<ProbeReport> {
    const { via } = target;
    if (via === undefined) return noPath(target);
    if (signal.aborted) return noDatagram(target, spec.port, spec.timeoutMs);
    // A new one each time: one that is kept might remember an answer.
    const resolver = new Resolver({ timeout: spec.timeoutMs + TIMEOUT_MARGIN_MS, tries: 1 });
    const onAbort = () => {
      resolver.cancel();
    };
    signal.addEventListener('abort', onAbort, { once: true });
    const startMs = performance.now();
    try {
      resolver.setServers([formatEndpoint(via, spec.port)]);
      const answer: unknown = await resolver.resolve(spec.query, spec.record);
      const unexpected = judge(spec, target, Array.isArray(answer) ? answer : [answer]);
      return unexpected ?? { kind: 'pass', latencyMs: performance.now() - startMs };
    } catch (error) {
      const rcode = RCODES[(error as NodeJS.ErrnoException).code ?? ''];
      if (rcode !== undefined && spec.expect.includes(rcode)) {
        return { kind: 'pass', latencyMs: performance.now() - startMs };
      }
      return explain(spec, target, error as NodeJS.ErrnoException);
    } finally {
      signal.removeEventListener('abort', onAbort);
    }
  }
}

/** Of an answer with NOERROR and at least one record; undefined where it passes. */
function judge(
  spec: DnsCheck,
  target: ProbeTarget,
  records: readonly unknown[],
): ProbeReport | undefined {
  if (!spec.expect.includes('NOERROR')) return unexpected(spec, target, 'NOERROR');
  if (spec.address === undefined) return undefined;
  const addresses = records.flatMap((record) => {
    return (typeof record === 'string' ? parseAddress(record) : undefined) ?? [];
  });
  if (addresses.includes(spec.address)) return undefined;
  const more = addresses.length > SHOWN_MAX ? ` and ${addresses.length - SHOWN_MAX} more` : '';
  const shown = addresses.slice(0, SHOWN_MAX).join(', ') + more;
  const text = `answered ${shown} for ${question(spec)}, expected ${spec.address} among them`;
  return failure('answer_unexpected', `${who(spec, target)}: ${text}`);
}

function explain(spec: DnsCheck, target: ProbeTarget, error: NodeJS.ErrnoException): ProbeReport {
  const { code = '' } = error;
  const rcode = RCODES[code];
  if (rcode !== undefined) return unexpected(spec, target, rcode);
  switch (code) {
    case CANCELLED:
    case TIMEOUT:
      return noDatagram(target, spec.port, spec.timeoutMs);
    case NODATA:
      return failure(
        'answer_unexpected',
        `${who(spec, target)}: answered without a record for ${question(spec)}`,
      );
    case BADRESP:
      return failure('protocol_error', `${who(spec, target)}: the answer is not proper DNS`);
    default:
      return socketFailure(error, target, spec.port);
  }
}

function unexpected(spec: DnsCheck, target: ProbeTarget, rcode: DnsRcode): ProbeReport {
  const wanted = spec.expect.join(', ');
  const text = `answered ${rcode}, expected ${wanted}: ${question(spec)}`;
  return failure('answer_unexpected', `${who(spec, target)}: ${text}`);
}

function question({ query, record }: DnsCheck): string {
  return `${record} of ${query}`;
}

function who({ port }: DnsCheck, { vip, backend }: ProbeTarget): string {
  return `${backend} for ${formatEndpoint(vip, port)}`;
}
