import { h, icon, setText } from '../../shared/dom.js';
import { t } from '../../shared/i18n.js';
import { brief } from '../time.js';
import { explain } from './errors.js';

const QUIET = 300; // ms after a key until it is searched
const BEFORE = 40; // characters of a hit before the words
const SHOWN = 200; // characters of a hit
const LONGEST = 100; // characters of a query, as the API takes them

/**
 * Finds messages of one conversation, by their words or by a day. show(message) brings one into
 * sight.
 */
export class Search {
  #messenger;
  #tracker;
  #show;
  #timer = null;
  #running = new AbortController();
  #words = '';
  #next = null;
  #current = null;

  constructor(messenger, tracker, show) {
    this.#messenger = messenger;
    this.#tracker = tracker;
    this.#show = show;
    this.button = h(
      'button',
      {
        class: 'iconbutton',
        type: 'button',
        title: t('find.open'),
        'aria-label': t('find.open'),
        'aria-expanded': 'false',
        on: { click: () => this.#toggle() },
      },
      icon('search'),
    );
    this.input = h('input', {
      class: 'input',
      type: 'search',
      name: 'words',
      maxLength: LONGEST,
      placeholder: t('find.words'),
      'aria-label': t('find.words'),
      autocomplete: 'off',
      on: { input: () => this.#soon(), keydown: (e) => this.#key(e) },
    });
    this.day = h('input', {
      class: 'input',
      type: 'date',
      name: 'day',
      'aria-label': t('find.day'),
      title: t('find.day'),
    });
    this.go = h(
      'button',
      { class: 'button', type: 'button', on: { click: () => this.#toDay() } },
      t('find.go'),
    );
    this.status = h('p', { class: 'quiet', role: 'status' });
    this.hits = h('ol', { class: 'hits', 'aria-label': t('find.hits') });
    this.more = h(
      'button',
      { class: 'button link', type: 'button', hidden: true, on: { click: () => this.#read() } },
      t('find.more'),
    );
    this.element = h(
      'search',
      { class: 'finder', 'aria-label': t('find.open'), hidden: true },
      h('div', { class: 'row1' }, this.input, this.day, this.go),
      this.status,
      this.hits,
      this.more,
    );
  }

  close() {
    this.#running.abort();
    clearTimeout(this.#timer);
  }

  #toggle() {
    this.element.hidden = !this.element.hidden;
    this.button.setAttribute('aria-expanded', String(!this.element.hidden));
    if (!this.element.hidden) this.input.focus();
  }

  #key(event) {
    if (event.key === 'Enter') this.#begin();
    else if (event.key === 'ArrowDown') this.hits.querySelector('button')?.focus();
    else if (event.key === 'Escape') {
      this.#toggle();
      this.button.focus();
    } else return;
    event.stopPropagation();
    event.preventDefault();
  }

  #soon() {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#begin(), QUIET);
  }

  /** Searches for what stands there now. */
  #begin() {
    clearTimeout(this.#timer);
    const words = this.input.value.trim();
    if (words === this.#words) return;
    this.#words = words;
    this.#next = null;
    this.hits.replaceChildren();
    this.more.hidden = true;
    setText(this.status, '');
    this.#running.abort();
    if (words !== '') this.#read();
  }

  async #read() {
    const running = (this.#running = new AbortController());
    this.more.disabled = true;
    setText(this.status, t('find.searching'));
    try {
      const { list, next } = await this.#messenger.search(
        this.#tracker,
        this.#words,
        this.#next,
        running.signal,
      );
      this.#next = next;
      this.hits.append(...list.map((m) => this.#hit(m)));
      this.more.hidden = next === null;
      const n = this.hits.children.length;
      setText(this.status, n > 0 ? t('find.found', { n }) : t('find.none'));
    } catch (e) {
      if (running.signal.aborted) return;
      this.more.hidden = false;
      setText(this.status, explain(e));
    }
    this.more.disabled = false;
  }

  #hit(m) {
    const button = h(
      'button',
      { class: 'choice', type: 'button', on: { click: () => this.#choose(button, m) } },
      h(
        'span',
        { class: 'about' },
        h('time', {}, brief(m.at, Date.now())),
        ' · ',
        t(m.incoming ? 'find.from' : 'find.to'),
      ),
      h('span', { class: 'quote', dir: 'auto' }, marked(m.text, this.#words)),
    );
    button.addEventListener('keydown', (e) => {
      const li = button.parentElement;
      const to = { ArrowDown: li.nextSibling, ArrowUp: li.previousSibling }[e.key];
      if (to === undefined) return;
      (to?.firstChild ?? this.input).focus();
      e.preventDefault();
    });
    return h('li', {}, button);
  }

  #choose(button, m) {
    this.#current?.removeAttribute('aria-current');
    this.#current = button;
    button.setAttribute('aria-current', 'true');
    this.#show(m).catch((e) => setText(this.status, explain(e)));
  }

  async #toDay() {
    if (!this.day.value) {
      this.day.focus();
      return;
    }
    try {
      const first = await this.#messenger.firstOf(this.#tracker, this.day.value);
      setText(this.status, first ? '' : t('find.nothingSince'));
      if (first) await this.#show(first);
    } catch (e) {
      setText(this.status, explain(e));
    }
  }
}

/** A part of a text with the words marked, where they stand in it as they were written. */
function marked(text, words) {
  const at = text.toLowerCase().indexOf(words.toLowerCase());
  if (at < 0) return [text.slice(0, SHOWN)];
  const from = at > BEFORE ? at - BEFORE : 0;
  const end = at + words.length;
  return [
    (from > 0 ? '…' : '') + text.slice(from, at),
    h('mark', {}, text.slice(at, end)),
    text.slice(end, end + SHOWN),
  ];
}
