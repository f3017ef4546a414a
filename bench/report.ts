/** Samples -> figures -> text. Pure. */
import type { Case } from './cases.ts';
import type { Sample } from './measure.ts';

/** Nanoseconds per frame. */
export interface Spread {
  readonly min: number;
  readonly median: number;
  readonly max: number;
}

export interface Figure {
  readonly name: string;
  readonly what: string;
  readonly flows: number;
  readonly frames: number;
  /** Without the replay's share. */
  readonly net: Spread;
  readonly emptyMedian: number;
  /** Median over the median of the floor that the case is compared with. */
  readonly timesFloor?: number;
  /** What `timesFloor` may be at most, and whether it is. */
  readonly bar?: { readonly atMost: number; readonly held: boolean };
}

export function spread(values: readonly number[]): Spread {
  const sorted = values.toSorted((a, b) => a - b);
  const at = (position: number): number => sorted[position] ?? Number.NaN;
  const middle = (sorted.length - 1) / 2;
  return {
    min: at(0),
    median: (at(Math.floor(middle)) + at(Math.ceil(middle))) / 2,
    max: at(sorted.length - 1),
  };
}

/** Like minus like: a noisy round of the empty program must not flatter the case. */
export function netSpread(samples: readonly Sample[]): Spread {
  const whole = spread(samples.map(({ caseNs }) => caseNs));
  const empty = spread(samples.map(({ emptyNs }) => emptyNs));
  return {
    min: whole.min - empty.min,
    median: whole.median - empty.median,
    max: whole.max - empty.median,
  };
}

/** `samples` by the name of the case. */
export function figures(
  cases: readonly Case[],
  samples: ReadonlyMap<string, readonly Sample[]>,
): Figure[] {
  const nets = new Map(cases.map(({ name }) => [name, netSpread(samples.get(name) ?? [])]));
  return cases.map(({ name, what, flows, frames, comparison }) => {
    const net = nets.get(name) ?? netSpread([]);
    const emptyMedian = spread((samples.get(name) ?? []).map(({ emptyNs }) => emptyNs)).median;
    const figure = { name, what, flows, frames, net, emptyMedian };
    if (comparison === undefined) return figure;
    const timesFloor = net.median / (nets.get(comparison.floor)?.median ?? Number.NaN);
    const { atMost } = comparison;
    if (atMost === undefined) return { ...figure, timesFloor };
    return { ...figure, timesFloor, bar: { atMost, held: timesFloor <= atMost } };
  });
}

const COLUMNS = ['case', 'flows', 'min', 'median', 'max', 'x floor', 'bar', ''] as const;
/** These are words; all others are numbers and stand to the right. */
const LEFT: readonly number[] = [0, 7];

/** A table for a terminal. */
export function tableText(all: readonly Figure[]): string {
  const rows = [COLUMNS, ...all.map(tableRow)];
  const widths = COLUMNS.map((_, column) =>
    Math.max(...rows.map((row) => row[column]?.length ?? 0)),
  );
  return rows
    .map((row) =>
      row
        .map((cell, column) => {
          const width = widths[column] ?? 0;
          return LEFT.includes(column) ? cell.padEnd(width) : cell.padStart(width);
        })
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}

function tableRow({ name, what, flows, net, timesFloor, bar }: Figure): readonly string[] {
  return [
    name,
    flows === 0 ? 'new' : String(flows),
    net.min.toFixed(1),
    net.median.toFixed(1),
    net.max.toFixed(1),
    timesFloor?.toFixed(2) ?? '',
    bar === undefined ? '' : `${bar.held ? 'held' : 'MISSED'} ${bar.atMost.toFixed(1)}`,
    what,
  ];
}
