import { h, icon, setText } from '../../shared/dom.js';
import { t } from '../../shared/i18n.js';
import { MOST } from '../broadcast.js';
import { Recipients } from '../recipients.js';
import { foreign, zoneName } from '../time.js';
import { Alerts } from '../alerts.js';
import { Capabilities } from '../capabilities.js';
import { BroadcastsView, BroadcastView } from './broadcast.js';
import { outcome, silence } from './bubble.js';
import { ConversationView } from './conversation.js';
import { dialog } from './dialog.js';
import { explain } from './errors.js';
import { accountMenu, showKeys } from './menu.js';
import { BroadcastResultView } from './result.js';
import { Templates } from './templates.js';
import { toast } from './toast.js';
import { TrackerList } from './trackers.js';

const TOGETHER = 300; // ms in which texts that end badly are told together
const MANY = 2; // of them are told one by one

/** A text that ended badly, in words. */
function problemWords({ message, silent, item, broadcast }, label = '') {
  if (message) return t('problem.message', { label, state: outcome(message) });
  if (silent) return t('problem.message', { label, state: silence(silent) });
  return item
    ? t('problem.unsent', { label, reason: explain(item.error) })
    : t('problem.broadcast', { reason: explain(broadcast.error) });
}

/**
 * The whole console of somebody who is signed in: the list at one side, what is open at the other.
 * On a phone one of them is seen. The address says which: #/t/101, #/broadcast.
 */
export class Shell {
  #services;
  #listeners = new AbortController();
  #pane = null;
  #route = null;
  #selection = null;
  #range = null;
  #warned = false;
  #minute;
  #problems = [];

