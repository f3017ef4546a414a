/** "Did you mean": the nearest of the words that would have been right. */

/** Longer words and longer lists are not worth the time. */
const WORD_LENGTH_MAX = 64;
const CANDIDATES_MAX = 1000;

/** Edits that still count as a slip of the finger. */
const DISTANCE_MAX = 2;

/** The known word that is fewest edits away, or undefined when none is near. */
export function suggest(word: string, known: Iterable<string>): string | undefined {
  if (word.length > WORD_LENGTH_MAX) return undefined;
  let best: string | undefined;
  let bestDistance = Math.min(DISTANCE_MAX, Math.floor(word.length / 2)) + 1;
  let candidates = 0;
  for (const candidate of known) {
    if (++candidates > CANDIDATES_MAX) break;
    const distance = distanceOf(word.toLowerCase(), candidate.toLowerCase(), bestDistance);
    if (distance < bestDistance) [best, bestDistance] = [candidate, distance];
  }
  return best;
}

/** ` (did you mean "services"?)`, or nothing. */
export function didYouMean(word: string, known: Iterable<string>): string {
  const nearest = suggest(word, known);
  return nearest === undefined ? '' : ` (did you mean ${JSON.stringify(nearest)}?)`;
}

/** Of no interest, and not worked out, where it is `enough` or more. */
function distanceOf(word: string, candidate: string, enough: number): number {
  // `interval` for `interval_ms`: the unit was forgotten.
  if (candidate.startsWith(`${word}_`)) return 1;
  if (Math.abs(candidate.length - word.length) >= enough) return enough;
  return editDistance(word, candidate);
}

/** Insertions, deletions, substitutions and swaps of neighbours (optimal string alignment). */
function editDistance(a: string, b: string): number {
  let beforeLast: number[] = [];
  let last = Array.from({ length: b.length + 1 }, (_, column) => column);
  for (let row = 1; row <= a.length; row++) {
    const current = [row];
    for (let column = 1; column <= b.length; column++) {
      const same = a[row - 1] === b[column - 1];
      let least = Math.min(
        (last[column] ?? 0) + 1,
        (current[column - 1] ?? 0) + 1,
        (last[column - 1] ?? 0) + (same ? 0 : 1),
      );
      const swapped = a[row - 1] === b[column - 2] && a[row - 2] === b[column - 1];
      if (row > 1 && column > 1 && swapped) {
        least = Math.min(least, (beforeLast[column - 2] ?? 0) + 1);
      }
      current.push(least);
    }
    [beforeLast, last] = [last, current];
  }
  return last[b.length] ?? 0;
}
