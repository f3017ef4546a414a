/** Health checks as the operator wrote them, with every default filled in. */
import type { Address } from './address.ts';

/** k of n: the state changes once `count` of the last `window` results agree. */
export interface Threshold {
  readonly count: number;
  readonly window: number;
}

interface CheckCommon {
  /** Shown wherever a result is shown; unique within a service. */
  readonly name: string;
  /**
   * Destination port on the VIP: the service's port unless the check names another. 0 only for a
   * ping of a service that takes every port.
   */
  readonly port: number;
  readonly intervalMs: number;
  readonly timeoutMs: number;
  /** Passes needed to come up. */
  readonly rise: Threshold;
  /** Failures needed to go down. */
  readonly fall: Threshold;
}

export interface TcpCheck extends CheckCommon {
  readonly type: 'tcp';
}

/** Inclusive range of status codes; a single code has equal ends. */
export interface StatusRange {
  readonly from: number;
  readonly to: number;
}

interface HttpCommon extends CheckCommon {
  readonly method: 'GET' | 'HEAD' | 'POST' | 'OPTIONS';
  readonly path: string;
  /** Host header; undefined: the VIP. */
  readonly host: string | undefined;
  readonly expect: readonly StatusRange[];
}

export interface HttpCheck extends HttpCommon {
  readonly type: 'http';
}

export interface HttpsCheck extends HttpCommon {
  readonly type: 'https';
  /** TLS server name (RFC 6066); undefined: `host`, or none where that is an address. */
  readonly serverName: string | undefined;
  /** Verify the certificate against the system's roots and the server name. */
  readonly verify: boolean;
}

export const DNS_RECORDS = ['A', 'AAAA', 'CNAME', 'MX', 'NS', 'PTR', 'SOA', 'SRV', 'TXT'] as const;
export type DnsRecord = (typeof DNS_RECORDS)[number];

/** Response codes of RFC 1035, section 4.1.1. */
export const DNS_RCODES = [
  'NOERROR',
  'FORMERR',
  'SERVFAIL',
  'NXDOMAIN',
  'NOTIMP',
  'REFUSED',
] as const;
export type DnsRcode = (typeof DNS_RCODES)[number];

export interface DnsCheck extends CheckCommon {
  readonly type: 'dns';
  /** The name to ask for. */
  readonly query: string;
  readonly record: DnsRecord;
  /** Codes that pass. NOERROR does so only with a record of the type that was asked for. */
  readonly expect: readonly DnsRcode[];
  /** Must be among the records of an answer with NOERROR; only where `record` is A or AAAA. */
  readonly address: Address | undefined;
}

/** What a reply must be: anything, or one that begins with these bytes or has them somewhere. */
export type ReplyExpectation =
  { readonly kind: 'any' } | { readonly kind: 'prefix' | 'contains'; readonly hex: string };

export interface UdpCheck extends CheckCommon {
  readonly type: 'udp';
  /** Payload of the datagram, as hexadecimal digits. */
  readonly sendHex: string;
  readonly expect: ReplyExpectation;
}

/** The standard health service of gRPC, `grpc.health.v1.Health`. */
export interface GrpcCheck extends CheckCommon {
  readonly type: 'grpc';
  /** The service to ask for; empty: the server as a whole. */
  readonly service: string;
  /** Undefined: without TLS. */
  readonly tls:
    | {
        /** TLS server name (RFC 6066); undefined: none, and the certificate must name the VIP. */
        readonly serverName: string | undefined;
        readonly verify: boolean;
      }
    | undefined;
}

/** One ICMP echo request to the VIP. */
export interface PingCheck extends CheckCommon {
  readonly type: 'ping';
}

export interface ScriptCheck extends CheckCommon {
  readonly type: 'script';
  /** Absolute path of the program. */
  readonly command: string;
  readonly args: readonly string[];
}

/** Passes while the backend itself reports that it is healthy; see reports/REPORTS.md. */
export interface ReportCheck extends CheckCommon {
  readonly type: 'report';
  /** A backend that has said nothing for this long fails. */
  readonly silenceMs: number;
}

export type CheckSpec =
  | TcpCheck
  | HttpCheck
  | HttpsCheck
  | DnsCheck
  | UdpCheck
  | GrpcCheck
  | PingCheck
  | ScriptCheck
  | ReportCheck;
