/** What a node says about the reports it takes: plain values, for the snapshot. Counts since its start. */

export interface ReportsStatus {
  readonly received: number;
  readonly accepted: number;
  /** Reporters that are remembered, whether or not they still report. */
  readonly reporters: number;
  /** By `Refusal`: every reason is there, 0 or more. */
  readonly refused: Readonly<Record<string, number>>;
}
