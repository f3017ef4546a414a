/** A minute of one value as a small curve without axes. The newest value is at the right edge. */
/** @import { Point } from './rates.js' */
import { setAttribute, svgElement } from './dom.js';
import { HISTORY_MS } from './rates.js';

const WIDTH = 120;
const HEIGHT = 24;
/** A hidden tab or a lost node leaves a hole: nothing is drawn over what nobody saw. */
const HOLE_MS = 15_000;

/**
 * Path data of the line and of the area below it. Scaled to the largest value, from zero.
 * @param {readonly Point[]} points oldest first
 */
export function sparklinePaths(points) {
  const newest = points.at(-1);
  if (newest === undefined) return { line: '', area: '' };
  const largest = Math.max(...points.map(({ value }) => value), 1);
  const x = (/** @type {Point} */ { atMs }) =>
    round(WIDTH - ((newest.atMs - atMs) / HISTORY_MS) * WIDTH);
  const y = (/** @type {Point} */ { value }) =>
    round(HEIGHT - 1 - (value / largest) * (HEIGHT - 3));
  const runs = withoutHoles(points).filter((run) => run.length > 1);
  const lines = runs.map((run) => `M${run.map((point) => `${x(point)} ${y(point)}`).join('L')}`);
  const areas = runs.map((run, index) => {
    const [first] = run;
    const last = run.at(-1);
    if (first === undefined || last === undefined) return '';
    return `${lines[index] ?? ''}L${x(last)} ${HEIGHT}L${x(first)} ${HEIGHT}Z`;
  });
  return { line: lines.join(''), area: areas.join('') };
}

/**
 * @param {string} label
 * @returns {{ root: Element, update: (points: readonly Point[]) => void }}
 */
export function sparkline(label) {
  const area = svgElement('path', { class: 'area' });
  const line = svgElement('path', { class: 'line' });
  const root = svgElement(
    'svg',
    {
      class: 'sparkline',
      viewBox: `0 0 ${WIDTH} ${HEIGHT}`,
      preserveAspectRatio: 'none',
      role: 'img',
      'aria-label': label,
    },
    area,
    line,
  );
  return {
    root,
    update(points) {
      const paths = sparklinePaths(points);
      setAttribute(area, 'd', paths.area);
      setAttribute(line, 'd', paths.line);
    },
  };
}

/**
 * @param {readonly Point[]} points
 * @returns {Point[][]}
 */
function withoutHoles(points) {
  /** @type {Point[][]} */
  const runs = [];
  let lastMs = -Infinity;
  for (const point of points) {
    if (point.atMs - lastMs > HOLE_MS) runs.push([]);
    runs.at(-1)?.push(point);
    lastMs = point.atMs;
  }
  return runs;
}

/** @param {number} value */
function round(value) {
  return Math.round(value * 10) / 10;
}
