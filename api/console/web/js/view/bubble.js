import { h, icon, setText } from '../../shared/dom.js';
import { has, t } from '../../shared/i18n.js';
import { cancellable, endedBadly } from '../message.js';
import { brief, clock, dayKey, exact } from '../time.js';
import { explain } from './errors.js';
import { linked } from './links.js';

const LONG = 1200; // characters, beyond which a text is folded
const LINES = 16;

/** The icon of each state of an outgoing message. */
export const ICON = {
  QUEUED: 'tick',
  SENT: 'tick',
  DELIVERED: 'ticks',
  READ: 'ticks',
  FAILED: 'alert',
  EXPIRED: 'clock',
  CANCELLED: 'cancel',
};

/**
 * Makes the element of a message. Its actions are on.cancel(message), on.reply(message),
 * on.again(message), on.dismiss(message) and on.show(id), for a message that it answers.
 */
export function bubble(message, on) {
  return frame(message.incoming ? 'in' : 'out', { id: message.id }, message.text, on);
}

function frame(side, dataset, words, on) {
  const quote = h('button', { class: 'answered', type: 'button', hidden: true });
  const urgent = h('p', { class: 'urgent', hidden: true }, icon('urgent'), t('message.urgent'));
  const text = h('div', { class: 'text', dir: 'auto' });
  const choices = h('ul', { class: 'choices', 'aria-label': t('message.choices'), hidden: true });
  const author = h('bdi', { class: 'author', hidden: true });
  const state = h('span', { class: 'state' });
  const time = h('time', {});
  const actions = h('span', { class: 'actions' });
  const el = h(
    'article',
    { class: `bubble ${side}`, dataset },
    quote,
    urgent,
    text,
    choices,
    h('footer', {}, actions, author, time, state),
  );
  el.parts = { quote, urgent, choices, author, state, time, actions };
  el.on = on;
  fold(text, words);
  return el;
}

/** Shows a text, a long one folded. */
function fold(el, text) {
  const long = text.length > LONG || text.split('\n', LINES + 1).length > LINES;
  el.append(...linked(text));
  if (!long) return;
  el.classList.add('folded');
  const more = h(
    'button',
    {
      class: 'button link more',
      type: 'button',
      'aria-expanded': 'false',
      on: {
        click: () => {
          const open = el.classList.toggle('folded') === false;
          more.textContent = t(open ? 'message.less' : 'message.more');
          more.setAttribute('aria-expanded', String(open));
        },
      },
    },
    t('message.more'),
  );
  queueMicrotask(() => el.after(more));
}

/**
 * Brings an element up to its message. quoted is the message that it answers, if that is known;
 * problem says that nobody has done with its bad end, unanswered that its device is silent:
 * {tries, since}, and mayWrite whether more than reading is offered.
 */
export function fill(
  el,
  message,
  { quoted = null, problem = false, unanswered = null, mayWrite = true } = {},
) {
  const { state, time } = el.parts;
  setText(time, clock(message.at));
  time.dateTime = new Date(message.at).toISOString();
  time.title = exact(message.at);
  fillQuote(el, message, quoted);
  fillAuthor(el.parts.author, message);
  el.parts.urgent.hidden = !message.urgent;
  fillChoices(el, message);
  fillActions(el, message, { problem, mayWrite });
  if (message.incoming) {
    el.classList.toggle('unread', message.unread);
    el.setAttribute(
      'aria-label',
      t(message.unread ? 'message.fromUnread' : 'message.from', { time: exact(message.at) }),
    );
    return;
  }
  const words = unanswered === null ? outcome(message) : silence(unanswered);
  fillState(el, state, message, words);
  el.classList.toggle('unanswered', unanswered !== null);
  state.title = details(message);
  el.setAttribute('aria-label', t('message.to', { time: exact(message.at), state: words }));
}

function fillAuthor(el, { author }) {
  el.hidden = !author?.name;
  if (el.hidden) return;
  setText(el, author.name);
  el.title = t(author.kind === 'key' ? 'message.byKey' : 'message.byUser', { name: author.name });
}

function fillQuote(el, { replyTo }, quoted) {
  const { quote } = el.parts;
  const words = replyTo && (quoted ? quoted.text.slice(0, 200) : t('message.earlier'));
  quote.hidden = !replyTo;
  if (!replyTo || quote.textContent === words) return;
  quote.replaceChildren(icon('reply'), h('span', { dir: 'auto' }, words));
  quote.setAttribute('aria-label', t('message.answers', { text: words }));
  quote.onclick = () => el.on.show(replyTo);
}

