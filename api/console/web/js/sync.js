import { ApiError } from './api.js';
import { Feed } from './feed.js';
import { fromApi } from './message.js';

const POLL = 5000; // ms between looks while there is no feed
const SLOW = 6; // every so many looks what changes rarely is asked for too
const RECOUNT = 1500; // ms after an event, until the unread counts are asked for
const BATCH = 300; // trackers of one updated/list

/**
 * Keeps a State as the server has it: by the live feed, and while that cannot be had by asking every few seconds. Everything it takes in may come twice.
 * ended() is called when the session is over.
 */
export class Sync {
  #api; #state; #messenger; #feed; #ended; #stopped = new AbortController();
  #live = false; #polling = false; #looks = 0; #recount = null; #loading = null;

  constructor(api, state, messenger, ended) {
    this.#api = api;
    this.#state = state;
    this.#messenger = messenger;
    this.#ended = ended;
    this.#feed = new Feed(api, {
      open: (resumed) => this.#opened(resumed),
      event: (name, data) => this.#event(name, data),
      down: (error) => this.#down(error),
    });
  }

  /** Begins. The feed is opened first, so that nothing happens unseen between the answers and it. */
  start() {
    this.#feed.run();
    const kick = () => { if (document.visibilityState === 'visible' && !this.#live) this.kick(); };
    for (const [target, event] of [[window, 'online'], [document, 'visibilitychange']]) target.addEventListener(event, kick, { signal: this.#stopped.signal });
  }

  stop() {
    this.#feed.stop();
    this.#stopped.abort();
    clearTimeout(this.#recount);
  }

  /** Looks for a connection now. */
  kick() { this.#feed.kick(); }

  #opened(resumed) {
    this.#live = true;
    if (resumed) this.#state.setConnection('live');
    else this.reload();
  }

  #down(error) {
    this.#live = false;
    if (this.#over(error)) return;
    this.#poll();
  }

  #over(error) {
    if (!(error instanceof ApiError) || !error.ended || this.#stopped.signal.aborted) return false;
    this.stop();
    this.#ended();
    return true;
  }

  /** Reads everything anew. What is read while it runs is not read again by a second call. */
  reload() {
    this.#loading ??= this.#load().catch((e) => this.#failed(e)).finally(() => { this.#loading = null; });
    return this.#loading;
  }

  async #load() {
    const state = this.#state;
    await this.#roster();
    if (this.#live) state.setConnection('live');
    for (const c of state.known()) if (c.tracker !== state.open) c.forget();
    if (state.open !== null) await this.#messenger.refresh(state.open);
    await this.#activity([...state.trackers.keys()]);
  }

  async #roster() {
    const [trackers, unread] = await Promise.all([this.#ask('tracker/list'), this.#unread()]);
    this.#state.setTrackers(trackers.list);
    this.#state.setUnread(unread);
  }

  #ask(operation, params) { return this.#api.call(operation, params, this.#stopped.signal); }

  /** The counts; an account without the chat tariff has none. */
  async #unread() {
    try {
      return (await this.#ask('tracker/chat/unread/count')).value;
    } catch (e) {
      if (e.code === 236) return {};
      throw e;
    }
  }

  /** Asks when trackers had their last message. One that cannot be asked about spoils its batch, so a refused batch is halved. */
  async #activity(ids) {
    const usable = ids.filter((id) => !this.#state.trackers.get(id)?.blocked);
    const found = {};
    const ask = async (some) => {
      if (some.length === 0) return;
      try {
        Object.assign(found, (await this.#ask('tracker/chat/updated/list', { trackers: some })).value);
      } catch (e) {
        if (e.code !== 217) throw e;
        if (some.length === 1) return;
        await ask(some.slice(0, some.length >> 1));
        await ask(some.slice(some.length >> 1));
      }
    };
    for (let i = 0; i < usable.length; i += BATCH) await ask(usable.slice(i, i + BATCH));
    this.#state.setUpdated(found); // all at once: the list is not to jump about meanwhile
  }

  #failed(error) {
    if (this.#stopped.signal.aborted || this.#over(error)) return;
    if (error instanceof ApiError && error.code === 0) this.#state.setConnection('down');
    this.#poll();
  }

  #event(name, data) {
    if (name === 'reset') {
      this.reload();
      return;
    }
    if (name === 'tracker') {
      this.#state.presence(data.tracker_id, data.online, data.since);
      return;
    }
    if (!data?.message) return;
    const message = fromApi({ ...data.message, delivery: data.delivery });
    this.#state.arrived(data.tracker_id, message);
    this.#state.dispatchEvent(new CustomEvent('event', { detail: { name, tracker: data.tracker_id, message } }));
    if (message.incoming) this.#countSoon();
  }

  /** The counts are changed by each event at once; the server's own replace them a little later, so that they cannot drift. */
  #countSoon() {
    this.#recount ??= setTimeout(async () => {
      this.#recount = null;
      try {
        this.#state.setUnread(await this.#unread());
      } catch (e) {
        this.#over(e);
      }
    }, RECOUNT);
  }

  /** Asks every few seconds until the feed is there. */
  async #poll() {
    if (this.#polling) return;
    this.#polling = true;
    while (!this.#live && !this.#stopped.signal.aborted) {
      try {
        await this.#look();
        if (!this.#live) this.#state.setConnection('polling');
      } catch (e) {
        if (this.#stopped.signal.aborted || this.#over(e)) break;
        if (!this.#live) this.#state.setConnection('down');
      }
      await new Promise((resolve) => { setTimeout(resolve, POLL); });
    }
    this.#polling = false;
  }

  async #look() {
    const state = this.#state;
    if (state.trackers.size === 0 || this.#looks % SLOW === 0) await this.#roster();
    else state.setUnread(await this.#unread());
    if (state.open !== null) await this.#messenger.refresh(state.open);
    if (this.#looks % SLOW === 0) await this.#activity([...state.trackers.keys()].slice(0, BATCH));
    this.#looks++;
  }
}
