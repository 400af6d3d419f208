import { Conversation } from './conversation.js';
import { newer } from './message.js';
import { Problems } from './problems.js';
import { Waiting } from './waiting.js';
import { Work } from './work.js';

const KEPT = 12; // conversations in memory besides the open one
// ids of messages that have been counted, so that a repeated event is not counted again
const SEEN = 4096;
const PREVIEW = 200; // characters that are kept of a tracker's last message

/**
 * What the page knows. It tells its listeners what has changed: `trackers` (any of the list),
 * `messages` (detail: a tracker's id), `connection`, `event` (detail: one of the feed), `reset` (more
 * has happened than was told of), `incoming` (detail: {tracker, message} of a new unread text, message null where it is not known), `problem`
 * (detail: {tracker, message}, {tracker, item}, {tracker, silent} or {broadcast} of what has just
 * ended badly). A tracker is {id, label, group, tags, driver, search, model, device, blocked, online, since,
 * seen, unread, last, updated, turn}; online is undefined where the server does not tell, since is
 * when that was first known to be so, last is its newest message, of the text only the beginning,
 * and updated when that was stored, to the second; turn counts up within it.
 */
export class State extends EventTarget {
  trackers = new Map();
  connection = 'connecting'; // live | connecting | polling | store: the server has none | down
  listed = false; // the trackers are known
  open = null; // the tracker whose conversation is shown
  #conversations = new Map(); // by tracker, the one that was used last at the end
  #counted = new Map(); // whether a message that came by itself is unread, by id
  #told = new Set();
  #turns = 0; // newest messages so far
  #waiting = new Waiting();

  /** account is what user/get_info says. What was begun before is taken up again. */
  constructor(account) {
    super();
    this.account = account;
    this.work = new Work(account.id);
    this.problems = new Problems(account.id, this.work);
    for (const item of this.work.outbox()) this.conversation(item.tracker).outbox.push(item);
  }

  /** Whether the login may do more than read, and whether it may edit what the account shares. */
  get mayWrite() {
    return this.account.role !== 'viewer';
  }

  get mayManage() {
    return (this.account.role ?? 'manager') === 'manager';
  }

  /** Tells listeners, once per turn of the event loop for each kind and detail. */
  tell(kind, detail = null) {
    const key = `${kind} ${detail}`;
    if (this.#told.has(key)) return;
    this.#told.add(key);
    queueMicrotask(() => {
      this.#told.delete(key);
      this.dispatchEvent(new CustomEvent(kind, { detail }));
    });
  }

  setConnection(name) {
    if (this.connection === name) return;
    this.connection = name;
    this.tell('connection');
  }

  /** Takes the answer of tracker/list; what is known of a tracker beyond it stays. */
  setTrackers(list) {
    const before = this.trackers;
    this.listed = true;
    this.trackers = new Map(
      list.map((t) => {
        const old = before.get(t.id);
        return [
          t.id,
          {
            id: t.id,
            label: t.label,
            group: t.group_id,
            tags: t.tags ?? [],
            driver: old?.driver ?? '',
            search: `${t.label}\n${t.id}\n${t.source.device_id}\n${t.source.model}`.toLowerCase(),
            model: t.source.model,
            device: t.source.device_id,
            blocked: t.source.blocked,
            online: t.online,
            since: old && old.online === t.online ? old.since : Date.now(),
            seen: t.last_seen ? Date.parse(t.last_seen) : null,
            unread: old?.unread ?? 0,
            last: old?.last ?? null,
            updated: old?.updated ?? 0,
            turn: old?.turn ?? 0,
          },
        ];
      }),
    );
    this.tell('trackers');
  }

  /** Takes the answer of unread/count; happening: no event tells of what has come. */
  setUnread(value, happening = false) {
    for (const t of this.trackers.values()) {
      const before = t.unread;
      t.unread = value[t.id] ?? 0;
      if (happening && t.unread > before) this.#incoming(t.id, null);
    }
    this.tell('trackers');
  }

  /** Takes the answer of employee/list. */
  setDrivers(list) {
    const names = new Map(list.map((e) => [e.tracker_id, `${e.first_name} ${e.last_name}`.trim()]));
    for (const t of this.trackers.values()) t.driver = names.get(t.id) ?? '';
    this.tell('trackers');
  }

  #incoming(tracker, message) {
    this.dispatchEvent(new CustomEvent('incoming', { detail: { tracker, message } }));
  }

