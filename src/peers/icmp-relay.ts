/**
 * Which ICMP errors are passed on to the peers: pure, but for what it remembers. An error that came
 * from a peer is never passed on again, and no service can take the whole channel.
 */
import {
  ICMP_BURST,
  ICMP_PER_S,
  ICMP_PER_SERVICE_BURST,
  ICMP_PER_SERVICE_PER_S,
  ICMP_REMEMBER_MS,
  ICMP_REMEMBERED_MAX,
  ICMP_SERVICES_MAX,
} from './limits.ts';
import { ICMP_PACKET_BYTES_MAX } from './wire-fields.ts';

export interface IcmpCounters {
  relayed: number;
  injected: number;
  /** Not an ICMP error about something that the VIP sent. */
  malformed: number;
  too_long: number;
  /** Came from a peer, or is said a second time. */
  repeated: number;
  limited: number;
}

export class IcmpRelay {
  readonly counters: IcmpCounters = {
    relayed: 0,
    injected: 0,
    malformed: 0,
    too_long: 0,
    repeated: 0,
    limited: 0,
  };
  readonly #out = new TokenBucket(ICMP_PER_S, ICMP_BURST);
  readonly #in = new TokenBucket(ICMP_PER_S, ICMP_BURST);
  readonly #services = new Map<string, TokenBucket>();
  readonly #others = new TokenBucket(ICMP_PER_SERVICE_PER_S, ICMP_PER_SERVICE_BURST);
  /** Errors of late, by their ICMP bytes; oldest first. */
  readonly #recent = new Map<string, number>();

  get remembered(): number {
    return this.#recent.size;
  }

