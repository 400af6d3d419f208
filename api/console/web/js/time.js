import { locale } from '../shared/i18n.js';

// Times as a person of the account's zone reads them.

let zone = 'UTC';
let formats = {};
const days = new Map(); // their keys, by quarter of an hour

/** Sets the account's time zone; one that the browser does not know becomes UTC. */
export function setZone(name) {
  try {
    new Intl.DateTimeFormat('en', { timeZone: name });
    zone = name;
  } catch {
    zone = 'UTC';
  }
  formats = {};
  days.clear();
}

export const zoneName = () => zone;

/**
 * Whether the account's clock shows another time than this computer's, in summer or winter; zones
 * have many names.
 */
export function foreign() {
  const own = new Intl.DateTimeFormat().resolvedOptions().timeZone;
  const offset = (timeZone, at) =>
    new Intl.DateTimeFormat('en', { timeZone, timeZoneName: 'longOffset' })
      .formatToParts(at)
      .find((p) => p.type === 'timeZoneName').value;
  const half = 182 * 86_400_000;
  return [Date.now(), Date.now() + half].some((at) => offset(zone, at) !== offset(own, at));
}

const SHAPES = {
  clock: { hour: '2-digit', minute: '2-digit', hourCycle: 'h23' },
  exact: { dateStyle: 'medium', timeStyle: 'medium', hourCycle: 'h23' },
  day: { weekday: 'long', day: 'numeric', month: 'long' },
  year: { weekday: 'long', day: 'numeric', month: 'long', year: 'numeric' },
  short: { day: '2-digit', month: '2-digit', year: '2-digit' },
  number: { year: 'numeric', month: '2-digit', day: '2-digit' },
};

function format(shape, ms, lang = locale()) {
  const key = `${shape} ${lang}`;
  formats[key] ??= new Intl.DateTimeFormat(lang, { timeZone: zone, ...SHAPES[shape] });
  return formats[key].format(ms);
}

/** 14:05 */
export const clock = (ms) => format('clock', ms);

/** Day and time to the second. */
export const exact = (ms) => format('exact', ms);

const QUARTER = 900_000; // ms; no zone's day begins within a quarter of an hour
const KEPT = 50_000; // quarters whose day is remembered

/** A key that is the same for all moments of a day. Long conversations ask for it over and over. */
export function dayKey(ms) {
  const quarter = Math.floor(ms / QUARTER);
  let key = days.get(quarter);
  if (key === undefined) {
    if (days.size >= KEPT) days.clear();
    days.set(quarter, (key = format('number', ms, 'sv')));
  }
  return key;
}

/** A day in words; `today` and `yesterday` are the words for those. */
export function dayName(ms, now, today, yesterday) {
  const key = dayKey(ms);
  if (key === dayKey(now)) return today;
  if (key === dayKey(now - 86_400_000)) return yesterday;
  return format(key.slice(0, 4) === dayKey(now).slice(0, 4) ? 'day' : 'year', ms);
}

/** The time of today, else the day. */
export const brief = (ms, now) => (dayKey(ms) === dayKey(now) ? clock(ms) : format('short', ms));
