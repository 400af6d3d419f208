// The words of the page, from a message file. A message is text with {name} for what is filled in,
// or an object of plural forms chosen by {n}.

export const LANGUAGES = {
  en: 'English',
  de: 'Deutsch',
  es: 'Español',
  ru: 'Русский',
  zh: '简体中文',
};

let messages = {};
let language = 'en';
let regional = 'en';
let plurals = new Intl.PluralRules('en');

/** Picks the first language of the wanted ones that there is. */
export function choose(wanted) {
  for (const tag of wanted) {
    const short = tag.toLowerCase().split('-')[0];
    if (short in LANGUAGES) return short;
  }
  return 'en';
}

/** Loads a language's message file, relative to base. */
export async function load(lang, base) {
  const response = await fetch(new URL(`${lang}.json`, base));
  if (!response.ok) throw new Error(`message file ${lang}: ${response.status}`);
  messages = await response.json();
  language = lang;
  regional = region(lang);
  plurals = new Intl.PluralRules(lang);
  document.documentElement.lang = lang;
}

/**
 * The first of the browser's languages that is this one with a country, in the same script; English
 * without a country is written day first.
 */
function region(lang) {
  const script = (tag) => new Intl.Locale(tag).maximize().script;
  const found = navigator.languages.find(
    (tag) => tag.startsWith(`${lang}-`) && script(tag) === script(lang),
  );
  return found ?? (lang === 'en' ? 'en-GB' : lang);
}

/** The language in use, for Intl. */
export const current = () => language;

/** The language in use as it is written in this browser's country, for dates. */
export const locale = () => regional;

/** Whether there is such a message. */
export const has = (key) => key in messages;

/**
 * The message of a key; the key itself where there is none, so that a gap is seen and harms
 * nothing.
 */
export function t(key, values = {}) {
  let m = messages[key] ?? key;
  if (typeof m === 'object') m = m[plurals.select(values.n)] ?? m.other;
  return m.replace(/\{(\w+)\}/g, (whole, name) => {
    const v = values[name];
    if (v === undefined) return whole;
    return typeof v === 'number' ? v.toLocaleString(language) : v;
  });
}