  /** May this error of our own data plane go to the peers? `packet` begins with the IP header. */
  maySend(packet: Uint8Array, nowMs: number): boolean {
    const error = readIcmpError(packet);
    if (error === undefined) return this.#refuse('malformed');
    if (packet.length > ICMP_PACKET_BYTES_MAX) return this.#refuse('too_long');
    if (this.#isRepeated(error.identity, nowMs)) return this.#refuse('repeated');
    if (!this.#bucketOf(error.service, nowMs).take(nowMs)) return this.#refuse('limited');
    if (!this.#out.take(nowMs)) return this.#refuse('limited');
    this.#remember(error.identity, nowMs);
    this.counters.relayed += 1;
    return true;
  }

  /** May this error of a peer go to our data plane? From here on it is not passed on. */
  mayInject(packet: Uint8Array, nowMs: number): boolean {
    const error = readIcmpError(packet);
    if (error === undefined) return this.#refuse('malformed');
    if (this.#isRepeated(error.identity, nowMs)) return this.#refuse('repeated');
    if (!this.#in.take(nowMs)) return this.#refuse('limited');
    this.#remember(error.identity, nowMs);
    this.counters.injected += 1;
    return true;
  }

  #refuse(reason: keyof IcmpCounters): false {
    this.counters[reason] += 1;
    return false;
  }

  #isRepeated(identity: string, nowMs: number): boolean {
    const atMs = this.#recent.get(identity);
    return atMs !== undefined && nowMs - atMs < ICMP_REMEMBER_MS;
  }

  #remember(identity: string, nowMs: number): void {
    for (const [oldest, atMs] of this.#recent) {
      if (nowMs - atMs < ICMP_REMEMBER_MS && this.#recent.size < ICMP_REMEMBERED_MAX) break;
      this.#recent.delete(oldest);
    }
    this.#recent.delete(identity);
    this.#recent.set(identity, nowMs);
  }

  #bucketOf(service: string, nowMs: number): TokenBucket {
    const known = this.#services.get(service);
    if (known !== undefined) return known;
    if (this.#services.size >= ICMP_SERVICES_MAX) {
      for (const [name, bucket] of this.#services) {
        if (bucket.isFull(nowMs)) this.#services.delete(name);
      }
      if (this.#services.size >= ICMP_SERVICES_MAX) return this.#others;
    }
    const bucket = new TokenBucket(ICMP_PER_SERVICE_PER_S, ICMP_PER_SERVICE_BURST);
    this.#services.set(service, bucket);
    return bucket;
  }
}

export class TokenBucket {
  readonly #perMs: number;
  readonly #burst: number;
  #tokens: number;
  #atMs: number | undefined;

  constructor(perS: number, burst: number) {
    this.#perMs = perS / 1_000;
    this.#burst = burst;
    this.#tokens = burst;
  }

  take(nowMs: number): boolean {
    this.#fill(nowMs);
    if (this.#tokens < 1) return false;
    this.#tokens -= 1;
    return true;
  }

  /** A full bucket is as good as a new one. */
  isFull(nowMs: number): boolean {
    this.#fill(nowMs);
    return this.#tokens >= this.#burst;
  }

  #fill(nowMs: number): void {
    const sinceMs = nowMs - (this.#atMs ?? nowMs);
    this.#tokens = Math.min(this.#burst, this.#tokens + sinceMs * this.#perMs);
    this.#atMs = nowMs;
  }
}

interface IcmpError {
  /** VIP, protocol and port that the quoted packet came from. */
  readonly service: string;
  /** The error's bytes without those that change on the way (TTL, IP checksum). */
  readonly identity: string;
}

const ICMPV4 = 1;
const ICMPV6 = 58;
/** Type, code, checksum, and four bytes that depend on the type. */
const ICMP_HEADER_BYTES = 8;
/** RFC 792: unreachable, source quench, time exceeded, parameter problem. */
const ICMPV4_ERRORS = [3, 4, 11, 12];
/** RFC 4443: types below 128 are errors. */
const ICMPV6_INFORMATION = 128;
/** Enough to tell one error from another: the quoted headers are in there. */
const IDENTITY_BYTES = 96;

/** Reads no more than the ports of the quoted packet: short quotes are normal (RFC 792: 8 bytes). */
function readIcmpError(packet: Uint8Array): IcmpError | undefined {
  const outer = readIp(packet);
  if (outer === undefined) return undefined;
  const icmp = packet.subarray(outer.headerBytes);
  const type = icmp[0];
  if (type === undefined) return undefined;
  const isError =
    outer.version === 4
      ? outer.protocol === ICMPV4 && ICMPV4_ERRORS.includes(type)
      : outer.protocol === ICMPV6 && type < ICMPV6_INFORMATION;
  const quote = icmp.subarray(ICMP_HEADER_BYTES);
  const quoted = readIp(quote);
  if (!isError || quoted?.version !== outer.version) return undefined;
  // Only what the VIP itself has sent can be answered by an error to the VIP.
  if (quoted.source !== outer.destination) return undefined;
  const [high, low] = quote.subarray(quoted.headerBytes);
  if (high === undefined || low === undefined) return undefined;
  return {
    service: `${quoted.protocol} ${quoted.source} ${high * 256 + low}`,
    identity: Buffer.from(icmp.subarray(0, IDENTITY_BYTES)).toString('latin1'),
  };
}

interface IpHeader {
  readonly version: 4 | 6;
  readonly headerBytes: number;
  readonly protocol: number;
  /** Bytes as latin1: only to be compared. */
  readonly source: string;
  readonly destination: string;
}

function readIp(bytes: Uint8Array): IpHeader | undefined {
  const first = bytes[0] ?? 0;
  const text = (from: number, to: number) =>
    Buffer.from(bytes.subarray(from, to)).toString('latin1');
  if (first >> 4 === 4) {
    const headerBytes = (first & 0xf) * 4;
    if (headerBytes < 20 || bytes.length < headerBytes) return undefined;
    const protocol = bytes[9] ?? 0;
    return { version: 4, headerBytes, protocol, source: text(12, 16), destination: text(16, 20) };
  }
  if (first >> 4 !== 6 || bytes.length < 40) return undefined;
  // An extension header before ICMPv6, or in the quote, makes it no error that can be placed.
  const protocol = bytes[6] ?? 0;
  return { version: 6, headerBytes: 40, protocol, source: text(8, 24), destination: text(24, 40) };
}
