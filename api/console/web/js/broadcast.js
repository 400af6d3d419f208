import { CODE } from './api.js';
import { fromApi, newer } from './message.js';

const LATE = 2500; // ms after which a message that no event has told of is looked for
const EVERY = 4000; // ms between looks without a feed
const WATCHED = 15 * 60_000; // ms that a broadcast is followed
const CLOCKS = 120_000; // ms that the clocks of server and browser may differ

/** Most trackers of one broadcast. */
export const MOST = 300;

/**
 * One text to many trackers, and what becomes of it at each. results is a Map from tracker to {state, message, reason}: state is 'sending', 'sent' (message is what it has come to, once that is known),
 * 'unsupported', 'full', 'refused' (that tracker is why nothing was sent), 'held' (nothing was sent because of others) or 'failed'. It tells of each change by the event `change`.
 */
export class Broadcast extends EventTarget {
  results = new Map();
  error = null;
  done = false; // the server has answered
  #api; #state; #text; #extras; #key; #begun = 0; #stop = new AbortController(); #looking = null;

  constructor(api, state, key, text, extras) {
    super();
    this.#api = api;
    this.#state = state;
    this.#key = key;
    this.#text = text;
    this.#extras = extras;
  }

  #tell() { this.dispatchEvent(new Event('change')); }

  /** Sends; after a failure again under the same key, so that no tracker gets it twice. */
  async send(trackers) {
    this.#begun ||= Date.now();
    this.error = null;
    this.results = new Map(trackers.map((id) => [id, { state: 'sending' }]));
    this.#state.addEventListener('event', (e) => this.#heard(e.detail), { signal: this.#stop.signal });
    this.#tell();
    try {
      const answer = await this.#api.call('tracker/chat/broadcast', { trackers, message: this.#text, idempotency_key: this.#key, ...this.#extras });
      for (const id of answer.sent_to) this.#set(id, { state: 'sent' });
      for (const id of answer.not_sent_to) this.#set(id, { state: 'full' });
      this.done = true;
      this.#tell();
      await this.#why(answer.not_sent_to);
      this.#follow();
    } catch (e) {
      this.error = e;
      for (const id of trackers) this.#set(id, { state: 'failed' });
      if (e.code === CODE.nonexistent) await this.#blame(trackers);
    }
    this.#tell();
  }

  close() {
    this.#stop.abort();
    clearTimeout(this.#looking);
  }

  #set(id, result) { this.results.set(id, { ...this.results.get(id), ...result }); }

  /** The answer does not say why a tracker was left out: its device has no chat, or too much is waiting for it. */
  async #why(ids) {
    for (const id of ids) {
      const e = await this.#refusal(id);
      if (e?.code === CODE.unsupported) this.#set(id, { state: 'unsupported' });
      this.#tell();
    }
  }

  async #refusal(id) {
    try {
      await this.#api.call('tracker/chat/list', { tracker_id: id, limit: 1 }, this.#stop.signal);
      return null;
    } catch (e) {
      return e;
    }
  }

  /** One tracker that may not be written to holds up all: it is looked for by halves. */
  async #blame(ids) {
    const guilty = async (some) => {
      try {
        await this.#api.call('tracker/chat/updated/list', { trackers: some }, this.#stop.signal);
      } catch (e) {
        if (e.code !== CODE.nonexistent) throw e;
        if (some.length === 1) {
          this.#set(some[0], { state: 'refused', reason: await this.#refusal(some[0]) });
          return;
        }
        await guilty(some.slice(0, some.length >> 1));
        await guilty(some.slice(some.length >> 1));
      }
    };
    for (const id of ids) this.#set(id, { state: 'held' });
    this.#tell();
    try {
      await guilty(ids);
    } catch (e) {
      this.error = e;
    }
  }

  /** Takes an event of the feed: the text's message at one of the trackers, or news of it. */
  #heard({ tracker, message }) {
    const r = this.results.get(tracker);
    if (!r || message.incoming || !this.#isOurs(r, message)) return;
    this.#set(tracker, { message: newer(r.message, message) });
    this.#tell();
  }

  #isOurs(r, message) { return r.message ? r.message.id === message.id : message.text === this.#text && message.at > this.#begun - CLOCKS; }

  /** Looks for what the feed does not tell. */
  #follow() {
    const look = async () => {
      for (const [id, r] of this.results) {
        const over = r.message && r.message.state !== 'QUEUED';
        if (r.state !== 'sent' || over || (r.message && this.#state.connection === 'live')) continue;
        await this.#find(id, r);
        if (this.#stop.signal.aborted) return;
      }
      if (Date.now() - this.#begun < WATCHED) this.#looking = setTimeout(look, EVERY);
    };
    this.#looking = setTimeout(look, LATE);
  }

  async #find(id, r) {
    try {
      const { list } = await this.#api.call('tracker/chat/list', { tracker_id: id, limit: 20, ascending: false, detail: true }, this.#stop.signal);
      const found = list.map(fromApi).find((m) => !m.incoming && this.#isOurs(r, m));
      if (found) this.#set(id, { message: newer(this.results.get(id).message, found) });
      this.#tell();
    } catch {
      // the next look may do better
    }
  }
}
