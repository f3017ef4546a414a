/** Did every frame take the path that its case is about? Pure: two tallies in, complaints out. */
import type { Outcome } from './cases.ts';
import type { Tally } from './programs.ts';

/** What `frames` frames must have changed, and what they did change; empty when that is the same. */
export function complaints(
  outcome: Outcome,
  before: Tally,
  after: Tally,
  frames: number,
): readonly string[] {
  const expected = new Map(Object.entries(expectedGrowth(outcome, frames)));
  const lines: string[] = [];
  for (const [name, value] of flatten(after)) {
    const grown = value - (flatten(before).get(name) ?? 0);
    const wanted = expected.get(name) ?? 0;
    expected.delete(name);
    if (grown !== wanted) lines.push(`${name} grew by ${grown}, not by ${wanted}`);
  }
  for (const name of expected.keys()) lines.push(`there is no counter ${name}`);
  return lines;
}

function expectedGrowth(outcome: Outcome, frames: number): Readonly<Record<string, number>> {
  switch (outcome.kind) {
    case 'established':
      return { packets: frames };
    case 'new':
      return { packets: frames, 'flows scheduled': frames };
    case 'counted':
      return { [outcome.counter]: frames };
  }
}

function flatten(tally: Tally): Map<string, number> {
  return new Map([
    ['packets', tally.packets],
    ['flows scheduled', tally.flowsScheduled],
    ['flows established', tally.flowsEstablished],
    ['flows ended', tally.flowsEnded],
    ...Object.entries(tally.counters),
  ]);
}
