import { h, icon, setText } from '../../shared/dom.js';
import { t } from '../../shared/i18n.js';
import { brief, dayKey, dayName } from '../time.js';
import { bubble, fill, fillUnsent, unsent } from './bubble.js';
import { Column } from './column.js';
import { Excerpt } from '../excerpt.js';
import { Composer } from './composer.js';
import { explain } from './errors.js';
import { exportMenu } from './export.js';
import { Search } from './search.js';
import { toast } from './toast.js';
import { Warnings } from './warnings.js';

const NEAR = 60; // px from the end that count as being there
const AHEAD = 400; // px before the oldest message, at which older ones are read
const TOGETHER = 250; // ms in which what has been seen is collected

/** The conversation with one tracker. */
export class ConversationView {
  #state;
  #messenger;
  #warnings;
  #id;
  #column;
  #listeners = new AbortController();
  #first = null;
  #seen = new Set();
  #timer = null;
  #missed = 0;
  #last = 0;
  #fetching = false;
  #height = 0;
  #excerpt = null; // what is shown instead of the newest messages
  #found = 0; // id of the message that was looked for

  constructor({ api, state, messenger, capabilities, templates }, id, back) {
    this.#state = state;
    this.#messenger = messenger;
    this.#warnings = new Warnings(
      capabilities,
      () => [id],
      () => this.composer.check(),
    );
    this.#id = id;
    this.dot = h('span', { class: 'dot' });
    this.label = h('bdi', {});
    this.about = h('p', { class: 'about' });
    this.log = h('div', {
      class: 'log',
      role: 'log',
      'aria-label': t('conversation.label'),
      tabIndex: 0,
      on: { scroll: () => this.#scrolled() },
    });
    this.#column = new Column(this.log, {
      create: (x) => this.#create(x),
      fill: (el, x) => this.#fill(el, x),
    });
    this.note = h('p', { class: 'quiet note', role: 'status', hidden: true });
    this.jump = h('button', {
      class: 'jump',
      type: 'button',
      hidden: true,
      on: { click: () => this.#toEnd() },
    });
    this.refusal = h('p', { class: 'notice', role: 'alert', hidden: true });
    this.readOnly = h('p', { class: 'notice', hidden: state.mayWrite }, t('role.viewer'));
    this.composer = new Composer({
      templates,
      tracker: id,
      draft: state.work.draft(id),
      changed: (draft) => state.work.setDraft(id, draft),
      send: (text, extras) => this.#send(text, extras),
      check: (...written) => this.#warnings.words(...written),
    });
    this.search = new Search(messenger, id, (m) => this.#goTo(m));
    this.takeaway = exportMenu(
      { api, messenger },
      () => state.trackers.get(id) ?? { id, label: String(id) },
    );
    this.element = h(
      'section',
      { class: 'conversation', 'aria-labelledby': 'tracker-title' },
      h(
        'header',
        { class: 'bar' },
        h(
          'button',
          {
            class: 'iconbutton back',
            type: 'button',
            'aria-label': t('conversation.back'),
            on: { click: back },
          },
          icon('back'),
        ),
        this.dot,
        h('div', { class: 'who' }, h('h1', { id: 'tracker-title' }, this.label), this.about),
        this.search.button,
        this.takeaway.element,
      ),
      this.search.element,
      h('div', { class: 'scroll' }, this.note, this.log, this.jump),
      this.refusal,
      this.readOnly,
      this.composer.element,
    );
    this.composer.element.hidden = !state.mayWrite;
    this.observer = new IntersectionObserver((entries) => this.#visible(entries), {
      root: this.log,
      threshold: [0, 0.5],
    });
    this.resized = new ResizeObserver(() => this.#resized());
    this.resized.observe(this.log);
    const { signal } = this.#listeners;
    state.addEventListener(
      'messages',
      (e) => {
        if (e.detail === id) this.#draw();
      },
      { signal },
    );
    state.addEventListener('trackers', () => this.#head(), { signal });
    state.addEventListener('event', (e) => this.#told(e.detail), { signal });
    window.addEventListener('focus', () => this.#flushSoon(), { signal });
    document.addEventListener('visibilitychange', () => this.#flushSoon(), { signal });
    this.#head();
    this.#draw();
    this.#load();
  }

  get #conversation() {
    return this.#state.conversation(this.#id);
  }

  get #shown() {
    return this.#excerpt ?? this.#conversation;
  }

  focus() {
    if (this.#state.mayWrite) this.composer.focus();
    else this.log.focus({ preventScroll: true });
  }

  close() {
    this.#listeners.abort();
    this.observer.disconnect();
    this.resized.disconnect();
    clearTimeout(this.#timer);
    this.#warnings.close();
    this.composer.close();
    this.search.close();
    this.takeaway.close();
  }

  async #load() {
    try {
      await this.#messenger.refresh(this.#id);
    } catch {
      // it is noted in the conversation, and read again once there is a connection
    }
  }

  #head() {
    const tracker = this.#state.trackers.get(this.#id);
    if (!tracker) {
      setText(this.label, String(this.#id));
      return;
    }
    const presence = tracker.blocked
      ? 'blocked'
      : ({ true: 'online', false: 'offline' }[tracker.online] ?? 'unknown');
    this.dot.dataset.presence = presence;
    setText(this.label, tracker.label);
    const status =
      presence === 'offline' && tracker.seen
        ? t('trackers.seen', { time: brief(tracker.seen, Date.now()) })
        : t(`trackers.${presence}`);
    const { driver, model, device } = tracker;
    setText(this.about, [driver, status, model, device].filter(Boolean).join(' · '));
    this.composer.hint(presence === 'offline' ? t('composer.offline') : '');
  }

  #draw() {
    if (this.#excerpt?.reaches(this.#conversation)) this.#join();
    const items = this.#items(this.#shown);
    if (this.#excerpt) {
      this.#column.set(items, false);
      this.#tellMissed();
      this.#fillScreen();
      return;
    }
    const c = this.#conversation;
    const end = this.#atEnd();
    this.#column.set(items, end);
    const newest = c.sorted().at(-1)?.id ?? 0;
    if (newest > this.#last && this.#last && !end)
      this.#missed += c.sorted().filter((m) => m.id > this.#last && m.incoming).length;
    this.#last = newest;
    this.#tellMissed();
    this.#notes(c, items);
    this.#fillScreen();
  }

  #items(c) {
    const items = [];
    let day = '';
    if (c === this.#conversation) this.#first ??= c.loaded ? (c.unread()[0]?.id ?? 0) : null;
    for (const m of c.sorted()) {
      const key = dayKey(m.at);
      if (key !== day) items.push({ key: `day ${(day = key)}`, day: m.at, floats: true });
      if (m.id === this.#first) items.push({ key: 'new', floats: true });
      items.push({ key: m.id, message: m });
    }
    for (const item of c.outbox) items.push({ key: item.key, item });
    return items;
  }

  /** What can be done about a bubble. */
  #actions = {
    cancel: (m) => this.#cancel(m),
    reply: (m) => this.composer.quote(m),
    again: (m) => this.#messenger.again(this.#id, m),
    dismiss: (m) => this.#messenger.dismiss(this.#id, m),
    retry: (o) => this.#messenger.resend(this.#id, o),
    discard: (o) => this.#messenger.discard(this.#id, o),
    show: (id) => this.#show(id),
  };

  #create(x) {
    const on = this.#actions;
    if (x.message) {
      const el = bubble(x.message, on);
      if (x.message.unread) this.observer.observe(el);
      return el;
    }
    if (x.item) return unsent(x.item, on);
    return x.day
      ? h('h2', { class: 'day' })
      : h('p', { class: 'newline' }, h('span', {}, t('conversation.new')));
  }

  #fill(el, x) {
    if (x.message) {
      const { id, replyTo } = x.message;
      const problem = this.#state.problems.kind(this.#id, id);
      el.classList.toggle('found', id === this.#found);
      fill(el, x.message, {
        quoted: this.#quoted(replyTo),
        problem: problem !== undefined,
        unanswered: problem === 'UNANSWERED' ? this.#state.unanswered(this.#id, id) : null,
        mayWrite: this.#state.mayWrite,
      });
    } else if (x.item) fillUnsent(el, x.item, { quoted: this.#quoted(x.item.extras.reply_to) });
    else if (x.day) setText(el, dayName(x.day, Date.now(), t('day.today'), t('day.yesterday')));
  }

  /** The message that another one answers; one that is not here is asked for. */
  #quoted(id) {
    const found = id ? (this.#shown.answered(id) ?? this.#conversation.answered(id)) : null;
    if (id && !found) this.#messenger.quote(this.#id, id);
    return found;
  }

  /** Brings a message that another one answers into sight. */
  #show(id) {
    const message = this.#shown.answered(id) ?? this.#conversation.answered(id);
    if (message) this.#goTo(message).catch((e) => toast(explain(e), true));
  }

  /** Brings a message into sight and marks it; what is around it is read where it is not there. */
  async #goTo(message) {
    const here = [this.#shown, this.#conversation].find((c) => c.messages.has(message.id));
    const excerpt = here ?? (await Excerpt.around(this.#messenger, this.#id, message));
    this.#excerpt = excerpt === this.#conversation ? null : excerpt;
    this.#found = message.id;
    this.#draw();
    this.#column.show(message.id)?.animate([{ opacity: 0.35 }, { opacity: 1 }], 900);
  }

  /** The messages around the one that was looked for have come to join the newest ones. */
  #join() {
    const c = this.#conversation;
    const known = this.#excerpt;
    this.#excerpt = null;
    c.complete ||= known.complete;
    c.add(known.sorted());
  }

  /** Takes what the feed tells of a message that is shown apart from the newest ones. */
  #told({ tracker, message }) {
    if (tracker !== this.#id || !this.#excerpt?.messages.has(message.id)) return;
    this.#excerpt.add([message]);
    this.#draw();
  }

  #notes(c, items) {
    const refused = c.error?.refused === true;
    this.refusal.hidden = !refused;
    if (refused) setText(this.refusal, explain(c.error));
    this.composer.element.hidden = (refused && !c.loaded) || !this.#state.mayWrite;
    const text =
      c.error && !c.loaded
        ? refused
          ? ''
          : t('conversation.waiting')
        : !c.loaded
          ? t('conversation.loading')
          : items.length === 0
            ? t('conversation.empty')
            : '';
    setText(this.note, text);
    this.note.hidden = text === '';
  }

  #atEnd() {
    return this.log.scrollHeight - this.log.scrollTop - this.log.clientHeight < NEAR;
  }

  /** A banner, a long draft or a phone's keyboard takes room: what was the end stays in sight. */
  #resized() {
    const { scrollHeight, scrollTop, clientHeight } = this.log;
    if (scrollHeight - scrollTop - this.#height < NEAR) this.#column.toEnd();
    else this.#column.scrolled();
    this.#height = clientHeight;
  }

  #toEnd() {
    this.#toNewest();
    this.log.focus({ preventScroll: true });
  }

  /** Shows the newest messages, also where others are shown now. */
  #toNewest() {
    const apart = this.#excerpt !== null;
    this.#excerpt = null;
    if (apart) this.#draw();
    this.#column.toEnd();
  }

  #scrolled() {
    this.#column.scrolled();
    if (this.#atEnd() && !this.#excerpt) this.#missed = 0;
    this.#tellMissed();
    this.#fillScreen();
  }

  #tellMissed() {
    this.jump.hidden = this.#atEnd() && !this.#excerpt;
    if (!this.jump.hidden)
      this.jump.replaceChildren(
        icon('down'),
        this.#missed > 0 ? t('conversation.missed', { n: this.#missed }) : t('conversation.newest'),
      );
  }

  /** What is to be read for what is about to be seen, null for nothing. */
  #wanted() {
    const c = this.#shown;
    const { scrollTop, scrollHeight, clientHeight } = this.log;
    if (!c.loaded) return null;
    if (scrollTop <= AHEAD && !c.complete)
      return this.#excerpt ? () => c.older() : () => this.#messenger.older(this.#id);
    if (this.#excerpt && !c.atNewest && scrollHeight - scrollTop - clientHeight <= AHEAD)
      return () => c.newer();
    return null;
  }

  /** Reads older messages when the oldest one is about to be seen, or newer ones. */
  async #fillScreen() {
    const read = this.#fetching ? null : this.#wanted();
    if (!read) return;
    this.#fetching = true;
    try {
      await read();
      this.#fetching = false;
      if (this.#excerpt) this.#draw();
    } catch {
      setTimeout(() => {
        this.#fetching = false;
      }, 3000); // the next scroll or message tries again
    }
  }

  #visible(entries) {
    for (const {
      target,
      isIntersecting,
      intersectionRatio,
      intersectionRect,
      rootBounds,
    } of entries) {
      const id = Number(target.dataset.id);
      if (
        isIntersecting &&
        (intersectionRatio >= 0.5 || intersectionRect.height > (rootBounds?.height ?? 0) / 2)
      )
        this.#seen.add(id);
      else this.#seen.delete(id);
    }
    this.#flushSoon();
  }

  #flushSoon() {
    this.#timer ??= setTimeout(() => this.#flush(), TOGETHER);
  }

  /**
   * What a person has before their eyes is read: the window has to be seen and to have the focus.
   */
  async #flush() {
    this.#timer = null;
    if (!this.#state.mayWrite) return;
    if (document.visibilityState !== 'visible' || !document.hasFocus()) return;
    const ids = [...this.#seen].filter((id) => this.#shown.messages.get(id)?.unread);
    if (ids.length === 0) return;
    try {
      await this.#messenger.markRead(this.#id, ids);
      if (this.#excerpt) this.#markRead(ids);
      for (const id of ids) {
        this.#seen.delete(id);
        const el = this.#column.element(id);
        if (el) this.observer.unobserve(el);
      }
    } catch {
      setTimeout(() => this.#flushSoon(), 3000); // they stay unread until the server knows
    }
  }

  #markRead(ids) {
    const known = ids.map((id) => this.#excerpt.messages.get(id)).filter(Boolean);
    this.#excerpt.add(known.map((m) => ({ ...m, unread: false })));
    this.#draw();
  }

  async #send(text, extras) {
    this.#missed = 0;
    const sent = this.#messenger.send(this.#id, text, extras);
    this.#toNewest();
    await sent;
    if (this.#state.connection !== 'live') await this.#load();
  }

  async #cancel(message) {
    try {
      const done = await this.#messenger.cancel(this.#id, message.id);
      if (!done) toast(t('message.tooLate'), true);
      if (this.#excerpt)
        this.#told({ tracker: this.#id, message: await this.#messenger.read(message.id) });
    } catch (e) {
      toast(explain(e), true);
    }
  }
}
