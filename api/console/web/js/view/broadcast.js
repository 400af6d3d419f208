import { h, icon, reconcile, setText } from '../../shared/dom.js';
import { t } from '../../shared/i18n.js';
import { exact } from '../time.js';
import { Composer } from './composer.js';
import { bar, summary } from './result.js';
import { Warnings } from './warnings.js';

/** Writing to the selected trackers. */
export class BroadcastView {
  #services;
  #selection;
  #chips = new Map();
  #warnings;

  constructor(services, selection) {
    const { state, canned } = services;
    this.#services = services;
    this.#selection = selection;
    this.#warnings = new Warnings(
      services.capabilities,
      () => [...selection],
      () => this.composer.check(),
    );
    this.title = h('h1', {});
    this.chips = h('ul', { class: 'chips', 'aria-label': t('broadcast.to') });
    this.composer = new Composer({
      canned,
      label: t('broadcast.label'),
      draft: state.work.draft('broadcast'),
      changed: (draft) => state.work.setDraft('broadcast', draft),
      check: (...written) => this.#warnings.words(...written),
      send: (text, extras) => this.#send(text, extras),
    });
    this.element = h(
      'section',
      { class: 'conversation broadcast' },
      bar(services, this.title, t('broadcast.end')),
      this.chips,
      this.composer.element,
    );
    this.update();
  }

  focus() {
    this.composer.focus();
  }

  close() {
    this.#warnings.close();
    this.composer.close();
  }

  /** Draws the selection anew. */
  update() {
    const { state } = this.#services;
    setText(this.title, t('broadcast.title', { n: this.#selection.size }));
    const items = [...this.#selection].map((id) => ({
      id,
      label: state.trackers.get(id)?.label ?? String(id),
    }));
    reconcile(
      this.chips,
      this.#chips,
      items,
      (x) => x.id,
      (x) => this.#chip(x),
      (el, x) => setText(el.firstChild, x.label),
    );
    this.composer.element.hidden = this.#selection.size === 0;
    this.composer.check();
  }

  #chip({ id, label }) {
    return h(
      'li',
      {},
      h('bdi', {}, label),
      h(
        'button',
        {
          class: 'iconbutton',
          type: 'button',
          'aria-label': t('broadcast.remove', { label }),
          on: {
            click: () => {
              this.#selection.delete(id);
              this.#services.changed();
            },
          },
        },
        icon('close'),
      ),
    );
  }

  #send(text, extras) {
    const key = Array.from(crypto.getRandomValues(new Uint8Array(16)), (b) =>
      b.toString(16).padStart(2, '0'),
    ).join('');
    this.#services.broadcasts.begin(key, [...this.#selection], text, extras);
    this.#services.go(`#/broadcasts/${key}`);
  }
}

/** The broadcasts of this tab. */
export class BroadcastsView {
  #list;

  constructor(services) {
    const { list } = services.broadcasts;
    this.#list = list;
    this.items = h(
      'ul',
      { class: 'results history', 'aria-label': t('broadcast.history') },
      list.map((b) =>
        h(
          'li',
          {},
          h(
            'button',
            {
              class: 'choice',
              type: 'button',
              on: { click: () => services.go(`#/broadcasts/${b.key}`) },
            },
            h(
              'span',
              { class: 'about' },
              h('time', { title: exact(b.at) }, exact(b.at)),
              ' · ',
              t('broadcast.title', { n: b.results.size }),
            ),
            h('span', { class: 'quote', dir: 'auto' }, b.text.slice(0, 200)),
            h('span', { class: 'about' }, summary(b)),
          ),
        ),
      ),
    );
    const body = list.length > 0 ? this.items : h('p', { class: 'quiet' }, t('broadcast.none'));
    this.element = h(
      'section',
      { class: 'conversation broadcast' },
      bar(services, h('h1', {}, t('broadcast.history'))),
      h('div', { class: 'result' }, body),
    );
  }

  focus() {
    this.items.querySelector('button')?.focus();
  }

  close() {}
}
