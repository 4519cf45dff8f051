// Numbers as people read them.

/** A number with at most four significant digits. */
export function short(value) {
  if (!Number.isFinite(value)) return "–";
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size < 0.001 || size >= 100000) return value.toExponential(1);
  return value.toFixed(size >= 100 ? 1 : size >= 1 ? 2 : 4);
}

/** A share of 1 in per cent. */
export function percent(share) {
  const value = 100 * share;
  return `${value >= 10 || Number.isInteger(value) ? Math.round(value) : value.toPrecision(2)} %`;
}

/** A time in seconds. */
export function duration(seconds) {
  if (!Number.isFinite(seconds)) return "–";
  return seconds < 1 ? `${(1000 * seconds).toFixed(seconds < 0.01 ? 1 : 0)} ms` : `${seconds.toFixed(2)} s`;
}
