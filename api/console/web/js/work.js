import { ApiError } from './api.js';
import * as prefs from './prefs.js';

/**
 * What a person has begun and not finished, so that no reload, no other language and no end of a
 * session takes it away. It is kept by account for as long as the tab lives.
 */
export class Work {
  #account;
  #over = false;

  constructor(account) {
    this.#account = account;
  }

  #key(name) {
    return `${this.#account}.${name}`;
  }

  #set(name, value) {
    if (!this.#over) prefs.setUnfinished(this.#key(name), value);
  }

  #all(kind) {
    const keys = prefs.unfinishedKeys(this.#key(`${kind}.`));
    return keys.map((k) => prefs.unfinished(k)).filter(Boolean);
  }

  /** What is written and not sent, see Composer; of is a tracker's id or 'broadcast'. */
  draft(of) {
    return prefs.unfinished(this.#key(`draft.${of}`));
  }

  setDraft(of, draft) {
    this.#set(`draft.${of}`, draft);
  }

  /** Texts that the server is not known to have, oldest first: see Conversation.outbox. */
  outbox() {
    const items = this.#all('outbox').sort((a, b) => a.at - b.at);
    const revive = (e) => e && new ApiError(e.code, e.message);
    return items.map((o) => ({ ...o, error: revive(o.error) }));
  }

  keep(item) {
    const error = item.error && { code: item.error.code ?? 0, message: item.error.message };
    this.#set(`outbox.${item.key}`, { ...item, claimed: false, error });
  }

  drop(item) {
    this.#set(`outbox.${item.key}`, null);
  }

  /** Problems as [tracker, id or key, kind]. */
  problems() {
    return prefs.unfinished(this.#key('problems')) ?? [];
  }

  setProblems(list) {
    this.#set('problems', list.length > 0 ? list : null);
  }

  /** Whom a broadcast is for, see Recipients.record; null outside of selecting. */
  selection() {
    return prefs.unfinished(this.#key('selection'));
  }

  setSelection(record) {
    this.#set('selection', record);
  }

  /** Broadcasts that are not sent, as Broadcast.record makes them, in no order. */
  broadcasts() {
    return this.#all('broadcast');
  }

  setBroadcast(key, record) {
    this.#set(`broadcast.${key}`, record);
  }

  /** Forgets all of it, and takes nothing more. */
  clear() {
    this.#over = true;
    for (const key of prefs.unfinishedKeys(this.#key(''))) prefs.setUnfinished(key, null);
  }
}
