import { ApiError, CODE, pause } from './api.js';
import { Feed, FeedEnded } from './feed.js';
import { fromApi } from './message.js';

const POLL = 5000; // ms between looks while there is no feed
const SLOW = 6; // every so many looks what changes rarely is asked for too
const RECOUNT = 1500; // ms after an event, until the unread counts are asked for
const BATCH = 300; // trackers of one last/list
// ms in which a tracker had a message, for its texts to be looked through
const RECENT = 24 * 3600_000;
const LOOKED = 100; // trackers whose texts are looked through
const APART = 100; // ms between two of them
const LISTEN = 5000; // ms between looks for devices that do not answer

/**
 * Keeps a State as the server has it: by the live feed, and while that cannot be had by asking
 * every few seconds. Everything it takes in may come twice. ended() is called when the session is
 * over.
 */
export class Sync {
  #api;
  #state;
  #messenger;
  #feed;
  #ended;
  #stopped = new AbortController();
  #live = false;
  #storeAnswers = true;
  #storeReported = true;
  #polling = false;
  #looks = 0;
  #recount = null;
  #loading = null;
  #searched = false;
  #wake = new AbortController();
  #listening;

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

  /**
   * Begins. The feed is opened first, so that nothing happens unseen between the answers and it.
   */
  start() {
    this.#listening = setInterval(() => this.#state.listen(), LISTEN);
    this.#feed.run();
    this.#api.addEventListener('store', (e) => this.#answered(e.detail), {
      signal: this.#stopped.signal,
    });
    const kick = () => {
      if (document.visibilityState === 'visible' && !this.#live) this.kick();
    };
    for (const [target, event] of [
      [window, 'online'],
      [document, 'visibilitychange'],
    ])
      target.addEventListener(event, kick, { signal: this.#stopped.signal });
  }

  stop() {
    this.#feed.stop();
    this.#stopped.abort();
    clearTimeout(this.#recount);
    clearInterval(this.#listening);
  }

  /** Looks for a connection now. */
  kick() {
    this.#feed.kick();
    this.#wake.abort();
  }

  #opened(resumed) {
    this.#live = this.#storeReported = true;
    if (resumed) this.#judge();
    else this.reload();
  }

  #down(error) {
    this.#live = false;
    if (this.#over(error)) return;
    this.#trouble(error);
    this.#poll();
  }

  /** Says at once what is known of a failure; polling finds out more. */
  #trouble(error) {
    if (error.storeless) this.#state.setConnection('store');
    else if (error instanceof FeedEnded) this.#state.setConnection('connecting');
    else if (!(error instanceof ApiError) || error.code === CODE.unreachable)
      this.#state.setConnection('down');
  }

  /** What is shown as live is what the server can do now: tell and store. */
  #judge() {
    if (!this.#storeAnswers || !this.#storeReported) this.#state.setConnection('store');
    else if (this.#live) this.#state.setConnection('live');
  }

  /** Takes what an answer shows of the store. */
  #answered(there) {
    if (this.#storeAnswers === there) return;
    this.#storeAnswers = there;
    this.#judge();
    if (!there) this.#poll();
  }

  /** Takes what the feed says of the store. */
  #reported(there) {
    const back = there && !this.#storeReported;
    this.#storeReported = there;
    if (back) this.reload();
    else this.#judge();
  }

  #over(error) {
    if (!(error instanceof ApiError) || !error.ended || this.#stopped.signal.aborted) return false;
    this.stop();
    this.#ended();
    return true;
  }

  /** Reads everything anew. What is read while it runs is not read again by a second call. */
  reload() {
    this.#loading ??= this.#load()
      .catch((e) => this.#failed(e))
      .finally(() => {
        this.#loading = null;
      });
    return this.#loading;
  }

  async #load() {
    const state = this.#state;
    await this.#roster(state.listed);
    this.#judge();
    for (const c of state.known()) if (c.tracker !== state.open) c.forget();
    if (state.open !== null) await this.#messenger.refresh(state.open);
    state.tell('reset');
    await this.#activity([...state.trackers.keys()]);
    this.#search();
  }

  /** Looks, once and in no hurry, for texts that ended badly before anybody looked. */
  async #search() {
    if (this.#searched) return;
    this.#searched = true;
    const since = Date.now() - RECENT;
    const busy = [...this.#state.trackers.values()].filter((x) => x.updated > since && !x.blocked);
    busy.sort((a, b) => b.updated - a.updated);
    const signal = this.#stopped.signal;
    for (const { id } of busy.slice(0, LOOKED)) {
      await this.#messenger.look(id).catch(() => {}); // the list is marked for what is known
      await pause(APART, signal).catch(() => {});
      if (signal.aborted) return;
    }
  }

  async #roster(happening = false) {
    const unread = this.#unread();
    unread.catch(() => {}); // it is awaited below; the list is there without it
    this.#state.setTrackers((await this.#ask('tracker/list')).list);
    this.#state.setUnread(await unread, happening);
    this.#state.setDrivers((await this.#ask('employee/list')).list);
  }

  #ask(operation, params) {
    return this.#api.call(operation, params, this.#stopped.signal);
  }

  /** The counts; an account without the chat tariff has none. */
  async #unread() {
    try {
      return (await this.#ask('tracker/chat/unread/count')).value;
    } catch (e) {
      if (e.code === 236) return {};
      throw e;
    }
  }

  /**
   * Asks for the last message of trackers. One that cannot be asked about spoils its batch, so a
   * refused batch is halved.
   */
  async #activity(ids) {
    const usable = ids.filter((id) => !this.#state.trackers.get(id)?.blocked);
    const found = {};
    const ask = async (some) => {
      if (some.length === 0) return;
      try {
        Object.assign(found, (await this.#ask('tracker/chat/last/list', { trackers: some })).value);
      } catch (e) {
        if (e.code !== 217) throw e;
        if (some.length === 1) return;
        await ask(some.slice(0, some.length >> 1));
        await ask(some.slice(some.length >> 1));
      }
    };
    for (let i = 0; i < usable.length; i += BATCH) await ask(usable.slice(i, i + BATCH));
    // all at once: the list is not to jump about meanwhile
    for (const [id, m] of Object.entries(found)) this.#state.learn(Number(id), [fromApi(m)]);
  }

  #failed(error) {
    if (this.#stopped.signal.aborted || this.#over(error)) return;
    this.#trouble(error);
    this.#poll();
  }

  #event(name, data) {
    if (name === 'reset') {
      this.reload();
      return;
    }
    if (name === 'heartbeat') {
      this.#reported(data.store === 'ok');
      return;
    }
    if (name === 'tracker') {
      this.#state.presence(data.tracker_id, data.online, data.since);
      return;
    }
    if (!data?.message) return;
    const message = fromApi({
      ...data.message,
      delivery: data.delivery,
      choices: data.choices,
      reply_to: data.reply_to,
      urgent: data.urgent,
      author: data.author,
    });
    this.#state.arrived(data.tracker_id, message);
    this.#state.dispatchEvent(
      new CustomEvent('event', { detail: { name, tracker: data.tracker_id, message } }),
    );
    if (message.incoming) this.#countSoon();
  }

  /**
   * The counts are changed by each event at once; the server's own replace them a little later, so
   * that they cannot drift.
   */
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

  /** Asks every few seconds until the feed is there, and the store. */
  async #poll() {
    if (this.#polling) return;
    this.#polling = true;
    while (
      !(this.#live && this.#storeAnswers && this.#state.listed) &&
      !this.#stopped.signal.aborted
    ) {
      try {
        await this.#look();
        if (this.#live) this.#judge();
        else {
          this.#state.setConnection('polling');
          this.#feed.kick();
        }
      } catch (e) {
        if (this.#stopped.signal.aborted || this.#over(e)) break;
        this.#trouble(e);
      }
      this.#wake = new AbortController();
      await pause(POLL, AbortSignal.any([this.#stopped.signal, this.#wake.signal])).catch(() => {});
    }
    this.#polling = false;
  }

  async #look() {
    const state = this.#state;
    const happening = state.listed;
    if (state.trackers.size === 0 || this.#looks % SLOW === 0) await this.#roster(happening);
    else state.setUnread(await this.#unread(), happening);
    if (state.open !== null) await this.#messenger.refresh(state.open);
    if (this.#looks % SLOW === 0) await this.#activity([...state.trackers.keys()].slice(0, BATCH));
    this.#looks++;
  }
}
