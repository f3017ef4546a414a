/** What is said of flows outside the data plane. */

/** Idle timeouts in seconds, by the flow's state (S1's six). */
export interface FlowTimeouts {
  readonly tcpSynS: number;
  readonly tcpSynAckS: number;
  readonly tcpFinS: number;
  readonly tcpS: number;
  readonly udpS: number;
  readonly defaultS: number;
}
