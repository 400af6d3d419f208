import { ApiError, CODE } from './api.js';
import { endedBadly, fromApi, newer } from './message.js';

const PAGE = 10_000; // trackers of one answer
const SOON = 1000; // ms after a sign that a broadcast goes on, until it is read again
const UNSENT = 20; // broadcasts that are kept which the server does not have

/** How many broadcasts one page has. */
export const LISTED = 50;

/** Most trackers that are picked one by one. */
export const MOST = 300;

/**
 * The broadcasts of an account. The server keeps them; unsent are those that were begun in this tab
 * and that it is not known to have, the newest first. It tells by the event `sent` (detail: a
 * Broadcast) that it has one.
 */
export class Broadcasts extends EventTarget {
  unsent;
  #api;
  #state;

  constructor(api, state) {
    super();
    this.#api = api;
    this.#state = state;
    this.unsent = state.work
      .broadcasts()
      .filter((record) => record.to)
      .sort((a, b) => b.at - a.at)
      .map((record) => this.#make(record));
  }

  #make(record) {
    return new Broadcast(this.#api, this.#state, record);
  }

  /** Goes on with what was being sent when the page was left. */
  resume() {
    for (const b of this.unsent) if (!b.error) this.send(b);
  }

  /** Begins one to whom record of Recipients says, and returns it. */
  begin(to, text, extras) {
    const key = Array.from(crypto.getRandomValues(new Uint8Array(16)), (x) =>
      x.toString(16).padStart(2, '0'),
    ).join('');
    const b = this.#make({ key, to, text, extras, at: Date.now() });
    this.unsent.unshift(b);
    for (const old of this.unsent.slice(UNSENT)) this.discard(old);
    this.send(b);
    return b;
  }

  /** Sends one; after a failure again under the same key, so that no tracker gets it twice. */
  async send(b) {
    b.failed(null);
    this.#state.work.setBroadcast(b.key, b.record); // before the server has it
    try {
      b.sent(
        await this.#api.call('tracker/chat/broadcast', {
          ...b.to,
          message: b.text,
          report: true,
          idempotency_key: b.key,
          ...b.extras,
        }),
      );
    } catch (e) {
      // which trackers it was refused for, the list says: it may have changed
      if (e.code === CODE.nonexistent) await this.#roster();
      b.failed(e);
      if (this.unsent.includes(b)) this.#state.work.setBroadcast(b.key, b.record);
      this.#state.dispatchEvent(new CustomEvent('problem', { detail: { broadcast: b } }));
      return;
    }
    this.discard(b);
    this.dispatchEvent(new CustomEvent('sent', { detail: b }));
  }

  async #roster() {
    try {
      this.#state.setTrackers((await this.#api.call('tracker/list')).list);
    } catch {
      // it is read again in any case
    }
  }

  /** Forgets one that was not sent. */
  discard(b) {
    this.unsent = this.unsent.filter((x) => x !== b);
    this.#state.work.setBroadcast(b.key, null);
  }

  /** One by the key of an unsent one, or by its id. */
  get(name) {
    const unsent = this.unsent.find((b) => b.key === name);
    return unsent ?? (/^\d{1,16}$/.test(name) ? this.#make({ id: Number(name) }) : null);
  }

  /** The newest ones of the server, or those before an id. */
  async page(before) {
    const { list } = await this.#api.call('tracker/chat/broadcast/list', {
      limit: LISTED,
      ...(before && { before }),
    });
    return list.map((info) => this.#make({ id: info.id }).told(info));
  }
}

/**
 * One text to many trackers, and what becomes of it. As long as the server is not known to have it,
 * id is null and error may say why. Once it is open, results are by tracker, null before they are
 * read: a message as far as it is known, or {state} with NOT_SENT, or FORGOTTEN where it is not kept
 * any more. It tells of each change by the event `change`.
 */
export class Broadcast extends EventTarget {
  results = null;
  author = null;
  trackers = 0; // that it is for
  known = 0; // of them, whose result is known
  left = 0; // of them, that got no message
  complete = true;
  #api;
  #state;
  #round = 0; // of reading
  #reading = false;
  #early = []; // events while it is read
  #soon = null;
  #stop = null;

