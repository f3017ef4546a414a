/**
 * What backends have last said of themselves, and which of their reports count: those that are
 * recent, in order, and about a backend of the document. A report that is refused changes nothing.
 */
import type { Clock } from '../lib/clock.ts';
import type { Address } from '../model/address.ts';
import { serviceId, type ServiceId } from '../model/service.ts';
import type { Envelope, Refusal, Report, ReportedState } from './report.ts';

/** Reporters that are remembered, so that what they said before stays refused: about 5 MB. */
export const REPORTERS_MAX = 16_384;
/** An address that one reporter speaks for is not another's for so long after its last report. */
export const OWNED_MS = 10_000;
/** Of one reporter: at once, and then in a second. A change may be said between two regular ones. */
export const REPORTS_BURST = 10;
export const REPORTS_PER_S = 5;

export interface BoardOptions {
  readonly clock: Pick<Clock, 'nowMs' | 'wallMs'>;
  /** Called for each backend that an accepted report is for; `changed`: it says something else now. */
  readonly heard: (backend: Address, changed: boolean) => void;
}

export type Said =
  | {
      /** Nothing has been heard of the backend in all the time that its reports were taken. */
      readonly kind: 'nothing';
      readonly waitedMs: number;
    }
  | {
      readonly kind: 'report';
      readonly healthy: boolean;
      /** What the backend says about it; foreign text, at most DETAIL_BYTES_MAX. */
      readonly detail: string;
      readonly ageMs: number;
    };

/** What the next report of a reporter is held against. */
interface Life {
  incarnation: number;
  sequence: number;
  /** The latest time that any accepted report of this reporter was sent, by its own clock. */
  latestSentMs: number;
  tokens: number;
  countedAtMs: number;
}

/** The last report about one address. */
interface Fact {
  readonly reporter: string;
  /** As in #lives. */
  readonly about: string;
  readonly sentAtMs: number;
  readonly heardAtMs: number;
  readonly state: ReportedState;
  readonly detail: string;
  readonly services: ReadonlyMap<ServiceId, { readonly healthy: boolean; readonly detail: string }>;
}

export class ReportBoard {
  readonly #clock: BoardOptions['clock'];
  #maxSkewMs = 0;
  readonly #heard: BoardOptions['heard'];
  /** By the addresses that reports are about: a name can be claimed by whoever has any key. */
  readonly #lives = new Map<string, Life>();
  readonly #facts = new Map<Address, Fact>();
  /** When the latest report was sent of all reporters that are no longer remembered. */
  #forgottenMs = 0;
  /** Backends of the document, and since when their reports are taken. */
  #backends: ReadonlyMap<Address, number> = new Map();

  constructor({ clock, heard }: BoardOptions) {
    this.#clock = clock;
    this.#heard = heard;
  }

  /** Reporters that are remembered. */
  get reporters(): number {
    return this.#lives.size;
  }

  /** The whole desired state: reports about other addresses are refused. */
  setBackends(addresses: Iterable<Address>): void {
    const nowMs = this.#clock.nowMs();
    const before = this.#backends;
    this.#backends = new Map(
      Array.from(addresses, (address) => [address, before.get(address) ?? nowMs]),
    );
    for (const address of this.#facts.keys()) {
      if (!this.#backends.has(address)) this.#facts.delete(address);
    }
  }

  /** By how much the clocks of reporters and of this node may differ from now on. */
  setMaxSkew(maxSkewMs: number): void {
    this.#maxSkewMs = maxSkewMs;
  }

  /** A report whose signature has verified. Undefined when it counts, else why it does not. */
  take(envelope: Envelope, report: Report, source: Address | undefined): Refusal | undefined {
    const known = report.addresses.filter((address) => this.#backends.has(address));
    const about = report.addresses.join();
    const life = this.#lives.get(about);
    const refusal =
      this.#misdated(envelope, life) ??
      misplaced(report, known, source) ??
      outOfOrder(envelope, life) ??
      this.#contested(envelope.reporter, known) ??
      this.#overtaken(about, envelope, known) ??
      this.#beyondLimits(life);
    if (refusal !== undefined) return refusal;
    this.#follow(about, envelope, life);
    this.#note(about, envelope, known, report);
    return undefined;
  }

  /** What is known of a service on a backend; undefined for a backend that is not in the document. */
  said(backend: Address, service: ServiceId): Said | undefined {
    const nowMs = this.#clock.nowMs();
    const fact = this.#facts.get(backend);
    if (fact !== undefined) {
      const { healthy, detail } = verdictOf(fact, service);
      return { kind: 'report', healthy, detail, ageMs: nowMs - fact.heardAtMs };
    }
    const sinceMs = this.#backends.get(backend);
    return sinceMs === undefined ? undefined : { kind: 'nothing', waitedMs: nowMs - sinceMs };
  }

  #misdated({ sentAtMs }: Envelope, life: Life | undefined): Refusal | undefined {
    const aheadMs = sentAtMs - this.#clock.wallMs();
    // It was too old once, and for that forgotten: a larger skew must not make it news.
    if (life === undefined && sentAtMs <= this.#forgottenMs) return 'too_old';
    if (aheadMs < -this.#maxSkewMs) return 'too_old';
    return aheadMs > this.#maxSkewMs ? 'too_new' : undefined;
  }

  /** Two reporters that speak for one address: a copied configuration, or a stolen key. */
  #contested(reporter: string, known: readonly Address[]): Refusal | undefined {
    const nowMs = this.#clock.nowMs();
    const isTaken = known.some((address) => {
      const fact = this.#facts.get(address);
      if (fact === undefined || fact.reporter === reporter) return false;
      return fact.state !== 'leaving' && nowMs - fact.heardAtMs <= OWNED_MS;
    });
    return isTaken ? 'address_taken' : undefined;
  }

  /** A backend that has got or lost an address has another key, and is in another life. */
  #overtaken(about: string, { sentAtMs }: Envelope, known: readonly Address[]) {
    const isOld = known.some((address) => {
      const fact = this.#facts.get(address);
      return fact !== undefined && fact.about !== about && sentAtMs <= fact.sentAtMs;
    });
    return isOld ? 'old_incarnation' : undefined;
  }