  constructor({ api, state, messenger, sync, broadcasts, signOut, again }) {
    this.#services = {
      api,
      state,
      messenger,
      broadcasts,
      capabilities: new Capabilities(api),
      templates: new Templates(api, state),
      changed: () => this.#selectionChanged(),
      go: (hash) => this.#go(hash),
      end: () => this.#select(false),
    };
    this.list = new TrackerList(state, {
      open: (id) => this.#go(`#/t/${id}`),
      toggle: (id, range) => this.#toggle(id, range),
    });
    this.search = h('input', {
      class: 'input',
      type: 'search',
      placeholder: t('trackers.search'),
      'aria-label': t('trackers.search'),
      'aria-controls': 'trackers',
      autocomplete: 'off',
      spellcheck: false,
      on: { input: () => this.list.search(this.search.value), keydown: (e) => this.#searchKey(e) },
    });
    this.filters = h(
      'div',
      { class: 'filters', role: 'group', 'aria-label': t('trackers.filter') },
      ['all', 'unread', 'problems', 'online'].map((name) =>
        h(
          'button',
          {
            class: 'filter',
            type: 'button',
            dataset: { name },
            'aria-pressed': String(name === 'all'),
            on: { click: () => this.#filter(name) },
          },
          t(`filter.${name}`),
        ),
      ),
    );
    this.selecting = h(
      'button',
      {
        class: 'iconbutton',
        type: 'button',
        title: t('select.start'),
        'aria-label': t('select.start'),
        'aria-pressed': 'false',
        hidden: !state.mayWrite,
        on: { click: () => this.#select(this.#selection === null) },
      },
      icon('broadcast'),
    );
    this.chosen = h('span', { role: 'status' });
    this.write = h(
      'button',
      { class: 'button primary', type: 'button', on: { click: () => this.#go('#/broadcast') } },
      t('select.write'),
    );
    this.selectBar = h(
      'div',
      { class: 'selectbar', hidden: true },
      this.chosen,
      h(
        'button',
        { class: 'button link', type: 'button', on: { click: () => this.#selectShown() } },
        t('select.shown'),
      ),
      this.write,
    );
    this.connection = h('p', { class: 'connection', role: 'status' });
    this.banner = h('div', { class: 'banner', role: 'alert', hidden: true });
    this.alerts = new Alerts(state, (hash) => this.#go(hash));
    this.menu = accountMenu(state.account, {
      alerts: this.alerts,
      signOut: () => this.#signOut(signOut),
      again,
      broadcasts: () => this.#go('#/broadcasts'),
      markAllRead:
        state.mayWrite && (() => messenger.markAllRead().catch((e) => toast(explain(e), true))),
    });
    this.main = h('section', { class: 'main', 'aria-label': t('main.label') });
    const zone =
      foreign() &&
      h('span', { class: 'zone', title: t('app.zone', { zone: zoneName() }) }, zoneName());
    this.element = h(
      'main',
      { class: 'shell' },
      this.banner,
      h(
        'section',
        { class: 'side', 'aria-label': t('trackers.label') },
        h(
          'header',
          { class: 'bar' },
          h('h1', {}, h('bdi', {}, state.account.title || state.account.login)),
          zone,
          this.selecting,
          this.menu.element,
        ),
        h('div', { class: 'find' }, this.search, this.filters),
        this.selectBar,
        this.list.empty,
        this.list.element,
        this.connection,
      ),
      this.main,
    );
    const { signal } = this.#listeners;
    state.addEventListener('trackers', () => this.#changed(), { signal });
    state.addEventListener('connection', () => this.#connection(sync), { signal });
    state.addEventListener('problem', (e) => this.#problem(e.detail), { signal });
    broadcasts.addEventListener('sent', (e) => this.#sent(e.detail), { signal });
    addEventListener('hashchange', () => this.#show(), { signal });
    addEventListener('keydown', (e) => this.#key(e), { signal });
    this.#minute = setInterval(() => this.list.update(), 60_000); // "today" does not last
    this.#connection(sync);
    const chosen = state.work.selection();
    if (chosen && state.mayWrite) this.#select(true, chosen);
  }

  /** Called when the element is on the page. */
  shown() {
    this.#show();
    this.#changed();
    // nobody has used a key yet: no frame around the list
    this.list.element.focus({ preventScroll: true, focusVisible: false });
  }

  close() {
    this.#listeners.abort();
    clearInterval(this.#minute);
    this.#pane?.close();
    this.alerts.close();
    this.menu.close();
    document.querySelector('dialog')?.close();
  }

  /** Signing out forgets what is not sent: that is asked about. */
  #signOut(act) {
    const n = this.#services.state.work.outbox().length;
    if (n === 0) return act();
    const el = dialog(
      t('menu.signOut'),
      h('p', {}, t('signout.unsent', { n })),
      h(
        'footer',
        {},
        h(
          'button',
          { class: 'button', type: 'button', on: { click: () => el.close() } },
          t('signout.stay'),
        ),
        h(
          'button',
          {
            class: 'button danger',
            type: 'button',
            on: {
              click: () => {
                el.close();
                act();
              },
            },
          },
          t('menu.signOut'),
        ),
      ),
    );
    return undefined;
  }

  #go(hash) {
    if (location.hash === hash) this.#show();
    else location.hash = hash;
  }

  /** The server has a broadcast: its address is that of the server's from now on. */
  #sent({ key, id }) {
    if (location.hash === `#/broadcasts/${key}`) location.replace(`#/broadcasts/${id}`);
  }

  #show() {
    const { state } = this.#services;
    const id = Number(/^#\/t\/(\d+)$/.exec(location.hash)?.[1] ?? 0);
    const sent = this.#services.broadcasts.get(/^#\/broadcasts\/(\w+)$/.exec(location.hash)?.[1]);
    const route =
      location.hash === '#/broadcast' && this.#selection
        ? 'broadcast'
        : id
          ? `t ${id}`
          : sent
            ? `sent ${sent.id ?? sent.key}`
            : location.hash === '#/broadcasts'
              ? 'broadcasts'
              : '';
    if (route === this.#route && this.#pane) {
      this.#pane.focus();
      return;
    }
    this.#pane?.close();
    this.#route = route;
    state.open = id || null;
    this.element.classList.toggle('paneopen', route !== '');
    if (route === 'broadcast') this.#pane = new BroadcastView(this.#services, this.#selection);
    else if (route === 'broadcasts') this.#pane = new BroadcastsView(this.#services);
    else if (sent) this.#pane = new BroadcastResultView(this.#services, sent);
    else if (id) this.#pane = new ConversationView(this.#services, id, () => this.#go('#/'));
    else this.#pane = null;
    this.main.replaceChildren(
      this.#pane?.element ?? h('p', { class: 'quiet placeholder' }, t('main.placeholder')),
    );
    if (id) this.list.activate(id);
    this.list.update();
    if (this.#pane && !(id && matchMedia('(pointer: coarse)').matches)) this.#pane.focus(); // on a phone the keyboard would cover half of it
  }

  #changed() {
    const unread = this.#services.state.unreadTotal();
    document.title = unread > 0 ? `(${unread}) ${t('app.title')}` : t('app.title');
    const button = this.filters.querySelector('[data-name="unread"]');
    setText(button, unread > 0 ? t('filter.unreadCount', { n: unread }) : t('filter.unread'));
    const problems = this.#services.state.problems.total;
    const other = this.filters.querySelector('[data-name="problems"]');
    setText(
      other,
      problems > 0 ? t('filter.problemsCount', { n: problems }) : t('filter.problems'),
    );
    other.classList.toggle('bad', problems > 0);
    if (this.#route === 'broadcast') this.#pane.update();
    this.list.update();
  }

  #connection(sync) {
    const { connection } = this.#services.state;
    this.connection.dataset.state = connection;
    setText(this.connection, t(`connection.${connection}`));
    const lost = connection !== 'live' && connection !== 'connecting';
    this.banner.hidden = !lost;
    this.banner.dataset.state = connection;
    if (lost)
      this.banner.replaceChildren(
        h('span', {}, t(`banner.${connection}`)),
        h(
          'button',
          { class: 'button link', type: 'button', on: { click: () => sync.kick() } },
          t('banner.now'),
        ),
      );
    if (this.#warned && connection === 'live') toast(t('banner.back'));
    this.#warned = lost || (this.#warned && connection !== 'live');
    this.list.update();
  }

  /**
   * Says that a text has ended badly, unless it is before somebody's eyes. Many at once are one
   * word.
   */
  #problem(problem) {
    if (this.#problems.push(problem) > 1) return;
    setTimeout(() => {
      const { state } = this.#services;
      const where = (x) => (x.broadcast ? `#/broadcasts/${x.broadcast.key}` : `#/t/${x.tracker}`);
      const seen = (x) => where(x) === location.hash && document.visibilityState === 'visible';
      const told = this.#problems.splice(0).filter((x) => !seen(x));
      if (told.length > MANY)
        toast(t('problem.many', { n: told.length }), true, () => this.#filter('problems'));
      else
        for (const x of told)
          toast(problemWords(x, state.trackers.get(x.tracker)?.label), true, () =>
            this.#go(where(x)),
          );
    }, TOGETHER);
  }

  #filter(name) {
    for (const b of this.filters.children)
      b.setAttribute('aria-pressed', String(b.dataset.name === name));
    this.list.filter(name);
  }

  #select(on, chosen = {}) {
    this.#selection = on ? new Recipients(chosen) : null;
    this.#range = null;
    this.selecting.setAttribute('aria-pressed', String(on));
    this.selectBar.hidden = !on;
    this.list.select(this.#selection?.trackers ?? null);
    this.#selectionChanged();
    if (!on && location.hash === '#/broadcast') this.#go('#/');
  }

  #selectionChanged() {
    const n = this.#selection?.trackers.size ?? 0;
    this.#services.state.work.setSelection(this.#selection?.record ?? null);
    setText(this.chosen, t('select.chosen', { n }));
    this.list.update();
    if (this.#route === 'broadcast') this.#pane.update();
  }

  #toggle(id, range) {
    const ids = this.list.ids();
    const from = ids.indexOf(this.#range);
    const to = ids.indexOf(id);
    const add = !this.#selection.trackers.has(id);
    const some = range && from >= 0 ? ids.slice(Math.min(from, to), Math.max(from, to) + 1) : [id];
    for (const x of some) this.#pick(x, add);
    this.#range = id;
    this.#selectionChanged();
  }

  #pick(id, add) {
    const { trackers } = this.#selection;
    if (!add) trackers.delete(id);
    else if (this.#services.state.trackers.get(id)?.blocked) toast(t('trackers.blocked'), true);
    else if (trackers.size < MOST || trackers.has(id)) trackers.add(id);
    else toast(t('select.most', { n: MOST }), true);
  }

  #selectShown() {
    const { trackers } = this.#selection;
    const usable = this.list
      .ids()
      .filter((id) => !this.#services.state.trackers.get(id).blocked && !trackers.has(id));
    const room = MOST - trackers.size;
    for (const id of usable.slice(0, room)) trackers.add(id);
    if (usable.length > room) toast(t('select.most', { n: MOST }), true);
    this.#selectionChanged();
  }

  #searchKey(event) {
    if (event.key === 'Escape' && this.search.value) {
      this.search.value = '';
      this.list.search('');
      event.stopPropagation();
    } else if (event.key === 'ArrowDown' || event.key === 'Enter') {
      const first = this.list.ids()[0];
      if (first === undefined) return;
      this.list.activate(first);
      if (event.key === 'Enter' && !this.#selection) this.#go(`#/t/${first}`);
      else this.list.element.focus();
      event.preventDefault();
    }
  }

  #key(event) {
    if (document.querySelector('dialog')) return;
    const writing = event.target.closest?.('input, textarea, select');
    if (event.altKey && !event.ctrlKey && ['ArrowUp', 'ArrowDown', 'n', 'N'].includes(event.key)) {
      const id =
        event.key.length === 1
          ? this.list.neighbour(0, true)
          : this.list.neighbour(event.key === 'ArrowDown' ? 1 : -1);
      if (id !== undefined) this.#go(`#/t/${id}`);
    } else if (event.key === 'Escape') {
      this.list.element.focus();
      if (this.#selection && this.#route !== 'broadcast') this.#select(false);
      else if (matchMedia('(max-width: 760px)').matches) this.#go('#/');
    } else if (event.key === '/' && !writing) this.search.focus();
    else if (event.key === '?' && !writing) showKeys();
    else return;
    event.preventDefault();
  }
}
