/** Text for terminals: columns, spans of time, and words of others made harmless. Pure. */

/** Columns up to `numbersFrom` are aligned to the left, the others to the right. */
export function columns(rows: readonly (readonly string[])[], numbersFrom: number): string[] {
  const widths: number[] = [];
  for (const row of rows) {
    row.forEach((text, column) => {
      widths[column] = Math.max(widths[column] ?? 0, text.length);
    });
  }
  return rows.map((row) =>
    row
      .map((text, column) => {
        const width = widths[column] ?? 0;
        return column < numbersFrom ? text.padEnd(width) : text.padStart(width);
      })
      .join('  ')
      .trimEnd(),
  );
}

/** The largest unit is enough to tell a blink from a day. */
export function span(ms: number): string {
  const s = Math.max(0, Math.floor(ms / 1000));
  if (s < 60) return `${s} s`;
  if (s < 3_600) return `${Math.floor(s / 60)} min`;
  return s < 86_400 ? `${Math.floor(s / 3_600)} h` : `${Math.floor(s / 86_400)} d`;
}

/** What others say of themselves must not steer the terminal. */
export function printable(text: string): string {
  return text.replace(/\p{C}/gu, '?');
}
