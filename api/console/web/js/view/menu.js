import { h, icon } from '../../shared/dom.js';
import { current, LANGUAGES, t } from '../../shared/i18n.js';
import * as prefs from '../prefs.js';
import { zoneName } from '../time.js';
import { dialog } from './dialog.js';
import { popup } from './popup.js';
import { toast } from './toast.js';

const KEYS = [
  ['/', 'search'],
  ['↑ ↓', 'move'],
  ['Enter', 'open'],
  ['Enter', 'send'],
  ['Shift+Enter', 'line'],
  ['Alt+↑ / Alt+↓', 'neighbour'],
  ['Alt+N', 'unread'],
  ['Esc', 'escape'],
  ['?', 'help'],
];

/**
 * The menu of the account. Actions are {signOut, again, markAllRead, broadcasts}, and
 * alerts; markAllRead is false where that is not offered.
 */
export function accountMenu(account, actions) {
  return popup(icon('menu'), t('menu.label'), (close) => {
    const languages = h(
      'select',
      {
        class: 'input',
        name: 'language',
        on: {
          change: () => {
            prefs.setLanguage(languages.value);
            actions.again();
          },
        },
      },
      Object.entries(LANGUAGES).map(([tag, name]) =>
        h('option', { value: tag, lang: tag, selected: tag === current() }, name),
      ),
    );
    const themes = h(
      'select',
      { class: 'input', name: 'theme', on: { change: () => prefs.setTheme(themes.value || null) } },
      ['', 'light', 'dark'].map((name) =>
        h(
          'option',
          { value: name, selected: name === (prefs.theme() ?? '') },
          t(`theme.${name || 'system'}`),
        ),
      ),
    );
    const { alerts } = actions;
    const desktop = check('alerts.desktop', alerts.desktop, async (box) => {
      if (await alerts.setDesktop(box.checked)) return;
      box.checked = false;
      toast(t('alerts.refused'), true);
    });
    const sound = check('alerts.sound', alerts.sound, (box) => alerts.setSound(box.checked));
    const item = (key, act) =>
      h(
        'button',
        {
          class: 'choice',
          type: 'button',
          on: {
            click: () => {
              close();
              act();
            },
          },
        },
        t(key),
      );
    return h(
      'div',
      { class: 'menu account' },
      h('p', { class: 'quiet' }, h('bdi', {}, account.login), ' · ', zoneName()),
      h('label', { class: 'field' }, t('menu.language'), languages),
      h('label', { class: 'field' }, t('menu.theme'), themes),
      h('fieldset', { class: 'field' }, h('legend', {}, t('alerts.label')), desktop, sound),
      item('menu.broadcasts', actions.broadcasts),
      actions.markAllRead && item('menu.markAll', actions.markAllRead),
      item('menu.keys', showKeys),
      item('menu.signOut', actions.signOut),
    );
  });
}

function check(key, checked, act) {
  const change = (e) => act(e.target);
  return h(
    'label',
    { class: 'check' },
    h('input', { type: 'checkbox', name: key, checked, on: { change } }),
    t(key),
  );
}

/** Shows what the keys do. */
export function showKeys() {
  if (document.querySelector('dialog')) return;
  dialog(
    t('menu.keys'),
    h(
      'dl',
      { class: 'keys' },
      KEYS.flatMap(([keys, what]) => [
        h('dt', {}, h('kbd', {}, keys)),
        h('dd', {}, t(`key.${what}`)),
      ]),
    ),
  );
}
