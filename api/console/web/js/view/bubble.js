import { h, icon, setText } from '../../shared/dom.js';
import { has, t } from '../../shared/i18n.js';
import { cancellable } from '../message.js';
import { clock, dayKey, exact } from '../time.js';
import { explain } from './errors.js';

const LONG = 1200; // characters, beyond which a text is folded
const LINES = 16;

const ICON = { QUEUED: 'tick', SENT: 'tick', DELIVERED: 'ticks', READ: 'ticks', FAILED: 'alert', EXPIRED: 'clock', CANCELLED: 'cancel' };

/** Makes the element of a message; on.cancel(message) and on.reply(message) are its actions. */
export function bubble(message, on) {
  const text = h('div', { class: 'text', dir: 'auto' });
  const choices = h('ul', { class: 'choices', 'aria-label': t('message.choices'), hidden: true });
  const state = h('span', { class: 'state' });
  const time = h('time', {});
  const actions = h('span', { class: 'actions' });
  const el = h('article', { class: `bubble ${message.incoming ? 'in' : 'out'}`, dataset: { id: message.id } }, text, choices, h('footer', {}, actions, time, state));
  el.parts = { text, choices, state, time, actions };
  fold(text, message.text);
  if (message.choices?.length) {
    choices.append(...message.choices.map((c) => h('li', { dir: 'auto' }, c)));
    choices.hidden = false;
  }
  if (message.incoming) actions.append(h('button', { class: 'button link', type: 'button', on: { click: () => on.reply(message) } }, t('message.reply')));
  else actions.append(h('button', { class: 'button link', type: 'button', on: { click: () => on.cancel(message) } }, t('message.cancel')));
  return el;
}

/** Shows a text, a long one folded. */
function fold(el, text) {
  const long = text.length > LONG || text.split('\n', LINES + 1).length > LINES;
  el.textContent = text;
  if (!long) return;
  el.classList.add('folded');
  const more = h('button', {
    class: 'button link more', type: 'button', 'aria-expanded': 'false',
    on: { click: () => {
      const open = el.classList.toggle('folded') === false;
      more.textContent = t(open ? 'message.less' : 'message.more');
      more.setAttribute('aria-expanded', String(open));
    } },
  }, t('message.more'));
  queueMicrotask(() => el.after(more));
}

/** Brings an element up to its message. */
export function fill(el, message) {
  const { state, time, actions } = el.parts;
  setText(time, clock(message.at));
  time.dateTime = new Date(message.at).toISOString();
  time.title = exact(message.at);
  if (message.incoming) {
    el.classList.toggle('unread', message.unread);
    el.setAttribute('aria-label', t(message.unread ? 'message.fromUnread' : 'message.from', { time: exact(message.at) }));
    return;
  }
  actions.hidden = !cancellable(message);
  if (el.dataset.state !== message.state || el.dataset.acked !== String(message.acked)) {
    el.dataset.state = message.state;
    el.dataset.acked = message.acked;
    state.replaceChildren(icon(ICON[message.state]), h('span', {}, outcome(message)));
  }
  const detail = [message.delivered && t('message.deliveredAt', { time: exact(message.delivered) }), message.opened && t('message.readAt', { time: exact(message.opened) }),
    message.expires && message.state === 'QUEUED' && t('message.expiresAt', { time: exact(message.expires) })];
  state.title = detail.filter(Boolean).join('\n');
  el.setAttribute('aria-label', t('message.to', { time: exact(message.at), state: outcome(message) }));
}

/** The state of an outgoing message in words. */
export function outcome(m) {
  const at = (ms) => (dayKey(ms) === dayKey(m.at) ? clock(ms) : exact(ms));
  switch (m.state) {
    case 'QUEUED': return m.parts > 1 && m.acked > 0 ? t('state.progress', { acked: m.acked, parts: m.parts }) : t('state.QUEUED');
    case 'DELIVERED': return m.delivered ? t('state.deliveredAt', { time: at(m.delivered) }) : t('state.DELIVERED');
    case 'READ': return m.opened ? t('state.readAt', { time: at(m.opened) }) : t('state.READ');
    case 'FAILED': return m.reason ? t('state.failedBecause', { reason: reason(m.reason) }) : t('state.FAILED');
    default: return t(`state.${m.state}`);
  }
}

/** The server's reasons are English sentences of a closed set. */
function reason(text) {
  const key = `reason.${text}`;
  return has(key) ? t(key) : text;
}

/** Makes the element of a text that the server does not have yet; on.retry(item), on.discard(item). */
export function unsent(item, on) {
  const state = h('span', { class: 'state' });
  const actions = h('span', { class: 'actions' },
    h('button', { class: 'button link', type: 'button', on: { click: () => on.retry(item) } }, t('message.retry')),
    h('button', { class: 'button link', type: 'button', on: { click: () => on.discard(item) } }, t('message.discard')));
  const text = h('div', { class: 'text', dir: 'auto' });
  fold(text, item.text);
  const el = h('article', { class: 'bubble out', dataset: { key: item.key } }, text, h('footer', {}, actions, state));
  el.parts = { state, actions };
  return el;
}

export function fillUnsent(el, item) {
  const { state, actions } = el.parts;
  const failed = item.state === 'failed';
  el.dataset.state = failed ? 'UNSENT' : 'SENDING';
  el.hidden = !failed && item.claimed === true; // the message itself is there already
  actions.hidden = !failed;
  const words = failed ? t('state.unsent', { reason: explain(item.error) }) : t('state.sending');
  if (state.textContent !== words) state.replaceChildren(icon(failed ? 'alert' : 'clock'), h('span', {}, words));
  el.setAttribute('aria-label', words);
}