function fillChoices(el, { choices }) {
  const list = el.parts.choices;
  const words = (choices ?? []).join('\n');
  if (list.dataset.words === words) return;
  list.dataset.words = words;
  list.hidden = words === '';
  list.replaceChildren(...(choices ?? []).map((c) => h('li', { dir: 'auto' }, c)));
}

/** What can be done about a message depends on what has become of it. */
function fillActions(el, message, { problem, mayWrite }) {
  const { incoming } = message;
  const can = [
    mayWrite && incoming && 'reply',
    mayWrite && !incoming && cancellable(message) && 'cancel',
    mayWrite && !incoming && endedBadly(message) && 'again',
    problem && 'dismiss',
  ];
  offer(el, message, can.filter(Boolean));
}

/** Shows the actions can of what is a message or a text of the outbox. */
function offer(el, what, can) {
  const { actions } = el.parts;
  el.shown = what;
  if (actions.dataset.can === can.join(' ')) return;
  actions.dataset.can = can.join(' ');
  actions.replaceChildren(
    ...can.map((name) =>
      h(
        'button',
        { class: 'button link', type: 'button', on: { click: () => el.on[name](el.shown) } },
        t(`message.${name}`),
      ),
    ),
  );
}

/**
 * Shows in cell what an outgoing message has come to: its icon and words, and the colour by the
 * data of el. Characters that the device could not show keep it from being green.
 */
export function fillState(el, cell, message, words = outcome(message)) {
  el.dataset.state = message.state;
  el.classList.toggle('replaced', message.replaced > 0);
  if (cell.textContent !== words)
    cell.replaceChildren(icon(ICON[message.state]), h('span', {}, words));
}

function details(m) {
  return [
    m.delivered && t('message.deliveredAt', { time: exact(m.delivered) }),
    m.opened && t('message.readAt', { time: exact(m.opened) }),
    m.expires && m.state === 'QUEUED' && t('message.expiresAt', { time: exact(m.expires) }),
    m.replaced > 0 && t('message.replaced'),
  ]
    .filter(Boolean)
    .join('\n');
}

/**
 * That a device has not answered, in words: how often it was handed the text, if that is known, and
 * since when.
 */
export function silence({ tries, since }) {
  const time = brief(since, Date.now());
  return tries > 0 ? t('state.tried', { n: tries, time }) : t('state.unanswered', { time });
}

/** The state of an outgoing message in words. */
export function outcome(m) {
  return m.replaced > 0 ? t('state.replaced', { state: plain(m), n: m.replaced }) : plain(m);
}

function plain(m) {
  const at = (ms) => (dayKey(ms) === dayKey(m.at) ? clock(ms) : exact(ms));
  switch (m.state) {
    case 'QUEUED':
      if (m.tries > 0) return silence({ tries: m.tries, since: m.tried });
      return m.parts > 1 && m.acked > 0
        ? t('state.progress', { acked: m.acked, parts: m.parts })
        : t('state.QUEUED');
    case 'DELIVERED':
      return m.delivered ? t('state.deliveredAt', { time: at(m.delivered) }) : t('state.DELIVERED');
    case 'READ':
      return m.opened ? t('state.readAt', { time: at(m.opened) }) : t('state.READ');
    case 'FAILED':
      return m.reason ? t('state.failedBecause', { reason: reason(m.reason) }) : t('state.FAILED');
    default:
      return t(`state.${m.state}`);
  }
}

/** The server's reasons are English sentences of a closed set. */
function reason(text) {
  const key = `reason.${text}`;
  return has(key) ? t(key) : text;
}

/**
 * Makes the element of a text that the server does not have yet; on.retry(item), on.discard(item).
 */
export const unsent = (item, on) => frame('out', { key: item.key }, item.text, on);

export function fillUnsent(el, item, { quoted = null } = {}) {
  const { state } = el.parts;
  const failed = item.state === 'failed';
  el.dataset.state = failed ? 'UNSENT' : 'SENDING';
  el.hidden = !failed && item.claimed === true; // the message itself is there already
  fillQuote(el, { replyTo: item.extras.reply_to }, quoted);
  el.parts.urgent.hidden = !item.extras.urgent;
  fillChoices(el, item.extras);
  offer(el, item, failed ? ['retry', 'discard'] : []);
  const words = failed ? t('state.unsent', { reason: explain(item.error) }) : t('state.sending');
  if (state.textContent !== words)
    state.replaceChildren(icon(failed ? 'alert' : 'clock'), h('span', {}, words));
  el.setAttribute('aria-label', words);
}
