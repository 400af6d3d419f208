import { h } from '../shared/dom.js';
import { choose, load, t } from '../shared/i18n.js';
import { Api, ApiError } from './api.js';
import { Broadcasts } from './broadcast.js';
import { Messenger } from './messenger.js';
import * as prefs from './prefs.js';
import { State } from './state.js';
import { Sync } from './sync.js';
import { setZone } from './time.js';
import { explain } from './view/errors.js';
import { Shell } from './view/shell.js';
import { loginView } from './view/login.js';

const RETRY = 3000; // ms between attempts to reach the server at the start

const app = document.getElementById('app');

/** Shows the login form; why is the key of a message, if there is a reason. */
function signIn(why = null, key = '') {
  document.title = t('app.title');
  app.replaceChildren(
    loginView({
      why,
      key,
      done: (login, stay) => {
        prefs.setLogin(login, stay);
        enter(login);
      },
    }),
  );
}

/** Shows the console of a caller who is known. */
async function enter(login) {
  const api = new Api(login.hash);
  let info;
  try {
    info = (await api.call('user/get_info')).user_info;
  } catch (e) {
    if (e instanceof ApiError && e.ended) return leave('login.ended');
    const why = e.storeless
      ? t('connection.storeless')
      : e.code === 0
        ? t('connection.unreachable')
        : explain(e);
    app.replaceChildren(h('p', { class: 'splash', role: 'status' }, why));
    setTimeout(() => enter(login), RETRY);
    return undefined;
  }
  setZone(info.time_zone);
  const state = new State(info);
  const messenger = new Messenger(api, state);
  const broadcasts = new Broadcasts(api, state);
  const close = () => {
    sync.stop();
    shell.close();
  };
  const sync = new Sync(api, state, messenger, () => {
    close();
    leave('login.ended');
  });
  const shell = new Shell({
    api,
    state,
    messenger,
    sync,
    broadcasts,
    signOut: async () => {
      close();
      state.work.clear();
      if (!login.key) await api.call('user/logout').catch(() => {}); // it ends here in any case
      leave();
    },
    again: () => {
      close();
      start();
    },
  });
  app.replaceChildren(shell.element);
  shell.shown();
  sync.start();
  messenger.resume();
  broadcasts.resume();
  return undefined;
}

function leave(why = null) {
  prefs.setLogin(null, false);
  signIn(why);
}

/**
 * A key in the address, #key=…, is for demonstrations: the service prints such an address. It signs
 * in by itself only on this very machine, because a link from elsewhere could otherwise make
 * somebody write into a stranger's account; elsewhere it only fills the form.
 */
function keyFromAddress() {
  const found = /^#key=([0-9a-f]{32})$/i.exec(location.hash);
  if (!found) return null;
  history.replaceState(null, '', location.pathname);
  return {
    hash: found[1],
    key: true,
    trusted: ['127.0.0.1', '[::1]', 'localhost'].includes(location.hostname),
  };
}

async function start() {
  prefs.applyTheme();
  const wanted = [prefs.language(), ...navigator.languages].filter(Boolean);
  await load(choose(wanted), new URL('../lang/', import.meta.url));
  const given = keyFromAddress();
  if (given?.trusted) prefs.setLogin({ hash: given.hash, key: true }, false);
  const login = prefs.login();
  if (given && !given.trusted) signIn(null, given.hash);
  else if (login) enter(login);
  else signIn();
}

start().catch((e) => {
  app.replaceChildren(h('p', { class: 'splash', role: 'alert' }, `trackchat: ${e.message}`));
});
