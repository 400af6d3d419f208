import { ApiError, CODE } from './api.js';
import { fromApi, newer } from './message.js';

const LATE = 2500; // ms after which a message that no event has told of is looked for
const EVERY = 4000; // ms between looks without a feed
const WATCHED = 15 * 60_000; // ms that a broadcast is followed
const CLOCKS = 120_000; // ms that the clocks of server and browser may differ
const HISTORY = 20; // broadcasts that are kept
const TOGETHER = 300; // ms in which changes are collected before they are kept

/** Most trackers of one broadcast. */
export const MOST = 300;

/** The broadcasts of an account in this tab, the newest first. */
export class Broadcasts {
  list;
  #api;
  #state;
  #taken = new Set();

  constructor(api, state) {
    this.#api = api;
    this.#state = state;
    const records = state.work.broadcasts().sort((a, b) => b.at - a.at);
    this.list = records.map((record) => new Broadcast(api, state, record, this.#taken));
  }

  /** Goes on with those that are not over. */
  resume() {
    for (const b of this.list) b.resume();
  }

  /** Begins one and returns it. */
  begin(key, trackers, text, extras) {
    const b = new Broadcast(this.#api, this.#state, { key, text, extras }, this.#taken);
    this.list = [b, ...this.list.filter((x) => x.key !== key)];
    for (const old of this.list.splice(HISTORY)) {
      old.close();
      this.#state.work.setBroadcast(old.key, null);
    }
    b.send(trackers);
    return b;
  }

  get(key) {
    return this.list.find((b) => b.key === key);
  }

  /** Keeps what is known now. */
  keep() {
    for (const b of this.list) b.keep();
  }

  close() {
    this.keep();
    for (const b of this.list) b.close();
  }
}

/**
 * One text to many trackers, and what becomes of it at each. results is a Map from tracker to
 * {state, message, reason}: state is 'sending', 'sent' (message is what it has come to, once that
 * is known), 'unsupported', 'full', 'refused' (that tracker is why nothing was sent), 'held'
 * (nothing was sent because of others) or 'failed'. It tells of each change by the event `change`.
 */
export class Broadcast extends EventTarget {
  results = new Map();
  error = null;
  done = false; // the server has answered
  #api;
  #state;
  #taken;
  #keeping = null;
  #stop = new AbortController();
  #looking = null;

  /**
   * With record, one that was begun before; see record. taken are the ids of messages that are
   * known to be of one broadcast or another: two may have the same text.
   */
  constructor(
    api,
    state,
    { key, text, extras, at = Date.now(), done = false, error = null, results = [] },
    taken,
  ) {
    super();
    this.#api = api;
    this.#state = state;
    this.#taken = taken;
    this.key = key;
    this.text = text;
    this.extras = extras;
    this.at = at;
    this.done = done;
    this.error = error && new ApiError(error.code, error.message);
    for (const [id, state_, message, reason] of results) {
      if (message) taken.add(message.id);
      this.results.set(id, {
        state: state_,
        message: message && { ...message, text },
        reason: reason && new ApiError(reason.code, reason.message),
      });
    }
    state.addEventListener('event', (e) => this.#heard(e.detail), { signal: this.#stop.signal });
  }

  /** What is kept of it, for the constructor. */
  get record() {
    const plain = (e) => e && { code: e.code ?? 0, message: e.message };
    const results = [...this.results].map(([id, r]) => [
      id,
      r.state,
      r.message && { ...r.message, text: '' },
      plain(r.reason),
    ]);
    return {
      key: this.key,
      text: this.text,
      extras: this.extras,
      at: this.at,
      done: this.done,
      error: plain(this.error),
      results,
    };
  }

  /** How many trackers have a result for which f is true. */
  count(f) {
    return [...this.results.values()].filter(f).length;
  }

  #tell() {
    this.dispatchEvent(new Event('change'));
    this.#keeping ??= setTimeout(() => this.keep(), TOGETHER);
  }

  /** Keeps what is known now. */
  keep() {
    clearTimeout(this.#keeping);
    this.#keeping = null;
    if (!this.#stop.signal.aborted) this.#state.work.setBroadcast(this.key, this.record);
  }

  /** Goes on where the page was left. */
  resume() {
    if (this.done && Date.now() - this.at < WATCHED) this.#follow();
    if (!this.done && !this.error) this.send([...this.results.keys()]);
  }

  /** Sends; after a failure again under the same key, so that no tracker gets it twice. */
  async send(trackers) {
    this.error = null;
    this.results = new Map(trackers.map((id) => [id, { state: 'sending' }]));
    this.#tell();
    this.keep(); // before the server has it
    try {
      const answer = await this.#api.call('tracker/chat/broadcast', {
        trackers,
        message: this.text,
        idempotency_key: this.key,
        ...this.extras,
      });
      for (const id of answer.sent_to) this.#set(id, { state: 'sent' });
      for (const id of answer.not_sent_to) this.#set(id, { state: 'full' });
      this.done = true;
      this.#tell();
      await this.#why(answer.not_sent_to);
      this.#follow();
    } catch (e) {
      this.error = e;
      for (const id of trackers) this.#set(id, { state: 'failed' });
      this.#state.dispatchEvent(new CustomEvent('problem', { detail: { broadcast: this } }));
      if (e.code === CODE.nonexistent) await this.#blame(trackers);
    }
    this.#tell();
  }

  close() {
    this.#stop.abort();
    clearTimeout(this.#keeping);
    clearTimeout(this.#looking);
  }

  #set(id, result) {
    this.results.set(id, { ...this.results.get(id), ...result });
  }

  /**
   * The answer does not say why a tracker was left out: its device has no chat, or too much is
   * waiting for it.
   */
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
    this.#learn(tracker, message);
  }

  #learn(tracker, message) {
    this.#taken.add(message.id);
    this.#set(tracker, { message: newer(this.results.get(tracker).message, message) });
    this.#tell();
  }

  #isOurs(r, message) {
    if (r.message) return r.message.id === message.id;
    return (
      !this.#taken.has(message.id) && message.text === this.text && message.at > this.at - CLOCKS
    );
  }

  /** Looks for what the feed does not tell. */
  #follow() {
    this.#looking = setTimeout(
      async () => {
        await this.#look(this.#state.connection === 'live');
        if (Date.now() - this.at < WATCHED && !this.#stop.signal.aborted) this.#follow();
      },
      this.#looking === null ? LATE : EVERY,
    );
  }

  /** Looks once at everything that is not over, when somebody looks at it. */
  refresh() {
    return this.#look(false);
  }

  async #look(live) {
    for (const [id, r] of this.results) {
      const over = r.message && r.message.state !== 'QUEUED';
      if (r.state !== 'sent' || over || (r.message && live)) continue;
      await this.#find(id, r);
      if (this.#stop.signal.aborted) return;
    }
  }

  async #find(id, r) {
    const { signal } = this.#stop;
    try {
      if (r.message) {
        this.#learn(
          id,
          fromApi(
            (await this.#api.call('tracker/chat/read', { message_id: r.message.id }, signal)).value,
          ),
        );
        return;
      }
      const { list } = await this.#api.call(
        'tracker/chat/list',
        { tracker_id: id, limit: 20, ascending: false, detail: true },
        signal,
      );
      const found = list.map(fromApi).find((m) => !m.incoming && this.#isOurs(r, m));
      if (found) this.#learn(id, found);
    } catch {
      // the next look may do better
    }
  }
}
