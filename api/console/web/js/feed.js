import { ApiError, CODE, pause } from './api.js';
import { events } from './sse.js';

const SILENCE = 20_000; // ms; heartbeats come every 15 s
const SOONEST = 500; // ms before the first new attempt; doubles up to LATEST
const LATEST = 15_000;

/**
 * The server, or something before it, has ended the feed as streams end: that alone is no trouble.
 */
export class FeedEnded extends Error {}

/**
 * The live feed. It connects again by itself and goes on after the last event that it has handed
 * over, so that none is lost as long as the server still has them. on.open(resumed) is called with
 * each connection, on.event(name, data) with each event, in order, on.down(error) when a connection
 * ends or cannot be had. After open(false), and after the event `reset`, the receiver has to read
 * everything anew.
 */
export class Feed {
  #api;
  #on;
  #last;
  #stop = new AbortController();
  #wake = () => {};

  constructor(api, on) {
    this.#api = api;
    this.#on = on;
  }

  /** Runs until stop. */
  async run() {
    for (let wait = SOONEST; !this.#stop.signal.aborted;) {
      try {
        await this.#connection(() => {
          wait = SOONEST;
        });
      } catch (e) {
        if (this.#stop.signal.aborted) return;
        this.#on.down(e);
        if (e instanceof ApiError && e.ended) return;
      }
      await this.#sleep(wait * (0.75 + Math.random() / 2));
      wait = Math.min(wait * 2, LATEST);
    }
  }

  stop() {
    this.#stop.abort();
  }

  /** Makes the next attempt now instead of later. */
  kick() {
    this.#wake();
  }

  async #connection(opened) {
    const silence = new AbortController();
    const watch = watchdog(SILENCE, () => silence.abort(new Error('the feed has gone silent')));
    try {
      const headers = { ...this.#api.headers, Accept: 'text/event-stream' };
      if (this.#last !== undefined) headers['Last-Event-ID'] = this.#last;
      const response = await fetch('/v2/tracker/chat/events', {
        headers,
        cache: 'no-store',
        signal: AbortSignal.any([this.#stop.signal, silence.signal]),
      });
      if (!response.ok || !response.headers.get('Content-Type')?.startsWith('text/event-stream'))
        throw await refusal(response);
      opened();
      this.#on.open(this.#last !== undefined);
      for await (const e of events(response.body, watch.feed)) {
        if (e.data !== '') this.#on.event(e.event, JSON.parse(e.data));
        if (e.id !== undefined) this.#last = e.id;
      }
      throw new FeedEnded();
    } finally {
      watch.stop();
    }
  }

  async #sleep(ms) {
    const early = new AbortController();
    this.#wake = () => early.abort();
    try {
      await pause(ms, AbortSignal.any([this.#stop.signal, early.signal]));
    } catch {
      // woken or stopped: both end the wait
    } finally {
      this.#wake = () => {};
    }
  }
}

async function refusal(response) {
  try {
    const { status } = await response.json();
    return new ApiError(status.code, status.description);
  } catch {
    return new ApiError(CODE.unreachable, `HTTP ${response.status}`);
  }
}

/** Calls bark unless it is fed within ms, again and again. */
function watchdog(ms, bark) {
  let timer = setTimeout(bark, ms);
  return {
    feed() {
      clearTimeout(timer);
      timer = setTimeout(bark, ms);
    },
    stop() {
      clearTimeout(timer);
    },
  };
}
