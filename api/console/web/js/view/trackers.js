import { h, icon, reconcile, setText } from '../../shared/dom.js';
import { current, t } from '../../shared/i18n.js';
import { brief, exact } from '../time.js';
import { ICON, outcome } from './bubble.js';

const ROW = 76; // px, as in trackers.css
const SPARE = 6; // rows drawn beyond what is seen

/**
 * The list of trackers, of which only the visible rows exist: it stays quick with ten thousand.
 * Those with the newest messages come first. It is a listbox: the focus stays on it, arrows move
 * the active row. on.open(id) is called for a row that is chosen, on.toggle(id) for one that is
 * picked in selection mode.
 */
export class TrackerList {
  #state;
  #on;
  #rows = new Map();
  #shown = [];
  #rank = new Map();
  #ranked = null;
  #active = null;
  #frame = 0;
  #query = [];
  #filter = 'all';
  #selection = null;

  constructor(state, on) {
    this.#state = state;
    this.#on = on;
    this.space = h('div', { class: 'space', role: 'presentation' });
    this.element = h(
      'div',
      {
        class: 'trackers',
        role: 'listbox',
        id: 'trackers',
        tabIndex: 0,
        'aria-label': t('trackers.label'),
        on: {
          scroll: () => this.#draw(),
          keydown: (e) => this.#key(e),
          click: (e) => this.#click(e),
          focus: () => this.#draw(),
        },
      },
      this.space,
    );
    this.empty = h('p', { class: 'quiet empty', role: 'status', hidden: true });
    new ResizeObserver(() => this.#draw()).observe(this.element);
  }

  /** Narrows the list to the trackers in which every word of text occurs. */
  search(text) {
    this.#query = text.toLowerCase().split(/\s+/).filter(Boolean);
    this.element.scrollTop = 0;
    this.update();
  }

  /** 'all', 'unread', 'problems' or 'online'. */
  filter(name) {
    this.#filter = name;
    this.element.scrollTop = 0;
    this.update();
  }

  /** Turns selection mode on with a Set of ids, off with null. */
  select(set) {
    this.#selection = set;
    this.element.setAttribute('aria-multiselectable', String(set !== null));
    this.element.classList.toggle('selecting', set !== null);
    this.update();
  }

  /**
   * The ids of the rows, in order, with all that has changed: who types faster than frames come
   * gets what was typed.
   */
  ids() {
    this.#flush();
    return this.#shown.map((x) => x.id);
  }

  /** Draws anew what has changed, at most once a frame. */
  update() {
    this.#frame ||= requestAnimationFrame(() => this.#flush());
  }

  /** Draws what waits for the next frame now. */
  #flush() {
    if (!this.#frame) return;
    cancelAnimationFrame(this.#frame);
    this.#frame = 0;
    this.#arrange();
    this.#draw();
  }

  /** The id that comes step rows after the active one; unread: the next with unread messages. */
  neighbour(step, unread = false) {
    this.#flush();
    const at = this.#shown.findIndex((x) => x.id === (this.#state.open ?? this.#active));
    if (!unread) return this.#shown[Math.min(Math.max(at + step, 0), this.#shown.length - 1)]?.id;
    const after = [...this.#shown.slice(at + 1), ...this.#shown.slice(0, Math.max(at, 0))];
    return after.find((x) => x.unread > 0)?.id;
  }

  /** Makes a row the active one and shows it. */
  activate(id) {
    this.#flush();
    this.#active = id;
    const at = this.#shown.findIndex((x) => x.id === id);
    if (at >= 0) {
      const el = this.element;
      if (at * ROW < el.scrollTop) el.scrollTop = at * ROW;
      else if ((at + 1) * ROW > el.scrollTop + el.clientHeight)
        el.scrollTop = (at + 1) * ROW - el.clientHeight;
    }
    this.#draw();
  }

  #arrange() {
    const all = this.#state.trackers;
    if (this.#ranked !== all) {
      const collator = new Intl.Collator(current(), { numeric: true });
      this.#rank = new Map(
        [...all.values()]
          .sort((a, b) => collator.compare(a.label, b.label) || a.id - b.id)
          .map((x, i) => [x.id, i]),
      );
      this.#ranked = all;
    }
    const { open, problems } = this.#state;
    const keep = {
      all: () => true,
      unread: (x) => x.unread > 0 || x.id === open,
      problems: (x) => problems.of(x.id) > 0 || x.id === open,
      online: (x) => x.online === true,
    }[this.#filter];
    this.#shown = [...all.values()].filter(
      (x) =>
        keep(x) &&
        this.#query.every(
          (word) => x.search.includes(word) || x.driver.toLowerCase().includes(word),
        ),
    );
    this.#shown.sort(
      (a, b) =>
        b.updated - a.updated || b.turn - a.turn || this.#rank.get(a.id) - this.#rank.get(b.id),
    );
    this.space.style.blockSize = `${this.#shown.length * ROW}px`;
    const none = this.#shown.length === 0 && this.#state.listed;
    this.empty.hidden = !none;
    if (none) setText(this.empty, t(all.size === 0 ? 'trackers.none' : 'trackers.noMatch'));
  }

  #draw() {
    const { scrollTop, clientHeight } = this.element;
    const first = Math.max(0, Math.floor(scrollTop / ROW) - SPARE);
    const items = this.#shown
      .slice(first, Math.ceil((scrollTop + clientHeight) / ROW) + SPARE)
      .map((tracker, i) => ({ tracker, at: first + i }));
    reconcile(
      this.space,
      this.#rows,
      items,
      (x) => x.tracker.id,
      (x) => this.#create(x.tracker),
      (el, x) => this.#fill(el, x),
    );
    const active = this.#rows.get(this.#active);
    if (active) this.element.setAttribute('aria-activedescendant', active.id);
    else this.element.removeAttribute('aria-activedescendant');
  }

  #create(tracker) {
    const parts = {
      dot: h('span', { class: 'dot' }),
      label: h('bdi', { class: 'label' }),
      time: h('time', { class: 'when' }),
      driver: h('bdi'),
      about: h('span'),
      last: h('bdi', { class: 'last' }),
      problem: h(
        'span',
        { class: 'problem', hidden: true, 'aria-hidden': 'true' },
        icon('alert'),
        h('span'),
      ),
      badge: h('span', { class: 'badge', 'aria-hidden': 'true' }),
      words: h('span', { class: 'unseen' }),
      box: h('span', { class: 'box', 'aria-hidden': 'true' }),
    };
    const el = h(
      'div',
      { class: 'row', role: 'option', id: `tracker-${tracker.id}`, dataset: { id: tracker.id } },
      parts.box,
      parts.dot,
      h('span', { class: 'line' }, parts.label, parts.time),
      h('span', { class: 'line about' }, parts.driver, parts.about),
      h('span', { class: 'line' }, parts.last, parts.problem, parts.badge, parts.words),
    );
    el.parts = parts;
    return el;
  }

  #fill(el, { tracker, at }) {
    const { dot, label, time, driver, about, problem, badge, words, box } = el.parts;
    const problems = this.#state.problems.of(tracker.id);
    const now = Date.now();
    const presence = tracker.blocked
      ? 'blocked'
      : ({ true: 'online', false: 'offline' }[tracker.online] ?? 'unknown');
    const status =
      presence === 'offline' && tracker.seen
        ? t('trackers.seen', { time: brief(tracker.seen, now) })
        : t(`trackers.${presence}`);
    el.style.transform = `translateY(${at * ROW}px)`;
    dot.dataset.presence = presence;
    setText(label, tracker.label);
    setText(time, tracker.updated ? brief(tracker.updated, now) : '');
    if (tracker.updated) time.title = exact(tracker.updated);
    setText(driver, tracker.driver);
    driver.hidden = !tracker.driver;
    setText(about, [status, tracker.model].filter(Boolean).join(' · '));
    const heard = fillLast(el.parts.last, tracker.last, now);
    setText(badge, tracker.unread > 999 ? '999+' : String(tracker.unread || ''));
    badge.hidden = !tracker.unread;
    problem.hidden = problems === 0;
    setText(problem.lastChild, String(problems));
    problem.title = problems > 0 ? t('trackers.problems', { n: problems }) : '';
    const picked = this.#selection?.has(tracker.id) ?? false;
    box.hidden = this.#selection === null;
    box.classList.toggle('picked', picked);
    el.classList.toggle('open', this.#selection === null && tracker.id === this.#state.open);
    el.classList.toggle('active', tracker.id === this.#active);
    setText(
      words,
      [heard, problem.title, tracker.unread ? t('trackers.unreadOf', { n: tracker.unread }) : '']
        .filter(Boolean)
        .join(', '),
    );
    for (const [attribute, value] of [
      ['aria-posinset', at + 1],
      ['aria-setsize', this.#shown.length],
      ['aria-selected', String(this.#selection ? picked : tracker.id === this.#state.open)],
      ['aria-disabled', String(this.#selection !== null && tracker.blocked)],
    ])
      el.setAttribute(attribute, value);
  }

  #click(event) {
    const row = event.target.closest('.row');
    if (!row) return;
    this.#active = Number(row.dataset.id);
    this.#choose(event.shiftKey);
  }

  #choose(range = false) {
    if (this.#active === null) return;
    if (this.#selection) this.#on.toggle(this.#active, range);
    else this.#on.open(this.#active);
    this.#draw();
  }

  #key(event) {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    const page = Math.max(1, Math.floor(this.element.clientHeight / ROW) - 1);
    this.#flush();
    const last = this.#shown.length - 1;
    const at = this.#shown.findIndex((x) => x.id === this.#active);
    const to = {
      ArrowDown: at + 1,
      ArrowUp: at - 1,
      PageDown: at + page,
      PageUp: at - page,
      Home: 0,
      End: last,
    }[event.key];
    if (to !== undefined && last >= 0)
      this.activate(this.#shown[Math.min(Math.max(to, 0), last)].id);
    else if (event.key === 'Enter' || event.key === ' ') this.#choose(event.shiftKey);
    else return;
    event.preventDefault();
  }
}

/** Shows a tracker's last message; returns in words which way it went and what it has come to. */
function fillLast(el, message, now) {
  el.hidden = !message;
  if (!message) return '';
  const { incoming, state, text } = message;
  if (el.dataset.id !== String(message.id) || el.dataset.state !== String(state)) {
    el.dataset.id = message.id;
    el.dataset.state = state;
    el.classList.toggle('replaced', message.replaced > 0);
    el.replaceChildren(icon(incoming ? 'incoming' : ICON[state]), h('span', { dir: 'auto' }, text));
  }
  const time = brief(message.at, now);
  return incoming
    ? t('message.from', { time })
    : t('message.to', { time, state: outcome(message) });
}
