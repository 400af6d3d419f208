import { current } from '../shared/i18n.js';

// Times as a person of the account's zone reads them.

let zone = 'UTC';
let formats = {};

/** Sets the account's time zone; one that the browser does not know becomes UTC. */
export function setZone(name) {
  try {
    new Intl.DateTimeFormat('en', { timeZone: name });
    zone = name;
  } catch {
    zone = 'UTC';
  }
  formats = {};
}

export const zoneName = () => zone;

const SHAPES = {
  clock: { hour: '2-digit', minute: '2-digit', hourCycle: 'h23' },
  exact: { dateStyle: 'medium', timeStyle: 'medium', hourCycle: 'h23' },
  day: { weekday: 'long', day: 'numeric', month: 'long' },
  year: { weekday: 'long', day: 'numeric', month: 'long', year: 'numeric' },
  short: { day: '2-digit', month: '2-digit', year: '2-digit' },
  number: { year: 'numeric', month: '2-digit', day: '2-digit' },
};

function format(shape, ms, lang = current()) {
  const key = `${shape} ${lang}`;
  formats[key] ??= new Intl.DateTimeFormat(lang === 'en' ? 'en-GB' : lang, { timeZone: zone, ...SHAPES[shape] });
  return formats[key].format(ms);
}

/** 14:05 */
export const clock = (ms) => format('clock', ms);

/** Day and time to the second. */
export const exact = (ms) => format('exact', ms);

/** A key that is the same for all moments of a day. */
export const dayKey = (ms) => format('number', ms, 'sv');

/** A day in words; `today` and `yesterday` are the words for those. */
export function dayName(ms, now, today, yesterday) {
  const key = dayKey(ms);
  if (key === dayKey(now)) return today;
  if (key === dayKey(now - 86_400_000)) return yesterday;
  return format(key.slice(0, 4) === dayKey(now).slice(0, 4) ? 'day' : 'year', ms);
}

/** The time of today, else the day. */
export const brief = (ms, now) => (dayKey(ms) === dayKey(now) ? clock(ms) : format('short', ms));
