// What this browser remembers. A browser that forbids that forgets it with the page.

const PREFIX = 'trackchat.';
const memory = new Map();

function read(storage, key) {
  if (memory.has(key)) return memory.get(key); // the storage would not take it
  try {
    return storage().getItem(PREFIX + key);
  } catch {
    return null;
  }
}

function write(storage, key, value) {
  memory.delete(key);
  try {
    if (value === null) storage().removeItem(PREFIX + key);
    else storage().setItem(PREFIX + key, value);
  } catch {
    memory.set(key, value);
  }
}

function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

const local = () => localStorage;
const tab = () => sessionStorage;

/** 'light', 'dark', or null for what the system wants. */
export const theme = () => read(local, 'theme');

export function setTheme(name) {
  write(local, 'theme', name);
  applyTheme();
}

export function applyTheme() {
  const name = theme();
  if (name) document.documentElement.dataset.theme = name;
  else delete document.documentElement.dataset.theme;
}

/** The language that was chosen, null if none was. */
export const language = () => read(local, 'language');
export const setLanguage = (lang) => write(local, 'language', lang);

/** Whether this browser is to tell of what comes by `desktop` or `sound`. */
export const alert = (how) => read(local, `alert.${how}`) === 'on';
export const setAlert = (how, on) => write(local, `alert.${how}`, on ? 'on' : null);

/** The texts of an account from before it had templates, null if there are none. */
export const canned = (account) => parse(read(local, `canned.${account}`));
export const setCanned = (account, texts) =>
  write(local, `canned.${account}`, texts && JSON.stringify(texts));

/**
 * Who is signed in: {hash, key}; key says that it is an API key, which no sign-out ends. It is kept
 * for this tab only, unless it is to stay.
 */
export const login = () => parse(read(tab, 'login') ?? read(local, 'login'));

export function setLogin(value, stay) {
  write(tab, 'login', value && JSON.stringify(value));
  write(local, 'login', value && stay ? JSON.stringify(value) : null);
}

/** Ids of the texts of an account that ended badly and that somebody has done with. */
export const dismissed = (account) => parse(read(local, `dismissed.${account}`)) ?? [];
export const setDismissed = (account, ids) =>
  write(local, `dismissed.${account}`, JSON.stringify(ids));

/** What is begun in this tab and not finished, see Work; null where there is none. */
export const unfinished = (key) => parse(read(tab, `work.${key}`));
export const setUnfinished = (key, value) =>
  write(tab, `work.${key}`, value && JSON.stringify(value));

/** The keys of unfinished things that begin with prefix. */
export function unfinishedKeys(prefix) {
  const start = `work.${prefix}`;
  let keys = [];
  try {
    keys = Object.keys(tab()).map((k) => k.slice(PREFIX.length));
  } catch {
    /* there is memory alone */
  }
  const all = new Set([...keys, ...memory.keys()]);
  return [...all]
    .filter((k) => k.startsWith(start) && read(tab, k) !== null)
    .map((k) => k.slice('work.'.length));
}
