import { h, icon, reconcile, setText } from '../../shared/dom.js';
import { t } from '../../shared/i18n.js';
import { CODE } from '../api.js';
import { Broadcast } from '../broadcast.js';
import { outcome } from './bubble.js';
import { Composer } from './composer.js';
import { explain } from './errors.js';

const ICON = { sending: 'clock', full: 'alert', unsupported: 'alert', refused: 'alert', held: 'cancel', failed: 'alert' };
const TICKS = { DELIVERED: 'ticks', READ: 'ticks', FAILED: 'alert', EXPIRED: 'clock', CANCELLED: 'cancel' };

/** Writing to the selected trackers, then the result of each. */
export class BroadcastView {
  #services; #selection; #back; #running = null; #rows = new Map(); #chips = new Map();

  constructor(services, selection, back) {
    this.#services = services;
    this.#selection = selection;
    this.#back = back;
    this.title = h('h2', {});
    this.chips = h('ul', { class: 'chips', 'aria-label': t('broadcast.to') });
    this.composer = new Composer({ ...services, label: t('broadcast.label'), send: (text, extras) => this.#send(text, extras) });
    this.summary = h('p', { class: 'summary', role: 'status' });
    this.sentText = h('blockquote', { class: 'text', dir: 'auto' });
    this.retry = h('button', { class: 'button', type: 'button', hidden: true });
    this.table = h('ul', { class: 'results', 'aria-label': t('broadcast.results') });
    this.result = h('div', { class: 'result', hidden: true, tabIndex: -1 }, this.sentText, this.summary, this.retry, this.table);
    this.element = h('section', { class: 'conversation broadcast' },
      h('header', { class: 'bar' }, h('button', { class: 'iconbutton back', type: 'button', 'aria-label': t('conversation.back'), on: { click: () => back(false) } }, icon('back')),
        h('div', { class: 'who' }, this.title), h('button', { class: 'button end', type: 'button', on: { click: () => back(true) } }, t('broadcast.end'))),
      this.chips, this.result, this.composer.element);
    this.update();
  }

  focus() { this.composer.focus(); }

  close() {
    this.#running?.close();
    this.composer.close();
  }

  /** Draws the selection anew. */
  update() {
    const { state } = this.#services;
    setText(this.title, t('broadcast.title', { n: this.#selection.size }));
    const items = [...this.#selection].map((id) => ({ id, label: state.trackers.get(id)?.label ?? String(id) }));
    reconcile(this.chips, this.#chips, items, (x) => x.id, (x) => this.#chip(x), () => {});
    this.chips.hidden = !this.result.hidden;
    this.composer.element.hidden = this.#selection.size === 0 || !this.result.hidden;
  }

  #chip({ id, label }) {
    return h('li', {}, h('bdi', {}, label),
      h('button', { class: 'iconbutton', type: 'button', 'aria-label': t('broadcast.remove', { label }), on: { click: () => { this.#selection.delete(id); this.#services.changed(); } } }, icon('close')));
  }

  #send(text, extras) {
    const { api, state } = this.#services;
    const key = Array.from(crypto.getRandomValues(new Uint8Array(16)), (b) => b.toString(16).padStart(2, '0')).join('');
    const begin = (trackers, name) => {
      this.#running?.close();
      const b = new Broadcast(api, state, name, text, extras);
      this.#running = b;
      b.addEventListener('change', () => this.#draw(b, begin, name));
      b.send(trackers);
    };
    setText(this.sentText, text);
    this.result.hidden = false;
    begin([...this.#selection], key);
    this.update();
    this.result.focus();
  }

  #draw(b, begin, key) {
    const { state } = this.#services;
    const count = (f) => [...b.results.values()].filter(f).length;
    const sent = count((r) => r.state === 'sent');
    const delivered = count((r) => r.message?.state === 'DELIVERED' || r.message?.state === 'READ');
    const left = b.results.size - sent;
    let words = t('broadcast.sending');
    if (b.done) words = [t('broadcast.sent', { n: sent }), t('broadcast.delivered', { n: delivered }), left > 0 && t('broadcast.left', { n: left })].filter(Boolean).join(' · ');
    else if (b.error) words = b.error.code === CODE.nonexistent ? t('broadcast.nothing') : explain(b.error);
    setText(this.summary, words);
    this.summary.classList.toggle('bad', b.error !== null);
    const held = [...b.results].filter(([, r]) => r.state === 'held').map(([id]) => id);
    const blamed = count((r) => r.state === 'refused') > 0;
    const again = b.error && b.error.code !== CODE.nonexistent;
    this.retry.hidden = !(again || (blamed && held.length > 0));
    this.retry.textContent = again ? t('message.retry') : t('broadcast.others', { n: held.length });
    // The others are another broadcast: what the first key was refused for is not to be answered again.
    this.retry.onclick = () => (again ? begin([...b.results.keys()], key) : begin(held, `${key}-others`));
    const items = [...b.results].map(([id, r]) => ({ id, r, label: state.trackers.get(id)?.label ?? String(id), online: state.trackers.get(id)?.online }));
    reconcile(this.table, this.#rows, items, (x) => x.id, (x) => h('li', { dataset: { id: x.id } }, h('bdi', {}, x.label), h('span', { class: 'state' })), (el, x) => this.#fill(el, x));
  }

  #fill(el, { r, online }) {
    const words = r.state === 'sent' ? (r.message ? this.#progress(r.message, online) : t('state.QUEUED')) : this.#problem(r);
    const kind = r.state === 'sent' ? r.message?.state ?? 'QUEUED' : r.state;
    const cell = el.lastChild;
    if (cell.textContent === words && el.dataset.state === kind) return;
    el.dataset.state = kind;
    cell.replaceChildren(icon(ICON[kind] ?? TICKS[kind] ?? 'tick'), h('span', {}, words));
  }

  #progress(message, online) { return message.state === 'QUEUED' && online === false ? t('broadcast.offline') : outcome(message); }

  #problem(r) { return r.state === 'refused' && r.reason ? explain(r.reason) : t(`broadcast.${r.state}`); }
}
