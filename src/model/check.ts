/** Health checks as the operator wrote them, with every default filled in. */

/** k of n: the state changes once `count` of the last `window` results agree. */
export interface Threshold {
  readonly count: number;
  readonly window: number;
}

interface CheckCommon {
  /** Shown wherever a result is shown; unique within a service. */
  readonly name: string;
  /** Destination port on the VIP: the service's port unless the check names another. */
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

export type CheckSpec = TcpCheck | HttpCheck | HttpsCheck;
