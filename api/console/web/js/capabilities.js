import { pause } from './api.js';
import { length } from './message.js';
import { lacking } from './charset.js';

const APART = 50; // ms between questions, so that they do not use up what a key may ask a second
const MOST = 10; // characters that are named

/**
 * What trackers' devices can be sent, as tracker/chat/capabilities says. Each is asked about once.
 */
export class Capabilities {
  #api;
  #known = new Map();
  #asking = new Map();

  constructor(api) {
    this.#api = api;
  }

  /** What is known of a tracker; undefined: nothing yet, null: the server does not say. */
  of(tracker) {
    return this.#known.get(tracker);
  }

  /** Asks about trackers one after the other, and calls told after each answer. */
  async ask(trackers, told, signal) {
    const unknown = trackers.filter((id) => !this.#known.has(id));
    for (const [i, id] of unknown.entries()) {
      if (i > 0) await pause(APART, signal).catch(() => {});
      if (signal?.aborted) return;
      await this.#one(id);
      told();
    }
  }

  #one(id) {
    if (!this.#asking.has(id)) {
      this.#asking.set(
        id,
        this.#get(id).finally(() => this.#asking.delete(id)),
      );
    }
    return this.#asking.get(id);
  }

  async #get(id) {
    try {
      const answer = await this.#api.call('tracker/chat/capabilities', { tracker_id: id });
      this.#known.set(id, answer.value);
    } catch (e) {
      if (e.refused) this.#known.set(id, null); // without an answer it is asked again
    }
  }

  /**
   * What of a text would not be seen as it is at how many of the trackers:
   * lacks of them lack some of the characters lacking, few show no more answers than most, for long
   * more characters than longest may not fit, silent confirm nothing, and to calm nothing is
   * urgent.
   */
  check(trackers, text, choices, urgent) {
    const found = {
      lacking: new Set(),
      lacks: 0,
      most: Infinity,
      few: 0,
      longest: Infinity,
      long: 0,
      silent: 0,
      calm: 0,
    };
    const whole = [text, ...choices].join('\n');
    const characters = length(text);
    const byCharset = new Map();
    for (const can of trackers.map((id) => this.#known.get(id)).filter(Boolean)) {
      if (!byCharset.has(can.charset)) byCharset.set(can.charset, lacking(can.charset, whole));
      const lacks = byCharset.get(can.charset);
      if (lacks.length > 0) found.lacks++;
      for (const c of lacks) if (found.lacking.size < MOST) found.lacking.add(c);
      if (choices.length > can.choices) {
        found.few++;
        found.most = Math.min(found.most, can.choices);
      }
      if (characters > can.max_characters) {
        found.long++;
        found.longest = Math.min(found.longest, can.max_characters);
      }
      if (can.delivered === 'none') found.silent++;
      if (urgent && !can.urgent) found.calm++;
    }
    return found;
  }
}
