import { inOrder, newer } from './message.js';

/** What is in memory of the messages of one tracker, and what is being sent to it. */
export class Conversation {
  messages = new Map(); // by id
  // texts that are not known to be stored: {key, text, extras, at, state: 'sending' | 'failed',
  // error}
  outbox = [];
  loaded = false; // the newest messages are there
  complete = false; // and the oldest too
  error = null; // why it could not be loaded
  quoted = new Map(); // messages that others answer and that are not among those, by id
  #sorted = null;

  constructor(tracker) {
    this.tracker = tracker;
  }

  /**
   * Takes messages, in whatever order; of two forms of one the newer stays. Returns how many were
   * not there before.
   */
  add(list) {
    let fresh = 0;
    for (const m of list) {
      const old = this.messages.get(m.id);
      if (!old) fresh++;
      this.messages.set(m.id, newer(old, m));
      if (!old && !m.incoming) this.#claim(m);
    }
    if (list.length > 0) this.#sorted = null;
    return fresh;
  }

  /**
   * An event may tell of a message before the answer to its sending does: it is not to be shown
   * twice meanwhile.
   */
  #claim(m) {
    const sending = this.outbox.find(
      (o) => o.state === 'sending' && o.text === m.text && !o.claimed,
    );
    if (sending) sending.claimed = true;
  }

  /** All messages, oldest first. */
  sorted() {
    this.#sorted ??= [...this.messages.values()].sort(inOrder);
    return this.#sorted;
  }

  /** What is not read, oldest first. */
  unread() {
    return this.sorted().filter((m) => m.unread);
  }

  /** A message that another one answers, null if it is not known. */
  answered(id) {
    return this.messages.get(id) ?? this.quoted.get(id) ?? null;
  }

  oldest() {
    return this.sorted()[0];
  }

  /** Forgets what came by itself while there was nothing to join it to. */
  forgetBefore(id) {
    for (const old of this.messages.keys()) if (old < id) this.messages.delete(old);
    this.#sorted = null;
  }

  /** Forgets what the server told, not what is being sent. */
  forget() {
    this.messages.clear();
    this.#sorted = null;
    this.loaded = this.complete = false;
  }
}
