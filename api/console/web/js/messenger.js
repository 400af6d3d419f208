import { CODE } from './api.js';
import { endedBadly, extrasOf, fromApi, stored } from './message.js';

const PAGE = 50; // messages that a conversation begins with
const OLDER = 500; // messages of one step backwards
const FEW = 10; // messages that are looked through for those that ended badly
const BEGINNING = '1970-01-02T00:00:00Z'; // before every message

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

  async #list(tracker, limit, before = {}) {
    const { list } = await this.#api.call('tracker/chat/list', {
      tracker_id: tracker,
      from: BEGINNING,
      ...before,
      limit,
      ascending: false,
      detail: true,
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
    for (const m of waiting)
      c.add([fromApi((await this.#api.call('tracker/chat/read', { message_id: m.id })).value)]);
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
    const page = await this.#list(tracker, OLDER, {
      to: new Date(Math.floor(oldest.at / 1000) * 1000).toISOString().replace('.000', ''),
      after_id: oldest.id,
    });
    c.complete = page.length < OLDER;
    const fresh = c.add(page);
    this.#state.tell('messages', tracker);
    return fresh > 0;
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

/** crypto.randomUUID exists only where the page came over TLS or from this machine. */
function randomKey() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (b) =>
    b.toString(16).padStart(2, '0'),
  ).join('');
}
