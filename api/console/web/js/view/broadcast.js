import { h, icon, reconcile, setText } from '../../shared/dom.js';
import { current, t } from '../../shared/i18n.js';
import { MOST, LISTED } from '../broadcast.js';
import { Composer } from './composer.js';
import { explain } from './errors.js';
import { about, bar, summary } from './result.js';
import { toast } from './toast.js';
import { Warnings } from './warnings.js';

/** Writing to the trackers of Recipients. */
export class BroadcastView {
  #services;
  #to;
  #chips = new Map();
  #boxes = new Map();
  #groups = [];
  #warnings;

  constructor(services, to) {
    const { state, templates } = services;
    this.#services = services;
    this.#to = to;
    this.#warnings = new Warnings(
      services.capabilities,
      () => to.of(state).slice(0, MOST), // each is asked about
      () => this.composer.check(),
    );
    this.title = h('h1', {});
    this.sets = h('div', { class: 'sets' });
    this.chips = h('ul', { class: 'chips', 'aria-label': t('broadcast.to') });
    this.composer = new Composer({
      templates,
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
      h(
        'div',
        { class: 'recipients' },
        h('fieldset', {}, h('legend', {}, t('broadcast.sets')), this.sets),
        this.chips,
      ),
      this.composer.element,
    );
    this.update();
    this.#load();
  }

  async #load() {
    try {
      this.#groups = (await this.#services.api.call('tracker/group/list')).list;
      this.update();
    } catch (e) {
      toast(explain(e), true);
    }
  }

  focus() {
    if (this.composer.element.hidden) this.sets.querySelector('input').focus();
    else this.composer.focus();
  }

  close() {
    this.#warnings.close();
    this.composer.close();
  }

  /** Draws the recipients anew. */
  update() {
    const { state } = this.#services;
    const n = this.#to.of(state).length;
    setText(this.title, t('broadcast.title', { n }));
    this.#drawSets([...state.trackers.values()]);
    const items = [...this.#to.trackers].map((id) => ({
      id,
      label: state.trackers.get(id)?.label ?? String(id),
    }));
    reconcile(
      this.chips,
      this.#chips,
      items,
      (x) => x.id,
      (x) => this.#chip(x),
      (el, { label }) => {
        setText(el.firstChild, label);
        el.lastChild.setAttribute('aria-label', t('broadcast.remove', { label }));
      },
    );
    this.composer.element.hidden = n === 0;
    this.composer.check();
  }

  /** Everybody, each group and each tag, with the number of their trackers. */
  #drawSets(trackers) {
    const to = this.#to;
    const tags = new Map();
    const members = new Map();
    for (const x of trackers) {
      for (const tag of x.tags) tags.set(tag, (tags.get(tag) ?? 0) + 1);
      members.set(x.group, (members.get(x.group) ?? 0) + 1);
    }
    const item = (key, label, n, on, choose) => ({ key, label, n, on, choose });
    const member = (set, x) => [set.has(x), (on) => (on ? set.add(x) : set.delete(x))];
    const items = [
      item('all', t('broadcast.all'), trackers.length, to.all, (on) => {
        to.all = on;
      }),
      ...this.#groups.map((g) =>
        item(`group ${g.id}`, g.title, members.get(g.id) ?? 0, ...member(to.groups, g.id)),
      ),
      ...[...tags]
        .sort(([a], [b]) => a.localeCompare(b))
        .map(([tag, n]) => item(`tag ${tag}`, `#${tag}`, n, ...member(to.tags, tag))),
    ];
    reconcile(
      this.sets,
      this.#boxes,
      items,
      (x) => x.key,
      (x) => this.#box(x),
      (el, x) => {
        el.firstChild.checked = x.on;
        setText(el.lastChild, x.n.toLocaleString(current()));
      },
    );
  }

  #box({ key, label, choose }) {
    const change = (e) => {
      choose(e.target.checked);
      this.#services.changed();
    };
    return h(
      'label',
      { class: 'check' },
      h('input', { type: 'checkbox', name: key, on: { change } }),
      h('bdi', {}, label),
      h('span', { class: 'about' }),
    );
  }

  #chip({ id }) {
    return h(
      'li',
      {},
      h('bdi', {}),
      h(
        'button',
        {
          class: 'iconbutton',
          type: 'button',
          on: {
            click: () => {
              this.#to.trackers.delete(id);
              this.#services.changed();
            },
          },
        },
        icon('close'),
      ),
    );
  }

  #send(text, extras) {
    const { broadcasts, go } = this.#services;
    go(`#/broadcasts/${broadcasts.begin(this.#to.record, text, extras).key}`);
  }
}

