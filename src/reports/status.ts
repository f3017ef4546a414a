/** What a node says about the reports it takes: plain values, for the snapshot. Counts since its start. */

export interface ReportsStatus {
  /** Where reports arrive, such as `239.83.75.79:7484 on eth0`; null while they cannot. */
  readonly listening: string | null;
  /** What of the document could not be done, a sentence each. What there was stays; it is tried again. */
  readonly problems: readonly string[];
  readonly received: number;
  readonly accepted: number;
  /** Reporters that are remembered, whether or not they still report. */
  readonly reporters: number;
  /** By `Refusal`: every reason is there, 0 or more. */
  readonly refused: Readonly<Record<string, number>>;
}
