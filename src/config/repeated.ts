/** Calls back for each value that stood in the list before; undefined is no value. */
export function eachRepeated(
  values: readonly (string | number | undefined)[],
  found: (index: number, first: number) => void,
): void {
  const firsts = new Map<string | number, number>();
  for (const [index, value] of values.entries()) {
    if (value === undefined) continue;
    const first = firsts.get(value);
    if (first === undefined) firsts.set(value, index);
    else found(index, first);
  }
}
