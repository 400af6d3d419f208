import { endedBadly } from './message.js';
import * as prefs from './prefs.js';

const RECENT = 24 * 3600_000; // ms: what ended before is history, unless it is being told just now
const REMEMBERED = 1000; // ids of what was done with

/**
 * The texts that ended badly and that nobody has done with: FAILED, EXPIRED or UNANSWERED messages,
 * by id, and UNSENT ones, by the key of the outbox.
 */
export class Problems {
  #account;
  #work;
  #of = new Map();
  #dismissed;
  #total = 0;

  constructor(account, work) {
    this.#account = account;
    this.#work = work;
    this.#dismissed = new Set(prefs.dismissed(account));
    for (const [tracker, key, kind] of work.problems()) this.#set(tracker, key, kind);
  }

  /** How many texts to a tracker ended badly. */
  of(tracker) {
    return this.#of.get(tracker)?.size ?? 0;
  }

  /** How many there are in all. */
  get total() {
    return this.#total;
  }

  /** What is wrong with a text, by its id or key; undefined where nothing is. */
  kind(tracker, key) {
    return this.#of.get(tracker)?.get(key);
  }

  /** Takes what a message has come to; happening: just now. True says that it is a new problem. */
  take(tracker, m, happening) {
    if (m.incoming) return false;
    const ended = m.state === 'EXPIRED' ? (m.expires ?? m.at) : m.at;
    const known = this.kind(tracker, m.id) !== undefined;
    const news = happening || known || Date.now() - ended < RECENT;
    const bad = endedBadly(m) && news && !this.#dismissed.has(m.id);
    if (m.state === 'QUEUED' && known) return false; // see unanswered
    return this.#put(tracker, m.id, bad ? m.state : undefined);
  }

  /**
   * Takes the id of the text that a tracker's device does not answer, null for none. True says that
   * it is a new problem.
   */
  unanswered(tracker, id) {
    for (const [key, kind] of [...(this.#of.get(tracker) ?? [])]) {
      if (kind === 'UNANSWERED' && key !== id) this.#put(tracker, key, undefined);
    }
    return id !== null && !this.#dismissed.has(id) && this.#put(tracker, id, 'UNANSWERED');
  }

  /** The trackers of which texts ended badly. */
  trackers() {
    return [...this.#of.keys()];
  }

  /** Takes what a text of the outbox has come to. True says that it is a new problem. */
  unsent(tracker, item) {
    return this.#put(tracker, item.key, item.state === 'failed' ? 'UNSENT' : undefined);
  }

  /** Has done with a message. */
  dismiss(tracker, id) {
    this.#dismissed.add(id);
    prefs.setDismissed(this.#account, [...this.#dismissed].slice(-REMEMBERED));
    this.#put(tracker, id, undefined);
  }

  #put(tracker, key, kind) {
    const was = this.kind(tracker, key);
    if (was === kind) return false;
    this.#set(tracker, key, kind);
    const rows = [...this.#of].flatMap(([t, all]) => [...all].map(([k, what]) => [t, k, what]));
    this.#work.setProblems(rows);
    return kind !== undefined;
  }

  #set(tracker, key, kind) {
    const all = this.#of.get(tracker) ?? new Map();
    this.#total -= all.size;
    if (kind === undefined) all.delete(key);
    else all.set(key, kind);
    this.#total += all.size;
    if (all.size > 0) this.#of.set(tracker, all);
    else this.#of.delete(tracker);
  }
}
