import { Conversation } from './conversation.js';

/**
 * Messages around one of them, which are not joined to the newest ones of their conversation. It
 * grows in both directions.
 */
export class Excerpt extends Conversation {
  #messenger;
  #over = false; // nothing has come from looking for newer ones
  atNewest = false; // nothing follows its last message

  constructor(messenger, tracker) {
    super(tracker);
    this.#messenger = messenger;
    this.loaded = true;
  }

  /** Reads what is around a message: {id, at}. */
  static async around(messenger, tracker, place) {
    const it = new Excerpt(messenger, tracker);
    const [message, before, after] = await Promise.all([
      messenger.read(place.id),
      messenger.page(tracker, place, false),
      messenger.page(tracker, place, true),
    ]);
    it.#take(before, false);
    it.#take(after, true);
    it.add([message]);
    return it;
  }

  #take({ list, last }, forward) {
    this.add(list);
    if (forward) this.#over = list.length === 0;
    if (last && forward) this.atNewest = true;
    else if (last) this.complete = true;
  }

  /** Reads a page of older messages. */
  async older() {
    this.#take(await this.#messenger.page(this.tracker, this.oldest(), false), false);
  }

  /** Reads a page of newer messages. */
  async newer() {
    this.#take(await this.#messenger.page(this.tracker, this.sorted().at(-1), true), true);
  }

  /** Whether what is known of the newest messages, in c, follows without a gap. */
  reaches(c) {
    const begin = c.loaded ? c.oldest()?.id : undefined;
    if (begin === undefined) return false;
    const joined = this.sorted().at(-1).id >= begin;
    if (!joined && !this.#over) this.atNewest = false; // more has come meanwhile
    return joined;
  }
}