  constructor(api, state, { id = null, key, to, text = '', extras, at = 0, error = null }) {
    super();
    this.#api = api;
    this.#state = state;
    Object.assign(this, { id, key, to, text, extras, at });
    this.error = error && new ApiError(error.code, error.message);
  }

  /** What is kept of one that is not sent, for the constructor. */
  get record() {
    const { key, to, text, extras, at, error } = this;
    const plain = error && { code: error.code ?? 0, message: error.message };
    return { key, to, text, extras, at, error: plain };
  }

  failed(error) {
    this.error = error;
    this.#tell();
  }

  sent({ broadcast_id: id, trackers, sent, not_sent: left }) {
    Object.assign(this, { id, trackers, known: sent + left, left });
    this.#tell();
  }

  /** Takes what the server says of it. */
  told({ submit_time: at, text, author = null, trackers, sent, not_sent: left, complete }) {
    Object.assign(this, { text, author, trackers, known: sent + left, left, complete });
    this.at = Date.parse(at);
    return this;
  }

  /** Of one that was refused because of some trackers, those that it can be sent to. */
  get others() {
    if (this.error?.code !== CODE.nonexistent || !this.to.trackers) return null;
    const trackers = this.to.trackers.filter(
      (id) => this.#state.trackers.get(id)?.blocked === false,
    );
    return trackers.length < this.to.trackers.length ? { ...this.to, trackers } : null;
  }

  /** How many trackers have a result for which f is true. */
  count(f) {
    let n = 0;
    for (const r of this.results.values()) if (f(r)) n++;
    return n;
  }

  #tell() {
    this.dispatchEvent(new Event('change'));
  }

  /** Reads what has become of it, and follows that until close. */
  open() {
    if (this.#stop || this.id === null) return;
    this.#stop = new AbortController();
    const { signal } = this.#stop;
    this.#state.addEventListener('event', (e) => this.#heard(e.detail), { signal });
    this.#state.addEventListener('reset', () => this.#read(), { signal });
    this.#read();
  }

  close() {
    this.#stop?.abort();
    this.#stop = null;
    this.results = null;
    clearTimeout(this.#soon);
  }

  /**
   * What the feed tells meanwhile may be newer than the answers; what it told before they were asked
   * for is not.
   */
  async #read() {
    const round = ++this.#round;
    const { signal } = this.#stop;
    this.#reading = true;
    clearTimeout(this.#soon);
    this.#soon = null;
    this.#early = [];
    const list = [];
    try {
      for (let more = true; more;) {
        const { value } = await this.#api.call(
          'tracker/chat/broadcast/read',
          { broadcast_id: this.id, detail: true, limit: PAGE, offset: list.length },
          signal,
        );
        if (round !== this.#round) return;
        list.push(...value.list.map((x) => [x.tracker_id, result(x, value)]));
        more = value.list.length === PAGE;
        this.told(value);
      }
      this.error = null;
      this.#reading = false;
      this.results = new Map(list.sort(([, a], [, b]) => rank(a) - rank(b)));
      for (const e of this.#early.splice(0)) this.#heard(e);
    } catch (e) {
      if (signal.aborted || round !== this.#round) return;
      this.error = e;
      this.#reading = false;
    }
    this.#tell();
  }

  /** Takes an event of the feed. */
  #heard(event) {
    const { tracker, message } = event;
    if (this.#reading) this.#early.push(event);
    const r = this.results?.get(tracker);
    if (r?.id === message.id) {
      this.results.set(tracker, newer(r, message));
      this.#tell();
    } else if (!r && !this.complete && message.text === this.text)
      this.#soon ??= setTimeout(() => this.#read(), SOON); // another step of it is sent
  }
}

/** The message at one tracker, of what broadcast/read says of it. */
function result({ message_id: id, state, delivery }, { text, submit_time: at }) {
  return delivery ? fromApi({ id, type: 'OUTGOING', text, submit_time: at, delivery }) : { state };
}

/** What somebody has to look at comes first, then what is not over. */
function rank(r) {
  if (r.state === 'NOT_SENT' || endedBadly(r)) return 0;
  return r.state === 'QUEUED' ? 1 : 2;
}