/** The broadcasts of the account: those that the server does not have, then its own. */
export class BroadcastsView {
  #services;
  #shown = [];
  #rows = new Map();
  #last = null;
  #stop = new AbortController();

  constructor(services) {
    this.#services = services;
    this.items = h('ul', {
      class: 'results history',
      'aria-label': t('broadcast.history'),
      hidden: true,
    });
    this.note = h('p', { class: 'quiet', role: 'status' }, t('conversation.loading'));
    this.more = h(
      'button',
      { class: 'button', type: 'button', hidden: true, on: { click: () => this.#load() } },
      t('broadcast.older'),
    );
    this.element = h(
      'section',
      { class: 'conversation broadcast' },
      bar(services, h('h1', {}, t('broadcast.history'))),
      h('div', { class: 'result' }, this.note, this.items, this.more),
    );
    // what has become of one is read when it is seen
    this.observer = new IntersectionObserver((entries) => {
      for (const e of entries) if (e.isIntersecting) e.target.broadcast.open();
    });
    services.broadcasts.addEventListener('sent', (e) => this.#sent(e.detail), {
      signal: this.#stop.signal,
    });
    this.#add(services.broadcasts.unsent);
    this.#load();
  }

  focus() {
    this.items.querySelector('button')?.focus();
  }

  close() {
    this.#stop.abort();
    this.observer.disconnect();
    for (const b of this.#shown) b.close();
  }

  async #load() {
    this.more.disabled = true;
    try {
      const page = await this.#services.broadcasts.page(this.#last);
      if (this.#stop.signal.aborted) return;
      this.#add(page.filter((b) => !this.#shown.some((x) => x.id === b.id)));
      this.more.hidden = page.length < LISTED;
      this.#last = page.at(-1)?.id ?? this.#last;
      setText(this.note, this.#shown.length > 0 ? '' : t('broadcast.none'));
    } catch (e) {
      setText(this.note, explain(e));
      this.more.hidden = false;
    }
    this.more.disabled = false;
    this.note.hidden = this.note.textContent === '';
  }

  #add(list) {
    this.#shown.push(...list);
    for (const b of list)
      b.addEventListener('change', () => this.#draw(), { signal: this.#stop.signal });
    this.#draw();
  }

  /** One that was unsent is the server's now. */
  #sent(b) {
    if (this.#shown.includes(b)) b.open();
  }

  #draw() {
    this.items.hidden = this.#shown.length === 0;
    reconcile(
      this.items,
      this.#rows,
      this.#shown,
      (b) => b,
      (b) => this.#row(b),
      (el, b) => {
        setText(el.parts.about, about(b));
        setText(el.parts.summary, summary(b));
      },
    );
  }

  #row(b) {
    const parts = { about: h('span', { class: 'about' }), summary: h('span', { class: 'about' }) };
    const click = () => this.#services.go(`#/broadcasts/${b.id ?? b.key}`);
    const el = h(
      'li',
      {},
      h(
        'button',
        { class: 'choice', type: 'button', on: { click } },
        parts.about,
        h('span', { class: 'quote', dir: 'auto' }, b.text.slice(0, 200)),
        parts.summary,
      ),
    );
    el.parts = parts;
    el.broadcast = b;
    this.observer.observe(el);
    return el;
  }
}
