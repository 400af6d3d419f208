import { h, icon, reconcile, setText } from '../../shared/dom.js';
import { t } from '../../shared/i18n.js';
import { CODE } from '../api.js';
import { exact } from '../time.js';
import { fillState, outcome } from './bubble.js';
import { explain } from './errors.js';

const SHOWN = 1000; // trackers that are drawn
const ASKED = 50; // of those that got nothing, that it is asked for why

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

/** When and by whom, and to how many trackers, in words. */
export function about({ at, author, trackers, id }) {
  const to = id === null || trackers === 0 ? '' : t('broadcast.title', { n: trackers });
  return [at > 0 && exact(at), author?.name, to].filter(Boolean).join(' · ');
}

/** What has become of a broadcast, in words. */
export function summary(b) {
  if (b.error) return b.error.code === CODE.nonexistent ? t('broadcast.nothing') : explain(b.error);
  if (b.id === null) return t('broadcast.sending');
  const is = (...states) => b.count((r) => states.includes(r.state));
  const n = (key, count) => count > 0 && t(key, { n: count });
  const parts = [
    !b.complete && t('broadcast.under', { n: b.known, all: b.trackers }),
    t('broadcast.sent', { n: b.known - b.left }),
    ...(b.results
      ? [
          t('broadcast.delivered', { n: is('DELIVERED', 'READ') }),
          n(
            'broadcast.replaced',
            b.count((r) => r.replaced > 0),
          ),
          n('broadcast.bad', is('FAILED', 'EXPIRED')),
          n('broadcast.forgotten', is('FORGOTTEN')),
        ]
      : []),
    n('broadcast.left', b.left),
  ];
  return parts.filter(Boolean).join(' · ');
}

/** A broadcast and its result at each tracker. */
export class BroadcastResultView {
  #services;
  #broadcast;
  #rows = new Map();
  #stop = new AbortController();
  #frame = 0;
  #asked = false;

  constructor(services, broadcast) {
    this.#services = services;
    this.#broadcast = broadcast;
    const { signal } = this.#stop;
    const button = () => h('button', { class: 'button', type: 'button', hidden: true });
    this.title = h('h1', {});
    this.about = h('p', { class: 'quiet' });
    this.text = h('blockquote', { class: 'text', dir: 'auto' });
    this.summary = h('p', { class: 'summary', role: 'status' });
    this.retry = button();
    this.discard = button();
    this.discard.textContent = t('message.discard');
    this.discard.onclick = () => {
      services.broadcasts.discard(broadcast);
      services.go('#/broadcasts');
    };
    this.table = h('ul', { class: 'results', 'aria-label': t('broadcast.results') });
    this.rest = h('p', { class: 'quiet', hidden: true });
    this.result = h(
      'div',
      { class: 'result', tabIndex: -1 },
      this.about,
      this.text,
      this.summary,
      h('p', { class: 'act' }, this.retry, this.discard),
      this.table,
      this.rest,
    );
    this.element = h(
      'section',
      { class: 'conversation broadcast' },
      bar(services, this.title, t('broadcast.end')),
      this.result,
    );
    broadcast.addEventListener('change', () => this.#soon(), { signal });
    services.state.addEventListener('trackers', () => this.#soon(), { signal });
    broadcast.open();
    this.#draw();
  }

  focus() {
    this.result.focus();
  }

  close() {
    this.#stop.abort();
    cancelAnimationFrame(this.#frame);
    this.#broadcast.close();
  }

  /** Many trackers answer at once: it is drawn once a frame. */
  #soon() {
    this.#frame ||= requestAnimationFrame(() => {
      this.#frame = 0;
      this.#draw();
    });
  }

  #draw() {
    const { state } = this.#services;
    const b = this.#broadcast;
    setText(this.title, t('broadcast.one'));
    setText(this.about, about(b));
    setText(this.text, b.text);
    this.text.hidden = b.text === '';
    setText(this.summary, b.id !== null && !b.results && !b.error ? '' : summary(b));
    this.summary.classList.toggle('bad', b.error !== null);
    this.#offer(b);
    const items = [...(b.results ?? [])]
      .slice(0, SHOWN)
      .map(([id, r]) => ({
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
    this.table.hidden = items.length === 0;
    const more = (b.results?.size ?? 0) - items.length;
    this.rest.hidden = more === 0;
    if (more > 0) setText(this.rest, t('broadcast.more', { n: more }));
    if (b.results) this.#why(items);
  }

  /** What is not sent can be sent once more; refused because of some trackers, to the others. */
  #offer(b) {
    const { broadcasts, go } = this.#services;
    const unsent = b.id === null && b.error !== null;
    const refused = unsent && b.error.code === CODE.nonexistent;
    const { others } = b;
    this.discard.hidden = !unsent;
    this.retry.hidden = !unsent || (refused && !others);
    this.retry.textContent = refused ? t('broadcast.others') : t('message.retry');
    this.retry.onclick = () => {
      if (!refused) {
        broadcasts.send(b);
        return;
      }
      // another broadcast: what the first key was refused for is not to be answered again
      broadcasts.discard(b);
      go(`#/broadcasts/${broadcasts.begin(others, b.text, b.extras).key}`);
    };
  }

  /** The server does not say why a tracker got nothing: whether its device has a chat is asked. */
  #why(items) {
    if (this.#asked) return;
    this.#asked = true;
    const left = items.filter(({ r }) => r.state === 'NOT_SENT').map(({ id }) => id);
    const { capabilities } = this.#services;
    capabilities.ask(left.slice(0, ASKED), () => this.#soon(), this.#stop.signal);
  }

  #fill(el, { id, r, label, online }) {
    const cell = el.lastChild;
    setText(el.firstChild, label);
    if (r.id) {
      const waits = r.state === 'QUEUED' && online === false;
      fillState(el, cell, r, waits ? t('broadcast.offline') : outcome(r));
      return;
    }
    const words = r.state === 'FORGOTTEN' ? t('broadcast.gone') : this.#reason(id);
    el.dataset.state = r.state;
    if (cell.textContent !== words)
      cell.replaceChildren(
        icon(r.state === 'FORGOTTEN' ? 'cancel' : 'alert'),
        h('span', {}, words),
      );
  }

  #reason(id) {
    const { state, capabilities } = this.#services;
    if (state.trackers.get(id)?.blocked) return t('broadcast.blocked');
    const can = capabilities.of(id);
    if (can === null) return t('broadcast.unsupported');
    return t(can ? 'broadcast.full' : 'broadcast.unknown');
  }
}
