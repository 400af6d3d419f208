import { h } from '../../shared/dom.js';
import { t } from '../../shared/i18n.js';
import { Api } from '../api.js';
import { explain } from './errors.js';

/**
 * The login form. why is the key of a message, key an API key to begin with; done(login, stay) gets
 * who signed in.
 */
export function loginView({ why, key, done }) {
  const problem = h('p', { class: 'notice bad', role: 'alert', hidden: !why }, why ? t(why) : '');
  const login = h('input', {
    class: 'input',
    name: 'login',
    autocomplete: 'username',
    required: true,
    autocapitalize: 'none',
    spellcheck: false,
  });
  const password = h('input', {
    class: 'input',
    name: 'password',
    type: 'password',
    autocomplete: 'current-password',
    required: true,
  });
  const hash = h('input', {
    class: 'input mono',
    name: 'key',
    autocomplete: 'off',
    spellcheck: false,
    autocapitalize: 'none',
    value: key,
    pattern: '\\s*[0-9a-fA-F]{32}\\s*',
    title: t('login.keyFormat'),
    required: true,
  });
  const stay = h('input', { type: 'checkbox', name: 'stay' });
  const submit = h('button', { class: 'button primary', type: 'submit' }, t('login.submit'));
  const byPassword = h(
    'div',
    { class: 'fields' },
    h('label', { class: 'field' }, t('login.login'), login),
    h('label', { class: 'field' }, t('login.password'), password),
    h('label', { class: 'check' }, stay, t('login.stay')),
  );
  const byKey = h(
    'div',
    { class: 'fields' },
    h('label', { class: 'field' }, t('login.key'), hash, h('small', {}, t('login.keyHint'))),
  );
  const other = h('button', {
    class: 'button link',
    type: 'button',
    on: {
      click: () => {
        show(byPassword.hidden ? 'password' : 'key').focus();
      },
    },
  });

  function show(way) {
    byPassword.hidden = way === 'key';
    byKey.hidden = way !== 'key';
    // what is hidden is not checked
    for (const input of [login, password, stay]) input.disabled = byPassword.hidden;
    hash.disabled = byKey.hidden;
    other.textContent = t(way === 'key' ? 'login.usePassword' : 'login.useKey');
    return way === 'key' ? hash : login;
  }

  async function enter(event) {
    event.preventDefault();
    submit.disabled = true;
    problem.hidden = true;
    try {
      if (byKey.hidden) {
        const answer = await new Api().call('user/auth', {
          login: login.value,
          password: password.value,
        });
        done({ hash: answer.hash, key: false }, stay.checked);
      } else {
        const text = hash.value.trim();
        await new Api(text).call('user/get_info');
        done({ hash: text, key: true }, false);
      }
    } catch (e) {
      problem.textContent = [explain(e), ...(e.errors ?? []).map((each) => each.error)].join(' ');
      problem.hidden = false;
      submit.disabled = false;
    }
  }

  const form = h(
    'form',
    { class: 'card', on: { submit: enter } },
    h(
      'h1',
      {},
      h('img', { src: '/console/shared/icon.svg', alt: '', width: 32, height: 32 }),
      t('app.title'),
    ),
    h('p', { class: 'quiet' }, t('login.intro')),
    problem,
    byPassword,
    byKey,
    submit,
    other,
  );
  const first = show(key ? 'key' : 'password');
  queueMicrotask(() => first.focus());
  return h('main', { class: 'login' }, form);
}