  #touch(id, message) {
    const t = this.trackers.get(id);
    if (!t || message.id < t.last?.id) return;
    const same = t.last?.id === message.id;
    const last = same ? newer(t.last, message) : message;
    if (!same) t.turn = ++this.#turns;
    t.last = { ...last, text: last.text.slice(0, PREVIEW) };
    t.updated = last.at;
  }

  unreadTotal() {
    let n = 0;
    for (const t of this.trackers.values()) n += t.unread;
    return n;
  }

  /** The conversation of a tracker; it may not be loaded yet. */
  conversation(id) {
    const c = this.#conversations.get(id) ?? new Conversation(id);
    this.#conversations.delete(id);
    this.#conversations.set(id, c);
    for (const [old, oldest] of this.#conversations) {
      if (this.#conversations.size <= KEPT) break;
      if (old !== id && old !== this.open && oldest.outbox.length === 0)
        this.#conversations.delete(old);
    }
    return c;
  }

  /** The conversations that are in memory. */
  known() {
    return this.#conversations.values();
  }

  /** Takes a message that came by itself, and counts it if it is a new unread one. */
  arrived(id, message) {
    const t = this.trackers.get(id);
    const c = this.#conversations.get(id);
    const wasUnread = c?.messages.get(message.id)?.unread ?? this.#counted.get(message.id) ?? false;
    if (t && message.incoming) {
      if (message.unread && !wasUnread && !this.#counted.has(message.id)) {
        t.unread++;
        this.#incoming(id, message);
      }
      if (!message.unread && wasUnread && t.unread > 0) t.unread--;
      this.#count(message);
    }
    this.#touch(id, message);
    this.#waiting.take(id, message);
    if (this.problems.take(id, message, true)) this.#problem({ tracker: id, message });
    this.tell('trackers');
    if (c) {
      c.add([message]); // also while it is being loaded: the answer may be from before
      this.tell('messages', id);
    }
  }

  /** Takes messages that were asked for, without adding them to a conversation. */
  learn(id, messages) {
    for (const m of messages) {
      this.#touch(id, m);
      this.#waiting.take(id, m);
      this.problems.take(id, m, false);
    }
    this.tell('trackers');
  }

  /** How long a device has not answered a text, see Waiting; null where that is not so. */
  unanswered(id, message) {
    const tracker = this.trackers.get(id);
    const found = tracker && this.#waiting.unanswered(tracker);
    return found?.id === message ? found : null;
  }

  /** Looks for devices that do not answer; called every few seconds. */
  listen() {
    for (const id of new Set([...this.#waiting.trackers(), ...this.problems.trackers()])) {
      const tracker = this.trackers.get(id);
      const found = tracker ? this.#waiting.unanswered(tracker) : null;
      const before = this.problems.of(id);
      if (this.problems.unanswered(id, found?.id ?? null))
        this.#problem({ tracker: id, silent: found });
      if (this.problems.of(id) === before) continue;
      this.tell('trackers');
      this.tell('messages', id);
    }
  }

  #problem(detail) {
    this.dispatchEvent(new CustomEvent('problem', { detail }));
  }

  /** Takes what a text of the outbox has come to: `sending`, `failed` or `sent`. */
  unsent(id, item) {
    if (this.problems.unsent(id, item)) this.#problem({ tracker: id, item });
    this.tell('trackers');
    this.tell('messages', id);
  }

  #count(message) {
    this.#counted.set(message.id, message.unread && this.#counted.get(message.id) !== false);
    if (this.#counted.size > SEEN) this.#counted.delete(this.#counted.keys().next().value);
  }

  /** Takes what a `tracker` event says. */
  presence(id, online, since) {
    const t = this.trackers.get(id);
    if (!t) return;
    t.online = online;
    t.since = since ? Date.parse(since) : Date.now();
    if (since) t.seen = t.since;
    this.tell('trackers');
  }
}
