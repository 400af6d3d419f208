// Prometheus' text format, and what the view computes from it.

/** Parses /metrics into a Map from name to a list of {labels, value}. */
export function parse(text) {
  const families = new Map();
  for (const line of text.split('\n')) {
    const m = /^([A-Za-z_:][\w:]*)(\{(.*)\})? (\S+)/.exec(line);
    if (!m) continue; // a comment
    const labels = {};
    for (const [, name, value] of (m[3] ?? '').matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g))
      labels[name] = value.replace(/\\(.)/g, (_, c) => (c === 'n' ? '\n' : c));
    if (!families.has(m[1])) families.set(m[1], []);
    families.get(m[1]).push({ labels, value: m[4] === '+Inf' ? Infinity : Number(m[4]) });
  }
  return families;
}

/** The sum of a family's values; 0 where there is none. */
export const total = (families, name) =>
  (families.get(name) ?? []).reduce((sum, s) => sum + s.value, 0);

/** A family's values added up by one of its labels. */
export function by(families, name, label) {
  const sums = new Map();
  for (const s of families.get(name) ?? []) {
    const key = s.labels[label] ?? '';
    sums.set(key, (sums.get(key) ?? 0) + s.value);
  }
  return sums;
}

/**
 * A histogram as [{limit, count}], each count without those of the smaller limits; what `before`
 * had counted is taken off.
 */
export function buckets(families, name, before) {
  const read = (f) => by(f ?? new Map(), `${name}_bucket`, 'le');
  const old = read(before);
  const sums = [...read(families)]
    .map(([le, n]) => ({
      limit: le === '+Inf' ? Infinity : Number(le),
      count: n - (old.get(le) ?? 0),
    }))
    .sort((a, b) => a.limit - b.limit);
  return sums.map((b, i) => ({ limit: b.limit, count: b.count - (i > 0 ? sums[i - 1].count : 0) }));
}

/**
 * The value below which a share q of a histogram lies, linear within its bucket as Prometheus does
 * it; null where nothing was counted.
 */
export function quantile(list, q) {
  const all = list.reduce((sum, b) => sum + b.count, 0);
  if (all === 0) return null;
  let below = 0;
  for (let i = 0; i < list.length; i++) {
    const from = i > 0 ? list[i - 1].limit : 0;
    if (below + list[i].count >= q * all) {
      if (list[i].limit === Infinity) return from;
      return from + (list[i].limit - from) * ((q * all - below) / list[i].count);
    }
    below += list[i].count;
  }
  return null;
}
