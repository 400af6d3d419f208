import { h, icon, reconcile, setText } from '../../shared/dom.js';
import { t } from '../../shared/i18n.js';
import { CODE } from '../api.js';
import { fillState, outcome } from './bubble.js';
import { explain } from './errors.js';

const ICON = {
  sending: 'clock',
  full: 'alert',
  unsupported: 'alert',
  refused: 'alert',
  held: 'cancel',
  failed: 'alert',
};

/** The bar of a view of broadcasts; with end, the word of a button that ends selecting. */
export function bar({ go, end: finish }, title, end = null) {
  return h(
    'header',
    { class: 'bar' },
    h(
      'button',
      {
        class: 'iconbutton back',
        type: 'button',
        'aria-label': t('conversation.back'),
        on: { click: () => go('#/') },
      },
      icon('back'),
    ),
    h('div', { class: 'who' }, title),
    end &&
      h(
        'button',
        { class: 'button', type: 'button', on: { click: () => go('#/broadcasts') } },
        t('broadcast.history'),
      ),
    end &&
      h(
        'button',
        {
          class: 'button end',
          type: 'button',
          on: {
            click: () => {
              finish();
              go('#/');
            },
          },
        },
        end,
      ),
  );
}

/** What has become of a broadcast, in words. */
export function summary(b) {
  if (b.error) return b.error.code === CODE.nonexistent ? t('broadcast.nothing') : explain(b.error);
  if (!b.done) return t('broadcast.sending');
  const is = (...states) => b.count((r) => states.includes(r.message?.state));
  const sent = b.count((r) => r.state === 'sent');
  const replaced = b.count((r) => r.message?.replaced > 0);
  const left = b.results.size - sent;
  const bad = is('FAILED', 'EXPIRED');
  return [
    t('broadcast.sent', { n: sent }),
    t('broadcast.delivered', { n: is('DELIVERED', 'READ') }),
    replaced > 0 && t('broadcast.replaced', { n: replaced }),
    bad > 0 && t('broadcast.bad', { n: bad }),
    left > 0 && t('broadcast.left', { n: left }),
  ]
    .filter(Boolean)
    .join(' · ');
}

/** A broadcast and its result at each tracker. */
export class BroadcastResultView {
  #services;
  #broadcast;
  #rows = new Map();
  #stop = new AbortController();

  constructor(services, broadcast) {
    this.#services = services;
    this.#broadcast = broadcast;
    const { signal } = this.#stop;
    this.summary = h('p', { class: 'summary', role: 'status' });
    this.retry = h('button', { class: 'button', type: 'button', hidden: true });
    this.table = h('ul', { class: 'results', 'aria-label': t('broadcast.results') });
    this.result = h(
      'div',
      { class: 'result', tabIndex: -1 },
      h('blockquote', { class: 'text', dir: 'auto' }, broadcast.text),
      this.summary,
      this.retry,
      this.table,
    );
    this.element = h(
      'section',
      { class: 'conversation broadcast' },
      bar(
        services,
        h('h1', {}, t('broadcast.title', { n: broadcast.results.size })),
        t('broadcast.end'),
      ),
      this.result,
    );
    broadcast.addEventListener('change', () => this.#draw(), { signal });
    services.state.addEventListener('trackers', () => this.#draw(), { signal });
    this.#draw();
    broadcast.refresh();
  }

  focus() {
    this.result.focus();
  }

  close() {
    this.#stop.abort();
  }

  #draw() {
    const { state } = this.#services;
    const b = this.#broadcast;
    setText(this.summary, summary(b));
    this.summary.classList.toggle('bad', b.error !== null);
    this.#offer(b);
    const items = [...b.results].map(([id, r]) => ({
      id,
      r,
      label: state.trackers.get(id)?.label ?? String(id),
      online: state.trackers.get(id)?.online,
    }));
    reconcile(
      this.table,
      this.#rows,
      items,
      (x) => x.id,
      (x) => h('li', { dataset: { id: x.id } }, h('bdi', {}), h('span', { class: 'state' })),
      (el, x) => this.#fill(el, x),
    );
  }

  /** What was refused because of some trackers can be sent to the others. */
  #offer(b) {
    const held = [...b.results].filter(([, r]) => r.state === 'held').map(([id]) => id);
    const blamed = b.count((r) => r.state === 'refused') > 0;
    const again = b.error && b.error.code !== CODE.nonexistent;
    this.retry.hidden = !(again || (blamed && held.length > 0));
    this.retry.textContent = again ? t('message.retry') : t('broadcast.others', { n: held.length });
    this.retry.onclick = () => (again ? b.send([...b.results.keys()]) : this.#others(b, held));
  }

  /**
   * The others are another broadcast: what the first key was refused for is not to be answered
   * again.
   */
  #others(b, held) {
    const key = `${b.key}-others`;
    this.#services.broadcasts.begin(key, held, b.text, b.extras);
    this.#services.go(`#/broadcasts/${key}`);
  }

  #fill(el, { r, label, online }) {
    const cell = el.lastChild;
    setText(el.firstChild, label);
    if (r.state === 'sent' && r.message) {
      fillState(
        el,
        cell,
        r.message,
        r.message.state === 'QUEUED' && online === false
          ? t('broadcast.offline')
          : outcome(r.message),
      );
      return;
    }
    const words =
      r.state === 'sent'
        ? t('state.QUEUED')
        : r.state === 'refused' && r.reason
          ? explain(r.reason)
          : t(`broadcast.${r.state}`);
    el.dataset.state = r.state === 'sent' ? 'QUEUED' : r.state;
    if (cell.textContent !== words)
      cell.replaceChildren(icon(ICON[r.state] ?? 'tick'), h('span', {}, words));
  }
}
