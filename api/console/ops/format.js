// Figures as operators read them.

/** 1,234 or 12.3 k. */
export function count(n) {
  if (n >= 1e6) return `${(n / 1e6).toFixed(1)} M`;
  if (n >= 1e5) return `${(n / 1e3).toFixed(0)} k`;
  return n.toLocaleString('en', { maximumFractionDigits: n < 10 && n % 1 ? 1 : 0 });
}

/** A number of bytes with three digits that matter. */
export function bytes(n) {
  const units = ['B', 'kB', 'MB', 'GB', 'TB'];
  let i = 0;
  for (; n >= 1000 && i < units.length - 1; i++) n /= 1000;
  return `${Number(n.toPrecision(3))} ${units[i]}`;
}

/** A length of time with two digits that matter. */
export function seconds(s) {
  if (s === null) return '–';
  if (s < 0.001) return `${Math.round(s * 1e6)} µs`;
  if (s < 1) return `${Number((s * 1e3).toPrecision(2))} ms`;
  if (s < 120) return `${Number(s.toPrecision(s < 10 ? 2 : 3))} s`;
  if (s < 7200) return `${Math.round(s / 60)} min`;
  if (s < 172_800) return `${Math.round(s / 3600)} h`;
  return `${Math.round(s / 86_400)} d`;
}

/** The time of today, else the day too; UTC, as the log has it. */
export function moment(text) {
  const iso = new Date(text).toISOString();
  const day = iso.slice(0, 10);
  return `${day === new Date().toISOString().slice(0, 10) ? '' : `${day} `}${iso.slice(11, 19)}`;
}