  #beyondLimits(life: Life | undefined): Refusal | undefined {
    if (life !== undefined) return this.#tokensOf(life) < 1 ? 'too_often' : undefined;
    if (this.#lives.size < REPORTERS_MAX) return undefined;
    this.#forgetOutdated();
    return this.#lives.size < REPORTERS_MAX ? undefined : 'too_many_reporters';
  }

  /** Whatever these reporters sent up to now is too old to be believed, remembered or not. */
  #forgetOutdated(): void {
    const oldestMs = this.#clock.wallMs() - this.#maxSkewMs;
    for (const [about, { latestSentMs }] of this.#lives) {
      if (latestSentMs >= oldestMs) continue;
      this.#lives.delete(about);
      this.#forgottenMs = Math.max(this.#forgottenMs, latestSentMs);
    }
  }

  #tokensOf({ tokens, countedAtMs }: Life): number {
    const earned = ((this.#clock.nowMs() - countedAtMs) * REPORTS_PER_S) / 1000;
    return Math.min(REPORTS_BURST, tokens + earned);
  }

  #follow(about: string, envelope: Envelope, life: Life | undefined): void {
    const { incarnation, sequence, sentAtMs } = envelope;
    this.#lives.set(about, {
      incarnation,
      sequence,
      latestSentMs: Math.max(sentAtMs, life?.latestSentMs ?? 0),
      tokens: (life === undefined ? REPORTS_BURST : this.#tokensOf(life)) - 1,
      countedAtMs: this.#clock.nowMs(),
    });
  }

  #note(about: string, from: Envelope, known: readonly Address[], report: Report): void {
    const { reporter, sentAtMs } = from;
    const { state, detail } = report;
    const services = new Map(
      report.services.map((each) => [serviceId(each.service), each] as const),
    );
    const heardAtMs = this.#clock.nowMs();
    const fact: Fact = { reporter, about, sentAtMs, heardAtMs, state, detail, services };
    for (const address of known) {
      const before = this.#facts.get(address);
      this.#facts.set(address, fact);
      this.#heard(address, before === undefined || !saysTheSame(before, fact));
    }
  }
}

/** About no backend of ours, or sent by a host that is not the one it is about. */
function misplaced(
  report: Report,
  known: readonly Address[],
  source: Address | undefined,
): Refusal | undefined {
  if (known.length === 0) return 'unknown_backend';
  return source === undefined || !report.addresses.includes(source) ? 'foreign_source' : undefined;
}

/**
 * Within a life the sequence tells the order. Between lives it is the time of sending, so that a
 * reporter whose clock was set back is believed again once it has passed where it was.
 */
function outOfOrder(envelope: Envelope, life: Life | undefined): Refusal | undefined {
  if (life === undefined) return undefined;
  if (envelope.incarnation === life.incarnation) {
    return envelope.sequence > life.sequence ? undefined : 'replayed';
  }
  return envelope.sentAtMs > life.latestSentMs ? undefined : 'old_incarnation';
}

function verdictOf({ state, detail, services }: Fact, service: ServiceId) {
  const own = services.get(service);
  if (state === 'healthy' && own !== undefined) return own;
  const said = state === 'leaving' && detail === '' ? 'it is going away' : detail;
  return { healthy: state === 'healthy', detail: said };
}

function saysTheSame(a: Fact, b: Fact): boolean {
  if (a.state !== b.state || a.services.size !== b.services.size) return false;
  for (const [id, { healthy }] of a.services) {
    if (b.services.get(id)?.healthy !== healthy) return false;
  }
  return true;
}
