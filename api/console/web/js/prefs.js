// What this browser remembers. A browser that forbids that forgets it with the page.

const PREFIX = 'trackchat.';
const memory = new Map();

function read(storage, key) {
  try { return storage().getItem(PREFIX + key); } catch { return memory.get(key) ?? null; }
}

function write(storage, key, value) {
  try {
    if (value === null) storage().removeItem(PREFIX + key);
    else storage().setItem(PREFIX + key, value);
  } catch {
    memory.set(key, value);
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

/** The canned texts of an account, null if it has none of its own. */
export function canned(account) {
  try { return JSON.parse(read(local, `canned.${account}`)); } catch { return null; }
}
export const setCanned = (account, texts) => write(local, `canned.${account}`, texts && JSON.stringify(texts));

/** Who is signed in: {hash, key}; key says that it is an API key, which no sign-out ends. It is kept for this tab only, unless it is to stay. */
export function login() {
  try { return JSON.parse(read(tab, 'login') ?? read(local, 'login')); } catch { return null; }
}

export function setLogin(value, stay) {
  write(tab, 'login', value && JSON.stringify(value));
  write(local, 'login', value && stay ? JSON.stringify(value) : null);
}
