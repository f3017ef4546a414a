/** Numbers and spans of time for people. Pure, and of stable width where digits change often. */

const whole = new Intl.NumberFormat('en', { maximumFractionDigits: 0 });

/** What stands where there is no value (yet). */
export const NOTHING = '–';

/**
 * Every digit, in groups: `1,234,567`.
 * @param {number} value
 */
export function exact(value) {
  return whole.format(value);
}

/**
 * Three significant digits: `950`, `12.4k`, `1.24M`.
 * @param {number | undefined} value
 */
export function compact(value) {
  return value === undefined ? NOTHING : scaled(value, '');
}

/**
 * Bytes in decimal units: `950 B`, `12.4 kB`, `1.24 GB`.
 * @param {number | undefined} value
 */
export function bytes(value) {
  return value === undefined ? NOTHING : `${scaled(value, ' ')}B`;
}

/**
 * @param {number} value
 * @param {string} gap between the digits and the unit
 */
function scaled(value, gap) {
  const units = ['', 'k', 'M', 'G', 'T', 'P'];
  let rest = value;
  let unit = 0;
  // 999.5 and more would show as four digits.
  while (rest >= 999.5 && unit < units.length - 1) {
    rest /= 1000;
    unit += 1;
  }
  const fraction =
    unit === 0 ? (rest > 0 && rest < 9.95 ? 1 : 0) : rest < 9.995 ? 2 : rest < 99.95 ? 1 : 0;
  return `${rest.toFixed(fraction)}${gap}${units[unit] ?? ''}`;
}

/**
 * `0.0%` to `100%`.
 * @param {number | undefined} share 0 to 1
 */
export function percent(share) {
  if (share === undefined) return NOTHING;
  return `${(share * 100).toFixed(share >= 0.9995 ? 0 : 1)}%`;
}

/**
 * The two largest units of a span of time: `8 s`, `4 min`, `3 h 12 min`, `12 d 4 h`.
 * @param {number} ms
 */
export function span(ms) {
  const s = Math.max(0, Math.floor(ms / 1000));
  if (s < 60) return `${s} s`;
  const min = Math.floor(s / 60);
  if (min < 60) return `${min} min`;
  const h = Math.floor(min / 60);
  if (h < 24) return two(h, 'h', min % 60, 'min');
  return two(Math.floor(h / 24), 'd', h % 24, 'h');
}

/**
 * How long something has been as it is. 0 stands for a time that the node does not know.
 * @param {number} sinceMs
 * @param {number} nowMs by the same clock
 */
export function age(sinceMs, nowMs) {
  return sinceMs === 0 ? NOTHING : span(nowMs - sinceMs);
}

/**
 * @param {number} large
 * @param {string} largeUnit
 * @param {number} small
 * @param {string} smallUnit
 */
function two(large, largeUnit, small, smallUnit) {
  return small === 0 ? `${large} ${largeUnit}` : `${large} ${largeUnit} ${small} ${smallUnit}`;
}

/**
 * Latency: `0.4 ms`, `12 ms`.
 * @param {number} ms
 */
export function latency(ms) {
  return `${ms.toFixed(ms < 9.95 ? 1 : 0)} ms`;
}

/**
 * `1 route`, `2 routes`.
 * @param {number} count
 * @param {string} noun
 */
export function plural(count, noun) {
  return `${exact(count)} ${noun}${count === 1 ? '' : 's'}`;
}
