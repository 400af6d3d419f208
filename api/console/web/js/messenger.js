import { CODE } from './api.js';
import { endedBadly, extrasOf, fromApi, stored } from './message.js';

const PAGE = 50; // messages that a conversation begins with
const OLDER = 500; // messages of one step backwards
const FEW = 10; // messages that are looked through for those that ended badly
const BEGINNING = '1970-01-02T00:00:00Z'; // before every message
const LATEST = '2200-01-01T00:00:00Z'; // after every message

/** Reads and writes the conversations of a State. */
export class Messenger {
  #api;
  #state;
  #older = new Map(); // running reads backwards, by tracker
  #quotes = new Set(); // ids of messages that have been read for being answered

  constructor(api, state) {
    this.#api = api;
    this.#state = state;
  }

  async #list(tracker, limit, which = {}) {
    const { list } = await this.#api.call('tracker/chat/list', {
      tracker_id: tracker,
      from: BEGINNING,
      limit,
      ascending: false,
      detail: true,
      ...which,
    });
    const messages = list.map(fromApi);
    this.#state.learn(tracker, messages);
    return messages;
  }

  /** Looks for texts to a tracker that ended badly, among the newest. */
  async look(tracker) {
    await this.#list(tracker, FEW);
  }

  /**
   * Reads the newest messages. Where more have come than one page holds since the last time, there
   * would be a gap: the older ones are read again then.
   */
  async refresh(tracker) {
    const c = this.#state.conversation(tracker);
    try {
      const page = await this.#list(tracker, PAGE);
      const known = page.some((m) => c.messages.has(m.id));
      if (c.loaded && page.length === PAGE && !known) c.forget();
      if (!c.loaded && page.length === PAGE) c.forgetBefore(page.at(-1).id);
      c.add(page);
      if (!c.loaded) c.complete = page.length < PAGE;
      c.loaded = true;
      c.error = null;
      await this.#settle(c, page);
    } catch (e) {
      if (c.loaded && !e.refused) throw e;
      c.error = e;
      if (!e.refused || e.ended) throw e;
    } finally {
      this.#state.tell('messages', tracker);
    }
  }

  /**
   * Without a feed nobody tells of changes to messages before the newest page: those that are still
   * on their way are asked for by themselves.
   */
  async #settle(c, page) {
    const first = page.at(-1)?.id;
    const waiting = c
      .sorted()
      .filter(
        (m) => first !== undefined && m.id < first && (m.state === 'QUEUED' || m.state === 'SENT'),
      )
      .slice(-5);
    for (const m of waiting) c.add([await this.read(m.id)]);
  }

  /** Reads a page of older messages; false if there are none. */
  older(tracker) {
    if (!this.#older.has(tracker))
      this.#older.set(
        tracker,
        this.#readOlder(tracker).finally(() => this.#older.delete(tracker)),
      );
    return this.#older.get(tracker);
  }

  async #readOlder(tracker) {
    const c = this.#state.conversation(tracker);
    const oldest = c.oldest();
    if (!c.loaded || c.complete || !oldest) return false;
    const page = await this.#list(tracker, OLDER, { to: second(oldest), after_id: oldest.id });
    c.complete = page.length < OLDER;
    const fresh = c.add(page);
    this.#state.tell('messages', tracker);
    return fresh > 0;
  }

  /** Reads the messages before a place, {id, at}, or with forward those after it: {list, last}. */
  async page(tracker, { id, at }, forward) {
    const bound = forward ? { from: second({ at }), ascending: true } : { to: second({ at }) };
    const list = await this.#list(tracker, PAGE, { ...bound, after_id: id });
    return { list, last: list.length < PAGE };
  }

  /** Reads one message. */
  async read(id) {
    return fromApi((await this.#api.call('tracker/chat/read', { message_id: id })).value);
  }

  /** The first message of a day, YYYY-MM-DD, or of those after it; undefined if there is none. */
  async firstOf(tracker, day) {
    const which = { from: `${day} 00:00:00`, to: LATEST, ascending: true };
    return (await this.#list(tracker, 1, which))[0];
  }

  /** All messages of a period, {from, to} of the API, in pages, oldest first. */
  async *period(tracker, { from = BEGINNING, to = LATEST }) {
    for (let last = null; ;) {
      const start = last ? { from: second(last), after_id: last.id } : { from };
      const page = await this.#list(tracker, OLDER, { ...start, to, ascending: true });
      yield page;
      if (page.length < OLDER) return;
      last = page.at(-1);
    }
  }

  /** Searches messages by words, newest first, from after on: {list, next}. */
  async search(tracker, words, after, signal) {
    const { list, next } = await this.#api.call(
      'tracker/chat/search',
      { tracker_id: tracker, query: words, ...(after && { after_id: after }) },
      signal,
    );
    return { list: list.map(fromApi), next };
  }

  /**
   * Sends a text. It is in the outbox until the server has it; sent again after a failure it has
   * the same key, so that it is never stored twice.
   */
  async send(tracker, text, extras = {}) {
    await this.#post(tracker, crypto.randomUUID?.() ?? randomKey(), text, extras);
  }

  /**
   * Sends a message that has ended badly once more, as another one. Asked for twice it is sent
   * once.
   */
  async again(tracker, message) {
    this.dismiss(tracker, message);
    await this.#post(tracker, `again ${message.id}`, message.text, extrasOf(message));
  }

  /** Has done with a message that has ended badly. */
  dismiss(tracker, message) {
    this.#state.problems.dismiss(tracker, message.id);
    this.#state.tell('trackers');
    this.#state.tell('messages', tracker);
  }

  async #post(tracker, key, text, extras) {
    const c = this.#state.conversation(tracker);
    if (c.outbox.some((o) => o.key === key)) return;
    const item = { key, tracker, text, extras, at: Date.now(), state: 'sending', error: null };
    c.outbox.push(item);
    await this.#deliver(tracker, item);
  }

  /** Goes on with what was being sent when the page was left. */
  resume() {
    for (const c of [...this.#state.known()]) {
      for (const item of [...c.outbox])
        if (item.state === 'sending') this.#deliver(c.tracker, item);
    }
  }

  /** Sends what has failed once more. */
  async resend(tracker, item) {
    item.state = 'sending';
    item.claimed = false;
    await this.#deliver(tracker, item);
  }

  async #deliver(tracker, item) {
    const c = this.#state.conversation(tracker);
    this.#note(tracker, item);
    try {
      const { id } = await this.#api.call('tracker/chat/send', {
        tracker_id: tracker,
        message: item.text,
        idempotency_key: item.key,
        ...item.extras,
      });
      if (!c.messages.has(id)) {
        this.#state.arrived(tracker, stored(id, item.text, item.extras));
      }
      this.discard(tracker, item);
    } catch (e) {
      item.state = 'failed';
      item.error = e;
      if (c.outbox.includes(item)) this.#note(tracker, item);
    }
  }

  #note(tracker, item) {
    this.#state.work.keep(item);
    this.#state.unsent(tracker, item);
  }

  /** Takes a text out of the outbox. */
  discard(tracker, item) {
    const c = this.#state.conversation(tracker);
    c.outbox = c.outbox.filter((o) => o !== item);
    this.#state.work.drop(item);
    this.#state.unsent(tracker, { ...item, state: 'sent' });
  }

  /** Reads a message that another one answers, if it is not known yet. */
  async quote(tracker, id) {
    const c = this.#state.conversation(tracker);
    if (c.answered(id) || this.#quotes.has(id)) return;
    this.#quotes.add(id);
    try {
      const { value } = await this.#api.call('tracker/chat/read', { message_id: id });
      c.quoted.set(id, fromApi(value));
      this.#state.tell('messages', tracker);
    } catch (e) {
      if (!e.refused) this.#quotes.delete(id); // it is asked for again when it is drawn next
    }
  }

  /** Withdraws a message; false if the device has acknowledged it before. */
  async cancel(tracker, id) {
    try {
      await this.#api.call('tracker/chat/cancel', { message_id: id });
    } catch (e) {
      if (e.code !== CODE.notPermitted) throw e;
      await this.refresh(tracker);
      return false;
    }
    const c = this.#state.conversation(tracker);
    const m = c.messages.get(id);
    if (m) c.add([{ ...m, state: 'CANCELLED' }]);
    this.#state.tell('messages', tracker);
    return true;
  }

  /** Marks messages of one tracker as read. */
  async markRead(tracker, ids) {
    await this.#api.call('tracker/chat/mark_read', { message_ids: ids });
    const c = this.#state.conversation(tracker);
    for (const id of ids) {
      const m = c.messages.get(id);
      if (m?.unread) this.#state.arrived(tracker, { ...m, unread: false });
    }
  }

  /** Marks everything of every tracker as read. */
  async markAllRead() {
    await this.#api.call('tracker/chat/mark_read_all');
    this.#state.setUnread({});
    for (const c of this.#state.known()) {
      c.add(c.unread().map((m) => ({ ...m, unread: false })));
      this.#state.tell('messages', c.tracker);
    }
  }
}

/** The second of a message, as the API takes it. */
const second = ({ at }) => new Date(Math.floor(at / 1000) * 1000).toISOString().replace('.000', '');

/** crypto.randomUUID exists only where the page came over TLS or from this machine. */
function randomKey() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (b) =>
    b.toString(16).padStart(2, '0'),
  ).join('');
}
